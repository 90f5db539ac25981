"""Character classes against the compiled patterns of sacremoses and of Python."""

import itertools
import re
import unicodedata

import pytest
from sacremoses import MosesTokenizer

from tfxlm.tokenizers.rules import characters

EVERYTHING = "".join(map(chr, range(0x110000)))


def _matched(pattern: str) -> set[str]:
    return set(re.findall(pattern, EVERYTHING))


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize(("name", "attribute"), [("alnum", "IsAlnum"), ("alpha", "IsAlpha"), ("number", "IsN")])
def test_letter_classes_are_those_of_sacremoses(lang: str, name: str, attribute: str) -> None:
    theirs = _matched(f"[{getattr(MosesTokenizer(lang), attribute)}]")
    ours = _matched(characters.expand(f"[{{{name}}}]", characters.LANGUAGE_CLASSES.get(lang, {})))
    assert ours == {char for char in theirs if not char.isspace()}


def test_lower_is_that_of_sacremoses() -> None:
    assert characters.members("lower") == set(MosesTokenizer.IsLower)


@pytest.mark.parametrize(("name", "pattern"), [("space", r"\s"), ("digit", r"\d")])
def test_python_classes(name: str, pattern: str) -> None:
    assert characters.members(name) == _matched(pattern)


@pytest.mark.parametrize(("name", "prefix"), [("other", "C"), ("mark", "Mn")])
def test_categories(name: str, prefix: str) -> None:
    assert characters.members(name) == {char for char in EVERYTHING if unicodedata.category(char).startswith(prefix)}


@pytest.mark.parametrize("name", characters.NAMES)
def test_ranges_ascend_and_do_not_touch(name: str) -> None:
    ranges = characters.ranges(name)
    assert all(first <= last for first, last in ranges)
    assert all(last + 1 < following for (_, last), (following, _) in itertools.pairwise(ranges))
    assert _matched(characters.expand(f"[{{{name}}}]")) == characters.members(name)


def test_end_is_the_end_of_the_text() -> None:
    assert re.sub(characters.expand("a{end}"), "b", "a\na") == "a\nb"
    assert re.sub(characters.expand("a{end}"), "b", "a\n") == "a\n"
