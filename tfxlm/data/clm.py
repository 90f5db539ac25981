"""Causal language modeling (CLM): every token predicts the next one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

IGNORED = -100


def next_tokens(tokens: Any, attention_mask: Any, pad: int) -> tuple[Any, Any, Any]:
    """Returns what causal models predict.

    Args:
        tokens: (batch, length + 1) int32, with what follows the row in the last column.
        attention_mask: (batch, length) int32, 1 for tokens.
        pad: id of padding.

    Returns:
        `masked_positions`, all of them, `labels`, -100 where there is none, both (batch, length) int32; and weights,
        (batch, length) float32, 1 where there is one.
    """
    following = tokens[:, 1:]
    is_label = (attention_mask == 1) & (following != pad)
    positions = tf.broadcast_to(tf.range(tf.shape(following)[1]), tf.shape(following))
    positions.set_shape(following.shape)
    return positions, tf.where(is_label, following, IGNORED), tf.cast(is_label, tf.float32)
