"""The optimizer of pre-training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import keras
from keras import ops

from tfxlm.backend import sum_over_replicas

# What has these names is not decayed: biases, and scale and shift of normalisations.
NOT_DECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable("tfxlm")
class PretrainingAdamW(keras.optimizers.AdamW):
    """AdamW that says how large the last gradient was, and clips that of all replicas together.

    Keras clips on each replica what is its part of the gradient, so that several devices would learn something else
    than one does; and where several batches make one update, it averages weights with each of them, so that these
    would have another average than one large batch.

    Args:
        *args, **kwargs: those of `keras.optimizers.AdamW`.
    """

    # So that variables are updated in one pass; see `tfxlm.models.fused_updates`.
    formula_of: ClassVar[type[keras.optimizers.Optimizer]] = keras.optimizers.AdamW

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gradient_norm = self.add_variable((), name="gradient_norm", aggregation="only_first_replica")

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Updates variables; see `keras.optimizers.Optimizer`."""
        sums = sum_over_replicas([gradient for gradient in grads if gradient is not None])
        squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in sums]
        rest = iter(sums)
        grads = [None if gradient is None else next(rest) for gradient in grads]
        self.gradient_norm.assign(ops.sqrt(sum(squares)) / (self.loss_scale_factor or 1.0))
        super().apply(grads, trainable_variables)

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        average = super()._update_model_variables_moving_average
        parts = self.gradient_accumulation_steps or 1
        if parts == 1:
            average(trainable_variables)
        else:
            is_update = ops.equal((self._iterations + 1) % parts, 0)
            ops.cond(is_update, lambda: average(trainable_variables), lambda: None)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # they are sums already


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model the averages of its weights, where its optimizer has them, for a while."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    averages = zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True)
    kept = []
    for variable, average in averages:
        kept.append((variable, ops.convert_to_numpy(variable)))
        variable.assign(ops.convert_to_numpy(average))
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)
