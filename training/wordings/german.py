"""German wordings."""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from training.wordings.composing import Wordings

_VISIBLE = "[nachweisbar|erkennbar|sichtbar|abgrenzbar|zu sehen|zu erkennen]"
_THERE_IS = "[Es zeigt sich|Es findet sich|Es besteht|Im CT zeigt sich|Im CT findet sich|Im CT besteht]"
_IS_THERE = "[zeigt sich|findet sich|besteht]"
_ONE_SEES = "[Man sieht|Man erkennt|Die CT zeigt|Die Bilder zeigen|Die Untersuchung zeigt]"
_THERE_ARE = "[Es zeigen sich|Es finden sich|Es bestehen]"


def _sized(noun: str, genitive: str) -> tuple[str, ...]:
    """Patterns of a masculine noun with a size and a side."""
    return (
        f"{{size}}er {noun} {{side}}s.",
        f"{{size}}er {{side}}sseitiger {noun}.",
        f"{{size}}er {noun} {{side}}s {_VISIBLE}.",
        f"{{side}}s {{size}}er {noun}.",
        f"{_THERE_IS} ein {{size}}er {noun} {{side}}s.",
        f"{_THERE_IS} {{side}}s ein {{size}}er {noun}.",
        f"{_THERE_IS} ein {{size}}er {{side}}sseitiger {noun}.",
        f"{{side}}s {_IS_THERE} ein {{size}}er {noun}.",
        f"Nachweis eines {{size}}en {genitive} {{side}}s.",
        f"{noun} {{side}}s, {{size}}.",
        f"Ein {{size}}er {noun} ist {{side}}s {_VISIBLE}.",
        f"Ein {{size}}er {{side}}sseitiger {noun} ist {_VISIBLE}.",
        f"{{side}}s ist ein {{size}}er {noun} {_VISIBLE}.",
        f"{_ONE_SEES} einen {{size}}en {noun} {{side}}s.",
        f"{_ONE_SEES} {{side}}s einen {{size}}en {noun}.",
        f"{_ONE_SEES} einen {{size}}en {{side}}sseitigen {noun}.",
        f"Im {{side}}en Hemithorax {_IS_THERE} ein {{size}}er {noun}.",
        f"Im {{side}}en Hemithorax ist ein {{size}}er {noun} {_VISIBLE}.",
        f"{_THERE_IS} ein {{size}}er {noun} auf der {{side}}en Seite.",
        f"{_THERE_IS} ein {{size}}er {noun} im {{side}}en Hemithorax.",
        f"{_THERE_IS} im {{side}}en Hemithorax ein {{size}}er {noun}.",
        f"{_ONE_SEES} im {{side}}en Hemithorax einen {{size}}en {noun}.",
        f"{_ONE_SEES} auf der {{side}}en Seite einen {{size}}en {noun}.",
    )


def _zoned(noun: str, nominative: str, genitive: str) -> tuple[str, ...]:
    """Patterns of a noun, with and without its article, in a zone of one lung."""
    return (
        f"{noun} im {{side}}en {{zone}}feld.",
        f"{noun} im {{zone}}feld {{side}}s.",
        f"{noun} {{side}}s im {{zone}}feld.",
        f"{noun} im {{side}}en {{zone}}feld {_VISIBLE}.",
        f"{_THERE_IS} {nominative} im {{side}}en {{zone}}feld.",
        f"{_THERE_IS} {nominative} im {{zone}}feld {{side}}s.",
        f"Im {{side}}en {{zone}}feld {_IS_THERE} {nominative}.",
        f"Nachweis {genitive} im {{side}}en {{zone}}feld.",
        f"Im {{side}}en {{zone}}feld ist {nominative} {_VISIBLE}.",
        f"Im {{zone}}feld {{side}}s {_IS_THERE} {nominative}.",
        # The article of these nouns is the same in the accusative: none of them is masculine.
        f"{_ONE_SEES} {nominative} im {{side}}en {{zone}}feld.",
        f"{_THERE_IS} {nominative} {{side}}s im {{zone}}feld.",
        f"{_THERE_IS} im {{side}}en {{zone}}feld {nominative}.",
    )


def _zoned_on_both(noun: str, plural: str) -> tuple[str, ...]:
    """Patterns of a feminine noun in one zone of both lungs."""
    return (
        f"{plural} in beiden {{zone}}feldern.",
        f"{plural} in beiden {{zone}}feldern {_VISIBLE}.",
        f"{plural} beidseits in den {{zone}}feldern.",
        f"{noun} beidseits im {{zone}}feld.",
        f"Beidseitige {plural} in den {{zone}}feldern.",
        f"{_THERE_ARE} {plural} in beiden {{zone}}feldern.",
        f"{_THERE_ARE} beidseits {plural} in den {{zone}}feldern.",
    )


