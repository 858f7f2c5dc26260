"""German."""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from model.wording.lexicon import Phrases, Reading, Wording

_IN_LUNGS = ("consolidation", "atelectasis", "pulmonary nodule")
_IN_PLEURA = ("pleural effusion", "pneumothorax")
_EVERYTHING = (*_IN_PLEURA, *_IN_LUNGS, "cardiomegaly", "emphysema")

_SPELLINGS = str.maketrans({"ä": "(?:ä|ae)", "ö": "(?:ö|oe)", "ü": "(?:ü|ue)"})


def _spelt(pattern: str) -> str:
    """The pattern for text without umlauts too; it has none in sets of letters and in what stands before."""
    return pattern.translate(_SPELLINGS)


_ENLARGED = "vergrö(?:ß|ss)ert"
_FINDINGS = {
    "pleural effusion": (
        # Fluid around the heart is none in the pleura.
        r"(?<!-)(?<!perikardialer )(?<!perikardialen )(?:pleura-?|randwinkel|begleit|rest)?"
        r"erg(?:uss|uß|usses|usse|üsse|üssen)(?:bildung(?:en)?)?",
        "pleuraflüssigkeit",
        "flüssigkeit im (?:rechten |linken )?pleuraraum",
        "flüssigkeit in (?:den|beiden) pleuraräumen",
        "hydrothorax",
    ),
    "pneumothorax": (
        "(?:mantel|spannungs|spitzen|rest|hydro|sero)?pneumothora(?:x|ces|xes)",
        "pneu",
        "luft im (?:rechten |linken )?pleuraraum",
        "pleurale luft",
    ),
    "consolidation": (
        "konsolidierung(?:en)?",
        "konsolidation(?:en)?",
        "(?:lungen)?infiltrat(?:e|en|es|s)?",
        "pneumonische[nr]? infiltration(?:en)?",
        "(?:alveoläre[nr]? |pneumonische[nr]? |flächige |lungen)verdichtung(?:en)?",
        "(?:broncho|lobär)?pneumonien?",
    ),
    "atelectasis": (
        r"\w*(?:atelektase|dystelektase)n?",
        "(?:atelektatisch|dystelektatisch)(?:e[rnms]?)?",
        "(?:belüftungsstörung|minderbelüftung)(?:en)?",
    ),
    "pulmonary nodule": (
        "(?:pulmonale[nrs]? )?(?:lungen|oberlappen|unterlappen|mittellappen)?rundherd(?:e|es|en|s)?",
        "(?:pulmonale[nrs]? )?nodul(?:us|i)",
        "lungen(?:knoten|herde?n?)",
    ),
    "cardiomegaly": (
        "kardiomegalie",
        f"herz{_ENLARGED[:-1]}ung",
        f"{_ENLARGED[:-1]}ung des herzens",
        f"{_ENLARGED}(?:e|es|en) herz(?:silhouette)?",
        "verbreiterte[rn]? herzschatten",
        r"herzschatten (?:(?!nicht\b|weder\b|kein)\w+ ){0,3}verbreitert",
        "(?<!normal )gro(?:ß|ss)es herz",
        rf"herz(?:silhouette|schatten)? (?:(?!nicht\b|weder\b|kein)\w+ ){{0,3}}{_ENLARGED}",
    ),
    "emphysema": (
        "(?<!subkutanes )(?<!subkutanen )(?:lungen|oberlappen|unterlappen)?emphysem(?:e|s|es)?",
        "emphysem(?:artige|atische|typische)[nrs]?(?: veränderung(?:en)?| areale?n?)?",
        "emphysematöse?n? (?:lungen)?(?:veränderung(?:en)?|areale?n?)",
        "emphysematös(?:e[rnms]?)?",
    ),
}

