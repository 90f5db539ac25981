"""The sum of embeddings at the bottom of a transformer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from tfxlm.backend import check_range, is_float
from tfxlm.layers.adaptable import Embedding
from tfxlm.layers.layer import Dropout, Layer
from tfxlm.layers.normalization import LayerNormalization


@dataclasses.dataclass(frozen=True)
class EmbeddingTable:
    """One table of embeddings.

    Args:
        size: number of rows.
        message: what to say when an id is not a row.
        initializer: of the table.
        trainable: False for a fixed table.
        frozen_row: a row that does not learn from being looked up, as `padding_idx` of PyTorch's tables; None for none.
    """

    size: int
    message: str
    initializer: Any = "uniform"
    trainable: bool = True
    frozen_row: int | None = None


class TransformerEmbeddings(Layer):
    """Embeddings from several tables added up, then an optional normalisation, then dropout.

    Args:
        dim: width of all tables.
        tables: the tables by name, "word" among them; the layers bear these names.
        norm: whether the sum is normalised.
        norm_epsilon: epsilon of that normalisation.
        dropout: rate after it.

    Call arguments:
        words: ids (rows,) in the table "word"; or floating point (rows, dim), embeddings already.
        added: ids (rows,) by the table to look them up in; a table that is not named adds nothing.

    Returns:
        (rows, dim).

    Raises:
        InputError: when an id is not a row of its table (see `tfxlm.backend.check_range`).
    """

    def __init__(
        self,
        dim: int,
        tables: Mapping[str, EmbeddingTable],
        *,
        norm: bool = True,
        norm_epsilon: float = 1e-12,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Without autocast, rows are taken before they are cast: casting whole tables costs more than everything else.
        super().__init__(autocast=False, **kwargs)
        self.dim = dim
        self.messages = {name: table.message for name, table in tables.items()}
        self.frozen_rows = {name: table.frozen_row for name, table in tables.items()}
        self.tables = {
            name: Embedding(
                table.size,
                dim,
                embeddings_initializer=table.initializer,
                trainable=table.trainable,
                name=name,
                dtype=self.dtype_policy,
            )
            for name, table in tables.items()
        }
        self.norm = LayerNormalization(epsilon=norm_epsilon, name="norm", dtype=self.dtype_policy) if norm else None
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        for table in self.tables.values():
            table.build()
        if self.norm is not None:
            self.norm.build((None, self.dim))
        self.built = True

    def call(self, words: Any, added: Mapping[str, Any], training: bool | None = None) -> Any:
        """Adds up the embeddings; see the class."""
        x = keras.ops.cast(words, self.compute_dtype) if is_float(words) else self._look_up("word", words, training)
        for name, ids in added.items():
            x = x + self._look_up(name, ids, training)
        if self.norm is not None:
            x = self.norm(x)
        return self.dropout(x, training=training)

    def _look_up(self, name: str, ids: Any, training: bool | None) -> Any:
        table, frozen = self.tables[name], self.frozen_rows[name]
        x = table(check_range(ids, table.input_dim, self.messages[name]))
        if frozen is None or not training:
            return x
        return keras.ops.where(keras.ops.equal(ids, frozen)[:, None], keras.ops.stop_gradient(x), x)
