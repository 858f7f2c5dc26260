"""Romanian: written with diacritics, read with and without them."""

from __future__ import annotations

from collections.abc import Mapping

from model.facts import HEART, LUNGS, PLEURA
from model.wording.lexicon import Phrases, Reading, Wording

# With a cedilla where a comma belongs, in the spelling of before 1993, or without diacritics.
_SPELLINGS = str.maketrans({"ă": "[ăa]", "â": "[âîa]", "î": "[îâi]", "ș": "[șşs]", "ț": "[țţt]"})


def _spelt(pattern: str) -> str:
    """The pattern for every spelling in use; it has no diacritics in sets of letters."""
    return pattern.translate(_SPELLINGS)


_IN_LUNGS = ("consolidation", "atelectasis", "pulmonary nodule")
_IN_PLEURA = ("pleural effusion", "pneumothorax")
_EVERYTHING = (*_IN_PLEURA, *_IN_LUNGS, "cardiomegaly", "emphysema")

# "Revărsat pleural absent", "pneumotorax nu se evidențiază": denied by what follows.
_DENIED_AFTER = (
    r"(?: (?!(?:și|dar|iar|sau|însă)\b)\w+){0,2} (?:(?:este |sunt )?absen(?:t|ț)\w*|excluse?\b|exclusă\b|"
    r"nu (?:se|este|sunt|există)\b)"
)
_ENLARGED = r"(?:mărită|mărit|mari)"
_HEART = r"(?:cordul|cord|inima|inimă|silueta cardiacă|siluetă cardiacă)"
_CHANGES = r"(?:leziuni|modificări|anomalii|opacități)"
_NOT_SEEN = r"(?:fără|nu se \w+|nu există)"

