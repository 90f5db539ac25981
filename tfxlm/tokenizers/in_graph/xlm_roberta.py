"""The tokenizer of XLM-RoBERTa as operations."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.tokenizers.in_graph.base import CORE, GraphTokenizer, Located
from tfxlm.tokenizers.in_graph.languages import GraphLanguages
from tfxlm.tokenizers.in_graph.sentence_origins import GraphPlaces, reason_against


class GraphXLMRobertaTokenizer(GraphTokenizer):
    """`XLMRobertaTokenizer` as a SentencePiece operation of TensorFlow Text; see `GraphTokenizer`.

    TensorFlow Serving knows the operation. Who loads such a model in Python imports `tensorflow_text` before.
    """

    def _languages_of(self, tokenizer: Any, lang: str | None) -> GraphLanguages:
        if lang is not None:
            raise InputError("XLM-RoBERTa has the same pieces for all languages: leave lang out.")
        return GraphLanguages([""], {}, None)

    def _make(self, tokenizer: Any) -> None:
        import tensorflow_text

        if self._byte_pairs != CORE:
            raise InputError(f"byte_pairs={self._byte_pairs!r} is for XLM: XLM-RoBERTa has no merges. Leave it out.")
        if tokenizer.cuts_at_random:
            raise InputError(
                "A graph cuts texts in the best way, not at random. Make the tokenizer without sp_model_kwargs."
            )
        model = tokenizer.sentence_pieces
        if model.is_plain_unigram:
            # Several times as fast, and of ways with the same score it takes the one that Python's SentencePiece takes.
            self._pieces = tensorflow_text.FastSentencepieceTokenizer(model.model)
        else:
            self._pieces = tensorflow_text.SentencepieceTokenizer(model.model, out_type=tf.int32)
        # What the model does not know is a piece of any text; what it knows, a piece of its name.
        ids = tokenizer.convert_tokens_to_ids(model.names)
        ids[model.unknown] = tokenizer.unk_token_id
        self._ids = np.array(ids, np.int32)

        self._model = model

    @staticmethod
    def reason_without_places(tokenizer: Any) -> str | None:
        """See `GraphTokenizer`."""
        return reason_against(tokenizer.sentence_pieces)

    @functools.cached_property
    def _places(self) -> GraphPlaces:
        # Made when it is needed, as it is another model in the graph.
        return GraphPlaces(self._model)

    def _cut(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._pieces.tokenize(texts).with_row_splits_dtype(tf.int64)

    def _piece_ids(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.RaggedTensor:
        pieces = self._cut(texts)
        return pieces.with_flat_values(tf.gather(self._ids, pieces.flat_values))

    def _located(self, texts: tf.Tensor, languages: tf.Tensor) -> Located:
        pieces = self._cut(texts)
        ids = tf.gather(self._ids, pieces.flat_values)
        return Located(*(pieces.with_flat_values(value) for value in (ids, *self._places(texts, pieces))))
