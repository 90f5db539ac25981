"""XLM, XLM-RoBERTa and XLM-RoBERTa-XL as Keras 3 models, served by TensorFlow Serving.

Names are imported when they are first used: `import tfxlm` alone costs no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tfxlm._version import __version__

# Public names by the module that has them.
_MODULES = {
    "tfxlm.configs": ("PreTrainedConfig", "XLMConfig"),
    "tfxlm.tokenizers": ("BatchEncoding", "XLMTokenizer"),
    "tfxlm.models": (
        "ModelOutput",
        "TFBaseModelOutput",
        "TFPreTrainedModel",
        "TFSequenceClassifierOutput",
        "TFXLMForSequenceClassification",
        "TFXLMModel",
        "TFXLMPreTrainedModel",
        "TFXLMWithLMHeadModel",
        "TFXLMWithLMHeadModelOutput",
    ),
    "tfxlm.client": ("Client",),
    "tfxlm.export": ("export_model",),
    "tfxlm.serve": ("Server",),
    "tfxlm.errors": ("TFXLMError",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfxlm' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
