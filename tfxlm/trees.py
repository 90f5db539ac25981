"""Dict subclasses that Keras looks into, without importing Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import optree

Flatten = Callable[[Any], tuple[list[Any], tuple[str, ...]]]
Unflatten = Callable[[tuple[str, ...], Iterable[Any]], Any]


def register_mapping(cls: type[dict]) -> tuple[Flatten, Unflatten]:
    """Makes Keras look into a dict subclass as into a dict, keeping its type and the order of its keys.

    Keras flattens nested values with optree, in a namespace of its own; an unknown subclass of dict would be one
    opaque leaf.

    Args:
        cls: the class; it is made from pairs of keys and values.

    Returns:
        What takes an instance apart into values and keys, and what puts it together again from keys and values.
    """

    def flatten(mapping: Any) -> tuple[list[Any], tuple[str, ...]]:
        return list(mapping.values()), tuple(mapping)

    def unflatten(keys: tuple[str, ...], values: Iterable[Any]) -> Any:
        return cls(zip(keys, values, strict=True))

    optree.register_pytree_node(
        cls,
        lambda mapping: (*flatten(mapping), tuple(mapping)),
        unflatten,  # type: ignore[arg-type]
        namespace="keras",
    )
    return flatten, unflatten
