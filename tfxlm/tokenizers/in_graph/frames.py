"""Truncation of pieces, and special tokens and padding around them, for all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.tokenizers.framing import Framing
from tfxlm.tokenizers.lengths import DO_NOT_TRUNCATE, ONLY_FIRST, ONLY_SECOND, Lengths
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT


class Window(NamedTuple):
    """The part of each text that is in its row.

    Args:
        pieces: int32 (batch, None): the whole texts.
        start: int32 (batch,): its first piece.
        size: int32 (batch,): how many pieces it has.
    """

    pieces: tf.RaggedTensor
    start: tf.Tensor
    size: tf.Tensor


def kept(lengths: Lengths, sizes: Sequence[tf.Tensor], frame: int) -> list[tf.Tensor]:
    """Says how many pieces stay of each text; see `tfxlm.tokenizers.windows.cut`.

    Args:
        lengths: the strategy, and the most tokens of a row.
        sizes: int32 (batch,): pieces of the texts, and of the second texts where there are some.
        frame: special tokens in each row.

    Returns:
        int32 (batch,) for each of `sizes`. A text that alone is too long for what is to be cut from it is an error
        when the graph runs.

    Raises:
        InputError: there is no room for text.
    """
    if lengths.truncation == DO_NOT_TRUNCATE or lengths.max_length is None:
        return list(sizes)
    if lengths.max_length <= frame:
        raise InputError(
            f"max_length={lengths.max_length} has no room for text beside {frame} special tokens. Raise max_length."
        )
    excess = tf.maximum(sum(sizes) + frame - lengths.max_length, 0)
    if len(sizes) == 1 or lengths.truncation in (ONLY_FIRST, ONLY_SECOND):
        if lengths.truncation == ONLY_SECOND and len(sizes) == 1:
            raise InputError("truncation='only_second' needs a second text. Pass text_pair, or 'only_first'.")
        index = len(sizes) - 1 if lengths.truncation == ONLY_SECOND else 0
        name = ("first", "second")[index]
        message = (
            f"A row has more than max_length={lengths.max_length} tokens even without its {name} text, which is what "
            f"truncation={lengths.truncation!r} cuts. Send shorter texts."
        )
        enough = tf.debugging.Assert(tf.reduce_all((excess == 0) | (excess < sizes[index])), [message], summarize=1)
        with tf.control_dependencies([enough]):
            return [size - excess if place == index else size for place, size in enumerate(sizes)]
    first, second = sizes
    # The longer text is cut down to the shorter one, then both in turn, the second one first.
    level = tf.minimum(abs(first - second), excess)
    rest = excess - level
    less, more = rest // 2, rest - rest // 2
    longer = first > second
    return [first - tf.where(longer, level + less, less), second - tf.where(longer, more, level + more)]


def framed(
    framing: Framing, windows: Sequence[Window], pad_id: int, padded_length: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Puts special tokens around pieces, and padding behind them.

    Args:
        framing: the order of texts and special tokens.
        windows: of the texts, and of the second texts where there are some.
        pad_id: what rows are filled up with.
        padded_length: says for the tokens of the longest row, an int32 scalar, how many a row has with padding.

    Returns:
        Ids, int32 (batch, length); tokens of each row, int32 (batch,); and segments, int32 (batch, length), where
        padding has that of the last token.
    """
    texts = dict(zip((FIRST_TEXT, SECOND_TEXT), windows, strict=False))
    layout = framing.layout(pair=len(windows) == 2)
    total = sum(window.size for window in windows) + framing.size(len(windows) == 2)
    length = padded_length(tf.reduce_max(tf.concat([total, [1]], axis=0)))
    places = tf.range(length)[None]  # (1, length)
    ids = tf.fill(tf.stack([tf.size(total), length]), pad_id)
    segments = tf.zeros_like(ids)
    start = tf.zeros_like(total)
    # Each part goes on to the end of the row, and the next one over it.
    for part, segment in layout:
        begun = places >= start[:, None]
        size, content = (texts[part].size, _content(texts[part], start, places)) if isinstance(part, str) else (1, part)
        ids = tf.where(begun, content, ids)
        if segment:
            segments = tf.where(begun, segment, segments)
        start += size
    return tf.where(places < start[:, None], ids, pad_id), total, segments


def _content(window: Window, start: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Returns the pieces of windows at places of rows, int32 (batch, length), and anything outside of them.

    Args:
        window: of a text in each row.
        start: int32 (batch,): where it begins in its row.
        places: int32 (1, length).
    """
    flat = tf.pad(window.pieces.flat_values, [[0, 1]])  # there is always something to take
    begin = tf.cast(window.pieces.row_starts(), tf.int32) + window.start - start
    return tf.gather(flat, tf.clip_by_value(begin[:, None] + places, 0, tf.size(flat) - 1))