_UP_TO_THE_DENIAL = r"(?:(?! (?:und|oder|sowie|bei|mit|ohne|vom|von)\b)[^,;]){0,80}?"
_DENIED_AFTER = (
    # "Erguss oder Pneumothorax liegen nicht vor" denies both; what a comma parts stays apart.
    rf"(?:(?:, [\w-]+){{0,5}} (?:und|oder|sowie) )?{_UP_TO_THE_DENIAL} (?:"
    r"lieg(?:t|en) (?:derzeit )?nicht vor"
    r"|(?:besteh(?:t|en)|(?:zeig(?:t|en)|finde(?:t|n)) sich) nicht(?= ?(?:[.,;]|$))"
    r"|nicht (?:mehr |sicher |eindeutig )?(?:nachweisbar|erkennbar|sichtbar|abgrenzbar|nachzuweisen|vorhanden"
    r"|zu sehen|zu erkennen|nachgewiesen|gesehen|nachweisen|erkennen)"
    r"|(?<!nicht )(?<!nicht sicher )(?<!nicht mit sicherheit )ausgeschlossen"
    r")\b"
)
"""What denies a finding that stands before it; "nicht auszuschließen" is no denial."""

_INFLECTED = "(?:e[rnms]?)?"
_NOT_ELSEWHERE = r"(?! (?:im|in|der|des|an|am) (?!thorax|thorakal))"
"""A normal liver says nothing of the chest."""
_CLEAR = (
    r"(?:(?:ist|sind|erscheint|erscheinen|zeigt sich|zeigen sich|stellt sich|stellen sich|beidseits|sonst|ansonsten|im übrigen) )*"
    r"(?:frei|unauffällig|regelrecht|klar)\b(?! von)"
)

_WHERE = "[ im {side}en {zone}feld| {side}s| im {zone}feld]"
_WHERE_ON_BOTH = "[ in beiden {zone}feldern| beidseits]"