# Right and left are stems: "rechts", "rechten" and "rechtsseitig", and so are size ("kleiner") and zone.
GERMAN = Wordings(
    present={
        "pleural effusion": _sized("[Pleuraerguss|Erguss]", "[Pleuraergusses|Ergusses]"),
        "pneumothorax": _sized("Pneumothorax", "Pneumothorax"),
        "consolidation": _zoned(
            "[Konsolidierung|Infiltrat]",
            "[eine Konsolidierung|ein Infiltrat]",
            "[einer Konsolidierung|eines Infiltrats]",
        ),
        "atelectasis": _zoned(
            "[Atelektase|Plattenatelektase|Dystelektase]",
            "eine [Atelektase|Plattenatelektase|Dystelektase]",
            "einer [Atelektase|Plattenatelektase|Dystelektase]",
        ),
        "pulmonary nodule": (
            "[Rundherd|Lungenrundherd] von {mm} mm im {side}en {zone}feld.",
            f"{_THERE_IS} im {{side}}en {{zone}}feld ein [Rundherd|Lungenrundherd] von {{mm}} mm.",
            f"{_THERE_IS} {{side}}s im {{zone}}feld ein [Rundherd|Lungenrundherd] von {{mm}} mm.",
            f"Im {{side}}en {{zone}}feld ist ein [Rundherd|Lungenrundherd] von {{mm}} mm {_VISIBLE}.",
            f"{_ONE_SEES} einen [Rundherd|Lungenrundherd] von {{mm}} mm im {{side}}en {{zone}}feld.",
            "[Rundherd|Lungenrundherd] im {side}en {zone}feld, {mm} mm.",
            "[Rundherd|Lungenrundherd] {side}s im {zone}feld, [|Durchmesser ]{mm} mm.",
            "{mm} mm großer [Rundherd|Lungenrundherd] im {side}en {zone}feld.",
            "{mm} mm großer [Rundherd|Lungenrundherd] im {zone}feld {side}s.",
            f"[Rundherd|Lungenrundherd] von {{mm}} mm im {{side}}en {{zone}}feld {_VISIBLE}.",
            f"{_THERE_IS} ein [Rundherd|Lungenrundherd] von {{mm}} mm im {{side}}en {{zone}}feld.",
            f"{_THERE_IS} ein {{mm}} mm großer [Rundherd|Lungenrundherd] im {{side}}en {{zone}}feld.",
            f"Im {{side}}en {{zone}}feld {_IS_THERE} ein [Rundherd|Lungenrundherd] von {{mm}} mm.",
            f"Im {{side}}en {{zone}}feld {_IS_THERE} ein {{mm}} mm großer [Rundherd|Lungenrundherd].",
        ),
        "cardiomegaly": (
            "[Das Herz|Die Herzsilhouette] [ist|erscheint|wirkt|zeigt sich] vergrößert[| in dieser Untersuchung| auf diesen Bildern].",
            "Das Herz stellt sich vergrößert dar[| in dieser Untersuchung| auf diesen Bildern].",
            "Herz vergrößert[| in dieser Untersuchung| auf diesen Bildern].",
            "Vergrößertes Herz[| in dieser Untersuchung| auf diesen Bildern].",
            "[Kardiomegalie|Herzvergrößerung] [|nachweisbar|erkennbar|sichtbar|in dieser Untersuchung|auf diesen Bildern].",
            "Vergrößerung des Herzens [|erkennbar|sichtbar|in dieser Untersuchung|auf diesen Bildern].",
            f"{_THERE_IS} eine [Kardiomegalie|Herzvergrößerung][| in dieser Untersuchung| auf diesen Bildern].",
            f"{_THERE_IS} eine Vergrößerung des Herzens[| in dieser Untersuchung| auf diesen Bildern].",
            "[Zeichen|Nachweis] einer [Kardiomegalie|Herzvergrößerung][| in dieser Untersuchung| auf diesen Bildern].",
        ),
        "emphysema": (
            f"{_THERE_IS} ein [|beidseitiges] [Emphysem|Lungenemphysem].",
            "[|Beidseitiges] [Emphysem|Lungenemphysem] [|nachweisbar|erkennbar|sichtbar|in dieser Untersuchung|auf diesen Bildern].",
            "Emphysem [beidseits|beider Lungen|in beiden Lungen].",
            "Lungenemphysem beidseits.",
            "Emphysematöse [Veränderungen|Areale] [|beidseits|beider Lungen|in beiden Lungen] "
            "[|nachweisbar|erkennbar|sichtbar].",
            f"{_THERE_ARE} emphysematöse Veränderungen [|beidseits|beider Lungen].",
            "[Zeichen|Nachweis] eines [Emphysems|Lungenemphysems][| in dieser Untersuchung| auf diesen Bildern].",
        ),
    },
    both={
        "pleural effusion": (
            "{size}e [Pleuraergüsse|Ergüsse] beidseits.",
            f"{{size}}e [Pleuraergüsse|Ergüsse] beidseits {_VISIBLE}.",
            "Beidseits {size}e [Pleuraergüsse|Ergüsse].",
            "{size}e beidseitige [Pleuraergüsse|Ergüsse].",
            f"{_THERE_ARE} {{size}}e [Pleuraergüsse|Ergüsse] beidseits.",
            f"{_THERE_ARE} beidseits {{size}}e [Pleuraergüsse|Ergüsse].",
            "[Pleuraergüsse|Ergüsse] beidseits, {size}.",
        ),
        "consolidation": (
            *_zoned_on_both("Konsolidierung", "Konsolidierungen"),
            "Infiltrate in beiden {zone}feldern.",
            f"{_THERE_ARE} Infiltrate in beiden {{zone}}feldern.",
        ),
        "atelectasis": _zoned_on_both(
            "[Atelektase|Plattenatelektase]", "[Atelektasen|Plattenatelektasen|Dystelektasen]"
        ),
    },
    concluded={
        "pleural effusion": ("{size}er [Pleuraerguss|Erguss] {side}s.",),
        "pneumothorax": ("{size}er Pneumothorax {side}s.",),
        "consolidation": ("[Konsolidierung|Infiltrat] im {side}en {zone}feld.",),
        "atelectasis": ("[Atelektase|Dystelektase] im {side}en {zone}feld.",),
        "pulmonary nodule": (
            "[Rundherd|Lungenrundherd] im {side}en {zone}feld, {mm} mm.",
            "{mm} mm großer [Rundherd|Lungenrundherd] im {side}en {zone}feld.",
        ),
        "cardiomegaly": ("[Kardiomegalie|Vergrößertes Herz].",),
        "emphysema": ("[Lungenemphysem|Emphysem].",),
    },
    concluded_both={
        "pleural effusion": ("{size}e [Pleuraergüsse|Ergüsse] beidseits.",),
        "consolidation": ("[Konsolidierungen|Infiltrate] in beiden {zone}feldern.",),
        "atelectasis": ("[Atelektasen|Dystelektasen] in beiden {zone}feldern.",),
    },
    # Each name has its own "kein": the names differ in gender.
    names={
        "pleural effusion": ("kein Pleuraerguss", "kein Erguss"),
        "pneumothorax": ("kein Pneumothorax",),
        "consolidation": ("keine Konsolidierung", "kein Infiltrat"),
        "atelectasis": ("keine Atelektase", "keine Dystelektase"),
        "pulmonary nodule": ("kein Rundherd", "kein Lungenrundherd"),
        "cardiomegaly": ("keine Kardiomegalie",),
        "emphysema": ("kein Emphysem", "kein Lungenemphysem"),
    },
    absent=("{names}[| nachweisbar| erkennbar| abgrenzbar].", "Es [zeigt|findet] sich {names}."),
    joined=(", ", " und "),
    normal={
        LUNGS: ("Die Lungen sind [|beidseits] frei.", "Die Lunge ist frei.", "Lungen frei.", "Freie Lungen."),
        PLEURA: (
            "Kein [Pleuraerguss|Erguss][, kein| oder| und kein] Pneumothorax.",
            "Weder [Pleuraerguss|Erguss] noch Pneumothorax.",
            "[Die Pleuraräume sind|Pleuraräume] frei.",
        ),
        HEART: (
            "Das Herz ist [normal groß|nicht vergrößert].",
            "Herz [normal groß|nicht vergrößert].",
            "[Die Herzgröße ist normal|Normale Herzgröße|Normal großes Herz].",
        ),
    },
    nothing=(
        "Kein [akuter|pathologischer] [|kardiopulmonaler] Befund.",
        "[Unauffälliger Befund|Normalbefund].",
    ),
    sides={"right": ("recht",), "left": ("link",)},
    sizes={"small": ("klein",), "moderate": ("mäßig",), "large": ("groß",)},
    zones={"upper": ("Ober",), "lower": ("Unter",)},
    procedures=(
        "CT [Thorax|THORAX|des Thorax][| nativ| mit Kontrastmittel| mit KM i.v.| Low-Dose]",
        "[Computertomographie des Thorax|Thorax-CT]",
        "",
    ),
    questions=(
        "[Pneumonie|Erguss|Pneumothorax|Rundherd|Herzinsuffizienz|Emphysem|Infiltrat|Atelektase]?",
        "[Ausschluss|V. a.] [Lungenembolie|Pneumonie|Erguss links|Pneumothorax rechts|Atelektase basal]",
        "Bitte um Beurteilung, [Pleuraerguss|Pneumothorax|Rundherd|Konsolidierung]?",
        "Pneumothorax nach [ZVK-Anlage|Biopsie|Drainage]?",
        "Thoraxschmerz [links|rechts], Ursache?",
        "Verlaufskontrolle Rundherd",
        "Ursache [der Dyspnoe|des Hustens|des Fiebers]?",
        "",
    ),
    histories=(
        "[Husten|Fieber|Dyspnoe|Husten und Fieber] seit [zwei|drei|fünf] Tagen",
        "Bekannter Pleuraerguss [links|rechts][|, letzte Woche punktiert]",
        "Raucher, [20|40] Packungsjahre[|, Emphysem]",
        "Leitersturz, Schmerzen [links|rechts]",
        "Atemnot, Z. n. Pneumothorax [links|rechts]",
        "[Mammakarzinom|Kolonkarzinom|Bronchialkarzinom], Staging",
        "Hypertonie, Kardiomegalie im Röntgenbild",
        "Keine Vorerkrankungen",
        "Gewichtsverlust",
        "",
    ),
)
