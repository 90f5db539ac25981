"""Replacement chains as operations, for texts that are each in a language of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import tensorflow as tf

from tfxlm.tokenizers.in_graph import expressions
from tfxlm.tokenizers.in_graph.expressions import Change, expression, literal, replacement
from tfxlm.tokenizers.rules.chains import Literal, Pattern, Rule, Squeeze

_SPACES = expression("[{space}]+")
_ASCII = r"[\x{0}-\x{7F}]*"


@dataclass(frozen=True, slots=True)
class Replace:
    """One replacement, as RE2 has it.

    Args:
        pattern: what is looked for.
        new: what stands there afterwards.
        needs: a text beyond ASCII without which there is nothing to replace; or empty.
        strips: whether white space at the ends goes afterwards.
    """

    pattern: str
    new: str
    needs: str = ""
    strips: bool = False

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        texts = tf.strings.regex_replace(texts, self.pattern, self.new)
        return tf.strings.strip(texts) if self.strips else texts


def replacements(rules: Iterable[Rule], classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> list[Replace]:
    """Returns rules as replacements.

    Args:
        rules: in order.
        classes: class names that stand for several classes in this language.
    """
    return [_replacement(rule, classes) for rule in rules]


def _replacement(rule: Rule, classes: Mapping[str, tuple[str, ...]]) -> Replace:
    match rule:
        case Literal(old, new):
            return Replace(literal(old), replacement(new), _beyond_ascii(old))
        case Pattern(pattern, new, needs):
            return Replace(expression(pattern, classes), new, _beyond_ascii(needs))
        case Squeeze():
            return Replace(_SPACES, " ", strips=True)


def _beyond_ascii(text: str) -> str:
    return "" if text.isascii() else text


def chain(steps: Sequence[Replace]) -> Change:
    """Returns what carries out replacements in order.

    Those in a row that need characters beyond ASCII are only carried out for texts that have some of these. (The first
    one that finds something finds it in the text as it was, so a text with nothing to find stays as it is.)
    """
    groups = [(guarded, list(group)) for guarded, group in itertools.groupby(steps, lambda step: bool(step.needs))]

    def change(texts: tf.Tensor) -> tf.Tensor:
        for guarded, group in groups:
            if guarded:
                needed = "|".join(literal(text) for text in dict.fromkeys(step.needs for step in group))
                texts = expressions.where(expressions.holds(texts, needed), _in_order(group), texts)
            else:
                texts = _in_order(group)(texts)
        return texts

    return change


def _in_order(steps: Sequence[Replace]) -> Change:
    def change(texts: tf.Tensor) -> tf.Tensor:
        for step in steps:
            texts = step(texts)
        return texts

    return change


def for_ascii(steps: Iterable[Replace]) -> tuple[Replace, ...]:
    """Returns those replacements that can find something in an ASCII text, or in what they have made of it."""
    kept, known = [], set(map(chr, range(128)))
    for step in steps:
        if known.issuperset(step.needs):
            kept.append(dataclasses.replace(step, needs=""))
            known.update(step.new)
    return tuple(kept)


class ChainByLanguage:
    """Carries out the replacements of each text's language.

    Args:
        steps: replacements by language, in the order of the languages' indices.
    """

    def __init__(self, steps: Sequence[Sequence[Replace]]) -> None:
        self._ascii = _Kinds([for_ascii(own) for own in steps])
        self._any = _Kinds([tuple(own) for own in steps])

    def __call__(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
        """Returns the texts afterwards.

        Args:
            texts: string (rows,).
            languages: int32 (rows,), indices of languages.
        """
        is_ascii = tf.reduce_all(tf.strings.regex_full_match(texts, _ASCII))
        return tf.cond(is_ascii, lambda: self._ascii(texts, languages), lambda: self._any(texts, languages))


class _Kinds:
    """The same for any texts: what all languages begin and end with is done for all at once."""

    def __init__(self, steps: Sequence[tuple[Replace, ...]]) -> None:
        kinds = list(dict.fromkeys(steps))
        self._kind_of = [kinds.index(own) for own in steps]
        first = _common(kinds)
        last = _common([kind[len(first) :][::-1] for kind in kinds])[::-1]
        self._first, self._last = chain(first), chain(last)
        middles = [kind[len(first) : len(kind) - len(last)] for kind in kinds]
        self._middles = {index: chain(middle) for index, middle in enumerate(middles) if middle}

    def __call__(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
        texts = self._first(texts)
        kinds = tf.gather(self._kind_of, languages)
        for index, change in self._middles.items():
            texts = expressions.where(kinds == index, change, texts)
        return self._last(texts)


def _common(sequences: Sequence[Sequence[Replace]]) -> tuple[Replace, ...]:
    equal = itertools.takewhile(lambda steps: len(set(steps)) == 1, zip(*sequences, strict=False))
    return tuple(steps[0] for steps in equal)
