"""One vector for a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfxlm.layers.adaptable import Dense
from tfxlm.layers.layer import Dropout, Layer


def last_position(mask: Any) -> Any:
    """Returns the last position of each row where `mask` (..., length) is True, int32 (...); 0 where it is nowhere."""
    # With `initial` there may be no rows, as on a device that has nothing of a small batch.
    return ops.max(ops.where(mask, ops.arange(ops.shape(mask)[-1]), 0), axis=-1, initial=0)


class SequenceSummary(Layer):
    """Takes one vector from a sequence, then dropout, projection, activation and dropout.

    All kinds read the mask, so that the answer does not depend on padding, on whichever side it is. A row without real
    positions counts as one whose first position is real.

    Args:
        dim: width of the hidden states.
        kind: "first", "last" or "mean" of the real positions ("first" of a row whose position 0 is masked is the first
            one that is not), or "cls_index", which is "last": no class of the reference that summarises takes an index.
        projection_dim: width of the projection; None leaves the projection out.
        activation: after the projection: a function, or the name of a Keras activation; None for none.
        first_dropout, last_dropout: rates before the projection and after the activation.
        over_padding: whether all kinds count padding as positions too.
        kernel_initializer: of the projection.

    Call arguments:
        hidden_states: (..., length, dim).
        mask: (..., length) boolean, True at real positions.

    Returns:
        (..., projection_dim or dim).
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: str = "first",
        projection_dim: int | None = None,
        activation: str | Callable[[Any], Any] | None = None,
        first_dropout: float = 0.0,
        last_dropout: float = 0.0,
        over_padding: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.kind, self.over_padding = dim, kind, over_padding
        self.first_dropout = Dropout(first_dropout, dtype=self.dtype_policy)
        self.last_dropout = Dropout(last_dropout, dtype=self.dtype_policy)
        # Width of what it returns.
        self.output_dim = projection_dim or dim
        self.activation = keras.activations.get(activation)
        self.summary = (
            Dense(projection_dim, kernel_initializer=kernel_initializer, name="summary", dtype=self.dtype_policy)
            if projection_dim
            else None
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        if self.summary is not None:
            self.summary.build((None, self.dim))
        self.built = True

    def call(self, hidden_states: Any, mask: Any, training: bool | None = None) -> Any:
        """Summarises; see the class."""
        x = self._vector(hidden_states, ops.ones_like(mask) if self.over_padding else mask)
        x = self.first_dropout(x, training=training)
        if self.summary is not None:
            x = self.summary(x)
        return self.last_dropout(self.activation(x), training=training)

    def _vector(self, hidden_states: Any, mask: Any) -> Any:
        if self.kind == "mean":
            # The sum of a long sequence is past the precision of half types, and may be past their range.
            weights = ops.cast(mask, "float32")[..., None]
            count = ops.maximum(ops.sum(weights, axis=-2), 1)
            mean = ops.sum(ops.cast(hidden_states, "float32") * weights, axis=-2) / count
            return ops.cast(mean, hidden_states.dtype)
        if self.kind == "first" and self.over_padding:
            return hidden_states[..., 0, :]
        place = ops.argmax(ops.cast(mask, "int32"), axis=-1) if self.kind == "first" else last_position(mask)
        return ops.take_along_axis(hidden_states, ops.cast(place, "int32")[..., None, None], axis=-2)[..., 0, :]
