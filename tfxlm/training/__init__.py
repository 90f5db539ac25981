"""Pre-training: settings, schedules, metrics, checkpoints, and `fit` around them.

Names are imported when they are first used: settings are read without TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfxlm.training.metrics import CorrectTokens, CountedTokens, Figures, token_metrics
    from tfxlm.training.optimizers import PretrainingAdamW
    from tfxlm.training.plan import Plan, make_plan
    from tfxlm.training.recipes import PretrainingResult, pretrain
    from tfxlm.training.schedules import WarmUp
    from tfxlm.training.settings import PretrainingConfig

_HOME = {
    "CorrectTokens": "tfxlm.training.metrics",
    "CountedTokens": "tfxlm.training.metrics",
    "Figures": "tfxlm.training.metrics",
    "Plan": "tfxlm.training.plan",
    "PretrainingAdamW": "tfxlm.training.optimizers",
    "PretrainingConfig": "tfxlm.training.settings",
    "PretrainingResult": "tfxlm.training.recipes",
    "WarmUp": "tfxlm.training.schedules",
    "make_plan": "tfxlm.training.plan",
    "pretrain": "tfxlm.training.recipes",
    "token_metrics": "tfxlm.training.metrics",
}

__all__ = [
    "CorrectTokens",
    "CountedTokens",
    "Figures",
    "Plan",
    "PretrainingAdamW",
    "PretrainingConfig",
    "PretrainingResult",
    "WarmUp",
    "make_plan",
    "pretrain",
    "token_metrics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfxlm.training' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
