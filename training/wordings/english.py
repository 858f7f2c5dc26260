"""English wordings."""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from training.wordings.composing import Wordings

_SEEN = "[is seen|is present|is noted|is visible|is demonstrated|is identified]"
_ARE_SEEN = "[are seen|are present|are noted|are visible|are demonstrated]"
_THERE_IS = "[There is|Images show|CT shows|Noted is|The scan shows|This examination shows]"
_REVEALS = "[CT|The scan|The examination|Imaging] [demonstrates|reveals|identifies]"

ENGLISH = Wordings(
    present={
        "pleural effusion": (
            f"{_THERE_IS} [a|evidence of a] {{size}} {{side}} [pleural effusion|effusion].",
            f"A {{size}} {{side}} [pleural effusion|effusion] {_SEEN}.",
            "{side} [pleural effusion|effusion], {size}[| in size].",
            f"{_THERE_IS} a {{size}} amount of fluid in the {{side}} pleural space.",
            f"{_REVEALS} a {{size}} {{side}} [pleural effusion|effusion].",
            "[Free pleural fluid|Pleural fluid] [is seen|is noted|is present] on the {side}, a {size} amount.",
            "[Free pleural fluid|Pleural fluid] on the {side}, [a |]{size} [amount|effusion].",
            "A {size} [pleural effusion|effusion] [is seen|is noted|is present|is visible] on the {side}[| side].",
        ),
        "pneumothorax": (
            f"{_THERE_IS} [a|evidence of a] {{size}} {{side}} pneumothorax.",
            f"A {{size}} {{side}} pneumothorax {_SEEN}.",
            "On the {side} a {size} pneumothorax [is seen|is noted|is present|is visible].",
            f"{_REVEALS} a {{size}} {{side}} pneumothorax.",
            "[Free pleural air|Pleural air] [is seen|is noted|is present] on the {side}, a {size} amount.",
            "[Free pleural air|Pleural air] on the {side}, [a |]{size} [amount|pneumothorax].",
            "A {size} pneumothorax [is seen|is noted|is present|is visible] on the {side}[| side].",
            "A {size} {side} pneumothorax [is seen|is noted|is present|is visible] [on these images|in this examination|on the axial images].",
            f"{_REVEALS} a {{size}} {{side}} pneumothorax [on these images|in this examination].",
            "{side} pneumothorax, {size}[| in size].",
            f"{_THERE_IS} a {{size}} amount of air in the {{side}} pleural space.",
        ),
        "consolidation": (
            f"{_THERE_IS} [consolidation|airspace consolidation|an airspace opacity] in the {{side}} {{zone}} "
            "[zone|lung zone].",
            f"[Consolidation|Airspace consolidation|An airspace opacity] {_SEEN} in the {{side}} {{zone}} "
            "[zone|lung zone].",
            "{side} {zone} zone [consolidation|airspace opacity].",
            f"{_REVEALS} [consolidation|airspace consolidation|an airspace opacity] in the {{side}} {{zone}} zone.",
        ),
        "atelectasis": (
            f"{_THERE_IS} [linear atelectasis|plate-like atelectasis|atelectasis] in the {{side}} {{zone}} "
            "[zone|lung zone].",
            f"[Linear atelectasis|Plate-like atelectasis|Atelectasis] {_SEEN} in the {{side}} {{zone}} "
            "[zone|lung zone].",
            "{side} {zone} zone [linear atelectasis|atelectasis].",
            f"{_REVEALS} [linear atelectasis|plate-like atelectasis|atelectasis] in the {{side}} {{zone}} zone.",
        ),
        "pulmonary nodule": (
            f"{_THERE_IS} a [pulmonary nodule|lung nodule|nodule] of {{mm}} mm in the {{side}} {{zone}} "
            "[zone|lung zone].",
            f"{_THERE_IS} a [pulmonary nodule|lung nodule|nodule] measuring {{mm}} mm in the {{side}} {{zone}} zone.",
            f"A [pulmonary nodule|nodule] {_SEEN} in the {{side}} {{zone}} zone, {{mm}} mm in diameter.",
            "{side} {zone} zone [pulmonary nodule|nodule] [measuring|of] {mm} mm.",
            f"{_REVEALS} a [pulmonary nodule|nodule] of {{mm}} mm in the {{side}} {{zone}} zone.",
            f"{_REVEALS} a [pulmonary nodule|nodule] measuring {{mm}} mm in the {{side}} {{zone}} zone.",
        ),
        "cardiomegaly": (
            "The heart is enlarged[| on these images| in this examination| on the axial images].",
            "There is [cardiomegaly|cardiac enlargement|enlargement of the heart][| on these images| in this examination| on the axial images].",
            "[Cardiomegaly|Cardiac enlargement|Enlargement of the heart] [is seen|is present|is noted].",
            "[Images show|CT shows] [an enlarged heart|cardiomegaly|an enlarged cardiac silhouette].",
            "Enlarged [heart|cardiac silhouette].",
            f"[Cardiomegaly|Cardiac enlargement] {_SEEN}[| on these images| in this examination| on the axial images].",
            "Enlarged heart [in this examination|on these images|on axial images].",
            "[An enlarged heart|An enlarged cardiac silhouette] [is seen|is present|is noted|is visible].",
            "[Images|Axial images|These images] [show|demonstrate] [cardiomegaly|cardiac enlargement|"
            "an enlarged heart|enlargement of the heart].",
        ),
        "emphysema": (
            "There [is|are signs of|is evidence of] [|bilateral|pulmonary] emphysema.",
            f"[Emphysema|Emphysematous change|Pulmonary emphysema] {_SEEN}[| in both lungs].",
            f"Emphysematous changes {_ARE_SEEN}[| in both lungs| on these images].",
            "[Images show|CT shows] [|bilateral|pulmonary] [emphysema|emphysematous changes].",
            "Pulmonary emphysema [in both lungs|of both lungs|of the lungs|throughout the lungs].",
            "[Emphysema|Emphysematous changes] [of both lungs|in both lungs|throughout the lungs].",
            "[Emphysema|Emphysematous changes] [is|are] [seen|present|noted] [throughout the lungs|in both lungs].",
        ),
    },
    both={
        "pleural effusion": (
            "There are {size} bilateral [pleural effusions|effusions].",
            f"[{{size}} bilateral|Bilateral {{size}}] [pleural effusions|effusions] {_ARE_SEEN}.",
            "[Bilateral|{size} bilateral] [pleural effusions|effusions], {size}.",
        ),
        "consolidation": (
            "There is bilateral [consolidation|airspace consolidation] in the {zone} [zones|lung zones].",
            f"Bilateral [consolidation|airspace consolidation] {_SEEN} in the {{zone}} [zones|lung zones].",
        ),
        "atelectasis": (
            "There is bilateral [linear atelectasis|atelectasis] in the {zone} [zones|lung zones].",
            f"Bilateral [linear atelectasis|atelectasis] {_SEEN} in the {{zone}} [zones|lung zones].",
        ),
    },
    concluded={
        "pleural effusion": ("{size} {side} [pleural effusion|effusion].",),
        "pneumothorax": ("{size} {side} pneumothorax.",),
        "consolidation": ("{side} {zone} zone [consolidation|airspace opacity].",),
        "atelectasis": ("{side} {zone} zone atelectasis.",),
        "pulmonary nodule": (
            "{side} {zone} zone [pulmonary nodule|nodule], {mm} mm.",
            "{mm} mm [pulmonary nodule|nodule] in the {side} {zone} zone.",
        ),
        "cardiomegaly": ("[Cardiomegaly|Enlarged heart].",),
        "emphysema": ("Emphysema.",),
    },
    concluded_both={
        "pleural effusion": ("{size} bilateral [pleural effusions|effusions].",),
        "consolidation": ("Bilateral {zone} zone consolidation.",),
        "atelectasis": ("Bilateral {zone} zone atelectasis.",),
    },
    names={
        "pleural effusion": ("pleural effusion", "effusion"),
        "pneumothorax": ("pneumothorax",),
        "consolidation": ("consolidation",),
        "atelectasis": ("atelectasis",),
        "pulmonary nodule": ("pulmonary nodule", "nodule"),
        "cardiomegaly": ("cardiomegaly",),
        "emphysema": ("emphysema",),
    },
    absent=("No [evidence of |]{names}.", "There is no {names}."),
    joined=(" or ",),
    normal={
        LUNGS: ("The lungs are clear.", "The lungs appear clear.", "Clear lungs."),
        PLEURA: (
            "No [pleural effusion|effusion] or pneumothorax.",
            "There is no [pleural effusion|effusion] or pneumothorax.",
            "The pleural spaces are [clear|normal].",
        ),
        HEART: ("The heart size is normal.", "The heart is of normal size.", "The heart is not enlarged."),
    },
    nothing=("No acute [cardiopulmonary |]abnormality.", "No acute finding."),
    sides={"right": ("right",), "left": ("left",)},
    sizes={"small": ("small",), "moderate": ("moderate",), "large": ("large",)},
    zones={"upper": ("upper",), "lower": ("lower",)},
    procedures=(
        "CT [CHEST|chest|thorax|Thorax][| without contrast| with contrast| with IV contrast| low dose]",
        "Computed tomography of the [chest|thorax]",
        "",
    ),
    questions=(
        "[Pneumonia|Effusion|Pneumothorax|Nodule|Heart failure|Emphysema|Collapse|Atelectasis]?",
        "[Rule out|Exclude|Query] [pulmonary embolism|pneumonia|left effusion|right pneumothorax|lower zone collapse]",
        "Please assess for [pleural effusion|pneumothorax|a nodule|consolidation]",
        "Pneumothorax after [line placement|biopsy|drainage]?",
        "[Left|Right] sided chest pain, cause?",
        "Nodule follow-up",
        "Cause of [dyspnea|cough|fever]?",
        "",
    ),
    histories=(
        "[Cough|Fever|Dyspnea|Cough and fever] for [two|three|five] days",
        "Known [left|right] pleural effusion[|, drained last week]",
        "Smoker, [20|40] pack years[|, emphysema]",
        "Fall from a ladder, pain on the [left|right]",
        "Shortness of breath, previous [left|right] pneumothorax",
        "[Breast|Colon|Lung] cancer, staging",
        "Hypertension and cardiomegaly on radiograph",
        "No previous illness",
        "Weight loss",
        "",
    ),
)
