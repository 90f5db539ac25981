"""Texts that know where their characters come from."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.toy import hard_texts
from tfxlm.tokenizers.alignment import AlignedText, covered
from tfxlm.tokenizers.letter_case import LetterCase
from tfxlm.tokenizers.rules import moses
from tfxlm.tokenizers.rules.chains import Chain, Literal, Pattern, Squeeze


@pytest.mark.parametrize(
    ("old", "new", "spans"),
    [
        ("a.", ".a", [(0, 1), (1, 2)]),  # places change, spans do not go back
        ("…", "...", [(0, 1)] * 3),
        (") .", ").", [(0, 1), (2, 3)]),
        ("(", " (", [(0, 0), (0, 1)]),
        (".'", " . ' ", [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]),
        ("''", ' " ', [(0, 2)] * 3),
        (" « ", '"', [(1, 2)]),
        ("  ", "x", [(0, 2)]),
        ("x", "", []),
    ],
)
def test_what_a_replacement_stands_for(old: str, new: str, spans: list[tuple[int, int]]) -> None:
    changed = AlignedText.given(f"<{old}>").changed([(1, 1 + len(old), new)])
    assert changed.text == f"<{new}>"
    inner = [(start + 1, end + 1) for start, end in spans]
    assert changed.spans == [(0, 1), *inner, (len(old) + 1, len(old) + 2)]


def test_changes_of_changes() -> None:
    text = AlignedText.given("a…b").changed([(1, 2, "...")]).changed([(0, 3, "x"), (4, 5, "yz")])
    assert (text.text, text.spans) == ("x.yz", [(0, 2), (1, 2), (2, 3), (2, 3)])


def test_words_that_are_joined_with_spaces() -> None:
    text = AlignedText.given("ab c").spaced(["a", "b", " ", "c"])
    assert text.text == "a b   c"
    assert text.visible() == ("abc", [(0, 1), (1, 2), (3, 4)])


def test_nothing_has_a_place_too() -> None:
    assert covered([(0, 1), (1, 3)], 1, 1) == (1, 1)
    assert covered([(0, 1), (1, 3)], 2, 2) == (3, 3)
    assert covered([], 0, 0) == (0, 0)


RULES = [Squeeze(), Literal("a", "bb"), Pattern("([b-z])'(.)?", r"\2 \1", needs="'"), Literal(" x", "x")]
CHAINS = [Chain(rules) for rules in (RULES, moses.normalization("en"), moses.normalization("de"))]
CHAINS.append(Chain(moses.separation("fr")))


@settings(deadline=None)
@given(text=st.one_of(hard_texts, st.text("a bx'", max_size=12)))
def test_chains_do_the_same_with_track_of_characters(text: str) -> None:
    for chain in CHAINS:
        aligned = chain.aligned(AlignedText.given(text))
        assert aligned.text == chain(text)
        assert len(aligned.spans) == len(aligned.text)
        assert aligned.spans == sorted(aligned.spans)
        assert [end for _, end in aligned.spans] == sorted(end for _, end in aligned.spans)


@settings(deadline=None)
@given(text=st.text())
def test_letters_become_as_many_whatever_stands_beside_them(text: str) -> None:
    for case in ("none", "ascii", "unicode"):
        for accents in ("keep", "strip"):
            letters = LetterCase(case, accents)
            assert sum(letters.sizes(text)) == len(letters(text))
