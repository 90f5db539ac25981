"""Multi-head attention over rows."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfxlm.backend import softmax
from tfxlm.layers.adaptable import Dense
from tfxlm.layers.cache import LayerCache
from tfxlm.layers.layer import Dropout, Layer
from tfxlm.layers.padding import ChosenRows, Rows
from tfxlm.layers.relative_positions import RelativePositions


class MultiHeadAttention(Layer):
    """Scaled dot-product attention with several heads (Vaswani et al., 2017, section 3.2).

    The projections run on rows; only scores, weights and context use the (batch, length) grid. The three matrix
    steps are written out: on TensorFlow that is faster than `ops.dot_product_attention`, and it has the weights.

    Args:
        dim: width of input and output.
        num_heads: number of heads.
        head_dim: width of one head; `dim // num_heads` by default.
        dropout: rate on the attention weights.
        kernel_initializer: of all four kernels, and of the table of relative positions.
        relative_positions: "relative_key" or "relative_key_query", how scores know the distance of query and key (see
            `RelativePositions`); None for attention that does not.
        max_positions: the most places that distances are between; needed with `relative_positions`.

    Call arguments:
        x: (rows, dim).
        rows: the layout of the rows (`tfxlm.layers.padding`).
        bias: float32, broadcastable to (batch, heads, query, key), added to the scores; None attends everywhere.
        head_mask: broadcastable to (batch, heads, query, key), multiplied with the weights after dropout.
        past: what earlier calls left, for the new tokens `x` to attend to as well; the keys are then the first slots
            of it, as many as `bias` is wide. None for a call that has all tokens.
        chosen: the layout of the only positions that ask; `bias` and the results are of these. None for all.
        distances: (1 or batch, query, key) from `distance_rows`; needed with `relative_positions`.
        attended: keys and values (batch, heads, key, head_dim) to attend to in place of those of `x`, from
            `keys_and_values`; None for self-attention.

    Returns:
        The output (rows, dim); the weights (batch, heads, query, key); and `past` with the new tokens in it, or None.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        head_dim: int | None = None,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        relative_positions: str | None = None,
        max_positions: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Without autocast: as float16 the bias would be infinite, and a row that masks everything NaN.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.num_heads = dim, num_heads
        self.head_dim = head_dim or dim // num_heads
        inner_dim = self.num_heads * self.head_dim
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.query = Dense(inner_dim, name="query", **options)
        self.key = Dense(inner_dim, name="key", **options)
        self.value = Dense(inner_dim, name="value", **options)
        self.output_dense = Dense(dim, name="output", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.relative_positions = (
            None
            if relative_positions is None
            else RelativePositions(
                relative_positions,
                max_positions,
                self.head_dim,
                initializer=kernel_initializer,
                name="relative_positions",
                dtype=self.dtype_policy,
            )
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        for projection in (self.query, self.key, self.value):
            projection.build((None, self.dim))
        self.output_dense.build((None, self.num_heads * self.head_dim))
        if self.relative_positions is not None:
            self.relative_positions.build()
        self.built = True

    def keys_and_values(self, x: Any, rows: Rows) -> tuple[Any, Any]:
        """Returns the keys and values of rows (rows, dim), each (batch, heads, length, head_dim)."""
        key = rows.split_heads(self.key(x), self.num_heads)
        return key, rows.split_heads(self.value(x), self.num_heads)

    def call(
        self,
        x: Any,
        rows: Rows,
        bias: Any = None,
        head_mask: Any = None,
        past: LayerCache | None = None,
        chosen: ChosenRows | None = None,
        distances: Any = None,
        attended: tuple[Any, Any] | None = None,
        training: bool | None = None,
    ) -> tuple[Any, Any, LayerCache | None]:
        """Attends; see the class."""
        asking, queries = (x, rows) if chosen is None else (chosen.take(x), chosen)
        # Scaled before the heads are split: beside the product, TensorFlow's C++ runtime joins the two into another
        # kernel than its Python runtime does, and an export would answer with other last bits.
        query = self.query(asking) / math.sqrt(self.head_dim)
        query = queries.split_heads(query, self.num_heads)  # (batch, heads, query, head_dim)
        key, value = self.keys_and_values(x, rows) if attended is None else attended
        if past is not None:
            past = past.with_new(key, value)
            key, value = past.first(bias.shape[-1])
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # (batch, heads, query, key)
        # The softmax is in float32 at least: half types would lose the tail, and the mask would overflow.
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        if self.relative_positions is not None:
            scores = scores + self.relative_positions(query, key, distances)
        if bias is not None:
            scores = scores + ops.cast(bias, scores.dtype)
        weights = ops.cast(softmax(scores), self.compute_dtype)
        weights = self.dropout(weights, training=training)
        if head_mask is not None:
            weights = weights * ops.cast(head_mask, weights.dtype)
        context = ops.matmul(weights, value)  # (batch, heads, query, head_dim)
        return self.output_dense(queries.merge_heads(context)), weights, past
