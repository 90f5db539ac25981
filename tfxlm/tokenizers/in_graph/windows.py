"""Windows over second texts that are too long, for questions about them."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.tokenizers.in_graph.base import GraphTokenizer, Inputs
from tfxlm.tokenizers.in_graph.frames import Window
from tfxlm.tokenizers.rules.templates import SECOND_TEXT


class Windows(NamedTuple):
    """Rows of a first text each, and a part of its second text.

    Args:
        inputs: what a model is given, with a row for each window.
        samples: int32 (windows,): which text each is of; ascending.
        first: int32 (windows,): the first piece of the second text that is in it.
        size: int32 (windows,): how many of them are in it.
        begin: int32 (windows,): where in the row they begin.
    """

    inputs: Inputs
    samples: tf.Tensor
    first: tf.Tensor
    size: tf.Tensor
    begin: tf.Tensor


class Sliding:
    """Lays windows over second texts, as `stride` and ``truncation="only_second"`` of a call of the tokenizer do.

    Args:
        tokenizer: the tokenizer, with a limit of its rows.
        stride: pieces that a window shares with the one before.
        max_first: the most pieces of a first text, what is behind which is cut off.

    Raises:
        InputError: windows would not move on.
    """

    def __init__(self, tokenizer: GraphTokenizer, stride: int, max_first: int) -> None:
        self._tokenizer, self._stride, self._max_first = tokenizer, stride, max_first
        limit = tokenizer.max_length
        if limit is None:
            raise InputError("Windows need a limit of the length of rows. Pass max_length.")
        self._room = limit - tokenizer.framing.size(pair=True)
        if self._room - max_first <= stride:
            raise InputError(
                f"max_length={limit} leaves {max(self._room - max_first, 0)} tokens of a text to each window beside a "
                f"first text of up to {max_first}, so windows that share {stride} do not move on. Raise max_length, "
                "or make the first texts shorter, or the stride smaller."
            )

    def __call__(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor, lang: tf.Tensor | None, lang_pair: tf.Tensor | None
    ) -> Windows:
        """Cuts pieces into windows and frames them.

        Args:
            first: int32 (batch, None): pieces of the first texts.
            second: int32 (batch, None): pieces of the second texts.
            lang: string (batch,): language codes of the first texts, as for the tokenizer.
            lang_pair: string (batch,): those of the second texts.
        """
        of_first = tf.minimum(tf.cast(first.row_lengths(), tf.int32), self._max_first)
        sizes = tf.cast(second.row_lengths(), tf.int32)
        width = self._room - of_first
        step = width - self._stride
        counts = 1 + tf.maximum(sizes - width + step - 1, 0) // step
        samples = tf.repeat(tf.range(tf.size(sizes)), counts)
        number = tf.range(tf.size(samples)) - tf.gather(tf.cumsum(counts, exclusive=True), samples)
        start = number * tf.gather(step, samples)
        whole = tf.gather(sizes, samples)
        size = tf.minimum(tf.gather(width, samples), whole - start)
        at_left = self._tokenizer.truncation_side == "left"
        if at_left:
            start = whole - start - size
        firsts = tf.gather(of_first, samples)
        lost = tf.gather(tf.cast(first.row_lengths(), tf.int32), samples) - firsts
        windows = [
            Window(tf.gather(first, samples), lost if at_left else tf.zeros_like(lost), firsts),
            Window(tf.gather(second, samples), start, size),
        ]
        langs = (None if one is None else tf.gather(one, samples) for one in (lang, lang_pair))
        inputs = self._tokenizer.frame_windows(windows, *langs)
        layout = [part for part, _ in self._tokenizer.framing.layout(pair=True)]
        before = layout.index(SECOND_TEXT) - 1  # special tokens: all but the first text
        return Windows(inputs, samples, start, size, firsts + before)
