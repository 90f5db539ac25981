"""Options of small answers, and which values they may have."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tfxlm.errors import InputError

Options = dict[str, Any]

# How an embedding is made of hidden states.
POOLINGS = ("mean", "first", "summary")


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclasses.dataclass(frozen=True)
class Kind:
    """Values that an option may have.

    Args:
        fits: whether a value is one.
        what: what it must be, for messages.
    """

    fits: Callable[[Any], bool]
    what: str


_POSITIVE = Kind(lambda value: _is_integer(value, 1), "a positive integer")
_KINDS: Mapping[str, Kind] = {
    "top_k": _POSITIVE,
    "max_answer_length": _POSITIVE,
    "max_question_length": Kind(lambda value: value is None or _is_integer(value, 1), "a positive integer, or None"),
    "stride": Kind(lambda value: value is None or _is_integer(value, 0), "0 or a positive integer, or None"),
    "pooling": Kind(lambda value: value in POOLINGS, f"one of {', '.join(POOLINGS)}"),
    "generation": Kind(
        lambda value: value is None or isinstance(value, Mapping), "a dict of options of generate, or None"
    ),
    "normalize": Kind(lambda value: isinstance(value, bool), "True or False"),
}


def defaults(function: Callable[..., Any]) -> Options:
    """Returns the options of a function that makes answers: its keyword-only arguments, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def own(function: Callable[..., Any], options: Mapping[str, Any]) -> Options:
    """Returns those of some options that a function takes."""
    return {name: options[name] for name in defaults(function) if name in options}


def checked(known: Mapping[str, Any], given: Mapping[str, Any], of: str) -> Options:
    """Returns options with defaults in the place of those that are not given.

    Args:
        known: defaults by name.
        given: values by name.
        of: what they are options of, for messages.

    Raises:
        InputError: for one that is not known, or a value that it cannot have.
    """
    for name, value in given.items():
        if name not in known:
            have = ", ".join(known) or "none"
            raise InputError(f"The answers of {of} have no option {name!r}. They have: {have}.")
        if not _KINDS[name].fits(value):
            raise InputError(f"{name} must be {_KINDS[name].what}, got {value!r}.")
    return {**known, **given}
