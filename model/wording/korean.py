"""Korean. Particles are joined to a word and a denial follows what it denies."""

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
_AMOUNT = "(?:(?:소량|중등도|다량)의? )?"
_PLEURAL_SPACE = "(?:흉막강|흉강)(?: 내)?(?:에|의)? "
# Atherosclerosis, cirrhosis and sclerotic bone share the word with consolidation.
_CONSOLIDATED = "(?<!동맥)(?<!동맥 )(?<!죽상)(?<!죽상 )(?<!간)(?<!간 )(?<!골)경화(?!증)"
_OF_THE_LUNG = "(?<!갑상선)(?<!갑상선 )(?<!갑상샘 )(?<!부신)(?<!부신 )(?<!간 )"
_DEGREE = "(?:(?:경도로|약간|다소|뚜렷하게|현저하게) )?"
_UNREMARKABLE = "(?:이상|특이|비정상) ?(?:소견|병변)?(?:은|이)? ?(?:없|(?:보이|관찰되|확인되)지 않)"
_ABSENT = "(?:은|이)? ?(?:없|(?:보이|관찰되|확인되)지 않)"
_ANY_FINDING = "흉수|삼출|기흉|경화|폐렴|침윤|무기폐|결절|심비대|폐기종"


def _term(words: str) -> str:
    """An English term: Korean reports use many, with a particle joined to them."""
    return rf"(?<![a-z])(?:{words})(?![a-z])"


