"""Rules as the expressions of RE2, and texts that a part of the rows have to go through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tfxlm.tokenizers.rules import characters

#: Changes texts of shape (rows,), string; it may be given more that belongs to them.
Change = Callable[..., tf.Tensor]

_SURROGATES = (0xD800, 0xDFFF)


def expression(pattern: str, classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> str:
    """Writes the pattern of a rule for RE2.

    Args:
        pattern: with the names of classes in braces, see `tfxlm.tokenizers.rules.chains.Pattern`.
        classes: names that stand for several classes.
    """
    return characters.expand(pattern, classes, write=within_brackets, end=r"\z")


def within_brackets(ranges: characters.Ranges) -> str:
    """Writes ranges of code points as what stands between brackets; halves of surrogate pairs are no UTF-8."""
    return "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _without_surrogates(ranges))


def _without_surrogates(ranges: characters.Ranges) -> Iterable[tuple[int, int]]:
    for first, last in ranges:
        if first < _SURROGATES[0]:
            yield first, min(last, _SURROGATES[0] - 1)
        if last > _SURROGATES[1]:
            yield max(first, _SURROGATES[1] + 1), last


def literal(text: str) -> str:
    """Writes a text as an expression that matches it."""
    return re.escape(text)


def replacement(text: str) -> str:
    """Writes a text as the replacement that it is."""
    return text.replace("\\", r"\\")


def holds(texts: tf.Tensor, pattern: str) -> tf.Tensor:
    """Returns which texts an expression matches somewhere: boolean, of the shape of the texts."""
    return tf.strings.regex_full_match(texts, f"(?s:.*)(?:{pattern})(?s:.*)")


def where(mask: tf.Tensor, change: Change, texts: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
    """Changes some of the texts, and does nothing at all where there are none of them.

    Args:
        mask: boolean (rows,): which.
        change: what happens to them; it is given the texts, and what belongs to them of `more`.
        texts: string (rows,).
        *more: (rows, ...) each.
    """

    def changed() -> tf.Tensor:
        rows = tf.where(mask)
        taken = [tf.gather_nd(tensor, rows) for tensor in (texts, *more)]
        return tf.tensor_scatter_nd_update(texts, rows, change(*taken))

    return when(tf.reduce_any(mask), changed, lambda: texts)


def when(condition: tf.Tensor, seldom: Callable[[], Any], else_: Callable[[], Any]) -> Any:
    """Does something that is seldom needed. While it is not, it costs one operation, not those that it consists of."""
    return tf.cond(condition, tf.function(seldom, autograph=False, experimental_attributes={"_noinline": True}), else_)
