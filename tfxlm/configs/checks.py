"""What the fields of a configuration must be, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfxlm.errors import ConfigError

Check = tuple[Callable[[Any], bool], str]


def expect(condition: bool, field: str, expected: str, value: Any) -> None:
    """Raises ConfigError, naming the field, what it must be and what it is, unless `condition` holds."""
    if not condition:
        raise ConfigError(f"Invalid configuration: {field} must be {expected}, got {value!r}.")


def is_int(value: Any) -> bool:
    """Whether `value` is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(*choices: Any) -> Check:
    """Makes the check that a value is one of `choices`."""
    return (lambda value: value in choices), "one of " + ", ".join(repr(choice) for choice in choices)


POSITIVE = (lambda value: is_int(value) and value > 0), "a positive integer"
INDEX = (lambda value: is_int(value) and value >= 0), "an integer of 0 or more"
OPTIONAL_INDEX = (lambda value: value is None or (is_int(value) and value >= 0)), "an integer of 0 or more, or None"
RATE = (
    (lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1),
    "a number in [0, 1)",
)
NOT_NEGATIVE = (
    (lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0),
    "a number of 0 or more",
)
FLAG = (lambda value: isinstance(value, bool)), "True or False"


def int_keys(mapping: Any, field: str) -> dict[int, str]:
    """Returns a mapping of ids to names; JSON has the ids as strings."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"Invalid configuration: {field} must map ids to names, got {mapping!r}.")
    try:
        return {int(key): str(name) for key, name in mapping.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Invalid configuration: {field} must map integers to names, got {mapping!r}.") from error


def int_values(mapping: Any, field: str) -> dict[str, int]:
    """Returns a mapping of names to ids."""
    if not isinstance(mapping, Mapping) or not all(is_int(value) for value in mapping.values()):
        raise ConfigError(f"Invalid configuration: {field} must map names to integers, got {mapping!r}.")
    return {str(name): value for name, value in mapping.items()}


def with_value(field: str, check: Check, value: Any) -> tuple[bool, str, str, Any]:
    """Returns the arguments of `expect` for a field and its check."""
    test, expected = check
    return test(value), field, expected, value


def without_empty(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Leaves out those of `names` whose value is empty."""
    return {name: value for name, value in values.items() if value or name not in set(names)}
