"""Relative positions: attention scores that know how far apart two tokens are."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range
from tfxlm.errors import InputError
from tfxlm.layers.layer import Layer
from tfxlm.layers.own_gradients import take_rows

# The ways of using a distance's embedding: with the query alone, or with the key as well.
RELATIVE_POSITIONS = ("relative_key", "relative_key_query")


class RelativePositions(Layer):
    """What attention scores gain from the distance of query and key.

    The embedding of a distance is multiplied with the query (Shaw et al., 2018, "Self-Attention with Relative Position
    Representations") and, for "relative_key_query", with the key as well (Huang et al., 2020, "Improve Transformer
    Models with Better Relative Position Embeddings", method 4).

    Rows of the table are laid out for each pair of query and key, and multiplied. The other way, all products with the
    table first and then those that each pair needs, takes up to twice as long, several times as long in training, and
    memory that grows with the batch; this takes (query, key, head_dim) once for all rows of a batch.

    Args:
        kind: "relative_key" or "relative_key_query".
        max_positions: the most places; distances reach from -(max_positions - 1) to max_positions - 1.
        head_dim: width of one head. All heads share the table, (2 * max_positions - 1, head_dim).
        initializer: of the table.

    Call arguments:
        query: (batch, heads, query, head_dim), scaled by 1 / sqrt(head_dim) already.
        key: (batch, heads, key, head_dim), not scaled.
        distances: rows of the table, see `distance_rows`.

    Returns:
        Float32 at least, (batch, heads, query, key), to add to the scores.

    Raises:
        InputError: when `kind` is another, or `max_positions` is not a positive integer.
    """

    def __init__(
        self, kind: str, max_positions: int | None, head_dim: int, *, initializer: Any = "uniform", **kwargs: Any
    ) -> None:
        # Without autocast: rows are taken before they are cast, so that their gradients add up in the table's dtype.
        super().__init__(autocast=False, **kwargs)
        if kind not in RELATIVE_POSITIONS:
            kinds = ", ".join(RELATIVE_POSITIONS)
            raise InputError(f"relative_positions must be one of {kinds}, or None, got {kind!r}.")
        if not isinstance(max_positions, int) or max_positions < 1:
            raise InputError(f"Relative positions need max_positions, a positive integer, got {max_positions!r}.")
        self.max_positions, self.head_dim, self.uses_keys = max_positions, head_dim, kind == "relative_key_query"
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Any = None) -> None:
        """Creates the table."""
        self.distance_embedding = self.add_weight(
            name="distance_embedding",
            shape=(2 * self.max_positions - 1, self.head_dim),
            initializer=self.initializer,
        )
        self.built = True

    def call(self, query: Any, key: Any, distances: Any) -> Any:
        """Returns what the scores gain; see the class."""
        rows = ops.cast(take_rows(self.distance_embedding, distances), self.compute_dtype)
        gain = _products(query, ops.transpose(rows, (0, 1, 3, 2)))  # (batch, heads, query, key)
        if self.uses_keys:
            # The key and not the product, for what `MultiHeadAttention` says of the query.
            products = _products(key / math.sqrt(self.head_dim), ops.transpose(rows, (0, 2, 3, 1)))
            gain = gain + ops.transpose(products, (0, 1, 3, 2))
        return gain


def distance_rows(places: Any, num_keys: Any, max_positions: int) -> Any:
    """Returns which rows of a table of distances pairs of queries and keys use.

    Args:
        places: (1 or batch, query) int32, the places of the queries among the keys.
        num_keys: how many keys there are, a number or an int32 scalar.
        max_positions: see `RelativePositions`.

    Returns:
        int32 (1 or batch, query, key).

    Raises:
        InputError: when there are more keys than the table has places for (see `tfxlm.backend.check_range`).
    """
    num_keys = check_range(
        num_keys,
        max_positions + 1,
        f"With relative positions, a text or a cache can have at most max_positions = {max_positions} places, padding "
        "included: shorten it.",
    )
    return places[:, :, None] - ops.arange(num_keys) + (max_positions - 1)


def _products(heads: Any, rows: Any) -> Any:
    """Multiplies each position of heads with rows of its own, which all of a group of sequences share.

    Args:
        heads: (batch, heads, n, head_dim).
        rows: (groups, n, head_dim, m), where groups is 1 or batch.

    Returns:
        Float32 at least, (batch, heads, n, m).
    """
    batch, num_heads, n, head_dim = ops.shape(heads)
    groups, _, _, m = ops.shape(rows)
    grouped = ops.transpose(ops.reshape(heads, (groups, -1, n, head_dim)), (0, 2, 1, 3))
    products = ops.matmul(grouped, rows)  # (groups, n, sequences of a group * heads, m)
    products = ops.cast(products, keras.backend.result_type(products.dtype, "float32"))
    return ops.reshape(ops.transpose(products, (0, 2, 1, 3)), (batch, num_heads, n, m))
