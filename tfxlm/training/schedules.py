"""Learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from tfxlm.errors import InputError
from tfxlm.training.settings import PretrainingConfig


def _inverse_sqrt(step: Any, warmup: float, total: float) -> Any:
    return ops.sqrt(warmup / ops.maximum(step + 1, warmup))


def _linear(step: Any, warmup: float, total: float) -> Any:
    return ops.clip((total - step) / max(total - warmup, 1.0), 0.0, 1.0)


def _cosine(step: Any, warmup: float, total: float) -> Any:
    done = ops.clip((step - warmup) / max(total - warmup, 1.0), 0.0, 1.0)
    return 0.5 * (1 + ops.cos(math.pi * done))


def _constant(step: Any, warmup: float, total: float) -> Any:
    return ops.ones_like(step)


# What the highest learning rate is multiplied with after warm-up.
DECAYS: Mapping[str, Callable[[Any, float, float], Any]] = {
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
}


@keras.saving.register_keras_serializable("tfxlm")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a line, and then falls.

    Args:
        learning_rate: the highest.
        warmup_steps: steps in which it rises; the first of them is not 0.
        decay: "inverse_sqrt" (with the root of the steps), "linear" or "cosine" (to 0 behind the last step), or
            "constant".
        total_steps: all steps, of which only "linear" and "cosine" need to know.

    Raises:
        InputError: there is no such decay, or it needs to know `total_steps`.

    Example:
        >>> from tfxlm.training import WarmUp
        >>> schedule = WarmUp(1e-3, warmup_steps=10, decay="linear", total_steps=110)
        >>> [round(float(schedule(step)), 6) for step in (0, 9, 60)]
        [0.0001, 0.001, 0.0005]

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 5.3, for "inverse_sqrt".
    """

    def __init__(
        self, learning_rate: float, warmup_steps: int, decay: str = "inverse_sqrt", total_steps: int | None = None
    ) -> None:
        super().__init__()
        if decay not in DECAYS:
            raise InputError(f"decay must be one of {', '.join(map(repr, DECAYS))}, got {decay!r}.")
        if total_steps is None and decay in ("linear", "cosine"):
            raise InputError(f"decay={decay!r} ends at 0: say at which step, with total_steps.")
        self.learning_rate, self.warmup_steps, self.decay = learning_rate, warmup_steps, decay
        self.total_steps = total_steps

    @classmethod
    def of(cls, config: PretrainingConfig) -> WarmUp:
        """Makes the one that settings describe."""
        return cls(config.learning_rate, config.warmup_steps, config.schedule, config.steps)

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, a float32 scalar; the first step is 0."""
        step = ops.cast(step, "float32")
        warmup = float(max(self.warmup_steps, 1))
        after = DECAYS[self.decay](step, warmup, float(self.total_steps or 0))
        return self.learning_rate * ops.where(step + 1 < warmup, (step + 1) / warmup, after)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        names = ("learning_rate", "warmup_steps", "decay", "total_steps")
        return {name: getattr(self, name) for name in names}
