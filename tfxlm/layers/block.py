"""One transformer block: attention and feed-forward, each with a residual connection and a normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfxlm.layers.attention import MultiHeadAttention
from tfxlm.layers.cache import LayerCache
from tfxlm.layers.feed_forward import FeedForward
from tfxlm.layers.normalization import LayerNormalization
from tfxlm.layers.padding import ChosenRows, Rows

NORMS = ("post", "pre")


class TransformerBlock(keras.layers.Layer):
    """A transformer block, post-LN (Vaswani et al., 2017) or pre-LN (Xiong et al., 2020).

    Args:
        dim: width of the hidden states.
        num_heads: attention heads.
        inner_dim: width inside the feed-forward layer.
        activation: of the feed-forward layer.
        norm: "post" normalises each sum, "pre" each branch's input.
        norm_epsilon: epsilon of both normalisations.
        dropout: rate after attention and after feed-forward.
        attention_dropout: rate on the attention weights.
        head_dim: width of one head; `dim // num_heads` by default.
        kernel_initializer: of all kernels.

    Call arguments:
        x: (rows, dim).
        rows, bias, head_mask, past, chosen: see `MultiHeadAttention`.

    Returns:
        The hidden states (rows, dim); the attention weights (batch, heads, query, key); and `past` with the new
        tokens in it, or None.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        inner_dim: int,
        *,
        activation: str | Callable[[Any], Any],
        norm: str = "post",
        norm_epsilon: float = 1e-12,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        head_dim: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        # Without autocast, as in `MultiHeadAttention`.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.pre_norm = dim, NORMS.index(norm) == 1
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.attention = MultiHeadAttention(
            dim, num_heads, head_dim=head_dim, dropout=attention_dropout, name="attention", **options
        )
        self.attention_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.feed_forward = FeedForward(
            dim, inner_dim, activation=activation, dropout=dropout, name="feed_forward", **options
        )
        self.attention_norm, self.feed_forward_norm = (
            LayerNormalization(epsilon=norm_epsilon, name=name, dtype=self.dtype_policy)
            for name in ("attention_norm", "feed_forward_norm")
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.attention.build()
        self.attention_norm.build((None, self.dim))
        self.feed_forward.build()
        self.feed_forward_norm.build((None, self.dim))
        self.built = True

    def call(
        self,
        x: Any,
        rows: Rows,
        bias: Any = None,
        head_mask: Any = None,
        past: LayerCache | None = None,
        chosen: ChosenRows | None = None,
        training: bool | None = None,
    ) -> tuple[Any, Any, LayerCache | None]:
        """Applies the block; see the class."""
        attended, weights, past = self.attention(
            self.attention_norm(x) if self.pre_norm else x,
            rows=rows,
            bias=bias,
            head_mask=head_mask,
            past=past,
            chosen=chosen,
            training=training,
        )
        x = (x if chosen is None else chosen.take(x)) + self.attention_dropout(attended, training=training)
        if self.pre_norm:
            return x + self.feed_forward(self.feed_forward_norm(x), training=training), weights, past
        x = self.attention_norm(x)
        return self.feed_forward_norm(x + self.feed_forward(x, training=training)), weights, past
