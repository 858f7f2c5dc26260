"""Romanian wordings.

Sides, sizes and zones have one form: what they describe is masculine or neuter, as revărsat, nodul and câmp.
"""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from training.wordings.composing import Wordings

_SEEN = "[Se evidențiază|Se observă|Se decelează|Se constată|Se vizualizează|Se remarcă]"
_SHOWN = "[CT evidențiază|CT arată|Imaginile arată|Examinarea evidențiază|Examinarea relevă|Există]"
_IS_SEEN = "[se evidențiază|se observă|se decelează|se constată|se vizualizează|se remarcă]"
_FIELD = "în câmpul [pulmonar |]{zone} {side}"
_BOTH_FIELDS = "în câmpul [pulmonar |]{zone}"
_EFFUSION = "[revărsat pleural|revărsat lichidian pleural|hidrotorax]"
_CONSOLIDATION = (
    "[consolidare|o consolidare|condensare|o condensare|un focar de condensare|opacitate alveolară]"
)
_ATELECTASIS = (
    "[atelectazie|o atelectazie|atelectazie liniară|atelectazie în bandă|o bandă de atelectazie|"
    "atelectazie subsegmentară]"
)
_HEART = "[cord mărit|cardiomegalie|o siluetă cardiacă mărită|mărirea cordului|un cord mărit]"
_EMPHYSEMA = "[emfizem|emfizem pulmonar|modificări emfizematoase|zone de emfizem|leziuni de emfizem]"