_PLACE = "[ în câmpul pulmonar {zone} {side}| în câmpul pulmonar {zone}| la nivel pulmonar {side}]"
"""Of a canonical phrase: in the lung's zone and side, as far as they are known."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "pleural effusion": (
        r"revărsat(?:ul|ului|e|ele|elor)?(?: lichidian)?(?: pleurale?)?(?: lichidian)?"
        r"(?!(?: lichidian)? (?:peri|ascit|abdom|articul))",
        r"lichid(?:ul)? (?:liber )?(?:intra)?pleural",
        r"lichid(?:ul)? (?:liber )?în (?:spațiul|cavitatea) pleural(?:ă)?",
        r"colecți(?:e|a|i|ile) (?:lichidian(?:ă|e) )?pleural(?:ă|e)",
        r"pleurezi(?:e|a|i|ile|ei)",
        r"hidrotorax(?:ul)?",
    ),
    "pneumothorax": (
        r"pneumotorax(?:ul|ului|uri)?",
        r"aer(?:ul)? (?:liber )?(?:intra)?pleural",
        r"aer(?:ul)? (?:liber )?în (?:spațiul|cavitatea) pleural(?:ă)?",
    ),
    "consolidation": (
        r"consolid(?:are|area|ări|ările|ării|ărilor)(?: pulmonar(?:ă|e))?(?! osoas)",
        r"condens(?:are|area|ări|ările|ării|ărilor)(?: pulmonar(?:ă|e))?",
        r"opacit(?:ate|atea|ăți|ățile) alveolar(?:ă|e)",
        r"infiltrat(?:ul|e|ele)? (?:pneumonice?|alveolare?)",
        r"(?:bronho)?pneumoni(?:e|a|i|ile|ei)",
    ),
    "atelectasis": (
        r"(?:distelectazi|dystelectazi|atelectazi)(?:e|a|i|ile|ei|ilor)",
        r"atelectatic(?:ă|e)?",
        r"colaps lamelar",
    ),
    "pulmonary nodule": (
        r"(?:micro)?nodul(?:ul|ului|i|ii|ilor)?(?: pulmonari?)?"
        r"(?! (?:limf|tiroid|hepat|suprarenal|mamar|splen|renal))",
        r"opacit(?:ate|atea|ăți|ățile) nodular(?:ă|e)",
        r"formațiun(?:e|ea|i|ile) nodular(?:ă|e)",
    ),
    "cardiomegaly": (
        r"cardiomegali(?:e|a|ei)",
        rf"{_HEART} (?:este |apare )?(?:(?!(?:nu|sau|și)\b)\w+ )?{_ENLARGED}",
        rf"{_HEART} (?:este |apare )?(?:cu |de |are )?dimensiuni (?:\w+ )?(?:mărite|crescute)",
        r"mărire(?:a)? (?:de volum )?(?:a )?(?:cordului|inimii|siluetei cardiace)",
        r"indic(?:e|ele) cardio-?toracic (?:este )?(?:mărit|crescut)",
    ),
    "emphysema": (
        r"emfizem(?:ul|ului|e)?(?: pulmonar)?(?! (?:subcut|mediast))",
        r"emfizemato(?:s|și|asă|ase)",
    ),
}

ROMANIAN = Wording(
    code="ro",
    titles={
        "Procedure": "Examinare",
        "Clinical information": "Date clinice",
        "Comparison": "Comparație",
        "Findings": "Rezultat",
        "Impression": "Concluzii",
    },
    organs={LUNGS: "Plămâni", PLEURA: "Pleură", HEART: "Cord"},
    no_prior="Fără examinări anterioare disponibile.",
    prior_available="Este disponibilă o examinare anterioară.",
    uncertain="[incert]",
    reading=Reading(
        findings={
            finding: tuple(_spelt(rf"(?:{word})(?!{_DENIED_AFTER})") for word in words)
            for finding, words in _WORDS.items()
        },
        denials=_spelt(
            r"\b(?:fără|nu(?! se (?:poate |pot )?exclud)|nici|niciun|nicio|"
            r"absența|absent|absentă|absente|absenți|lipsa|lipsesc|neagă|"
            r"exclus|exclusă|(?<!nu )se exclude|infirmă|negativ(?:ă)? pentru)\b"
        ),
        denies_before=True,
        sides={
            "right": _spelt("drept|dreptul|dreptului|drepte|drepți|dreapta|dreaptă"),
            "left": _spelt("stâng|stângul|stângului|stânga|stângă|stângi|stângii"),
            "both": _spelt("bilateral|bilaterală|bilaterale|bilaterali|ambele|ambelor|ambii|ambilor"),
        },
        sizes={
            "small": _spelt("(?<!mai )(?:mic|mică|mici)|minim|minimă|minime|redus|redusă"),
            "moderate": _spelt("moderat|moderată|moderate|(?<!lobul )(?<!lobului )(?:mediu|medie|medii)"),
            "large": _spelt("(?<!mai )(?:mare|mari)|masiv|masivă|masive|voluminos"),
        },
        zones={
            "upper": _spelt("superior|superiorul|superioară|superioare|superiori"),
            "lower": _spelt("inferior|inferiorul|inferioară|inferioare|inferiori"),
        },
        normal=tuple(
            (_spelt(pattern), findings)
            for pattern, findings in (
                (
                    r"\b(?:plămânii|plămâni|parenchim(?:ul)? pulmonar|câmpuri(?:le)? pulmonare) "
                    r"(?:(?:sunt|este|apar|apare|au|are|prezintă|cu|de|un) )*"
                    rf"(?:fără {_CHANGES}|normal[ie]?|aspect normal|clari|liber[ie]|transparență normală)\b",
                    _IN_LUNGS,
                ),
                (rf"\b{_NOT_SEEN} {_CHANGES} (?:patologice |focale )?pulmonare\b", _IN_LUNGS),
                (r"\baspect normal al (?:plămânilor|parenchimului pulmonar)\b", _IN_LUNGS),
                (
                    r"\b(?:pleura|pleură|pleurele|(?:spațiile|spații|cavitățile|cavități) pleurale) "
                    r"(?:(?:sunt|este|apar|apare|au|are|prezintă|cu|de|un) )*"
                    rf"(?:fără {_CHANGES}|liberă|libere|normală|normale|aspect normal)\b",
                    _IN_PLEURA,
                ),
                (rf"\b{_NOT_SEEN} {_CHANGES} (?:patologice )?pleurale\b", _IN_PLEURA),
                (
                    rf"\b{_HEART} (?:(?:este|apare|are|prezintă|cu|de|în|un) )*"
                    r"(?:(?:dimensiuni|limite) normale|(?:aspect |volum )?normal|normală|nemărită?)\b",
                    ("cardiomegaly",),
                ),
                (rf"\b{_HEART} nu (?:este|apare) (?:\w+ )?{_ENLARGED}\b", ("cardiomegaly",)),
                (r"\bindic(?:e|ele) cardio-?toracic (?:este )?normal\b", ("cardiomegaly",)),
                (r"\bdimensiunile cordului sunt (?:în limite )?normale\b", ("cardiomegaly",)),
                (
                    rf"^\W*{_NOT_SEEN} {_CHANGES}(?: cardiopulmonare| toracice)? "
                    r"(?:acute|patologice|semnificative)(?! (?:pleur|pulmon|ale|la))\b",
                    _EVERYTHING,
                ),
                (
                    r"\b(?:torace normal|aspect (?:ct )?toracic normal|aspect normal al toracelui|"
                    r"(?:examinare ct|ct) (?:toracică |torace )?normală?)\b",
                    _EVERYTHING,
                ),
                *(
                    (rf"\b(?:{word}){_DENIED_AFTER}", (finding,))
                    for finding, words in _WORDS.items()
                    for word in words
                ),
            )
        ),
        clause=_spelt(
            r"[;.]\s+|,?\s+(?:dar|însă|iar|în timp ce)\s+|"
            r",\s+(?=cu\b|se (?:evidenți|observ|decel|constat)|există)"
        ),
        prior=_spelt(
            r"\b(?:comparat\w* cu|comparativ cu|în comparație cu|"
            r"față de (?:examin|examen|ct|studiul|anterior|precedent)|"
            r"nemodificat\w*|neschimbat\w*|staționar\w*|"
            r"(?<!fără )(?:examinare|examinarea|examinări|examinările|radiografia|radiografie|tomografia) "
            r"(?:ct )?(?:anterioar|precedent)|(?:examen|examenul|studiu|studiul|ct|control|controlul) "
            r"(?:ct )?(?:anterior|precedent)|precedent(?:ă|e|ul)?\b|"
            r"a (?:crescut|scăzut|regresat|progresat|dispărut)|în (?:creștere|scădere|regresie|progresie)|"
            r"nou[ -]apărut|apărut\w* (?:recent|nou)|nou(?:ă|e|i)? apărut|din nou|nu mai|persist|se mențin|"
            r"între timp|evoluți(?:e|a)\b|remisi)"
        ),
        no_prior=_spelt(r"\b(?:fără|nu există|nu sunt) (?:examinări|investigații) (?:ct )?anterioare\b"),
        abbreviations=(
            *("[Dd]r", "[Ss]tg", "[Pp]rof", "[Cc]onf", "Dl", "Dna", "aprox", "cca", "vs", "[Nn]r", "[Ff]ig"),
            *(r"[Ii]\.v", r"i\.e", r"ș\.a", "seg"),
        ),
    ),
    phrases=Phrases(
        sides={"right": "drept", "left": "stâng", "both": "bilateral"},
        sizes={"small": "mic", "moderate": "moderat", "large": "mare"},
        zones={"upper": "superior", "lower": "inferior"},
        present={
            "pleural effusion": "Se evidențiază revărsat pleural {side} {size}.",
            "pneumothorax": "Se evidențiază pneumotorax {side} {size}.",
            "consolidation": f"Se evidențiază consolidare{_PLACE}.",
            "atelectasis": f"Se evidențiază atelectazie liniară{_PLACE}.",
            "pulmonary nodule": f"Se evidențiază un nodul pulmonar[ de {{mm}} mm]{_PLACE}.",
            "cardiomegaly": "Cordul este mărit.",
            "emphysema": "Se evidențiază emfizem pulmonar.",
        },
        concluded={
            "pleural effusion": "revărsat pleural {side} {size}.",
            "pneumothorax": "pneumotorax {side} {size}.",
            "consolidation": f"consolidare{_PLACE}.",
            "atelectasis": f"atelectazie{_PLACE}.",
            "pulmonary nodule": f"nodul pulmonar[ de {{mm}} mm]{_PLACE}.",
            "cardiomegaly": "cardiomegalie.",
            "emphysema": "emfizem pulmonar.",
        },
        both={
            "consolidation": (
                "Se evidențiază consolidări bilaterale[ în câmpul pulmonar {zone}].",
                "consolidări bilaterale[ în câmpul pulmonar {zone}].",
            ),
            "atelectasis": (
                "Se evidențiază atelectazii liniare bilaterale[ în câmpul pulmonar {zone}].",
                "atelectazii bilaterale[ în câmpul pulmonar {zone}].",
            ),
        },
        names={
            "pleural effusion": "revărsat pleural",
            "pneumothorax": "pneumotorax",
            "consolidation": "consolidare",
            "atelectasis": "atelectazie",
            "pulmonary nodule": "nodul pulmonar",
            "cardiomegaly": "cardiomegalie",
            "emphysema": "emfizem",
        },
        absent="Fără {names}.",
        joined=(", ", " sau "),
        normal={
            LUNGS: "Plămâni fără leziuni.",
            PLEURA: "Fără revărsat pleural sau pneumotorax.",
            HEART: "Cord de dimensiuni normale.",
        },
        nothing="Fără modificări acute.",
    ),
)
