"""Abbreviations after which a full stop belongs to the word, by language."""

import functools
from dataclasses import dataclass

_NUMERIC_ONLY = " #NUMERIC_ONLY#"


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The abbreviations of one language.

    Args:
        always: a full stop after one of these stays with it.
        before_numbers: here it stays only if a number follows ("No. 7").
    """

    always: frozenset[str]
    before_numbers: frozenset[str]


@functools.cache
def prefixes(language: str) -> Prefixes:
    """Returns the abbreviations of a language; English ones where Moses has no list for it.

    Args:
        language: language code, such as ``"de"``.
    """
    from sacremoses.corpus import NonbreakingPrefixes

    rows = [row.strip() for row in NonbreakingPrefixes().words(language)]
    before_numbers = {row.rpartition(" ")[0] for row in rows if _NUMERIC_ONLY in row}
    always = {row for row in rows if _NUMERIC_ONLY not in row} - before_numbers
    return Prefixes(frozenset(always), frozenset(before_numbers))


def languages_with_prefixes() -> tuple[str, ...]:
    """Returns the codes of the languages that have a list of their own."""
    from sacremoses.corpus import NonbreakingPrefixes

    return tuple(NonbreakingPrefixes().available_langs.values())
