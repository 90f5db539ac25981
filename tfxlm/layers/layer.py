"""Keras layers that are made in a fraction of the time: a large model has hundreds of them."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

import keras

from tfxlm.backend import IS_TENSORFLOW

# What neither Keras nor TensorFlow has to keep track of, when an attribute is given it.
_PLAIN = frozenset(
    (
        *(type(None), bool, int, float, str, FunctionType, inspect.Signature, keras.DTypePolicy, keras.InputSpec),
        *(keras.initializers.RandomNormal, keras.initializers.Zeros, keras.initializers.Ones),
    )
)


class Layer(keras.layers.Layer):
    """A Keras layer that is made in a fraction of the time.

    Keras asks of everything that becomes an attribute whether it is a variable, a layer or a collection of these, in
    three ways and some fifty times for each layer; and it takes the signatures of `__init__` and `call` apart each time
    that a layer is made. Here numbers, texts and the like become attributes at once, and signatures are known.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("__init__", "call"):
            function = vars(cls).get(name)
            if function is not None:
                # Where `inspect.signature` looks first.
                function.__signature__ = inspect.signature(function)

    if IS_TENSORFLOW:

        def __setattr__(self, name: str, value: Any) -> None:
            if type(value) in _PLAIN:
                object.__setattr__(self, name, value)
            else:
                super().__setattr__(name, value)


class Dropout(Layer, keras.layers.Dropout):
    """`keras.layers.Dropout`.

    Args:
        rate: share of the numbers that become zero.
        **kwargs: of a Keras layer.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer: any shape."""
        return super().call(inputs, training=training)
