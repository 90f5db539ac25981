"""The tokenizer of XLM as operations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxlm.tokenizers.in_graph.base import GraphTokenizer
from tfxlm.tokenizers.in_graph.bpe import GraphBytePairEncoder
from tfxlm.tokenizers.in_graph.languages import GraphLanguages
from tfxlm.tokenizers.in_graph.letters import GraphLetterCase, lower_first
from tfxlm.tokenizers.in_graph.words import GraphMosesWords
from tfxlm.tokenizers.rules import characters, moses
from tfxlm.tokenizers.rules.prefixes import languages_with_prefixes
from tfxlm.tokenizers.segmenters import SEGMENTERS
from tfxlm.tokenizers.xlm import NON_PRINTING

# A code that has no rules of its own, and those that have some, beside lists of abbreviations.
_ANY_LANGUAGE = ""
_WITH_RULES = (*moses.LANGUAGES, *characters.LANGUAGE_CLASSES, *SEGMENTERS)


class GraphXLMTokenizer(GraphTokenizer):
    """`XLMTokenizer` as core operations of TensorFlow; see `GraphTokenizer`."""

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
        self._encoder = GraphBytePairEncoder(tokenizer.encoder)

    def _piece_ids(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.RaggedTensor:
        if self._lower:
            texts = self._lower(texts)
        words = self._words(texts, languages)
        # Most words of a batch occur several times in it.
        distinct, index = tf.unique(words.flat_values)
        pieces = self._encoder(self._letters(tf.strings.regex_replace(distinct, moses.DOT, ".")))
        sizes = pieces.row_lengths()
        ids = tf.gather(pieces, index).flat_values
        lengths = tf.math.unsorted_segment_sum(tf.gather(sizes, index), words.value_rowids(), words.nrows())
        return tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)
