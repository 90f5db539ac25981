"""The language of each text: which rules it goes through, and its id for the model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfxlm.errors import LanguageError
from tfxlm.tokenizers.in_graph.expressions import holds
from tfxlm.tokenizers.rules.uncut import UNCUT
from tfxlm.tokenizers.segmenters import SEGMENTERS


class GraphLanguages(tf.Module):
    """Languages as a graph knows them.

    Args:
        codes: where the model has no languages, and any code is taken: the codes with rules of their own, first the
            one whose rules serve where no code is given, then one whose rules serve for all others. One alone where
            all languages have the same rules.
        ids: id for the model by code; empty where it has no languages.
        fixed: the code of all texts, or None.

    Raises:
        LanguageError: `fixed` is unknown.
    """

    def __init__(self, codes: Sequence[str], ids: Mapping[str, int], fixed: str | None) -> None:
        super().__init__()
        if fixed is not None and ids and fixed not in ids:
            raise LanguageError(f"The language {fixed!r} is unknown. Known languages: {', '.join(ids)}.")
        self.codes = [fixed] if fixed is not None else list(ids or codes)
        self._fixed = fixed
        self._ids = np.array([ids[code] for code in self.codes], np.int32) if ids else None
        self._message = f"lang must be a language of the model: {', '.join(self.codes)}."
        # None where the language makes no difference.
        self._table = None
        if fixed is None and (ids or len(self.codes) > 1):
            numbers = np.arange(len(self.codes), dtype=np.int32)
            table = tf.lookup.KeyValueTensorInitializer(self.codes, numbers)
            self._table = tf.lookup.StaticHashTable(table, -1 if ids else 1)

    @property
    def cut_before(self) -> tuple[str, ...]:
        """The languages whose texts have to be cut into words before they come."""
        return tuple(code for code in self.codes if code in SEGMENTERS)

    @property
    def is_needed(self) -> bool:
        """Whether texts must say which language they are in."""
        return self._fixed is None and self._ids is not None

    def indices(self, text: tf.Tensor, lang: tf.Tensor | None, are_words: bool = False) -> tf.Tensor:
        """Returns the index of each text's code in `codes`, int32 (batch,).

        Args:
            text: string (batch,).
            lang: string (batch,): language codes; None where all are in one language.
            are_words: whether each text is one word, so that there is nothing to cut.

        Raises:
            LanguageError: texts have to say their language, or must not.
        """
        if lang is None and self.is_needed:
            raise LanguageError(
                "Each text needs its language: pass lang, or make the graph tokenizer for one language (lang=...)."
            )
        if lang is not None and self._fixed is not None:
            raise LanguageError(f"This tokenizer was made for texts in {self._fixed!r}: leave lang out.")
        check = tf.identity if are_words else functools.partial(self._cut, text)
        if lang is None or self._table is None:
            return check(tf.zeros(tf.shape(text), tf.int32))
        found = self._table.lookup(lang)
        same = tf.debugging.Assert(
            tf.reduce_all(tf.shape(lang) == tf.shape(text)), ["lang must have as many entries as text."], summarize=1
        )
        known = tf.debugging.Assert(tf.reduce_all(found >= 0), [self._message], summarize=1)
        with tf.control_dependencies([same, known]):
            return check(tf.identity(found))

    def _cut(self, text: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        """Checks that texts are cut into words where nothing in a graph can do it; returns the indices."""
        checks = []
        for code in self.cut_before:
            uncut = tf.reduce_any((indices == self.codes.index(code)) & holds(text, UNCUT[code]))
            name = SEGMENTERS[code].language
            message = (
                f"{name} text must come with spaces between its words: nothing in this model cuts it. Cut it before "
                f"with XLMTokenizer.cut_words(text, lang='{code}')."
            )
            checks.append(tf.debugging.Assert(~uncut, [message], summarize=1))
        with tf.control_dependencies(checks):
            return tf.identity(indices)

    def langs(self, segments: tf.Tensor, lang: tf.Tensor | None, lang_pair: tf.Tensor | None) -> tf.Tensor | None:
        """Returns the languages' ids for the model, int32 (batch, length); None where the model has no languages.

        Args:
            segments: int32 (batch, length): 0 for a first text and 1 for a second.
            lang: string (batch,): codes of the first texts, as for `indices`.
            lang_pair: string (batch,): codes of the second texts.
        """
        if self._ids is None:
            return None
        if self._table is None or lang is None or lang_pair is None:
            return tf.fill(tf.shape(segments), self._ids[0])
        # Unknown codes are refused where the pieces are made.
        indices = (tf.maximum(self._table.lookup(codes), 0) for codes in (lang, lang_pair))
        first, second = (tf.gather(self._ids, index)[:, None] for index in indices)
        return tf.where(segments == 0, first, second)
