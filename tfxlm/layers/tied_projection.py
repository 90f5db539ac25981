"""The output layer that shares its kernel with the word embeddings."""

from __future__ import annotations

from typing import Any

from keras import ops

from tfxlm.backend import IS_TENSORFLOW, can_find_rows, matmul_transposed
from tfxlm.layers.layer import Layer
from tfxlm.layers.own_gradients import project_few

# Below this many rows a matmul with the table on the left is faster: with it on the right the (words, dim) table would
# be repacked in every call. Measured on CPU, left against right: 67 ms against 224 ms for 32 rows, 302 against 395 for
# 152, 911 against 842 for 512.
FEW_ROWS = 256
# Below this many, as when texts are generated, TensorFlow's product of batches is: 31 ms against 50 ms for 4 rows. It
# takes other kernels than the product of two matrices.
VERY_FEW_ROWS = 8


class TiedProjection(Layer):
    """Hidden states times the transposed word table, plus a bias of its own.

    Args:
        vocab_size: rows of the table.

    Call arguments:
        x: (..., dim).
        table: (vocab_size, dim), the word embeddings.

    Returns:
        (..., vocab_size).
    """

    def __init__(self, vocab_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size

    def build(self, input_shape: Any = None) -> None:
        """Creates the bias."""
        self.bias = self.add_weight(name="bias", shape=(self.vocab_size,), initializer="zeros")
        self.built = True

    def call(self, x: Any, table: Any, training: bool | None = None) -> Any:
        """Projects; see the class."""
        dim = x.shape[-1]
        table = ops.cast(table, self.compute_dtype)
        rows = ops.reshape(x, (-1, dim))
        if rows.shape[0] is None or rows.shape[0] >= FEW_ROWS:
            logits = matmul_transposed(rows, table)
        elif rows.shape[0] <= VERY_FEW_ROWS and not training and can_find_rows():
            logits = matmul_transposed(rows[None], table[None])[0]
        elif IS_TENSORFLOW and training:
            logits = project_few(rows, table)
        else:
            logits = ops.transpose(ops.matmul(table, ops.transpose(rows)))
        logits = logits + ops.cast(self.bias, logits.dtype)
        return ops.reshape(logits, (*ops.shape(x)[:-1], self.vocab_size))
