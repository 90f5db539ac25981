"""Activations by the names that checkpoints use for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from tfxlm.errors import ConfigError

ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    # Checkpoints mean the exact GELU, with the error function, by "gelu"; its tanh approximation is "gelu_new".
    "gelu": partial(keras.activations.gelu, approximate=False),
    "gelu_new": partial(keras.activations.gelu, approximate=True),
    "linear": keras.activations.linear,
    "relu": keras.activations.relu,
    "sigmoid": keras.activations.sigmoid,
    "silu": keras.activations.silu,
    "swish": keras.activations.silu,
    "tanh": keras.activations.tanh,
}


def activation_named(name: str | None) -> Callable[[Any], Any]:
    """Returns an activation by its name; None and "" mean none.

    Raises:
        ConfigError: for an unknown name.
    """
    if (name or "linear") not in ACTIVATIONS:
        raise ConfigError(f"Unknown activation {name!r}. Known are: {', '.join(ACTIVATIONS)}; None for none.")
    return ACTIVATIONS[name or "linear"]
