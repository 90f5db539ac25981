"""What hidden states go through before the output layer of a masked language model."""

from __future__ import annotations

from typing import Any

from tfxlm.layers import Projection, activation_named
from tfxlm.layers.layer import Layer
from tfxlm.layers.normalization import LayerNormalization


class TokenTransform(Layer):
    """A dense layer, GELU, and a normalisation, as BERT has them before its output layer (Devlin et al., 2018).

    Args:
        dim: width of the hidden states.
        norm_epsilon: epsilon of the normalisation.
        kernel_initializer: of the dense layer.

    Call arguments:
        x: (..., dim).

    Returns:
        (..., dim).
    """

    def __init__(
        self, dim: int, *, norm_epsilon: float = 1e-12, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.dense = Projection(
            dim,
            dim,
            # The reference has GELU here, whatever `hidden_act` is.
            activation=activation_named("gelu"),
            kernel_initializer=kernel_initializer,
            name="dense",
            dtype=self.dtype_policy,
        )
        self.layer_norm = LayerNormalization(epsilon=norm_epsilon, name="layer_norm", dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.dense.build()
        self.layer_norm.build((None, self.dim))
        self.built = True

    def call(self, x: Any) -> Any:
        """Transforms; see the class."""
        return self.layer_norm(self.dense(x))
