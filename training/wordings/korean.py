"""Korean wordings: noun endings, as reports are written; no particle follows a word that is filled in
unless it fits every such word.
"""

from __future__ import annotations

from model.facts import HEART, LUNGS, PLEURA
from training.wordings.composing import Wordings

_SEEN = "[보임|있음|관찰됨|확인됨|발견됨|나타남]"
_ON = "[|CT에서 |영상에서 |본 검사에서 ]"
_CLEAR = "[없음|보이지 않음|관찰되지 않음]"
# Words that end in a vowel take 가, those that end in a consonant 이.
_EFFUSION = "[흉수가|흉수 저류가|흉막삼출이|흉막 삼출액이]"
_EFFUSION_NAME = "[흉수|흉수 저류|흉막삼출|흉막 삼출액]"
_CONSOLIDATION = "[경화가|폐경화가|경화 병변이|경화 음영이|폐렴성 경화가]"
_CONSOLIDATION_NAME = "[경화|폐경화|경화 병변|폐렴성 경화]"
_ATELECTASIS = "[무기폐가|선상 무기폐가|판상 무기폐가|무기폐성 변화가]"
_ATELECTASIS_NAME = "[무기폐|선상 무기폐|판상 무기폐|무기폐성 변화]"
_NODULE = "[폐결절이|결절이|결절성 병변이|결절 음영이]"
_NODULE_NAME = "[폐결절|결절|결절성 병변]"
_PLACE = "[|의] {zone}에"

