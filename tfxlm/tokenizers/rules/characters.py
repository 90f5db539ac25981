"""Named character classes as explicit code point ranges.

Patterns in the rules name classes in braces, as in ``[^{alpha}]``. Explicit ranges mean the same to every regular
expression engine, while ``\\s``, ``\\d`` and ``\\p{C}`` do not.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

Ranges = tuple[tuple[int, int], ...]

# Moses' classes come from the Perl Unicode properties that sacremoses carries.
_PERL_PROPERTIES = {"alnum": "IsAlnum", "alpha": "IsAlpha", "lower": "IsLower", "number": "IsN", "hangul": "Hangul"}
# Indic signs that join letters: Perl's properties leave them out, and words would be cut at them.
_WITH_INDIC_SIGNS = ("alnum", "alpha")
_CATEGORIES = {"other": "C", "mark": "Mn", "digit": "Nd"}

NAMES = ("space", *_PERL_PROPERTIES, *_CATEGORIES)

#: Languages in which the name of a class stands for several classes.
LANGUAGE_CLASSES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"ko": {"alnum": ("alnum", "hangul"), "alpha": ("alpha", "hangul")}}
)

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_ESCAPED = frozenset("\\]^-[&~|")


@functools.cache
def ranges(name: str) -> Ranges:
    """Returns the inclusive code point ranges of a class, ascending.

    Args:
        name: one of `NAMES`.
    """
    if name == "space":
        return runs(code for code in range(sys.maxunicode + 1) if chr(code).isspace())
    if name in _CATEGORIES:
        return _category_runs(_CATEGORIES[name])
    from sacremoses import indic
    from sacremoses.corpus import Perluniprops

    members = set(Perluniprops().chars(_PERL_PROPERTIES[name]))
    if name in _WITH_INDIC_SIGNS:
        members.update(indic.VIRAMAS, indic.NUKTAS)
    return runs(sorted(ord(char) for char in members if not char.isspace()))  # the lists hold stray newlines


@functools.cache
def members(name: str) -> frozenset[str]:
    """Returns the characters of a class."""
    return frozenset(chr(code) for first, last in ranges(name) for code in range(first, last + 1))


def expand(
    pattern: str,
    classes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    *,
    write: Callable[[Ranges], str] | None = None,
    end: str = r"\Z",
) -> str:
    """Replaces the class names in a pattern by their ranges, and ``{end}`` by the end of the text.

    Args:
        pattern: a regular expression in which classes stand in brackets: ``"([{alpha}])'{end}"``.
        classes: names that stand for several classes, as in `LANGUAGE_CLASSES`.
        write: what writes ranges to stand between brackets; Python's way by default.
        end: what the end of the text is to the engine; Python's by default.
    """

    def content(match: re.Match[str]) -> str:
        name = match[1]
        if name == "end":
            return end
        return "".join(write(ranges(part)) if write else _bracket_text(part) for part in classes.get(name, (name,)))

    return _PLACEHOLDER.sub(content, pattern)


@functools.cache
def _bracket_text(name: str) -> str:
    return "".join(_escape(first) + ("-" + _escape(last) if last > first else "") for first, last in ranges(name))


def _escape(code: int) -> str:
    char = chr(code)
    return "\\" + char if char in _ESCAPED else char


def runs(codes: Iterable[int]) -> Ranges:
    found: list[tuple[int, int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return tuple(found)


def _category_runs(prefix: str) -> Ranges:
    return runs(code for code, category in enumerate(_categories()) if category.startswith(prefix))


@functools.cache
def _categories() -> tuple[str, ...]:
    return tuple(map(unicodedata.category, map(chr, range(sys.maxunicode + 1))))
