"""Which class a task has in each family, against what `transformers` chooses."""

from __future__ import annotations

import pytest
from transformers.models.auto import modeling_auto

import tfxlm

TABLES = {
    "TFAutoModel": "MODEL_MAPPING_NAMES",
    "TFAutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "TFAutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "TFAutoModelForMultipleChoice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
    "TFAutoModelForPreTraining": "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "TFAutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "TFAutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "TFAutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "TFAutoModelWithLMHead": "MODEL_WITH_LM_HEAD_MAPPING_NAMES",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("config_class", [tfxlm.XLMConfig, tfxlm.XLMRobertaConfig, tfxlm.XLMRobertaXLConfig])
def test_choices(name: str, config_class: type[tfxlm.PreTrainedConfig]) -> None:
    table = getattr(modeling_auto, TABLES[name])
    assert getattr(tfxlm, name).class_for(config_class()).__name__ == f"TF{table[config_class.model_type]}"


def test_no_public_class_is_left_out() -> None:
    assert {name for name in tfxlm.__all__ if name.startswith("TFAuto")} == set(TABLES)
