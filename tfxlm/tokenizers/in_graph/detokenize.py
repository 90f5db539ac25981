"""From ids back to text, as operations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxlm.tokenizers.detokenize import CLEAN_UP
from tfxlm.tokenizers.in_graph.chains import chain, replacements
from tfxlm.tokenizers.in_graph.expressions import expression
from tfxlm.tokenizers.rules.chains import Literal

_AT_ENDS = expression(r"^[{space}]+"), expression(r"[{space}]+{end}")


class GraphDetokenizer:
    """Turns ids into texts, as `tokenizer.batch_decode(ids, skip_special_tokens=True)` does.

    Args:
        tokenizer: the tokenizer.
        clean_up_tokenization_spaces: whether to take spaces before English punctuation away; None for the tokenizer's.
    """

    def __init__(self, tokenizer: Any, clean_up_tokenization_spaces: bool | None = None) -> None:
        clean_up = clean_up_tokenization_spaces
        if clean_up is None:
            clean_up = tokenizer.clean_up_tokenization_spaces
        tokens = {index: token for token, index in tokenizer.get_vocab().items()}
        skipped, apart = set(tokenizer.all_special_tokens), tokenizer.tokens_apart
        self._mark = _unused("".join(tokens.values()))
        names = {
            index: "" if token in skipped else f"{self._mark}{token}{self._mark}" if token in apart else token
            for index, token in tokens.items()
        }
        # Ids that there are not have the name of the unknown token, which is skipped.
        size = max(names) + 1
        self._names = tf.constant([names.get(index, "").encode(errors="replace") for index in range(size)])
        self._has_apart = any(token not in skipped for token in apart)
        self._to_spaces = chain(replacements([Literal(tokenizer.space, " ")]))
        self._clean_up = chain(replacements(CLEAN_UP)) if clean_up else None

    def __call__(self, ids: tf.Tensor, lengths: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the texts, string (batch,).

        Args:
            ids: int32 (batch, length).
            lengths: int32 (batch,): how many of each row count; None for all.
        """
        size = tf.shape(self._names)[0]
        names = tf.where((ids >= 0) & (ids < size), tf.gather(self._names, tf.clip_by_value(ids, 0, size - 1)), "")
        if lengths is not None:
            names = tf.where(tf.sequence_mask(lengths, tf.shape(ids)[1]), names, "")
        joined = tf.strings.reduce_join(names, axis=1)
        texts = self._between_tokens_apart(joined) if self._has_apart else self._joined(joined)
        return texts if self._clean_up is None else self._clean_up(texts)

    def _joined(self, pieces: tf.Tensor) -> tf.Tensor:
        texts = self._to_spaces(pieces)
        for spaces in _AT_ENDS:
            texts = tf.strings.regex_replace(texts, spaces, "")
        return texts

    def _between_tokens_apart(self, rows: tf.Tensor) -> tf.Tensor:
        """Joins pieces that have tokens between them, each with a mark on both sides."""
        parts = tf.strings.split(rows, sep=self._mark)
        numbers = tf.ragged.range(parts.row_lengths()).flat_values
        # Every second part is a token, and stays as it is.
        texts = tf.where(numbers % 2 == 1, parts.flat_values, self._joined(parts.flat_values))
        parts = parts.with_flat_values(texts)
        parts = tf.ragged.boolean_mask(parts, parts.with_flat_values(texts != ""))
        return tf.strings.reduce_join(parts, axis=1, separator=" ")


def _unused(text: str) -> str:
    """Returns a character that is not in a text."""
    used = set(text)
    return next(char for char in map(chr, range(0xE000, 0x110000)) if char not in used)
