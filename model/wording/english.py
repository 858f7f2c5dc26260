"""English."""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from model.wording.lexicon import Phrases, Reading, Wording

_IN_LUNGS = ("consolidation", "atelectasis", "pulmonary nodule")
_EVERYTHING = (
    "pleural effusion",
    "pneumothorax",
    "consolidation",
    "atelectasis",
    "pulmonary nodule",
    "cardiomegaly",
    "emphysema",
)

ENGLISH = Wording(
    code="en",
    titles={
        "Procedure": "Procedure",
        "Clinical information": "Clinical information",
        "Comparison": "Comparison",
        "Findings": "Findings",
        "Impression": "Impression",
    },
    organs={LUNGS: "Lungs", PLEURA: "Pleura", HEART: "Heart"},
    no_prior="No prior available.",
    prior_available="A prior examination is available.",
    uncertain="[uncertain]",
    reading=Reading(
        findings={
            "pleural effusion": (
                "pleural effusions?",
                "effusions?",
                "pleural fluid",
                "fluid in the (?:right |left )?pleural spaces?",
                "hydrothorax",
            ),
            "pneumothorax": (
                "pneumothorax",
                "pneumothoraces",
                "pleural air",
                "air in the (?:right |left )?pleural spaces?",
            ),
            "consolidation": (
                "consolidations?",
                "airspace opacit(?:y|ies)",
                "airspace disease",
                "pneumonia",
                "pneumonic infiltrates?",
            ),
            "atelectasis": ("atelectas[ei]s", "atelectatic", "plate-like collapse", "linear collapse"),
            "pulmonary nodule": (
                "pulmonary nodules?",
                "lung nodules?",
                "nodules?",
                "nodular opacit(?:y|ies)",
            ),
            "cardiomegaly": (
                "cardiomegaly",
                "enlarged heart",
                "heart is (?:(?!not\\b)\\w+ )?enlarged",
                "cardiac enlargement",
                "heart enlargement",
                "enlargement of the heart",
                "enlarged cardiac silhouette",
            ),
            "emphysema": ("emphysema", "emphysematous changes?", "emphysematous"),
        },
        denials=r"\b(?:no|not|without|free of|absence of|neither|nor|negative for|excluded)\b",
        denies_before=True,
        sides={
            "right": r"right(?:-sided)?",
            "left": r"left(?:-sided)?",
            "both": r"bilateral(?:ly)?|both (?:sides|lungs|pleural spaces)",
        },
        sizes={"small": "small", "moderate": "moderate|moderately sized|medium-sized", "large": "large"},
        zones={"upper": "upper", "lower": "lower"},
        normal=(
            (r"\blungs (?:are|appear) (?:otherwise )?clear\b", _IN_LUNGS),
            (r"\bclear lungs\b", _IN_LUNGS),
            (r"\bno (?:focal )?(?:lung|pulmonary) lesions?\b", _IN_LUNGS),
            (r"\bpleural spaces (?:are|appear) (?:clear|normal)\b", ("pleural effusion", "pneumothorax")),
            (
                r"\bheart (?:size is normal|is of normal size|is not enlarged|is normal in size)\b",
                ("cardiomegaly",),
            ),
            (r"\bnormal heart(?: size)?\b", ("cardiomegaly",)),
            (r"\b(?:no acute|normal chest|no abnormality|no abnormal findings)\b", _EVERYTHING),
        ),
        clause=r"[;.]\s+|,?\s+but\s+|,?\s+while\s+|\bthere (?:is|are) (?=no\b)",
        prior=(
            r"\b(?:compared (?:to|with)|in comparison (?:to|with)|unchanged|stable since|since the (?:prior|previous)|"
            r"(?:prior|previous|earlier) (?:examination|study|ct|scan|report|radiograph)s?|"
            r"has (?:increased|decreased|resolved|progressed)|interval (?:change|increase|decrease|development)|"
            r"newly|new since|no longer|again (?:seen|noted))\b"
        ),
        abbreviations=("Dr", "Mr", "Mrs", "Ms", "Prof", "vs", "approx", r"e\.g", r"i\.e", "ca", "No", "Fig"),
    ),
    phrases=Phrases(
        sides={"right": "right", "left": "left", "both": "bilateral"},
        sizes={"small": "small", "moderate": "moderate", "large": "large"},
        zones={"upper": "upper", "lower": "lower"},
        present={
            "pleural effusion": "There is a {size} {side} pleural effusion.",
            "pneumothorax": "There is a {size} {side} pneumothorax.",
            "consolidation": "There is consolidation[ in the {side} {zone} zone| in the {side} lung].",
            "atelectasis": "There is linear atelectasis[ in the {side} {zone} zone| in the {side} lung].",
            "pulmonary nodule": "There is a pulmonary nodule[ of {mm} mm][ in the {side} {zone} zone| in the {side} lung].",
            "cardiomegaly": "The heart is enlarged.",
            "emphysema": "There is emphysema.",
        },
        concluded={
            "pleural effusion": "{size} {side} pleural effusion.",
            "pneumothorax": "{size} {side} pneumothorax.",
            "consolidation": "{side} [{zone} zone|] consolidation.",
            "atelectasis": "{side} [{zone} zone|] atelectasis.",
            "pulmonary nodule": "{side} [{zone} zone|] pulmonary nodule[, {mm} mm].",
            "cardiomegaly": "cardiomegaly.",
            "emphysema": "emphysema.",
        },
        both={
            "pleural effusion": (
                "There are {size} bilateral pleural effusions.",
                "{size} bilateral pleural effusions.",
            ),
            "consolidation": (
                "There is bilateral consolidation[ in the {zone} zones].",
                "bilateral [{zone} zone|] consolidation.",
            ),
            "atelectasis": (
                "There is bilateral linear atelectasis[ in the {zone} zones].",
                "bilateral [{zone} zone|] atelectasis.",
            ),
        },
        names={
            "pleural effusion": "pleural effusion",
            "pneumothorax": "pneumothorax",
            "consolidation": "consolidation",
            "atelectasis": "atelectasis",
            "pulmonary nodule": "pulmonary nodule",
            "cardiomegaly": "cardiomegaly",
            "emphysema": "emphysema",
        },
        absent="No {names}.",
        joined=(", ", " or "),
        normal={
            LUNGS: "The lungs are clear.",
            PLEURA: "No pleural effusion or pneumothorax.",
            HEART: "The heart size is normal.",
        },
        nothing="No acute abnormality.",
    ),
)
