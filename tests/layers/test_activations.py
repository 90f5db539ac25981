"""Activations against numpy forms of what checkpoints mean by their names."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tfxlm.errors import ConfigError
from tfxlm.layers import ACTIVATIONS, SequenceSummary, activation_named

X = np.linspace(-15, 15, 61).astype(np.float32)
ERF = np.vectorize(math.erf)
EXACT = 0.5 * X * (1 + ERF(X / 2**0.5))
APPROXIMATE = 0.5 * X * (1 + np.tanh((2 / math.pi) ** 0.5 * (X + 0.044715 * X**3)))
SIGMOID = 1 / (1 + np.exp(-X))

EXPECTED = {
    **dict.fromkeys(["gelu", "gelu_python"], EXACT),
    **dict.fromkeys(["gelu_accurate", "gelu_fast", "gelu_new", "gelu_python_tanh", "gelu_pytorch_tanh"], APPROXIMATE),
    "gelu_10": np.minimum(EXACT, 10),
    "laplace": 0.5 * (1 + ERF((X - 0.707107) / (0.282095 * 2**0.5))),
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "linear": X,
    "mish": X * np.tanh(np.log1p(np.exp(X))),
    "quick_gelu": X / (1 + np.exp(-1.702 * X)),
    "relu": np.maximum(X, 0),
    "relu2": np.maximum(X, 0) ** 2,
    "relu6": np.clip(X, 0, 6),
    "sigmoid": SIGMOID,
    **dict.fromkeys(["silu", "swish"], X * SIGMOID),
    "tanh": np.tanh(X),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name: str) -> None:
    np.testing.assert_allclose(activation_named(name)(X), EXPECTED[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtypes_stay(name: str, dtype: str) -> None:
    assert ACTIVATIONS[name](keras.ops.cast(X, dtype)).dtype == dtype


def test_in_a_summary() -> None:
    layer = SequenceSummary(3, activation=activation_named("leaky_relu"))
    x = np.array([[[-1.0, 2.0, -3.0]]], np.float32)
    np.testing.assert_allclose(layer(x, np.ones((1, 1), bool)), [[-0.01, 2.0, -0.03]], atol=1e-6)


def test_names() -> None:
    assert activation_named(None) is activation_named("") is ACTIVATIONS["linear"]
    assert activation_named(keras.ops.softplus) is keras.ops.softplus
    message = r"Unknown activation 'prelu'\. Known are: gelu, .*, tanh; None for none, or a function of tensors\.$"
    with pytest.raises(ConfigError, match=message):
        activation_named("prelu")
