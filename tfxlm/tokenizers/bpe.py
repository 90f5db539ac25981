"""Byte-pair encoding of words, with a word dictionary in front of it."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers.models import BPE

END_OF_WORD = "</w>"
Merge = tuple[str, str]

_UNKNOWN = "<unk>"  # name inside the merging engine only; pieces are given back as the text they stand for
_CACHE_WORDS = 1 << 17
_CACHED_LENGTH = 64  # longer words hardly come back


class BytePairEncoder:
    """Cuts words into pieces by ranked merges, and looks the pieces up.

    A word starts as its characters, `END_OF_WORD` appended to the last one; the merge of lowest rank is carried out
    until none applies. A merge listed twice keeps its last rank.

    Args:
        merges: pairs of pieces, best first.
        ids: id of each piece. Pieces without one get `unknown_id`.
        unknown_id: id of pieces outside `ids`.

    Example:
        >>> BytePairEncoder([("l", "o"), ("lo", "w</w>")], {"low</w>": 7}, unknown_id=3).pieces("low")
        ['low</w>']
    """

    def __init__(self, merges: Iterable[Merge], ids: Mapping[str, int], unknown_id: int) -> None:
        last_ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.merges: tuple[Merge, ...] = tuple(sorted(last_ranks, key=last_ranks.__getitem__))
        self.ids = ids
        self.unknown_id = unknown_id
        self._build()

    def _build(self) -> None:
        self._forget()
        self._ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self._engine = self._make_engine() if products_come_first(self.merges) else None

    def _forget(self) -> None:
        self._cache: dict[str, tuple[int, ...]] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}

    def renew(self, ids: Mapping[str, int], unknown_id: int) -> None:
        """Looks pieces up elsewhere from now on; arguments as in the constructor."""
        self.ids = ids
        self.unknown_id = unknown_id
        self._forget()

    def _make_engine(self) -> BPE:
        symbols = {_UNKNOWN: None} | dict.fromkeys(self.ids)
        for left, right in self.merges:
            symbols.update({left: None, right: None, left + right: None})
        return BPE(
            vocab={symbol: index for index, symbol in enumerate(symbols)},
            merges=list(self.merges),
            cache_capacity=0,
            unk_token=_UNKNOWN,
            end_of_word_suffix=END_OF_WORD,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"merges": self.merges, "ids": self.ids, "unknown_id": self.unknown_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._build()

    def pieces(self, word: str) -> list[str]:
        """Cuts a word.

        Args:
            word: one or more characters. Spaces in it separate pieces, which are empty between two spaces: that is
                what becomes in `transformers` of the spaces that a segmenter gives as words.

        Returns:
            The pieces in order; the last one ends with `END_OF_WORD`.
        """
        pieces = self._merged(word)
        return " ".join(pieces).split(" ") if " " in word else pieces

    def _merged(self, word: str) -> list[str]:
        if self._engine is None:
            return self._by_definition(word)
        try:
            tokens = self._engine.tokenize(word)
        except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8 form, which the engine works on
            return self._by_definition(word)
        pieces = [token.value for token in tokens]
        if _UNKNOWN in pieces:
            encoded = word.encode()
            pieces = [
                encoded[slice(*token.offsets)].decode() if token.value == _UNKNOWN else token.value for token in tokens
            ]
            if not pieces[-1].endswith(END_OF_WORD):
                pieces[-1] += END_OF_WORD
        return pieces

    def _by_definition(self, word: str) -> list[str]:
        return merge_symbols([*word[:-1], word[-1] + END_OF_WORD], self._ranks)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Returns the ids of the pieces of all words, in order.

        Args:
            words: words of one or more characters each.
        """
        ids: list[int] = []
        cached = self._cache.get
        for word in words:
            ids += cached(word) or self._encode_word(word)
        return ids

    def sizes(self, word: str) -> tuple[int, ...]:
        """Returns for each piece of a word how many of the word's characters it has, white space not counted."""
        return self._sizes.get(word) or self._measure_word(word)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        ids = tuple(self.ids.get(piece, self.unknown_id) for piece in self.pieces(word))
        _remember(self._cache, word, ids)
        return ids

    def _measure_word(self, word: str) -> tuple[int, ...]:
        *first, last = self.pieces(word)
        sizes = tuple(len("".join(piece.split())) for piece in (*first, last.removesuffix(END_OF_WORD)))
        _remember(self._sizes, word, sizes)
        return sizes


def _remember(cache: dict[str, tuple[int, ...]], word: str, value: tuple[int, ...]) -> None:
    if len(word) <= _CACHED_LENGTH:
        if len(cache) >= _CACHE_WORDS:
            cache.clear()
        cache[word] = value


def products_come_first(merges: Sequence[Merge]) -> bool:
    """Says whether no merge outranks one that makes its parts.

    Then merging one pair at a time (the engine) and merging all equal pairs at once (the definition) end alike.
    """
    last_made = {left + right: rank for rank, (left, right) in enumerate(merges)}
    return all(last_made.get(part, -1) < rank for rank, (left, right) in enumerate(merges) for part in (left, right))


def merge_symbols(symbols: Sequence[str], ranks: Mapping[Merge, int]) -> list[str]:
    """Merges symbols by the definition.

    Args:
        symbols: in order.
        ranks: of merges; the lowest is the best.
    """
    pieces = list(symbols)
    while len(pieces) > 1:
        best = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        merged: list[str] = []
        position = 0
        while position < len(pieces):
            if tuple(pieces[position : position + 2]) == best:
                merged.append(best[0] + best[1])
                position += 2
            else:
                merged.append(pieces[position])
                position += 1
        pieces = merged
    return pieces
