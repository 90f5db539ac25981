"""Byte-pair encoding as a SentencePiece model, whose operation merges one word after the other, each in no time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.tokenizers.bpe import END_OF_WORD, BytePairEncoder, merge_symbols, products_come_first
from tfxlm.tokenizers.in_graph.bpe import GraphBytePairEncoder
from tfxlm.tokenizers.in_graph.expressions import when, within_brackets
from tfxlm.tokenizers.rules import characters

# Stands behind each word; words have no such character, as private ones are taken out before.
_MARK = "\ue001"
_UNKNOWN = "<unk>"


class SentencePieceEncoder(GraphBytePairEncoder):
    """Cuts words into pieces as `BytePairEncoder` does, with an operation of TensorFlow Text.

    That merges any two symbols which make a known one, best first, so it is for merges of which each symbol has one
    alone. Words with characters that are in no merge go the other way, as it would take several of those for one.

    Args:
        encoder: the encoder.

    Raises:
        InputError: its merges cannot be written as a SentencePiece model; the message says why.
    """

    def __init__(self, encoder: BytePairEncoder) -> None:
        import tensorflow_text

        reason = reason_against(encoder)
        if reason is not None:
            raise InputError(
                f"The merges of this tokenizer cannot be a SentencePiece model: {reason}. Use byte_pairs='core', whose "
                "pieces are right for any merges."
            )
        super().__init__(encoder)
        pieces, model = _model(encoder)
        self._pieces = tensorflow_text.SentencepieceTokenizer(model, out_type=tf.int32)
        names = [piece.replace(_MARK, END_OF_WORD) for piece in pieces]
        self._piece_ids = np.array([encoder.ids.get(name, encoder.unknown_id) for name in names], np.int32)
        self._piece_sizes = np.array([len(piece.replace(_MARK, "")) for piece in pieces], np.int32)
        known = characters.runs(sorted(ord(piece) for piece in pieces if len(piece) == 1 and piece != _MARK))
        self._known_characters = f"[{within_brackets(known)}]*" if known else ""

    def _cut(self, words: tf.Tensor) -> list[tf.RaggedTensor]:
        return self._either(words, measure=False)

    def _cut_and_measured(self, words: tf.Tensor) -> list[tf.RaggedTensor]:
        return self._either(words, measure=True)

    def _either(self, words: tf.Tensor, measure: bool) -> list[tf.RaggedTensor]:
        is_known = tf.strings.regex_full_match(words, self._known_characters)
        core = super()._cut_and_measured if measure else super()._cut

        def both() -> list[tf.RaggedTensor]:
            places = tf.where(is_known)[:, 0], tf.where(~is_known)[:, 0]
            found = (
                way(tf.gather(words, own)) for way, own in zip((self._by_pieces(measure), core), places, strict=True)
            )
            places_of = tf.math.invert_permutation(tf.concat(places, axis=0))
            return [tf.gather(tf.concat(pair, axis=0), places_of) for pair in zip(*found, strict=True)]

        return when(tf.reduce_any(~is_known), both, lambda: self._by_pieces(measure)(words))

    def _by_pieces(self, measure: bool) -> Any:
        def cut(words: tf.Tensor) -> list[tf.RaggedTensor]:
            pieces = self._pieces.tokenize(words + _MARK).with_row_splits_dtype(tf.int64)
            tables = (self._piece_ids, self._piece_sizes)[: 1 + measure]
            return [pieces.with_flat_values(tf.gather(table, pieces.flat_values)) for table in tables]

        return cut


def reason_against(encoder: BytePairEncoder) -> str | None:
    """Says why merges cannot be written as a SentencePiece model; None where they can."""
    merges = encoder.merges
    if not products_come_first(merges):
        return "a merge outranks one that makes its parts"
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    products: set[str] = set()
    for left, right in merges:
        product = left + right
        if product in products:
            return f"several merges make {product!r}"
        products.add(product)
        if _MARK in product or len(merge_symbols(_symbols(product), ranks)) > 1:
            return f"{product!r} is never made, as other merges of its letters come first"
    return None


def _symbols(product: str) -> list[str]:
    """Returns the characters of a symbol, the end of the word with the last one."""
    if not product.endswith(END_OF_WORD):
        return list(product)
    text = product.removesuffix(END_OF_WORD)
    return [*text[:-1], text[-1:] + END_OF_WORD]


def _model(encoder: BytePairEncoder) -> tuple[list[str], bytes]:
    """Returns the pieces of the model, and the model: what is merged first has the highest score."""
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2  # made while importing, so that no type checker knows them
    made = messages.ModelProto()
    made.trainer_spec.model_type = messages.TrainerSpec.BPE
    spec = made.normalizer_spec
    spec.name = "identity"
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
    known = dict.fromkeys(_characters(encoder))
    # A last character and the mark come together before all else.
    ends = dict.fromkeys((character + _MARK for character in known), 1.0)
    products = {
        (left + right).replace(END_OF_WORD, _MARK): -float(rank) for rank, (left, right) in enumerate(encoder.merges)
    }
    scores = {**dict.fromkeys(known, 0.0), _MARK: 0.0, **ends, **products}
    made.pieces.add(piece=_UNKNOWN, type=messages.ModelProto.SentencePiece.UNKNOWN)
    for piece, score in scores.items():
        made.pieces.add(piece=piece, score=score)
    return [_UNKNOWN, *scores], made.SerializeToString()


def _characters(encoder: BytePairEncoder) -> Iterable[str]:
    """Yields the characters that merges take and pieces have."""
    for symbol in (*(part for merge in encoder.merges for part in merge), *encoder.ids):
        text = symbol.removesuffix(END_OF_WORD)
        # Halves of surrogate pairs, which a vocabulary can have, are in no text.
        if len(text) == 1 and not 0xD800 <= ord(text) <= 0xDFFF and text != _MARK:
            yield text
