"""Layers that are made in less time are those of Keras otherwise."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import pytest

from tfxlm.layers import Dense, Dropout, Layer


def make(base: type[keras.layers.Layer]) -> Any:
    class Subject(base):  # type: ignore[misc, valid-type]
        def __init__(self, width: int, rate: float = 0.5, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width, self.rate, self.nothing, self.function = width, rate, None, len
            self.inner = keras.layers.Dense(width, name="inner")
            self.several = [keras.layers.Dense(width, name="first")]
            self.inner_again = self.inner
            self.inner_again = None

        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(shape=(3,), name="scale")
            self.inner.build(input_shape)
            self.several[0].build(input_shape)

        def call(self, x: Any, *, training: bool | None = None) -> Any:
            return self.inner(x) * self.scale

    layer = Subject(3, name="subject", trainable=False)
    layer.build((None, 3))
    return layer


def test_attributes_and_weights_are_those_of_keras() -> None:
    ours, expected = make(Layer), make(keras.layers.Layer)
    assert vars(ours).keys() == vars(expected).keys()
    assert [weight.path for weight in ours.weights] == [weight.path for weight in expected.weights]
    assert [layer.name for layer in ours._flatten_layers()] == [layer.name for layer in expected._flatten_layers()]
    assert not ours.trainable and not ours.trainable_weights and ours.built
    ours.trainable = expected.trainable = True
    assert len(ours.trainable_weights) == len(ours.weights) == 5
    assert ours.get_config() == expected.get_config()
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        ours.late = keras.layers.Dense(1)


def test_signatures_are_known() -> None:
    ours, expected = type(make(Layer)), type(make(keras.layers.Layer))
    for name in ("__init__", "call"):
        assert inspect.signature(getattr(ours, name)) == inspect.signature(getattr(expected, name))
    assert list(inspect.signature(Dense(2).call).parameters) == ["inputs", "training"]
    assert not hasattr(keras.layers.Dropout.call, "__signature__") and Dropout(0.5).rate == 0.5