KOREAN = Wordings(
    present={
        "pleural effusion": (
            f"{_ON}{{side}}에 {{size}}의 {_EFFUSION} {_SEEN}.",
            f"{{side}} [흉강|흉막강]에 {{size}}의 {_EFFUSION} {_SEEN}.",
            f"{{size}}의 {_EFFUSION} {{side}}에 {_SEEN}.",
            f"{{side}} {{size}}[|의] {_EFFUSION_NAME}[| 소견].",
            f"{{side}} 흉막강 내 {{size}}의 [액체가|체액이] {_SEEN}.",
            "{side} {size}의 흉수가 [차 있음|고여 있음|저류됨].",
        ),
        "pneumothorax": (
            f"{_ON}{{side}}에 {{size}}의 기흉이 {_SEEN}.",
            f"{_ON}{{side}} {{size}}[|의] 기흉이 {_SEEN}.",
            f"{{side}} [흉강|흉막강]에 {{size}}의 기흉이 {_SEEN}.",
            f"{{size}}의 기흉이 {{side}}[에| 흉강에| 흉막강에] {_SEEN}.",
            f"{{side}} 흉막강 내 {{size}}의 [공기가|유리 공기가] {_SEEN}.",
            "{side} {size}[|의] 기흉[| 소견| 소견임].",
        ),
        "consolidation": (
            f"{_ON}{{side}}{_PLACE} {_CONSOLIDATION} {_SEEN}.",
            f"{{side}} {{zone}} 폐실질에 {_CONSOLIDATION} {_SEEN}.",
            f"{{side}} {{zone}}[|의] {_CONSOLIDATION_NAME}[| 소견].",
        ),
        "atelectasis": (
            f"{_ON}{{side}}{_PLACE} {_ATELECTASIS} {_SEEN}.",
            f"{{side}} {{zone}} 폐실질에 {_ATELECTASIS} {_SEEN}.",
            f"{{side}} {{zone}}[|의] {_ATELECTASIS_NAME}[| 소견].",
        ),
        "pulmonary nodule": (
            f"{_ON}{{side}} {{zone}}에 {{mm}} mm[|의| 크기의] {_NODULE} {_SEEN}.",
            f"{{side}} {{zone}}에 [직경|지름|크기] {{mm}} mm의 {_NODULE} {_SEEN}.",
            f"{{side}} {{zone}}[|의] {{mm}} mm[|의| 크기의] {_NODULE_NAME}.",
            f"{{side}} {{zone}} {_NODULE_NAME}, [|직경 |크기 ]{{mm}} mm.",
        ),
        "cardiomegaly": (
            f"{_ON}심장이 [커져 있음|커져 보임|확대되어 있음|확대됨|비대함].",
            f"{_ON}[심비대가|심장 비대가|심장 확대가] {_SEEN}.",
            "[|CT상 |축상 영상에서 ][심비대|심장 비대|심장 확대][| 소견].",
            "심장 [크기가|음영이] [커져 있음|커짐|확대됨].",
        ),
        "emphysema": (
            f"{_ON}[|양 폐에 |양측 폐에 ][폐기종이|폐기종성 변화가|기종성 변화가] {_SEEN}.",
            f"[양 폐에|양측 폐에] [|CT상 |축상 영상에서 ][폐기종이|폐기종성 변화가|기종성 변화가] {_SEEN}.",
            "[|CT상 |양 폐 |양측 ][폐기종|폐기종성 변화|기종성 변화][| 소견].",
        ),
    },
    both={
        "pleural effusion": (
            f"{_ON}[양측|양쪽]에 {{size}}의 {_EFFUSION} {_SEEN}.",
            f"[양측|양쪽] [흉강|흉막강]에 {{size}}의 {_EFFUSION} {_SEEN}.",
            f"[양측|양쪽|양측성] {{size}}[|의] {_EFFUSION_NAME}[| 소견].",
        ),
        "consolidation": (
            f"{_ON}[양측|양쪽|양 폐] {{zone}}에 {_CONSOLIDATION} {_SEEN}.",
            f"[양측|양쪽|양 폐] {{zone}}[|의] {_CONSOLIDATION_NAME}[| 소견].",
        ),
        "atelectasis": (
            f"{_ON}[양측|양쪽|양 폐] {{zone}}에 {_ATELECTASIS} {_SEEN}.",
            f"[양측|양쪽|양 폐] {{zone}}[|의] {_ATELECTASIS_NAME}[| 소견].",
        ),
    },
    concluded={
        "pleural effusion": ("{side} {size}[|의] 흉수.",),
        "pneumothorax": ("{side} {size}[|의] 기흉.",),
        "consolidation": ("{side} {zone}[|의] [경화|폐경화].",),
        "atelectasis": ("{side} {zone}[|의] 무기폐.",),
        "pulmonary nodule": (
            "{side} {zone} {mm} mm[|의| 크기의] [폐결절|결절].",
            "{side} {zone} [폐결절|결절], {mm} mm.",
        ),
        "cardiomegaly": ("[심비대|심장 비대].",),
        "emphysema": ("[폐기종|폐기종성 변화].",),
    },
    concluded_both={
        "pleural effusion": ("[양측|양측성] {size}[|의] 흉수.",),
        "consolidation": ("[양측|양 폐] {zone}[|의] [경화|폐경화].",),
        "atelectasis": ("[양측|양 폐] {zone}[|의] 무기폐.",),
    },
    names={
        "pleural effusion": ("흉수",),
        "pneumothorax": ("기흉",),
        "consolidation": ("경화", "폐경화"),
        "atelectasis": ("무기폐",),
        "pulmonary nodule": ("폐결절", "결절"),
        "cardiomegaly": ("심비대",),
        "emphysema": ("폐기종",),
    },
    absent=(
        f"{{names}} {_CLEAR}.",
        f"{{names}}[| 의심| 시사] 소견[|은] {_CLEAR}.",
        "{names}의 [증거|소견] 없음.",
        "뚜렷한 {names} 없음.",
    ),
    joined=(" 또는 ", " 및 "),
    normal={
        # Not "no abnormality of the lungs": emphysema may stand beside it.
        LUNGS: (
            f"폐에 국소 병변[|은] {_CLEAR}.",
            f"[양 폐에|양측 폐에] 국소 병변[|은] {_CLEAR}.",
            "[폐는|폐야는|양 폐는|양측 폐는] [깨끗함|깨끗하게 보임].",
        ),
        PLEURA: (
            f"흉수[ 또는 |나 | 및 ]기흉[|은] {_CLEAR}.",
            f"흉수와 기흉은 {_CLEAR}.",
            f"흉막에 [이상|특이] 소견[|은] {_CLEAR}.",
            "흉막강은 [깨끗함|정상임].",
        ),
        HEART: (
            "심장 크기[|는|가] [정상|정상임|정상 범위임].",
            "심장은 [정상 크기임|크지 않음|커져 있지 않음].",
            "심비대[|는] [없음|보이지 않음].",
        ),
    },
    nothing=(
        f"급성 [이상|특이] 소견 {_CLEAR}.",
        f"급성 [심폐 이상 소견|심폐 병변|병변] {_CLEAR}.",
        "흉부에 급성 [이상 소견|병변] 없음.",
    ),
    sides={"right": ("우측",), "left": ("좌측",)},
    sizes={"small": ("소량",), "moderate": ("중등도",), "large": ("다량",)},
    zones={"upper": ("상폐야",), "lower": ("하폐야",)},
    procedures=(
        "흉부 CT[| (조영)| (비조영)| 조영 증강| 비조영| 저선량]",
        "[저선량|조영 증강|비조영] 흉부 CT",
        "흉부 전산화단층촬영",
        "Chest CT",
        "",
    ),
    questions=(
        "[폐렴|흉수|기흉|폐결절|심부전|폐기종|무기폐]?",
        "[폐렴|흉수|기흉|폐결절|폐색전증|무기폐] [의심|여부 확인|배제|R/O]",
        "[우측|좌측] [기흉|흉수] [의심|여부 확인]",
        "[우측|좌측] 흉통의 원인?",
        "[흉수|기흉|폐결절|폐경화] 여부 평가 바랍니다",
        "[중심정맥관 삽입|조직검사|흉관 제거] 후 기흉?",
        "폐결절 추적 검사",
        "[호흡곤란|기침|발열]의 원인?",
        "",
    ),
    histories=(
        "[기침|발열|호흡곤란|기침과 발열] [2일|3일|5일]째",
        "[우측|좌측] 흉수로 [치료 중|지난주 배액술 시행]",
        "흡연력 [20|40]갑년[|, 폐기종]",
        "사다리에서 추락, [우측|좌측] 통증",
        "호흡곤란, [우측|좌측] 기흉 과거력",
        "[유방암|대장암|폐암] 병기 결정",
        "고혈압, 흉부 사진에서 심비대",
        "특이 병력 없음",
        "체중 감소",
        "",
    ),
)
