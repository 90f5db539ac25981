import pytest

from tfxlm.tokenizers.letter_case import LetterCase, lower_each


@pytest.mark.parametrize(
    ("case", "accents", "expected"),
    [
        ("none", "keep", "ÉTÉ Straße РОССИЯ Ёлка"),
        ("none", "strip", "ETE Straße РОССИЯ Елка"),
        ("ascii", "keep", "ÉtÉ straße РОССИЯ Ёлка"),
        ("ascii", "strip", "ete straße РОССИЯ Елка"),
        ("unicode", "keep", "été straße россия ёлка"),
        ("unicode", "strip", "ete straße россия елка"),
    ],
)
def test_case_and_accents(case: str, accents: str, expected: str) -> None:
    assert LetterCase(case, accents)("ÉTÉ Straße РОССИЯ Ёлка") == expected


def test_sigma_depends_on_its_place_only_in_whole_texts() -> None:
    assert LetterCase("unicode", "keep")("ΟΔΟΣ") == "οδος"
    assert lower_each("ΟΔΟΣ") == "οδοσ"


def test_dotted_capital_i() -> None:
    assert lower_each("İ") == "i̇"
    assert LetterCase("unicode", "strip")("İ") == "i"
