"""One transformer block: attention and feed-forward, each with a residual connection and a normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfxlm.layers.attention import MultiHeadAttention
from tfxlm.layers.cache import LayerCache
from tfxlm.layers.feed_forward import FeedForward
from tfxlm.layers.layer import Dropout, Layer
from tfxlm.layers.memory import LayerMemory, Memory
from tfxlm.layers.normalization import LayerNormalization
from tfxlm.layers.padding import ChosenRows, Rows

NORMS = ("post", "pre")


class TransformerBlock(Layer):
    """A transformer block, post-LN (Vaswani et al., 2017) or pre-LN (Xiong et al., 2020).

    Args:
        dim: width of the hidden states.
        num_heads: attention heads.
        inner_dim: width inside the feed-forward layer.
        activation: of the feed-forward layer.
        norm: "post" normalises each sum, "pre" each branch's input.
        norm_epsilon: epsilon of both normalisations.
        dropout: rate after attention and after feed-forward.
        feed_forward_dropout: rate after feed-forward where it is another.
        attention_dropout: rate on the attention weights.
        head_dim: width of one head; `dim // num_heads` by default.
        kernel_initializer, relative_positions, max_positions: see `MultiHeadAttention`.
        cross_attention: whether there is attention to a memory, between self-attention and feed-forward. It has no
            relative positions, and `dim // head_dim` heads: pruning leaves it whole.

    Call arguments:
        x: (rows, dim).
        rows, bias, chosen, distances: see `MultiHeadAttention`.
        head_mask: as there, for both kinds of attention.
        past: as there; what it has of a memory is used in place of `memory`.
        memory: what cross-attention attends to. None, where `past` has nothing either, leaves cross-attention out.

    Returns:
        The hidden states (rows, dim); the attention weights (batch, heads, query, key); those of cross-attention
        (batch, heads, query, memory_length), or None; and `past` with the new tokens and the memory in it, or None.
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
        feed_forward_dropout: float | None = None,
        attention_dropout: float = 0.0,
        head_dim: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        relative_positions: str | None = None,
        max_positions: int | None = None,
        cross_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        # Without autocast, as in `MultiHeadAttention`.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.pre_norm = dim, NORMS.index(norm) == 1
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.attention = MultiHeadAttention(
            dim,
            num_heads,
            head_dim=head_dim,
            dropout=attention_dropout,
            relative_positions=relative_positions,
            max_positions=max_positions,
            name="attention",
            **options,
        )
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.feed_forward = FeedForward(
            dim,
            inner_dim,
            activation=activation,
            dropout=dropout if feed_forward_dropout is None else feed_forward_dropout,
            name="feed_forward",
            **options,
        )
        norm_options: dict[str, Any] = {"epsilon": norm_epsilon, "dtype": self.dtype_policy}
        self.attention_norm = LayerNormalization(name="attention_norm", **norm_options)
        self.feed_forward_norm = LayerNormalization(name="feed_forward_norm", **norm_options)
        self.cross_attention = None
        if cross_attention:
            width = self.attention.head_dim
            self.cross_attention = MultiHeadAttention(
                dim, dim // width, head_dim=width, dropout=attention_dropout, name="cross_attention", **options
            )
            self.cross_attention_dropout = Dropout(dropout, dtype=self.dtype_policy)
            self.cross_attention_norm = LayerNormalization(name="cross_attention_norm", **norm_options)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.attention.build()
        self.attention_norm.build((None, self.dim))
        if self.cross_attention is not None:
            self.cross_attention.build()
            self.cross_attention_norm.build((None, self.dim))
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
        distances: Any = None,
        memory: Memory | None = None,
        training: bool | None = None,
    ) -> tuple[Any, Any, Any, LayerCache | None]:
        """Applies the block; see the class."""
        queries = rows if chosen is None else chosen
        attended, weights, past = self.attention(
            self.attention_norm(x, rows=rows) if self.pre_norm else x,
            rows=rows,
            bias=bias,
            head_mask=head_mask,
            past=past,
            chosen=chosen,
            distances=distances,
            training=training,
        )
        x = (x if chosen is None else chosen.take(x)) + self.attention_dropout(attended, training=training)
        if not self.pre_norm:
            x = self.attention_norm(x, rows=queries)
        known, cross_weights = self._known(memory, past), None
        if known is not None and self.cross_attention is not None:
            past = None if past is None else past._replace(memory=known)
            attended, cross_weights, _ = self.cross_attention(
                self.cross_attention_norm(x, rows=queries) if self.pre_norm else x,
                rows=queries,
                bias=known.bias,
                head_mask=head_mask,
                attended=(known.keys, known.values),
                training=training,
            )
            x = x + self.cross_attention_dropout(attended, training=training)
            if not self.pre_norm:
                x = self.cross_attention_norm(x, rows=queries)
        if self.pre_norm:
            x = x + self.feed_forward(self.feed_forward_norm(x, rows=queries), training=training)
        else:
            x = self.feed_forward_norm(x + self.feed_forward(x, training=training), rows=queries)
        return x, weights, cross_weights, past

    def _known(self, memory: Memory | None, past: LayerCache | None) -> LayerMemory | None:
        """Returns the keys and values of the memory: those that an earlier call has left, or new ones."""
        if past is not None and past.memory is not None:
            return past.memory
        if memory is None or self.cross_attention is None:
            return None
        return LayerMemory(*self.cross_attention.keys_and_values(memory.states, memory.rows), memory.bias)
