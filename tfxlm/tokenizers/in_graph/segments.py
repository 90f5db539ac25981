"""Which values of a ragged tensor begin and end its rows."""

from __future__ import annotations

import tensorflow as tf


def ends(rows: tf.Tensor) -> tf.Tensor:
    """Says which values are the last of their row: boolean (values,).

    Args:
        rows: int (values,): the row of each value, ascending.
    """
    return tf.concat([rows[1:] != rows[:-1], tf.ones_like(rows[:1], tf.bool)], axis=0)


def begins(rows: tf.Tensor) -> tf.Tensor:
    """Says which values are the first of their row; see `ends`."""
    return tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], axis=0)
