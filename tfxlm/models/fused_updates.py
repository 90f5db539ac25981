"""Optimizers that update each variable in one pass over it.

Keras writes an update as a chain of simple functions, ten passes over every variable with as many temporaries, which is
a fifth of a training step on CPU. TensorFlow has the same formula as one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import keras
from keras import ops

from tfxlm.backend import IS_TENSORFLOW

if IS_TENSORFLOW:
    import tensorflow as tf


def _adam_step(self: keras.optimizers.Adam, gradient: Any, variable: Any, learning_rate: Any) -> None:
    """Updates a variable as `keras.optimizers.Adam.update_step` does; what the fused function cannot, Keras does."""
    is_float32 = keras.backend.standardize_dtype(variable.dtype) == "float32"
    if self.amsgrad or not is_float32 or isinstance(gradient, tf.IndexedSlices):
        type(self).update_step(self, gradient, variable, learning_rate)
        return
    index = self._get_variable_index(variable)
    steps = ops.cast(self.iterations + 1, "float32")
    tf.raw_ops.ResourceApplyAdam(
        var=_handle(variable),
        m=_handle(self._momentums[index]),
        v=_handle(self._velocities[index]),
        beta1_power=ops.power(ops.cast(self.beta_1, "float32"), steps),
        beta2_power=ops.power(ops.cast(self.beta_2, "float32"), steps),
        lr=ops.cast(learning_rate, "float32"),
        beta1=ops.cast(self.beta_1, "float32"),
        beta2=ops.cast(self.beta_2, "float32"),
        epsilon=ops.cast(self.epsilon, "float32"),
        grad=ops.cast(gradient, "float32"),
    )


def _handle(variable: Any) -> Any:
    """Returns what TensorFlow's functions know a variable by, on this replica where it has several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


# By class, and not for classes derived from them: those may have changed the formula. One that has not says whose it
# has in `formula_of`.
FUSED_STEPS: Mapping[type[keras.optimizers.Optimizer], Callable[..., None]] = {
    keras.optimizers.Adam: _adam_step,
    keras.optimizers.AdamW: _adam_step,
}


def fuse_updates(optimizer: Any) -> None:
    """Makes an optimizer update each variable in one pass, where TensorFlow can; others stay as they are.

    The optimizer stays of its class, with its configuration, variables and files; weight decay, clipping, averages and
    accumulation are Keras's, before and after the update.

    Args:
        optimizer: a Keras optimizer, also one in a `keras.optimizers.LossScaleOptimizer`; or None.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    formula = getattr(type(optimizer), "formula_of", type(optimizer))
    step = FUSED_STEPS.get(formula) if IS_TENSORFLOW else None
    # Somebody's own step, set on this one optimizer, stays.
    if step is not None and "update_step" not in vars(optimizer):
        optimizer.update_step = MethodType(step, optimizer)
