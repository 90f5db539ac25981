"""XLM, XLM-RoBERTa and XLM-RoBERTa-XL as Keras 3 models, served by TensorFlow Serving.

Names are imported when they are first used: `import tfxlm` alone costs no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tfxlm._version import __version__

# Public names by the module that has them.
_CORE = {
    "tfxlm.configs": ("AutoConfig", "PreTrainedConfig", "XLMConfig", "XLMRobertaConfig", "XLMRobertaXLConfig"),
    "tfxlm.tokenizers": (
        "AutoTokenizer",
        "BatchEncoding",
        "XLMRobertaTokenizer",
        "XLMRobertaTokenizerFast",
        "XLMTokenizer",
    ),
    "tfxlm.conversion": ("convert_checkpoint",),
    "tfxlm.inspection": ("inspect_checkpoint",),
    "tfxlm.layers": ("KeyValueCache",),
    "tfxlm.models": (
        "ModelOutput",
        "TFAutoModel",
        "TFAutoModelForCausalLM",
        "TFAutoModelForMaskedLM",
        "TFAutoModelForMultipleChoice",
        "TFAutoModelForPreTraining",
        "TFAutoModelForQuestionAnswering",
        "TFAutoModelForSequenceClassification",
        "TFAutoModelForTokenClassification",
        "TFAutoModelWithLMHead",
        "TFBaseModelOutput",
        "TFBaseModelOutputWithPoolingAndCrossAttentions",
        "TFCausalLMOutputWithCrossAttentions",
        "TFGenerateOutput",
        "TFMaskedLMOutput",
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
        "TFXLMRobertaForCausalLM",
        "TFXLMRobertaForMaskedLM",
        "TFXLMRobertaForMultipleChoice",
        "TFXLMRobertaForQuestionAnswering",
        "TFXLMRobertaForSequenceClassification",
        "TFXLMRobertaForTokenClassification",
        "TFXLMRobertaModel",
        "TFXLMRobertaPreTrainedModel",
        "TFXLMRobertaXLForCausalLM",
        "TFXLMRobertaXLForMaskedLM",
        "TFXLMRobertaXLForMultipleChoice",
        "TFXLMRobertaXLForQuestionAnswering",
        "TFXLMRobertaXLForSequenceClassification",
        "TFXLMRobertaXLForTokenClassification",
        "TFXLMRobertaXLModel",
        "TFXLMRobertaXLPreTrainedModel",
        "TFXLMWithLMHeadModel",
        "TFXLMWithLMHeadModelOutput",
    ),
    "tfxlm.training": ("pretrain",),
    "tfxlm.client": ("AsyncClient", "Client"),
    "tfxlm.export": ("export_model",),
    "tfxlm.errors": ("TFXLMError",),
}
# Names that need an extra, here `serve`. They are not in `__all__`, or `from tfxlm import *` would fail without it.
_EXTRAS = {"tfxlm.serve": ("Server",)}
_HOME = {name: module for module, names in (_CORE | _EXTRAS).items() for name in names}

__all__ = ["__version__", *(name for names in _CORE.values() for name in names)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfxlm' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *_HOME})
