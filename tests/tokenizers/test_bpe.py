"""Byte-pair encoding against its definition."""

import copy
import itertools
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfxlm.tokenizers.bpe import BytePairEncoder

Merge = tuple[str, str]


def _definition(word: str, merges: list[Merge]) -> list[str]:
    """All occurrences of the best pair are merged, again and again."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    pieces = [*word[:-1], word[-1] + "</w>"]
    while True:
        known = {pair for pair in itertools.pairwise(pieces) if pair in ranks}
        if not known:
            return pieces
        best = min(known, key=ranks.__getitem__)
        merged = [pieces[0]]
        blocked = False
        for piece in pieces[1:]:
            if not blocked and (merged[-1], piece) == best:
                merged[-1] += piece
                blocked = True
            else:
                merged.append(piece)
                blocked = False
        pieces = merged


letters = st.text("abc", min_size=1, max_size=3)
merge_lists = st.lists(st.tuples(letters, st.one_of(letters, letters.map(lambda text: text + "</w>"))), max_size=25)


@settings(deadline=None)
@given(merges=merge_lists, word=st.text("abcd", min_size=1, max_size=14))
def test_any_order_of_merges(merges: list[Merge], word: str) -> None:
    assert BytePairEncoder(merges, {}, 0).pieces(word) == _definition(word, merges)


ORDERED = [("a", "b"), ("b", "b</w>"), ("ab", "ab"), ("c", "ab"), ("ab", "b</w>"), ("abab", "abb</w>"), ("é", "ab")]


@settings(deadline=None)
@given(word=st.text("abcé", min_size=1, max_size=30))
def test_merges_in_trained_order(word: str) -> None:
    assert BytePairEncoder(ORDERED, {}, 0).pieces(word) == _definition(word, ORDERED)


def test_a_part_that_is_made_later_is_merged_in_full_first() -> None:
    # Merging one pair at a time would find ("ab", "a") before it has merged the second "a", "b".
    assert BytePairEncoder([("ab", "a"), ("a", "b")], {}, 0).pieces("ababc") == ["ab", "ab", "c</w>"]


def test_a_repeated_merge_keeps_its_last_rank() -> None:
    encoder = BytePairEncoder([("a", "b"), ("b", "c"), ("a", "b")], {}, 0)
    assert encoder.pieces("abcx") == ["a", "bc", "x</w>"]
    assert encoder.merges == (("b", "c"), ("a", "b"))


@pytest.mark.parametrize("word", ["😀", "a😀", "😀b", "é😀ab", "\ud800ab", "ab\ud800"])
def test_unknown_characters_keep_their_text(word: str) -> None:
    pieces = BytePairEncoder(ORDERED, {}, 0).pieces(word)
    assert "".join(pieces) == word + "</w>"


def test_ids() -> None:
    encoder = BytePairEncoder(ORDERED, {"abab": 7, "abb</w>": 8}, unknown_id=3)
    for _ in range(2):  # the second time from the dictionary
        assert encoder.encode(["ababc", "abb", "x"]) == [7, 3, 8, 3]


def test_very_long_words() -> None:
    assert BytePairEncoder(ORDERED, {}, 0).pieces("ab" * 20_001)[:2] == ["abab", "abab"]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies(clone: object) -> None:
    encoder = BytePairEncoder(ORDERED, {"ab": 1}, 0)
    assert clone(encoder).pieces("abcab") == encoder.pieces("abcab")  # type: ignore[operator]
