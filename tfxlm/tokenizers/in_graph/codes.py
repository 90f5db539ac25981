"""Which code points belong to a class of characters."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.rules import characters


def characters_of(name: str, codes: tf.Tensor) -> tf.Tensor:
    """Says which code points are of a class.

    Args:
        name: of the class, see `tfxlm.tokenizers.rules.characters.NAMES`.
        codes: int32 (some,).

    Returns:
        Boolean (some,).
    """
    return within(characters.ranges(name), codes)


def within(ranges: characters.Ranges, codes: tf.Tensor) -> tf.Tensor:
    """Says which code points are in ranges, which are ascending and do not touch; see `characters_of`."""
    # Each range begins at one bound and ends before the next, so that an odd number of bounds up to a code is inside.
    bounds = np.array([bound for first, last in ranges for bound in (first, last + 1)], np.int32)
    return tf.searchsorted(bounds, codes, side="right") % 2 == 1
