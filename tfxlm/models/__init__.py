"""The model families."""

from tfxlm.models.outputs import (
    ModelOutput,
    TFBaseModelOutput,
    TFSequenceClassifierOutput,
    TFXLMWithLMHeadModelOutput,
)
from tfxlm.models.pretrained import TFPreTrainedModel
from tfxlm.models.xlm import TFXLMForSequenceClassification, TFXLMModel, TFXLMPreTrainedModel, TFXLMWithLMHeadModel

__all__ = [
    "ModelOutput",
    "TFBaseModelOutput",
    "TFPreTrainedModel",
    "TFSequenceClassifierOutput",
    "TFXLMForSequenceClassification",
    "TFXLMModel",
    "TFXLMPreTrainedModel",
    "TFXLMWithLMHeadModel",
    "TFXLMWithLMHeadModelOutput",
]
