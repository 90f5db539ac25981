"""Byte-pair encoding as operations on all words at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.bpe import END_OF_WORD, BytePairEncoder
from tfxlm.tokenizers.in_graph import segments
from tfxlm.tokenizers.in_graph.codes import characters_of
from tfxlm.tokenizers.in_graph.expressions import when

_NO_MERGE = np.iinfo(np.int32).max


class GraphBytePairEncoder(tf.Module):
    """Cuts words into pieces as `BytePairEncoder` does.

    A word that is one piece is looked up. The characters of all others are merged in rounds: in each, every word
    carries out its best merge, wherever it applies. Symbols, which are characters and what merges make of them, are
    numbers here.

    Args:
        encoder: the encoder.
    """

    def __init__(self, encoder: BytePairEncoder) -> None:
        super().__init__()
        self._unknown_id = encoder.unknown_id
        symbols = _symbols(encoder)
        numbers = {symbol: number for number, symbol in enumerate(symbols)}
        # Behind the symbols come that of characters which are in no merge, and that of the end of a word.
        self._unknown, self._end = len(symbols), len(symbols) + 1
        ids = [encoder.ids.get(symbol, encoder.unknown_id) for symbol in symbols]
        self._ids = np.array([*ids, encoder.unknown_id], np.int32)
        self._whole_words = _table(*_whole_words(encoder), default=-1)
        lefts = np.array([numbers[left] for left, _ in encoder.merges], np.int64)
        rights = np.array([numbers[right] for _, right in encoder.merges], np.int64)
        self._products = np.array([numbers[left + right] for left, right in encoder.merges] or [0], np.int64)
        self._ranks = _table(self._key(lefts, rights), np.arange(len(lefts), dtype=np.int32), default=_NO_MERGE)
        self._inner = self._characters({symbol: number for symbol, number in numbers.items() if len(symbol) == 1})
        self._final = self._characters(
            {
                symbol.removesuffix(END_OF_WORD): number
                for symbol, number in numbers.items()
                if symbol.endswith(END_OF_WORD) and len(symbol) == len(END_OF_WORD) + 1
            }
        )

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of the pieces of each word.

        Args:
            words: string (words,), valid UTF-8; an empty word has no pieces.

        Returns:
            int32 (words, None).
        """
        (ids,) = self._encoded(words, self._cut)
        return ids

    def measured(self, words: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Returns the ids, and for each piece how many characters of its word it has, white space not counted.

        Args:
            words: string (words,), as in a call.

        Returns:
            int32 (words, None), twice.
        """
        ids, sizes = self._encoded(words, self._cut_and_measured, tf.strings.length(words, "UTF8_CHAR"))
        return ids, sizes

    def _encoded(
        self, words: tf.Tensor, cut: Callable[[tf.Tensor], list[tf.RaggedTensor]], *of_whole: tf.Tensor
    ) -> list[tf.RaggedTensor]:
        """Looks words up, and cuts the others.

        Args:
            words: string (words,).
            cut: returns for words that are no piece what their pieces have: first ids, then as many as `of_whole`.
            *of_whole: int32 (words,): what a word that is one piece has beside its id.
        """
        whole = self._whole_words.lookup(words)
        rest = tf.where((whole < 0) & (words != ""))[:, 0]
        counts = tf.cast(whole >= 0, tf.int64)

        def with_pieces() -> list[tf.RaggedTensor]:
            of_rest = cut(tf.gather(words, rest))
            lengths = tf.tensor_scatter_nd_update(counts, rest[:, None], of_rest[0].row_lengths())
            rows = segments.rows_of_lengths(lengths)
            # In the order of the words: those that are one piece, and between them the pieces of the others.
            places = tf.where(tf.gather(whole, rows) < 0)
            return [
                tf.RaggedTensor.from_row_lengths(
                    tf.tensor_scatter_nd_update(tf.gather(own, rows), places, others.flat_values),
                    lengths,
                    validate=False,
                )
                for own, others in zip((whole, *of_whole), of_rest, strict=True)
            ]

        def without_pieces() -> list[tf.RaggedTensor]:
            return [
                tf.RaggedTensor.from_row_lengths(tf.boolean_mask(own, whole >= 0), counts, validate=False)
                for own in (whole, *of_whole)
            ]

        return when(tf.size(rest) > 0, with_pieces, without_pieces)

    def _key(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return left * (self._end + 1) + right

    def _characters(self, numbers: dict[str, int]) -> np.ndarray:
        """Returns the number of each code point's symbol, up to the last one that has any."""
        table = np.full(max(map(ord, numbers), default=0) + 2, self._unknown, np.int64)
        for character, number in numbers.items():
            table[ord(character)] = number
        return table

    def _symbols_of(self, codes: tf.Tensor, table: np.ndarray) -> tf.Tensor:
        # Behind the last known character the table has one entry more, for all others.
        return tf.gather(table, tf.minimum(codes, len(table) - 1))

    def _cut(self, words: tf.Tensor) -> list[tf.RaggedTensor]:
        codes = tf.strings.unicode_decode(words, "UTF-8")
        ids, _ = self._merged(words, codes.flat_values, segments.rows_of(codes))
        return [ids]

    def _cut_and_measured(self, words: tf.Tensor) -> list[tf.RaggedTensor]:
        codes = tf.strings.unicode_decode(words, "UTF-8")
        ids, is_piece = self._merged(words, codes.flat_values, segments.rows_of(codes))
        counted = tf.cast(~characters_of("space", codes.flat_values), tf.int32)
        sizes = tf.math.segment_sum(counted, tf.cumsum(tf.cast(is_piece, tf.int32)) - 1)
        return [ids, ids.with_flat_values(sizes)]

    def _merged(self, words: tf.Tensor, flat: tf.Tensor, rows: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Merges the characters of words, each of one or more.

        Args:
            words: string (words,).
            flat: int32 (characters,): their code points.
            rows: int64 (characters,): the word of each.

        Returns:
            Ids, int32 (words, None), and which characters begin a piece, boolean (characters,).
        """
        is_last = segments.ends(rows)
        symbols = tf.where(is_last, self._symbols_of(flat, self._final), self._symbols_of(flat, self._inner))
        # An end stands behind each word, which merges with nothing.
        count = tf.size(flat) + tf.size(words)
        end = tf.constant(self._end, tf.int64)
        places = tf.range(tf.size(flat)) + tf.cast(rows, tf.int32)
        symbols = tf.tensor_scatter_nd_update(tf.fill(count[None], end), places[:, None], symbols)
        # Finished words leave the loop, and their symbols stay here, where their first characters were.
        finished = tf.fill(count[None], end)

        def round_of_merges(symbols: tf.Tensor, places: tf.Tensor, finished: tf.Tensor) -> tuple[tf.Tensor, ...]:
            pairs = self._key(symbols[:-1], symbols[1:])
            ranks = tf.pad(self._ranks.lookup(pairs), [[0, 1]], constant_values=_NO_MERGE)
            word = tf.cumsum(tf.cast(symbols == self._end, tf.int32), exclusive=True)
            best = tf.gather(tf.math.segment_min(ranks, word), word)
            goes_on = best != _NO_MERGE
            done = tf.where(~goes_on)
            finished = tf.tensor_scatter_nd_update(finished, tf.gather(places, done), tf.gather_nd(symbols, done))
            merges = goes_on & (ranks == best)
            are_merged = _previous(merges)
            merges, are_merged = when(
                tf.reduce_any(merges & are_merged),
                lambda: _every_second(merges, are_merged),
                lambda: (merges, are_merged),
            )
            symbols = tf.where(merges, tf.gather(self._products, tf.where(merges, ranks, 0)), symbols)
            stays = tf.squeeze(tf.where(goes_on & ~are_merged), 1)
            return tf.gather(symbols, stays), tf.gather(places, stays), finished

        anything = tf.TensorShape([None])
        _, _, finished = tf.while_loop(
            lambda symbols, places, finished: tf.size(symbols) > 0,
            round_of_merges,
            (symbols, tf.range(count), finished),
            shape_invariants=(anything, anything, anything),
        )
        is_piece = tf.gather(finished, places) != self._end
        pieces = tf.gather(self._ids, tf.boolean_mask(tf.gather(finished, places), is_piece))
        counts = tf.math.segment_sum(tf.cast(is_piece, tf.int64), rows)
        return tf.RaggedTensor.from_row_lengths(pieces, counts, validate=False), is_piece


def _symbols(encoder: BytePairEncoder) -> list[str]:
    """Returns all that a merge takes or makes, and the pieces that are one character."""
    found: dict[str, None] = {}
    for left, right in encoder.merges:
        found.update({left: None, right: None, left + right: None})
    found.update(dict.fromkeys(piece for piece in encoder.ids if len(piece.removesuffix(END_OF_WORD)) == 1))
    return list(found)


def _whole_words(encoder: BytePairEncoder) -> tuple[list[str], np.ndarray]:
    """Returns the words that are one piece, and their ids."""
    candidates = [piece.removesuffix(END_OF_WORD) for piece in encoder.ids if piece.endswith(END_OF_WORD)]
    # Halves of surrogate pairs, which a vocabulary can have, are in no text.
    candidates = [word for word in candidates if word and word == word.encode(errors="ignore").decode()]
    words = [word for word in candidates if encoder.pieces(word) == [word + END_OF_WORD]]
    return words, np.array([encoder.ids[word + END_OF_WORD] for word in words], np.int32)


def _table(keys: Sequence[str] | np.ndarray, values: np.ndarray, default: int) -> tf.lookup.StaticHashTable:
    key_dtype = tf.int64 if isinstance(keys, np.ndarray) else tf.string
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, key_dtype), tf.constant(values, tf.int32))
    return tf.lookup.StaticHashTable(initializer, default)


def _previous(values: tf.Tensor) -> tf.Tensor:
    """Returns what stands before each value, and False before the first."""
    return tf.pad(values, [[1, 0]])[:-1]


def _every_second(merges: tf.Tensor, are_merged: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Leaves out merges that overlap with one before them, as in "aaa": of some in a row, every second one.

    Args:
        merges: boolean (symbols,), which merge with the next one.
        are_merged: boolean (symbols,), before which one that merges stands.

    Returns:
        Both, afterwards.
    """
    is_first = merges & ~are_merged
    firsts = tf.pad(tf.where(is_first)[:, 0], [[0, 1]])
    run = tf.maximum(tf.cumsum(tf.cast(is_first, tf.int32)) - 1, 0)
    merges &= (tf.range(tf.size(merges, tf.int64)) - tf.gather(firsts, run)) % 2 == 0
    return merges, _previous(merges)