GERMAN = Wording(
    code="de",
    titles={
        "Procedure": "Untersuchung",
        "Clinical information": "Klinische Angaben",
        "Comparison": "Voraufnahmen",
        "Findings": "Befund",
        "Impression": "Beurteilung",
    },
    organs={LUNGS: "Lunge", PLEURA: "Pleura", HEART: "Herz"},
    no_prior="Keine Voraufnahmen verfügbar.",
    prior_available="Eine Voruntersuchung liegt vor.",
    uncertain="[unsicher]",
    reading=Reading(
        findings={
            name: tuple(rf"(?:{_spelt(word)})\b(?!{_spelt(_DENIED_AFTER)})" for word in words)
            for name, words in _FINDINGS.items()
        },
        denials=(
            r"\b(?:kein\w*|weder|fehlend\w*|frei von|negativ für|ausschluss"
            r"|ohne(?! (?:kontrastmittel|km\b|i\.\s?v))"
            r"|nicht(?! (?:kontrast|ganz|auszuschließen|ausgeschlossen|sicher aus|mit sicherheit aus)))"
        ),
        denies_before=True,
        sides={
            "right": rf"rechts(?:seitig\w*|basal{_INFLECTED}|apikal{_INFLECTED})?|rechte[rnms]?|re",
            "left": rf"links(?:seitig\w*|basal{_INFLECTED}|apikal{_INFLECTED})?|linke[rnms]?|li",
            "both": (
                r"beidseits|beidseitig\w*|bds|bilateral\w*|beide[rnms]?"
                rf"|(?:bibasal|biapikal|bipulmonal){_INFLECTED}"
            ),
        },
        sizes={
            "small": rf"(?:klein|gering|geringgradig|geringfügig|minimal|schmal){_INFLECTED}",
            "moderate": (
                rf"(?:m(?:ä|ae)(?:ß|ss)ig|m(?:ä|ae)(?:ß|ss)iggradig|mittelgro(?:ß|ss)|mittelgradig|moderat)"
                rf"{_INFLECTED}"
            ),
            # Neither "12 mm groß" nor "normal groß" says that something is large.
            "large": (
                r"(?<!mm )(?<!cm )(?<!normal )(?<!mäßig )(?<!mässig )(?<!gering )"
                rf"(?:gro(?:ß|ss)|ausgedehnt|ausgeprägt|massiv){_INFLECTED}"
            ),
        },
        zones={
            "upper": (
                r"(?:lungen)?ober(?:feld|lappen)\w*|obere[rnms]?|lungenspitzen?"
                rf"|(?:rechts|links|bi)?apikal{_INFLECTED}|kranial{_INFLECTED}"
            ),
            "lower": (
                r"(?:lungen)?unter(?:feld|lappen)\w*|untere[rnms]?|lungenbas(?:is|en)"
                rf"|(?:rechts|links|bi)?basal{_INFLECTED}|kaudal{_INFLECTED}"
            ),
        },
        normal=(
            (rf"\blunge(?:n|nparenchym)? {_CLEAR}", _IN_LUNGS),
            (r"\b(?:freie|klare|unauffällige) lungen?\b(?! von)", _IN_LUNGS),
            (
                r"\bkeine? (?:fokalen? |umschriebenen? )?(?:lungenläsion(?:en)?|lungenveränderung(?:en)?"
                r"|pulmonalen? (?:läsion(?:en)?|veränderung(?:en)?))\b",
                _IN_LUNGS,
            ),
            (rf"\bpleura(?:räume|raum|höhlen?)? {_CLEAR}", _IN_PLEURA),
            (r"\b(?:freie|unauffällige) pleura(?:räume|höhlen)?\b", _IN_PLEURA),
            (
                r"\bherz(?:größe|silhouette)? (?:(?:ist|erscheint|wirkt|zeigt sich|stellt sich|liegt) )?"
                r"(?:normal(?: groß)?|normgroß|regelrecht|unauffällig|im normbereich|von normaler größe)\b",
                ("cardiomegaly",),
            ),
            (r"\bnormal großes herz\b", ("cardiomegaly",)),
            (r"\b(?:normale|regelrechte|unauffällige) herz(?:größe|silhouette)\b", ("cardiomegaly",)),
            (
                _spelt(
                    rf"\bherz(?:silhouette|schatten)? (?:\w+ ){{0,2}}(?:nicht|weder) "
                    rf"(?:\w+ )?(?:{_ENLARGED}|verbreitert)\b"
                ),
                ("cardiomegaly",),
            ),
            (
                r"\bkeine?n? (?:(?:akut|pathologisch|auffällig)\w* ){1,2}(?:(?:kardio)?pulmonal\w* |thorakal\w* )?"
                rf"(?:befunde?|veränderung(?:en)?|auffälligkeit(?:en)?|pathologien?)\b{_NOT_ELSEWHERE}",
                _EVERYTHING,
            ),
            (rf"\bkeine auffälligkeiten\b{_NOT_ELSEWHERE}", _EVERYTHING),
            (
                r"(?<!sonst )(?<!ansonsten )(?<!übrigen )\b(?:unauffällige[rs]?|normale[rs]?) "
                rf"(?:ct-?befund|befund|thorax|ct (?:des )?thorax|thorax-ct)\b{_NOT_ELSEWHERE}",
                _EVERYTHING,
            ),
            (rf"\bnormalbefund\b{_NOT_ELSEWHERE}", _EVERYTHING),
            *(
                (rf"\b(?:{'|'.join(words)})\b{_DENIED_AFTER}", (name,))
                for name, words in _FINDINGS.items()
                if name != "cardiomegaly"
            ),
            (rf"\b(?:kardiomegalie|herz{_ENLARGED[:-1]}ung)\b{_DENIED_AFTER}", ("cardiomegaly",)),
        ),
        clause=(
            r"(?<!\bre)(?<!\bli)(?<!\bbds)(?<!\bca)(?<!\bbzw)(?<!\bv)(?<!\ba)(?<!\bn)[;.]\s"
            r"|,?\s(?:aber|jedoch|hingegen|während)\s"
            r"|,\s(?=kein|weder\b|ohne\b)"
            # "Kein Erguss, kleiner Pneumothorax links": an article or an ending begins a new statement.
            r"|(?:,|\sund)\s(?=(?:(?:rechts|links|beidseits)\s)?"
            r"(?:ein|(?:klein|gering|mäßig|mittelgroß|groß|ausgedehnt)(?:e|er|es))\s)"
        ),
        prior=(
            r"\b(?:im vergleich|verglichen mit|gegenüber (?:der|den|dem) (?:vor|letzte|frühere)\w*"
            r"|unverändert\w*|(?:größen)?konstant\w*|(?:größen)?(?:progredien|regredien)[tz]\w*|rückläufig\w*"
            r"|(?:zu|ab)genommen\w*|(?:größen)?(?:zu|ab)nahme|im verlauf|verlaufskontrolle"
            r"|(?<!keine )(?:voraufnahmen?|voruntersuchung(?:en)?|vorbefund\w*|vor-?ct)"
            r"|(?:frühere|letzte|vorherige|vorangegangene)[rnms]? "
            r"(?:untersuchung|aufnahme|ct|befund|röntgen)\w*"
            r"|neu(?:e[rnms]?)?|neu aufgetreten\w*|(?:vor)?bekannte?[rnms]?|stabil\w*|persistier\w*|nicht mehr|weiterhin|erneut)\b"
        ),
        no_prior=r"\bkeine (?:relevanten? )?(?:voraufnahmen?|voruntersuchung(?:en)?|vorbefunde?)\b",
        abbreviations=(
            "Dr",
            "Prof",
            "Nr",
            "Abb",
            "ca",
            "bzw",
            "ggf",
            "evtl",
            "vgl",
            "inkl",
            "sog",
            "max",
            "min",
            "re",
            "li",
            "bds",
            r"[Zz](?:\.\s?[BnT])?",
            r"[Vv](?:\.\s?a)?",
            r"d(?:\.\s?h)?",
            r"[uU](?:\.\s?[aU])?",
            r"i(?:\.\s?v)?",
        ),
    ),
    phrases=Phrases(
        # Stems, for "rechts" and "rechten", "kleiner" and "kleine", "Oberfeld" and "Oberfeldern".
        sides={"right": "recht", "left": "link", "both": "beidseit"},
        sizes={"small": "klein", "moderate": "mäßig", "large": "groß"},
        zones={"upper": "Ober", "lower": "Unter"},
        present={
            "pleural effusion": "Es zeigt sich ein [{size}er] Pleuraerguss[ {side}s].",
            "pneumothorax": "Es zeigt sich ein [{size}er] Pneumothorax[ {side}s].",
            "consolidation": f"Es zeigt sich eine Konsolidierung{_WHERE}.",
            "atelectasis": f"Es zeigt sich eine Plattenatelektase{_WHERE}.",
            "pulmonary nodule": f"Es zeigt sich ein Rundherd[ von {{mm}} mm]{_WHERE}.",
            "cardiomegaly": "Das Herz ist vergrößert.",
            "emphysema": "Es besteht ein Lungenemphysem.",
        },
        concluded={
            "pleural effusion": "[{size}er] Pleuraerguss[ {side}s].",
            "pneumothorax": "[{size}er] Pneumothorax[ {side}s].",
            "consolidation": f"Konsolidierung{_WHERE}.",
            "atelectasis": f"Atelektase{_WHERE}.",
            "pulmonary nodule": f"Rundherd{_WHERE}[, {{mm}} mm].",
            "cardiomegaly": "Kardiomegalie.",
            "emphysema": "Lungenemphysem.",
        },
        both={
            "pleural effusion": (
                "Es zeigen sich [{size}e] Pleuraergüsse beidseits.",
                "[{size}e] Pleuraergüsse beidseits.",
            ),
            "pneumothorax": (
                "Es zeigt sich beidseits ein [{size}er] Pneumothorax.",
                "[{size}er] Pneumothorax beidseits.",
            ),
            "consolidation": (
                f"Es zeigen sich Konsolidierungen{_WHERE_ON_BOTH}.",
                f"Konsolidierungen{_WHERE_ON_BOTH}.",
            ),
            "atelectasis": (
                f"Es zeigen sich Plattenatelektasen{_WHERE_ON_BOTH}.",
                f"Atelektasen{_WHERE_ON_BOTH}.",
            ),
            "pulmonary nodule": (
                "Es zeigt sich beidseits ein Rundherd[ von {mm} mm][ im {zone}feld].",
                "Rundherd beidseits[ im {zone}feld][, {mm} mm].",
            ),
        },
        # Each name has its own "kein": the names differ in gender.
        names={
            "pleural effusion": "kein Pleuraerguss",
            "pneumothorax": "kein Pneumothorax",
            "consolidation": "keine Konsolidierung",
            "atelectasis": "keine Atelektase",
            "pulmonary nodule": "kein Rundherd",
            "cardiomegaly": "keine Kardiomegalie",
            "emphysema": "kein Emphysem",
        },
        absent="{names}.",
        joined=(", ", ", "),
        normal={
            LUNGS: "Die Lungen sind frei.",
            PLEURA: "Kein Pleuraerguss, kein Pneumothorax.",
            HEART: "Das Herz ist normal groß.",
        },
        nothing="Kein akuter Befund.",
    ),
)