KOREAN = Wording(
    code="ko",
    titles={
        "Procedure": "검사",
        "Clinical information": "임상 정보",
        "Comparison": "비교",
        "Findings": "소견",
        "Impression": "결론",
    },
    organs={LUNGS: "폐", PLEURA: "흉막", HEART: "심장"},
    no_prior="이전 검사 없음.",
    prior_available="이전 검사 있음.",
    uncertain="[불확실]",
    reading=Reading(
        findings={
            "pleural effusion": (
                "(?:흉수|(?:흉막|늑막) ?삼출액?|흉막액|늑막액)(?: 저류)?",
                f"{_PLEURAL_SPACE}{_AMOUNT}(?:유리 )?(?:액체|체액|삼출액)(?: 저류)?",
                _term("pleural effusions?"),
            ),
            "pneumothorax": ("기흉", f"{_PLEURAL_SPACE}{_AMOUNT}(?:유리 )?공기", _term("pneumothorax")),
            "consolidation": (
                f"(?:폐|폐렴성 |공기강 ?|폐포 ?)?{_CONSOLIDATED}(?:성? ?(?:음영|병변))?",
                "폐렴(?:성 (?:침윤|병변|음영))?",
                "(?:폐 ?침윤|침윤성 음영)",
                "(?:공기강|폐포성?) ?(?:음영|혼탁)",
                _term("consolidations?"),
            ),
            "atelectasis": (
                "무기폐(?:성 (?:변화|병변|음영))?",
                "폐 ?허탈",
                "폐 ?확장 ?부전",
                _term("atelectasis"),
            ),
            "pulmonary nodule": (
                f"{_OF_THE_LUNG}(?:폐 ?)?(?:소)?결절(?:성? ?(?:음영|병변))?",
                _term("(?<!thyroid )nodules?"),
            ),
            "cardiomegaly": (
                "심(?:장|장의)? ?비대",
                "심장(?:의)? ?(?:음영(?:의)? )?확대",
                f"심장(?:이|은|의)? {_DEGREE}(?:커|확대|확장|비대)",
                f"심장(?:의)? (?:크기|음영)(?:가|이|는|은|의)? {_DEGREE}(?:증가|커|큼|크|확대)",
                "(?:커진|확대된|비대한) 심장(?: 음영)?",
                _term("cardiomegaly"),
            ),
            "emphysema": (
                "폐 ?기종(?:성 (?:변화|병변))?",
                "(?<!피하 )(?<!피하)기종성 (?:변화|병변|폐)",
                _term("(?<!subcutaneous )emphysema"),
            ),
        },
        # "Cannot be excluded" denies nothing.
        denials=(
            r"(?<!배제할 수 )(?<!배제할 수는 )(?<!제외할 수 )없|(?<!배제되지 )않|아님|아니|음성|"
            r"배제(?!할 수(?:는)? 없|하기 어|되지 않)"
        ),
        denies_before=False,
        sides={
            "right": r"우측|오른쪽|우폐|(?<![가-힣])우(?=[상중하](?:폐야|엽|부))|" + _term("r[uml]l|right"),
            "left": r"좌측|왼쪽|좌폐|(?<![가-힣])좌(?=[상하](?:폐야|엽|부))|" + _term("l[ul]l|left"),
            "both": r"양측|양쪽|양 ?폐|좌우|(?<![가-힣])양(?=[상하](?:폐야|엽|부))|"
            + _term("bilateral|both"),
        },
        sizes={
            "small": r"(?<![가-힣])(?:소량|적은 양|작은)",
            "moderate": r"(?<![가-힣])(?:중등도|중등량|중간 ?(?:양|크기))",
            "large": r"(?<![가-힣])(?:다량|대량|많은 양|큰)",
        },
        zones={
            "upper": r"상폐야|상엽|(?<!이)상부|" + _term("[rl]ul"),
            "lower": r"하폐야|하엽|(?<!막)하부|" + _term("[rl]ll"),
        },
        normal=(
            (
                rf"(?<![우좌]측 )(?<![상하우좌])폐(?:야| ?실질)?(?:은|는|가|에|에는)? "
                rf"(?:모두 |대체로 )?(?:깨끗|맑|정상|{_UNREMARKABLE})",
                _IN_LUNGS,
            ),
            (rf"국소 ?(?:폐 ?)?병변{_ABSENT}", _IN_LUNGS),
            (rf"활동성 ?(?:폐 ?)?병변{_ABSENT}", _IN_LUNGS),
            (
                rf"흉(?:막|강|막강)(?:은|는|이|에|에는)? (?:깨끗|정상|{_UNREMARKABLE})",
                ("pleural effusion", "pneumothorax"),
            ),
            (
                r"심장(?:의)? ?(?:크기)?(?:은|는|이|가)? ?(?:정상|크지 않|커져 있지 않|확대되지 않|"
                r"증가하지 않)",
                ("cardiomegaly",),
            ),
            (rf"심장(?:에|은|에는)? {_UNREMARKABLE}", ("cardiomegaly",)),
            (
                rf"^\s*(?:흉부(?: ct)?(?:에|상|에서)? )?(?:(?:급성|유의한|뚜렷한) )?(?:심폐 )?"
                rf"(?:{_UNREMARKABLE}|병변{_ABSENT})",
                _EVERYTHING,
            ),
            (r"정상 흉부|흉부 ct(?:는|상)? 정상|^\s*정상(?: 소견)?(?:임|입니다)?\.?$", _EVERYTHING),
        ),
        clause=(
            r"[;.]\s+|(?<=[음됨임함]),\s+|"
            r"(?<=있고|없고|되고|않고|이고|으며|되며|이며|으나|되나|지만),?\s+|"
            rf",\s+(?=(?:우|좌|양|오른|왼)[^,]*(?:{_ANY_FINDING}))|"
            r"\s+(?=이?외(?:에|에는|에도)?\s)"
        ),
        prior=(
            r"이전(?:에| ?검사| ?영상| ?ct| ?촬영|과|보다)|과거(?:에| ?검사| ?영상| ?ct| ?촬영)|"
            r"지난 ?(?:검사|영상|ct)|"
            r"기존|비교(?!적)|(?<!성 )변화(?:는|가)? ?없|변동|호전|악화|새로|새롭|더 이상|여전|"
            r"(?:지속|잔존|잔류)(?:적|되|하|함|됨)|다시 (?:보|관찰)|소실|진행(?:되|됨|하|함)|"
            r"(?:양|흉수|기흉|결절|경화|(?<!심장 )(?<!심장의 )크기|범위)(?:이|가|은|는|의)? ?"
            r"(?:양이 |크기가 )?(?:증가|감소)"
        ),
        no_prior=r"(?:비교할 )?(?:이전|과거) ?(?:검사|영상|ct|촬영)(?:는|가|은|이)? ?없\w*",
        abbreviations=("Dr", "Prof", "vs", "approx", r"e\.g", r"i\.e", "cf", "ca", "No", "Fig"),
        boundary="",
    ),
    phrases=Phrases(
        sides={"right": "우측", "left": "좌측", "both": "양측"},
        sizes={"small": "소량", "moderate": "중등도", "large": "다량"},
        zones={"upper": "상폐야", "lower": "하폐야"},
        present={
            "pleural effusion": "[{side}에] [{size}의] 흉수가 있음.",
            "pneumothorax": "[{side}에] [{size}의] 기흉이 있음.",
            "consolidation": "[{side} {zone}에|{side}에|{zone}에] 경화가 있음.",
            "atelectasis": "[{side} {zone}에|{side}에|{zone}에] 선상 무기폐가 있음.",
            "pulmonary nodule": "[{side} {zone}에|{side}에|{zone}에] [{mm} mm] 폐결절이 있음.",
            "cardiomegaly": "심장이 커져 있음.",
            "emphysema": "폐기종이 있음.",
        },
        concluded={
            "pleural effusion": "{side} {size} 흉수.",
            "pneumothorax": "{side} {size} 기흉.",
            "consolidation": "{side} {zone} 경화.",
            "atelectasis": "{side} {zone} 무기폐.",
            "pulmonary nodule": "{side} {zone} [{mm} mm] 폐결절.",
            "cardiomegaly": "심비대.",
            "emphysema": "폐기종.",
        },
        both={},
        names={
            "pleural effusion": "흉수",
            "pneumothorax": "기흉",
            "consolidation": "경화",
            "atelectasis": "무기폐",
            "pulmonary nodule": "폐결절",
            "cardiomegaly": "심비대",
            "emphysema": "폐기종",
        },
        absent="{names} 없음.",
        joined=(", ", " 또는 "),
        normal={
            LUNGS: "폐에 국소 병변 없음.",
            PLEURA: "흉수 또는 기흉 없음.",
            HEART: "심장 크기는 정상임.",
        },
        nothing="급성 이상 소견 없음.",
    ),
)
