"""Which row of a ragged tensor a value is in, and which values begin and end a row."""

from __future__ import annotations

import tensorflow as tf


def rows_of(values: tf.RaggedTensor) -> tf.Tensor:
    """Returns the row of each value: int64 (values,).

    A few operations, where `RaggedTensor.value_rowids` is dozens, each of which takes longer than its work when a text
    is short.
    """
    return _rows(values.row_splits[1:], tf.size(values.flat_values, tf.int64))


def rows_of_lengths(lengths: tf.Tensor) -> tf.Tensor:
    """Returns the row of each value of rows with these lengths, int64 (rows,); see `rows_of`."""
    return _rows(tf.cumsum(lengths), tf.reduce_sum(lengths))


def _rows(ends: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    places = tf.range(count)[None]
    return tf.squeeze(tf.raw_ops.UpperBound(sorted_inputs=ends[None], values=places, out_type=tf.int64), 0)


def ends(rows: tf.Tensor) -> tf.Tensor:
    """Says which values are the last of their row: boolean (values,).

    Args:
        rows: int (values,): the row of each value, ascending.
    """
    return rows != tf.concat([rows[1:], [-1]], axis=0)


def begins(rows: tf.Tensor) -> tf.Tensor:
    """Says which values are the first of their row; see `ends`."""
    return rows != tf.concat([[-1], rows[:-1]], axis=0)
