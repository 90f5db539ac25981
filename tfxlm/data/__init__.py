"""Data for models: tables, and the corpora of pre-training, as `tf.data` pipelines.

Names are imported when they are first used: corpora are prepared without TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfxlm.data.pretraining import PretrainingData
    from tfxlm.data.special_ids import SpecialIds
    from tfxlm.data.store import Store, open_store

_HOME = {
    "PretrainingData": "tfxlm.data.pretraining",
    "SpecialIds": "tfxlm.data.special_ids",
    "Store": "tfxlm.data.store",
    "open_store": "tfxlm.data.store",
}

__all__ = ["PretrainingData", "SpecialIds", "Store", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfxlm.data' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
