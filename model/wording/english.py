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
                # Fluid around the heart is none in the pleura.
                "(?<!pericardial )(?<!joint )effusions?",
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
                "(?<!thyroid )(?<!adrenal )(?<!breast )nodules?",
                "nodular opacit(?:y|ies)",
            ),
            "cardiomegaly": (
                "cardiomegaly",
                "enlarged heart",
                "(?:heart|cardiac silhouette)(?: is| appears)? (?:(?!not\\b)\\w+ )?enlarged",
                "cardiac enlargement",
                "heart enlargement",
                "enlargement of the heart",
                "enlarged cardiac silhouette",
            ),
            "emphysema": (
                "(?<!subcutaneous )(?<!soft tissue )(?<!surgical )emphysema",
                "emphysematous changes?",
                "emphysematous",
            ),
        },
        denials=r"\b(?:no|not|without|free of|absence of|neither|nor|negative for|excluded)\b",
        denies_before=True,
        # "Cannot be excluded" denies nothing.
        denied_after=(
            r"\b(?:(?:not|nor) (?:be )?(?:seen|present|identified|evident|visible|shown|demonstrated|detected|noted"
            r"|appreciated|found)|absent|(?<!be )(?:excluded|ruled out))\b"
        ),
        sides={
            "right": r"right(?:-sided)?|r[uml]l",
            "left": r"left(?:-sided)?|l[ul]l",
            "both": (
                r"bilateral(?:ly)?|bibasilar|bibasal|biapical"
                r"|both (?:\w+ ){0,2}(?:sides|lungs|spaces|zones|fields|lobes|bases|apices|hemithoraces)"
            ),
        },
        sizes={
            "small": "small|tiny|trace|minimal",
            "moderate": "moderate|moderately sized|medium-sized",
            "large": "large|massive",
        },
        zones={
            "upper": "upper|[rl]ul|apical|apex|apices",
            "lower": "lower|[rl]ll|basal|basilar|bibasilar|bases",
        },
        normal=(
            (r"\blungs (?:(?:are|appear|otherwise) )*(?:clear|normal|unremarkable)\b", _IN_LUNGS),
            (r"\b(?:clear|normal) lungs\b", _IN_LUNGS),
            (r"\bno (?:focal )?(?:lung|pulmonary) lesions?\b", _IN_LUNGS),
            (
                r"\bpleura(?:l spaces|l cavities)? (?:(?:are|is|appears?) )?(?:clear|normal|free|unremarkable)\b"
                r"|\b(?:clear|normal) pleural (?:spaces|cavities)\b",
                ("pleural effusion", "pneumothorax"),
            ),
            (
                r"\bheart (?:size )?(?:(?:is|appears|of) )*(?:normal|not enlarged|within normal limits|unremarkable)\b"
                r"|\bcardiac silhouette (?:is|appears) (?:normal|not enlarged)\b",
                ("cardiomegaly",),
            ),
            (r"\bnormal heart(?: size)?\b", ("cardiomegaly",)),
            (
                # A bone without a fracture says nothing of the lungs.
                r"\bno (?:acute |significant )?(?:cardiopulmonary |intrathoracic |thoracic |chest )?(?:acute )?"
                r"(?:abnormality|abnormalities|abnormal findings?|findings?|disease|process|pathology)\b"
                r"(?! (?:of|in) (?!the (?:chest|thorax)))|\bnormal chest\b",
                _EVERYTHING,
            ),
        ),
        clause=(
            r"[;.]\s+|,?\s+(?:but|while|whereas)\s+|\bthere (?:is|are) (?=no\b)"
            # "No pneumothorax, small left effusion": an article or a size begins a new statement.
            r"|,\s+(?=(?:an?|small|tiny|trace|moderate|large|massive)\s[^,;]*"
            r"(?:effusion|fluid|pneumothora|consolidation|pneumonia|atelectas|nodule|emphysema))"
            r"|(?<=is present) and\s+|(?<=is seen) and\s+|(?<=are present) and\s+|(?<=are seen) and\s+"
        ),
        prior=(
            r"\b(?:compared (?:to|with)|in comparison (?:to|with)|(?:un)?changed|stable|since the (?:prior|previous|last)"
            r"|(?:prior|previous|earlier|last) (?:\w+ )?(?:examination|study|ct|scan|report|radiograph|imaging)s?"
            r"|previously|(?:has|have) (?:increased|decreased|resolved|progressed|grown|improved|worsened|regressed)"
            r"|interval|new|newly|no longer|again (?:seen|noted)|known|persistent|persisting|persists|worsening"
            r"|improving|(?:increas|decreas|enlarg)ing|(?:increased|decreased) (?:in size|since))\b"
        ),
        no_prior=r"\bno (?:prior|previous|earlier) (?:examinations?|studies|study|ct|imaging|reports?|available)\b",
        abbreviations=("Dr", "Mr", "Mrs", "Ms", "Prof", "vs", "approx", r"e\.g", r"i\.e", "ca", "No", "Fig"),
    ),
    phrases=Phrases(
        sides={"right": "right", "left": "left", "both": "bilateral"},
        sizes={"small": "small", "moderate": "moderate", "large": "large"},
        zones={"upper": "upper", "lower": "lower"},
        present={
            "pleural effusion": "There is a {size} {side} pleural effusion.",
            "pneumothorax": "There is a {size} {side} pneumothorax.",
            "consolidation": "There is consolidation[ in the {side} {zone} zone| in the {side} lung| in the {zone} zone].",
            "atelectasis": "There is linear atelectasis[ in the {side} {zone} zone| in the {side} lung| in the {zone} zone].",
            "pulmonary nodule": "There is a pulmonary nodule[ of {mm} mm][ in the {side} {zone} zone| in the {side} lung| in the {zone} zone].",
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
            "pneumothorax": (
                "There are {size} bilateral pneumothoraces.",
                "{size} bilateral pneumothoraces.",
            ),
            "pulmonary nodule": (
                "There are bilateral pulmonary nodules[ of {mm} mm][ in the {zone} zones].",
                "bilateral [{zone} zone|] pulmonary nodules[, {mm} mm].",
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
