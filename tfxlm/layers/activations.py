"""Activations by the names that checkpoints use for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    # Checkpoints mean the exact GELU, with the error function; Keras's default is the tanh approximation.
    "gelu": partial(keras.activations.gelu, approximate=False),
    "gelu_new": partial(keras.activations.gelu, approximate=True),
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "tanh": keras.activations.tanh,
}
