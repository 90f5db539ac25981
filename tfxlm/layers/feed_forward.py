"""The position-wise feed-forward layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfxlm.layers.activations import in_training
from tfxlm.layers.adaptable import Dense
from tfxlm.layers.layer import Dropout, Layer


class FeedForward(Layer):
    """Dense, activation, dense, dropout, at each position alone.

    Args:
        dim: width of input and output.
        inner_dim: width in between.
        activation: a Keras activation's name or a function.
        dropout: rate after the second dense layer.
        kernel_initializer: of both kernels.

    Call arguments:
        x: (rows, dim).

    Returns:
        (rows, dim).
    """

    def __init__(
        self,
        dim: int,
        inner_dim: int,
        *,
        activation: str | Callable[[Any], Any],
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.inner_dim = dim, inner_dim
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.activation = keras.activations.get(activation)
        self.intermediate = Dense(inner_dim, name="intermediate", **options)
        self.output_dense = Dense(dim, name="output", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.intermediate.build((None, self.dim))
        self.output_dense.build((None, self.inner_dim))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Applies the layer; see the class."""
        activation = in_training(self.activation) if training else self.activation
        return self.dropout(self.output_dense(activation(self.intermediate(x))), training=training)
