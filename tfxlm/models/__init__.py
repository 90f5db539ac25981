"""The model families."""

from tfxlm.models.outputs import (
    ModelOutput,
    TFBaseModelOutput,
    TFMultipleChoiceModelOutput,
    TFQuestionAnsweringModelOutput,
    TFSequenceClassifierOutput,
    TFTokenClassifierOutput,
    TFXLMForQuestionAnsweringOutput,
    TFXLMWithLMHeadModelOutput,
)
from tfxlm.models.pretrained import TFPreTrainedModel
from tfxlm.models.xlm import TFXLMModel, TFXLMPreTrainedModel, TFXLMWithLMHeadModel
from tfxlm.models.xlm_tasks import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
)

__all__ = [
    "ModelOutput",
    "TFBaseModelOutput",
    "TFMultipleChoiceModelOutput",
    "TFPreTrainedModel",
    "TFQuestionAnsweringModelOutput",
    "TFSequenceClassifierOutput",
    "TFTokenClassifierOutput",
    "TFXLMForMultipleChoice",
    "TFXLMForQuestionAnswering",
    "TFXLMForQuestionAnsweringOutput",
    "TFXLMForQuestionAnsweringSimple",
    "TFXLMForSequenceClassification",
    "TFXLMForTokenClassification",
    "TFXLMModel",
    "TFXLMPreTrainedModel",
    "TFXLMWithLMHeadModel",
    "TFXLMWithLMHeadModelOutput",
]
