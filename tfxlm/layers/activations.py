"""Activations by the names that checkpoints use for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import ops

from tfxlm.backend import IS_TENSORFLOW
from tfxlm.errors import ConfigError
from tfxlm.layers import own_gradients

_gelu = partial(keras.activations.gelu, approximate=False)
_gelu_tanh = partial(keras.activations.gelu, approximate=True)


def _laplace(x: Any) -> Any:
    """The distribution function of the normal distribution that is close to a squared ReLU (Ma et al., 2022, MEGA)."""
    mean, deviation = 0.707107, 0.282095
    return 0.5 * (1 + ops.erf((x - mean) / (deviation * 2**0.5)))


# Checkpoints mean the exact GELU, with the error function, by "gelu"; the others are its tanh approximation, written
# in one way or another. "leaky_relu" is PyTorch's, whose slope is not Keras's.
ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "gelu": _gelu,
    "gelu_10": lambda x: ops.clip(_gelu(x), -10, 10),
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_python": _gelu,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "laplace": _laplace,
    "leaky_relu": partial(keras.activations.leaky_relu, negative_slope=0.01),
    "linear": keras.activations.linear,
    "mish": keras.activations.mish,
    "quick_gelu": lambda x: x * ops.sigmoid(1.702 * x),
    "relu": keras.activations.relu,
    "relu2": lambda x: ops.square(ops.relu(x)),
    "relu6": keras.activations.relu6,
    "sigmoid": keras.activations.sigmoid,
    "silu": keras.activations.silu,
    "swish": keras.activations.silu,
    "tanh": keras.activations.tanh,
}
# Those that have another form for training.
IN_TRAINING: Mapping[Callable[[Any], Any], Callable[[Any], Any]] = {_gelu: own_gradients.gelu} if IS_TENSORFLOW else {}


def activation_named(name: str | Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Returns an activation by its name; a function stands for itself, None and "" for none.

    Raises:
        ConfigError: for an unknown name.
    """
    if callable(name):
        return name
    function = ACTIVATIONS.get(name or "linear")
    if function is None:
        raise ConfigError(
            f"Unknown activation {name!r}. Known are: {', '.join(ACTIVATIONS)}; None for none, or a function of "
            "tensors."
        )
    return function


def in_training(activation: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns the form of an activation that takes less time to differentiate; itself where there is none."""
    return IN_TRAINING.get(activation, activation)
