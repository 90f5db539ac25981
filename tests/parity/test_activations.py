"""Activations against those of the same name in `transformers`."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch
from transformers.activations import ACT2FN

from tests.parity.reference import TOLERANCE
from tfxlm.layers import ACTIVATIONS

# Layers with weights of their own.
LEARNED = {"prelu", "xielu"}


def test_all_names() -> None:
    assert set(ACTIVATIONS) == set(ACT2FN) - LEARNED


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients(name: str) -> None:
    x = np.concatenate([np.linspace(-12, 12, 401), [-30, 30]]).astype(np.float32)
    reference = torch.from_numpy(x).requires_grad_()
    expected = ACT2FN[name](reference)
    expected.sum().backward()
    ours = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(ours)
        value = ACTIVATIONS[name](ours)
    bound = TOLERANCE * np.maximum(1, np.abs(expected.detach().numpy()))
    assert np.all(np.abs(value - expected.detach().numpy()) <= bound)
    np.testing.assert_allclose(tape.gradient(value, ours), reference.grad, atol=TOLERANCE)
