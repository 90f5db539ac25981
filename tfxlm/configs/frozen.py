"""Dicts and lists that cannot be changed: what a configuration gives out of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from tfxlm.configs.checks import is_flag, is_int, is_number
from tfxlm.errors import ConfigError


def _refuse(self: Any, *arguments: Any, **named: Any) -> NoReturn:
    raise ConfigError(
        "Configurations are frozen, and so is what their fields hold. Make a changed copy with config.replace(...), "
        "or change a copy of the field: dict(config.id2label), list(config.asm_cutoffs)."
    )


class FrozenDict(dict):
    """A dict that refuses to be changed. It equals the plain dict, and JSON and copies take it for one."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        # The usual way of copying and pickling fills the new dict item by item.
        return type(self), (dict(self),)


class FrozenList(list):
    """A list that refuses to be changed; see `FrozenDict`."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[type, tuple[list]]:
        return type(self), (list(self),)


def frozen(value: Any) -> Any:
    """Returns a copy of dicts and lists, nested ones too, that cannot be changed; anything else as it is.

    Numbers and flags of numpy become those of Python, as JSON holds no others.
    """
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList(map(frozen, value))
    if is_flag(value):
        return bool(value)
    if is_int(value):
        return int(value)
    return float(value) if is_number(value) else value


def thawed(value: Any) -> Any:
    """Returns a plain copy of what `frozen` made, with strings as keys, as JSON has them."""
    if isinstance(value, dict):
        return {str(key): thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list) else value
