"""Sentences as rows of a fixed length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxlm.data.lots import lots
from tfxlm.data.special_ids import SpecialIds


@dataclass
class Rows:
    """Rows of a batch, as they are filled.

    Args:
        tokens: (batch, length + 1) int32. The last column is what follows a row that is full, which is what its last
            token predicts; padding where nothing does.
        attention_mask: (batch, length) int32, 1 for tokens.
        langs: (batch, length) int32, ids of languages.
        position_ids: (batch, length) int32.
        causal: whether tokens predict the next ones.
    """

    tokens: np.ndarray
    attention_mask: np.ndarray
    langs: np.ndarray
    position_ids: np.ndarray
    causal: np.bool_ = np.False_

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All of it, in the order of the arguments."""
        return self.tokens, self.attention_mask, self.langs, self.position_ids, self.causal

    @classmethod
    def empty(cls, batch: int, length: int, pad: int) -> Rows:
        """Makes rows without a token."""
        mask, langs, positions = (np.zeros((batch, length), np.int32) for _ in range(3))
        return cls(np.full((batch, length + 1), pad, np.int32), mask, langs, positions)


class Stream:
    """Sentences one behind the other, each followed by a separator. A place is that of a token or separator in it.

    An empty sentence is a separator alone, as they stand between documents.

    Args:
        tokens: (tokens,) ids of all sentences.
        starts: (sentences + 1,) where they begin.
        separator: id.
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, separator: int) -> None:
        self._tokens, self._starts, self._separator = tokens, starts, separator
        self.size = len(tokens) + len(starts) - 1

    def begins(self) -> np.ndarray:
        """Returns the places of all first tokens and of the end, (sentences + 1,) int64."""
        return self._starts + np.arange(len(self._starts))

    def sentences(self, places: np.ndarray) -> np.ndarray:
        """Returns which sentence each place is in; that of the end is the number of sentences."""
        low, high = np.zeros(places.shape, np.int64), np.full(places.shape, len(self._starts) - 1)
        for _ in range(len(self._starts).bit_length()):
            middle = (low + high + 1) // 2
            before = self._starts[middle] + middle <= places
            low, high = np.where(before, middle, low), np.where(before, high, middle - 1)
        return low

    def read(self, begin: int, end: int) -> np.ndarray:
        """Returns what stands from a place up to another one, int32."""
        first, last = (int(index) for index in self.sentences(np.array([begin, end])))
        found = np.full(end - begin, self._separator, np.int32)
        is_token = np.ones(end - begin, bool)
        is_token[self._starts[first + 1 : last + 1] + np.arange(first, last) - begin] = False
        found[is_token] = self._tokens[begin - first : end - last]
        return found

    def read_around(self, begin: int, size: int) -> np.ndarray:
        """Returns so much from a place on, int32; behind the end comes the beginning again."""
        found = []
        while size:
            begin %= self.size
            end = min(begin + size, self.size)
            found.append(self.read(begin, end))
            size, begin = size - (end - begin), end
        return found[0] if len(found) == 1 else np.concatenate(found)


class TextRows:
    """Rows of one language: `<first> a a a </s> b b </s> ...`.

    Cut where a row is full, a row follows the one before in the stream, and the stream begins anew behind its end, so
    that all rows are full and every token is in one each epoch; where rows begin changes from epoch to epoch. With
    whole sentences, a row has as many as go into it, and longer ones are cut.

    Args:
        stream: the sentences, at least one.
        ids: the layout.
        length: tokens of a row.
        lang: id of the language; 0 where models have none.
        whole_sentences: whether rows hold whole sentences.
        seed: of where rows begin, as `lots.key` makes them; None for rows that begin at the first token and end with
            the last. Nothing follows such a row: what comes next is the first that the next row predicts, and would
            count twice.
    """

    def __init__(
        self, stream: Stream, ids: SpecialIds, length: int, lang: int, whole_sentences: bool, seed: int | None
    ) -> None:
        self._stream, self._ids, self._lang, self._width, self._seed = stream, ids, lang, length - 1, seed
        self._bounds = whole(stream.begins(), self._width) if whole_sentences else None
        self.count = -(-stream.size // self._width) if self._bounds is None else len(self._bounds) - 1

    def fill(self, rows: Rows, row: int, index: int, epoch: int) -> None:
        """Fills a row.

        Args:
            rows: where to.
            row: which of these.
            index: which row of the language, below `count`.
            epoch: how often there was each of them before.
        """
        tokens = self._read(index, epoch)
        length = rows.attention_mask.shape[1]
        rows.tokens[row, 0] = self._ids.first
        rows.tokens[row, 1 : len(tokens) + 1] = tokens
        rows.attention_mask[row, : len(tokens) + 1] = 1
        rows.langs[row] = self._lang
        rows.position_ids[row] = np.arange(length)

    def _read(self, index: int, epoch: int) -> np.ndarray:
        if self._bounds is not None:
            return self._stream.read(int(self._bounds[index]), int(self._bounds[index + 1]))
        begin = index * self._width
        if self._seed is None:
            return self._stream.read(begin, min(begin + self._width, self._stream.size))
        shift = int(lots(self._seed, np.array(epoch)) % np.uint64(self._stream.size))
        return self._stream.read_around(begin + shift, self._width + 1)


def whole(begins: np.ndarray, width: int) -> np.ndarray:
    """Says where rows of whole sentences begin.

    Args:
        begins: (sentences + 1,) places at which sentences begin, and the end.
        width: most that a row holds; a longer sentence is cut.

    Returns:
        (rows + 1,) int64, the places at which rows begin, and the end.
    """
    bounds = [0]
    while bounds[-1] < begins[-1]:
        limit = bounds[-1] + width
        fitting = int(begins[np.searchsorted(begins, limit, "right") - 1])
        bounds.append(fitting if fitting > bounds[-1] else limit)
    return np.array(bounds, np.int64)
