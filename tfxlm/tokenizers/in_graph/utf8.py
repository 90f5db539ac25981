"""Bytes that are no UTF-8."""

from __future__ import annotations

import tensorflow as tf

from tfxlm.tokenizers.in_graph import expressions

_VALID = rf"[{expressions.within_brackets(((0, 0x10FFFF),))}]*"


def valid(texts: tf.Tensor) -> tf.Tensor:
    """Replaces what is no UTF-8 by U+FFFD, as ``bytes.decode(errors="replace")`` does.

    Args:
        texts: string (rows,).
    """
    broken = ~tf.strings.regex_full_match(texts, _VALID)
    return expressions.where(broken, lambda rows: tf.strings.unicode_transcode(rows, "UTF-8", "UTF-8"), texts)