ROMANIAN = Wordings(
    present={
        "pleural effusion": (
            f"{_SEEN} [un |]{_EFFUSION} {{side}} {{size}}.",
            f"{_SHOWN} [un |]{_EFFUSION} {{side}} {{size}}.",
            f"{_SEEN} [un |]{_EFFUSION} {{side}}, [de volum |]{{size}}.",
            "[Revărsat pleural|Revărsat lichidian pleural|Hidrotorax] {side}[,|] {size}.",
            "[Lichid|Lichid liber] [pleural|în spațiul pleural] {side}, volum {size}.",
            f"{_SEEN} [lichid|lichid liber] în spațiul pleural {{side}}, volum {{size}}.",
            "Revărsat pleural în hemitoracele {side}, [volum|de volum] {size}.",
            "Colecție pleurală în hemitoracele {side}, [volum|de volum] {size}.",
        ),
        "pneumothorax": (
            f"{_SEEN} [un |]pneumotorax {{side}} {{size}}.",
            f"{_SHOWN} [un |]pneumotorax {{side}} {{size}}.",
            f"{_SEEN} [un |]pneumotorax {{side}}, [de volum |]{{size}}.",
            f"{_SHOWN} un pneumotorax {{side}}, [de volum |]{{size}}.",
            "Pneumotorax {side}[,|] {size}.",
            f"{_SEEN} un pneumotorax {{side}} {{size}} [la această examinare|pe aceste imagini].",
            f"{_SHOWN} un pneumotorax {{side}} {{size}} [la această examinare|pe aceste imagini].",
            "[Aer|Aer liber] [pleural|în spațiul pleural] {side}, volum {size}.",
            f"{_SEEN} [aer|aer liber] în spațiul pleural {{side}}, volum {{size}}.",
            "Pneumotorax în hemitoracele {side}, [volum|de volum] {size}.",
            f"În hemitoracele {{side}} {_IS_SEEN} un pneumotorax {{size}}.",
        ),
        "consolidation": (
            f"{_SEEN} {_CONSOLIDATION} {_FIELD}.",
            f"{_SHOWN} {_CONSOLIDATION} {_FIELD}.",
            "[Consolidare|Condensare|Focar de condensare|Opacitate alveolară] "
            "în câmpul [pulmonar |]{zone} {side}.",
            f"În câmpul [pulmonar |]{{zone}} {{side}} {_IS_SEEN} {_CONSOLIDATION}.",
        ),
        "atelectasis": (
            f"{_SEEN} {_ATELECTASIS} {_FIELD}.",
            f"{_SHOWN} {_ATELECTASIS} {_FIELD}.",
            "[Atelectazie|Atelectazie liniară|Bandă de atelectazie|Atelectazie în bandă] "
            "în câmpul [pulmonar |]{zone} {side}.",
            f"În câmpul [pulmonar |]{{zone}} {{side}} {_IS_SEEN} {_ATELECTASIS}.",
        ),
        "pulmonary nodule": (
            f"{_SEEN} un nodul [pulmonar |][de|cu diametrul de] {{mm}} mm în câmpul {{zone}} {{side}}.",
            f"{_SEEN} un nodul de {{mm}} mm {_FIELD}.",
            f"{_SHOWN} un nodul [pulmonar |][de|cu diametrul de] {{mm}} mm în câmpul {{zone}} {{side}}.",
            "Nodul [pulmonar |][de|cu diametrul de] {mm} mm în câmpul [pulmonar |]{zone} {side}.",
            "Nodul [pulmonar |]în câmpul [pulmonar |]{zone} {side}, [diametru |]{mm} mm.",
            f"În câmpul [pulmonar |]{{zone}} {{side}} {_IS_SEEN} un nodul [pulmonar |]de {{mm}} mm.",
            f"{_SEEN} un nodul [pulmonar |]în câmpul {{zone}} {{side}}, [de |diametru ]{{mm}} mm.",
        ),
        "cardiomegaly": (
            "[Cord|Cordul este|Cordul apare] mărit[| de volum][| la această examinare| pe aceste imagini].",
            "[Inimă|Inima este] mărită[| la această examinare| pe aceste imagini].",
            "[Siluetă cardiacă|Silueta cardiacă este] mărită[| la această examinare| pe aceste imagini].",
            "Cardiomegalie[| la această examinare| pe aceste imagini].",
            f"{_SEEN} {_HEART}.",
            f"{_SHOWN} {_HEART}.",
            f"{_SEEN} [o |]cardiomegalie[| la această examinare| pe aceste imagini].",
            "Cord [de dimensiuni|cu dimensiuni] [mărite|crescute].",
        ),
        "emphysema": (
            f"{_SEEN} {_EMPHYSEMA}[| în ambii plămâni].",
            f"{_SHOWN} {_EMPHYSEMA}[| în ambii plămâni].",
            "[Emfizem|Emfizem pulmonar] [|bilateral|în ambii plămâni].",
            "Modificări emfizematoase [|bilaterale|în ambii plămâni].",
            f"{_SEEN} emfizem pulmonar bilateral[| la această examinare| pe aceste imagini].",
        ),
    },
    both={
        "pleural effusion": (
            f"{_SEEN} [un |]revărsat pleural bilateral {{size}}.",
            f"{_SHOWN} [un |]revărsat pleural bilateral {{size}}.",
            "[Revărsat pleural|Revărsat lichidian pleural|Hidrotorax] bilateral[,|] {size}.",
            "[Lichid|Lichid liber] pleural bilateral, volum {size}.",
        ),
        "consolidation": (
            f"{_SEEN} [consolidări|condensări|opacități alveolare] bilaterale {_BOTH_FIELDS}.",
            f"{_SHOWN} [consolidări|condensări] bilaterale {_BOTH_FIELDS}.",
            "[Consolidări|Condensări] bilaterale în câmpul [pulmonar |]{zone}.",
            "[Consolidare|Condensare] în câmpul [pulmonar |]{zone} bilateral.",
        ),
        "atelectasis": (
            f"{_SEEN} [atelectazii|atelectazii liniare|benzi de atelectazie] bilaterale {_BOTH_FIELDS}.",
            f"{_SHOWN} [atelectazii|atelectazii liniare] bilaterale {_BOTH_FIELDS}.",
            "[Atelectazii|Atelectazii liniare] bilaterale în câmpul [pulmonar |]{zone}.",
            "Atelectazie [liniară |]în câmpul [pulmonar |]{zone} bilateral.",
        ),
    },
    concluded={
        "pleural effusion": ("[Revărsat pleural|Hidrotorax] {side}[,|] {size}.",),
        "pneumothorax": ("Pneumotorax {side}[,|] {size}.",),
        "consolidation": ("[Consolidare|Condensare] în câmpul [pulmonar |]{zone} {side}.",),
        "atelectasis": ("Atelectazie în câmpul [pulmonar |]{zone} {side}.",),
        "pulmonary nodule": (
            "Nodul [pulmonar |]de {mm} mm în câmpul {zone} {side}.",
            "Nodul [pulmonar |]în câmpul {zone} {side}, {mm} mm.",
        ),
        "cardiomegaly": ("[Cardiomegalie|Cord mărit].",),
        "emphysema": ("[Emfizem|Emfizem pulmonar].",),
    },
    concluded_both={
        "pleural effusion": ("[Revărsat pleural|Hidrotorax] bilateral[,|] {size}.",),
        "consolidation": ("[Consolidări|Condensări] bilaterale în câmpul {zone}.",),
        "atelectasis": ("Atelectazii bilaterale în câmpul {zone}.",),
    },
    names={
        "pleural effusion": ("revărsat pleural", "lichid pleural"),
        "pneumothorax": ("pneumotorax",),
        "consolidation": ("consolidare", "condensare"),
        "atelectasis": ("atelectazie",),
        "pulmonary nodule": ("nodul pulmonar", "noduli pulmonari"),
        "cardiomegaly": ("cardiomegalie",),
        "emphysema": ("emfizem",),
    },
    absent=(
        "Fără [semne de |]{names}.",
        "Nu se [evidențiază|observă|decelează] {names}.",
        "Nu există {names}.",
    ),
    joined=(" sau ", " ori "),
    normal={
        LUNGS: (
            "Plămâni fără leziuni.",
            "Plămâni cu aspect normal.",
            "Plămânii au aspect normal.",
            "[Fără|Nu se evidențiază] leziuni pulmonare.",
        ),
        PLEURA: (
            "Fără [revărsat pleural|lichid pleural] sau pneumotorax.",
            "Nu se [evidențiază|observă] revărsat pleural sau pneumotorax.",
            "[Spații|Cavități] pleurale libere.",
        ),
        HEART: (
            "Cord de dimensiuni normale.",
            "Cordul are dimensiuni normale.",
            "Cordul nu este mărit.",
            "Cord nemărit.",
        ),
    },
    nothing=(
        "Fără modificări [acute|patologice].",
        "Nu se evidențiază modificări acute.",
        "Fără modificări cardiopulmonare acute.",
    ),
    sides={"right": ("drept",), "left": ("stâng",)},
    sizes={"small": ("mic",), "moderate": ("moderat",), "large": ("mare",)},
    zones={"upper": ("superior",), "lower": ("inferior",)},
    procedures=(
        "CT [torace|TORACE|toracic][| nativ| cu substanță de contrast| cu contrast i.v.| low dose]",
        "[Tomografie computerizată|Computer tomografie] toracică",
        "Examinare CT torace",
        "",
    ),
    questions=(
        "[Pneumonie|Revărsat pleural|Pneumotorax|Nodul|Insuficiență cardiacă]?",
        "[Emfizem|Atelectazie|Cardiomegalie]?",
        "[Suspiciune de|De exclus] [embolie pulmonară|pneumonie|revărsat stâng|pneumotorax drept]",
        "Vă rugăm evaluare pentru [revărsat pleural|pneumotorax|nodul pulmonar|consolidare]",
        "Pneumotorax după [montarea cateterului|biopsie|drenaj]?",
        "Durere toracică [dreaptă|stângă], cauză?",
        "Control nodul pulmonar",
        "Cauza [dispneei|tusei|febrei]?",
        "",
    ),
    histories=(
        "[Tuse|Febră|Dispnee|Tuse și febră] de [două|trei|cinci] zile",
        "Revărsat pleural [stâng|drept] cunoscut[|, drenat săptămâna trecută]",
        "Fumător, [20|40] pachete-an[|, emfizem]",
        "Cădere de pe scară, durere pe partea [stângă|dreaptă]",
        "Dispnee, pneumotorax [stâng|drept] în antecedente",
        "[Cancer mamar|Cancer de colon|Cancer pulmonar], stadializare",
        "Hipertensiune arterială, cardiomegalie radiologic",
        "Fără antecedente patologice",
        "Scădere ponderală",
        "",
    ),
)
