"""What the fields of a configuration must be, and the words for it."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfxlm.errors import ConfigError

Rule = tuple[Callable[[Any], bool], str]

# Sizes and ids are integers of 32 bits in models, epsilons and the like floats of 32 bits.
_SIZES_END = 2**31
_LARGEST_FLOAT = 3.4e38

# What a field may name as an activation; `tfxlm.layers.activations` has the function of each. The reference takes
# "prelu" and "xielu" too: layers with weights of their own, which no model has used here.
ACTIVATION_NAMES = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6"),
    *("sigmoid", "silu", "swish", "tanh"),
)


def expect(condition: bool, field: str, expected: str, value: Any) -> None:
    """Raises ConfigError, naming the field, what it must be and what it is, unless `condition` holds."""
    if not condition:
        raise ConfigError(f"Invalid configuration: {field} must be {expected}, got {value!r}.")


def check(field: str, rule: Rule, value: Any) -> None:
    """Raises ConfigError unless the value of a field keeps the rule; see `expect`."""
    keeps, expected = rule
    expect(keeps(value), field, expected, value)


def is_int(value: Any) -> bool:
    """Whether `value` is an integer, one of numpy too; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether `value` is a real number, one of numpy too; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_flag(value: Any) -> bool:
    """Whether `value` is True or False, those of numpy too."""
    return isinstance(value, bool | np.bool_)


def one_of(*choices: Any) -> Rule:
    """Makes the rule that a value is one of `choices`."""
    return (lambda value: value in choices), "one of " + ", ".join(repr(choice) for choice in choices)


POSITIVE = (lambda value: is_int(value) and 0 < value < _SIZES_END), "a positive integer below 2**31"
INDEX = (lambda value: is_int(value) and value >= 0), "an integer of 0 or more"
OPTIONAL_INDEX = (lambda value: value is None or (is_int(value) and value >= 0)), "an integer of 0 or more, or None"
RATE = (lambda value: is_number(value) and 0 <= value < 1), "a number in [0, 1)"
NOT_NEGATIVE = (lambda value: is_number(value) and 0 <= value < _LARGEST_FLOAT), "a finite number of 0 or more"
POSITIVE_NUMBER = (lambda value: is_number(value) and 0 < value < _LARGEST_FLOAT), "a finite number above 0"
FLAG = is_flag, "True or False"
OPTIONAL_RATE = (lambda value: value is None or RATE[0](value)), "a number in [0, 1), or None"
OPTIONAL_NAMES = (
    (lambda value: value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))),
    "a list of names, or None",
)


def int_keys(mapping: Any, field: str) -> dict[int, str]:
    """Returns a mapping of ids to names; JSON has the ids as strings."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"Invalid configuration: {field} must map ids to names, got {mapping!r}.")
    try:
        return {int(key): str(name) for key, name in mapping.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Invalid configuration: {field} must map integers to names, got {mapping!r}.") from error


def int_values(mapping: Any, field: str) -> dict[str, int]:
    """Returns a mapping of names to ids; old scripts wrote the ids as strings."""
    if not isinstance(mapping, Mapping) or not all(map(_is_id, mapping.values())):
        raise ConfigError(f"Invalid configuration: {field} must map names to integers, got {mapping!r}.")
    return {str(name): int(value) for name, value in mapping.items()}


def _is_id(value: Any) -> bool:
    return is_int(value) or (isinstance(value, str) and value.isascii() and value.isdigit())


def heads_by_layer(mapping: Any, field: str) -> dict[int, list[int]]:
    """Returns a mapping of layers to sorted heads; JSON has the layers as strings."""
    try:
        return {int(layer): sorted({int(head) for head in heads}) for layer, heads in mapping.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"Invalid configuration: {field} must map layers to lists of heads, got {mapping!r}."
        ) from error
