"""Objects of Keras 2, which scripts for `transformers` hold, are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tf_keras

from tests.models.cases import BY_NAME
from tfxlm.errors import InputError


class OwnCallback(tf_keras.callbacks.Callback):
    """Of a script, whose own module says nothing."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", tf_keras.optimizers.SGD(0.1)),
        ("loss", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        ("metrics", [tf_keras.metrics.SparseCategoricalAccuracy()]),
        ("metrics", {"labels": tf_keras.metrics.SparseCategoricalAccuracy()}),
    ],
)
def test_compile_names_them(name: str, value: Any) -> None:
    model = BY_NAME["TFXLMForSequenceClassification"].model()
    with pytest.raises(InputError, match=rf"^{name}: .* of tf_keras, .*TF_USE_LEGACY_KERAS"):
        model.compile(**({"optimizer": "sgd"} | {name: value}))


def test_fit_names_them() -> None:
    case = BY_NAME["TFXLMForSequenceClassification"]
    model = case.model()
    model.compile("sgd")
    inputs, labels = case.data()
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(InputError, match=r"^callbacks: OwnCallback is of tf_keras"):
        model.fit(inputs, labels, callbacks=[OwnCallback()])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
