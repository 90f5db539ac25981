"""The tokenizer of XLM as operations."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfxlm.tokenizers.in_graph.base import CORE, PIECES, GraphTokenizer, Located
from tfxlm.tokenizers.in_graph.bpe import GraphBytePairEncoder
from tfxlm.tokenizers.in_graph.bpe_pieces import SentencePieceEncoder
from tfxlm.tokenizers.in_graph.languages import GraphLanguages
from tfxlm.tokenizers.in_graph.letters import GraphLetterCase, lower_first
from tfxlm.tokenizers.in_graph.origins import GraphOrigins
from tfxlm.tokenizers.in_graph.words import GraphMosesWords
from tfxlm.tokenizers.rules import characters, moses
from tfxlm.tokenizers.rules.prefixes import languages_with_prefixes
from tfxlm.tokenizers.segmenters import SEGMENTERS
from tfxlm.tokenizers.xlm import NON_PRINTING

# A code that has no rules of its own, and those that have some, beside lists of abbreviations.
_ANY_LANGUAGE = ""
# How words are cut, by the name of the option.
_ENCODERS: Mapping[str, type[GraphBytePairEncoder]] = {CORE: GraphBytePairEncoder, PIECES: SentencePieceEncoder}
_WITH_RULES = (*moses.LANGUAGES, *characters.LANGUAGE_CLASSES, *SEGMENTERS)


class GraphXLMTokenizer(GraphTokenizer):
    """`XLMTokenizer` as core operations of TensorFlow; see `GraphTokenizer`.

    With ``byte_pairs="sentencepiece"`` there is one of TensorFlow Text among them, which takes less time for few words
    and for very long ones.
    """

    def _languages_of(self, tokenizer: Any, lang: str | None) -> GraphLanguages:
        codes = dict.fromkeys((moses.DEFAULT_LANGUAGE, _ANY_LANGUAGE, *_WITH_RULES, *languages_with_prefixes()))
        return GraphLanguages(list(codes), tokenizer.languages.ids, lang)

    def _make(self, tokenizer: Any) -> None:
        self._lower = lower_first() if tokenizer.lowers_first else None
        self._words = GraphMosesWords(
            self.languages.codes,
            NON_PRINTING[tokenizer.preprocessing],
            only_spaces=tokenizer.preprocessing == "hf",
        )
        self._letters = GraphLetterCase(tokenizer.case, tokenizer.accents)
        self._encoder = _ENCODERS[self._byte_pairs](tokenizer.encoder)

    @functools.cached_property
    def _origins(self) -> GraphOrigins:
        return GraphOrigins(self._lower, self._letters, self._words.are_normal)

    def _distinct(self, texts: tf.Tensor, languages: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the distinct forms of the words of texts, for the encoder; which one a word has; and its text.

        Most words of a batch occur several times in it.
        """
        if self._lower:
            texts = self._lower(texts)
        words, rows = self._words(texts, languages)
        distinct, index = tf.unique(words)
        return self._letters(tf.strings.regex_replace(distinct, moses.DOT, ".")), index, rows

    def _piece_ids(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.RaggedTensor:
        distinct, index, rows = self._distinct(texts, languages)
        return _of_texts(self._encoder(distinct), index, rows, tf.size(texts))

    def _located(self, texts: tf.Tensor, languages: tf.Tensor) -> Located:
        distinct, index, rows = self._distinct(texts, languages)
        ids, sizes = self._encoder.measured(distinct)
        pieces, sizes = (_of_texts(one, index, rows, tf.size(texts)) for one in (ids, sizes))
        # Words without pieces are none.
        has_pieces = tf.cast(tf.gather(ids.row_lengths() > 0, index), tf.int32)
        numbers = tf.cumsum(has_pieces, exclusive=True)
        numbers -= tf.gather(tf.math.unsorted_segment_min(numbers, rows, tf.size(texts)), rows)
        of_pieces = tf.repeat(numbers, tf.gather(ids.row_lengths(), index))
        starts, ends = self._places(texts, languages, sizes)
        return Located(pieces, *(pieces.with_flat_values(value) for value in (of_pieces, starts, ends)))

    def _places(self, texts: tf.Tensor, languages: tf.Tensor, sizes: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns where pieces of so many characters start and end in their texts, int32 (pieces,) twice."""
        spans, counts = self._origins(texts, languages)
        flat, rows = sizes.flat_values, sizes.value_rowids()
        first = tf.cumsum(flat, exclusive=True)
        before = tf.gather(tf.pad(first, [[0, 1]]), sizes.row_starts())
        first += tf.gather(tf.cast(tf.cumsum(counts, exclusive=True), tf.int32) - before, rows)
        most = tf.size(spans.starts) - 1
        start = tf.gather(spans.starts, tf.minimum(first, most))
        end = tf.gather(spans.ends, tf.clip_by_value(first + flat - 1, 0, most))
        own = tf.gather(tf.cumsum(tf.strings.length(texts, "UTF8_CHAR"), exclusive=True), rows)
        return start - own, tf.where(flat > 0, end, start) - own


def _of_texts(distinct: tf.RaggedTensor, index: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.RaggedTensor:
    """Returns what the pieces of so many texts have, of what those of their distinct words have."""
    lengths = tf.gather(distinct.row_lengths(), index)
    lengths = tf.math.unsorted_segment_sum(lengths, rows, count)
    return tf.RaggedTensor.from_row_lengths(tf.gather(distinct, index).flat_values, lengths, validate=False)
