"""Replacement chains: ordered rules as data, and the Python function that applies them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tfxlm.tokenizers.alignment import AlignedText, Change
from tfxlm.tokenizers.rules import characters


@dataclass(frozen=True, slots=True)
class Literal:
    """Every occurrence of a text becomes another text.

    Args:
        old: the text looked for.
        new: what stands there afterwards.
    """

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """Every match of a regular expression is replaced.

    Patterns use what Python's `re` and RE2 agree on: no look-around, no ``\\s`` or ``\\d``; classes by name in braces
    (see `characters`), ``{end}`` for the end of the text.

    Args:
        pattern: the expression.
        new: the replacement, with ``\\1`` for groups.
        needs: a text without which the pattern cannot match; looking for it first is what makes a chain fast.
    """

    pattern: str
    new: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Runs of white space become one space, and none is left at the ends."""


Rule = Literal | Pattern | Squeeze
#: What the step needs to find in a text, what it makes of a text, and which changes that takes.
Step = tuple[str, Callable[[str], str], Callable[[str], Iterator[Change]]]

_WHITE_SPACE = re.compile(r"\s+")


class Chain:
    """Applies rules one after the other.

    Args:
        rules: the rules in order.
        classes: class names that stand for several classes in this language.

    Example:
        >>> Chain([Literal("«", '"'), Pattern("([{alpha}])!", r"\\1 !", needs="!")])("«oui!")
        '"oui !'
    """

    def __init__(self, rules: Sequence[Rule], classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> None:
        self._steps = tuple(_compile(rule, classes) for rule in rules)
        # A rule that needs a character beyond ASCII has nothing to do in an ASCII text, whatever runs before it.
        ascii_only = all(_output(rule).isascii() for rule in rules if _needed(rule).isascii())
        self._ascii_steps = tuple(step for step in self._steps if step[0].isascii()) if ascii_only else self._steps

    def __call__(self, text: str) -> str:
        for needed, apply, _ in self._ascii_steps if text.isascii() else self._steps:
            if needed in text:
                text = apply(text)
        return text

    def aligned(self, text: AlignedText) -> AlignedText:
        """Does the same to a text that keeps track of its characters."""
        for needed, apply, changes in self._ascii_steps if text.text.isascii() else self._steps:
            if needed in text.text and apply(text.text) != text.text:
                text = text.changed(changes(text.text))
        return text


def _needed(rule: Rule) -> str:
    match rule:
        case Literal(old, _):
            return old
        case Pattern(_, _, needs):
            return needs
    return ""


def _output(rule: Rule) -> str:
    return "" if isinstance(rule, Squeeze) else rule.new


def _compile(rule: Rule, classes: Mapping[str, tuple[str, ...]]) -> Step:
    match rule:
        case Literal(old, new):
            found = re.compile(re.escape(old))
            return old, lambda text: text.replace(old, new), lambda text: _changes(found, new, text)
        case Pattern(pattern, new, needs):
            expression = re.compile(characters.expand(pattern, classes))
            substitute = expression.sub
            return needs, lambda text: substitute(new, text), lambda text: _changes(expression, new, text)
    return "", lambda text: " ".join(text.split()), _squeeze


def _changes(expression: re.Pattern[str], new: str, text: str) -> Iterator[Change]:
    for match in expression.finditer(text):
        yield match.start(), match.end(), match.expand(new) if "\\" in new else new


def _squeeze(text: str) -> Iterator[Change]:
    for match in _WHITE_SPACE.finditer(text):
        at_an_end = match.start() == 0 or match.end() == len(text)
        yield match.start(), match.end(), "" if at_an_end else " "
