"""Learning rates and the optimizer of pre-training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfxlm import TFXLMWithLMHeadModel, XLMConfig
from tfxlm.errors import InputError
from tfxlm.training import PretrainingAdamW, PretrainingConfig, WarmUp
from tfxlm.training.metrics import Figures, mean_loss, token_metrics
from tfxlm.training.optimizers import averaged_weights
from tfxlm.training.recipes import make_optimizer

EXPECTED = {
    "inverse_sqrt": lambda step: math.sqrt(10 / (step + 1)),
    "linear": lambda step: (100 - step) / 90,
    "cosine": lambda step: (1 + math.cos(math.pi * (step - 10) / 90)) / 2,
    "constant": lambda step: 1.0,
}


@pytest.mark.parametrize("decay", EXPECTED)
def test_schedules(decay: str) -> None:
    schedule = WarmUp(0.5, 10, decay, 100)
    for step in (0, 3, 8):
        assert float(schedule(step)) == pytest.approx(0.5 * (step + 1) / 10)
    for step in (10, 37, 99):
        assert float(schedule(step)) == pytest.approx(0.5 * EXPECTED[decay](step), rel=1e-5, abs=1e-7)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert float(again(tf.constant(37))) == float(schedule(37))


def test_schedules_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"decay must be one of 'inverse_sqrt', .* got 'fast'"):
        WarmUp(1.0, 1, "fast")
    with pytest.raises(InputError, match=r"decay='linear' ends at 0: say at which step, with total_steps"):
        WarmUp(1.0, 1, "linear")


def compiled(**changes: Any) -> Any:
    config = PretrainingConfig(
        store="s", output="o", objectives="mlm:en", steps=10, warmup_steps=1, schedule="constant", **changes
    )
    keras.utils.set_random_seed(0)
    model = TFXLMWithLMHeadModel(XLMConfig(vocab_size=30, emb_dim=8, n_heads=2, n_layers=1, dropout=0.0))
    model.compile(make_optimizer(config), weighted_metrics=token_metrics(), run_eagerly=True)
    return model


def test_decay_leaves_biases_and_normalisations_alone() -> None:
    """Without a gradient, AdamW does nothing but decay."""
    model = compiled(learning_rate=0.1, weight_decay=0.5, ema=0.5)
    before = model.get_weights()
    for weight in model.trainable_weights:
        weight.assign_add(np.ones(weight.shape))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.apply([tf.zeros(weight.shape) for weight in model.trainable_weights])
    kinds = set()
    for weight, value in zip(model.trainable_weights, before[: len(model.trainable_weights)], strict=True):
        decays = weight.name not in ("bias", "gamma", "beta")
        kinds.add(weight.name)
        np.testing.assert_allclose(weight, (value + 1) * (0.95 if decays else 1), atol=1e-6, err_msg=weight.path)
    assert kinds == {"embeddings", "kernel", "bias", "gamma", "beta"}
    assert float(model.optimizer.gradient_norm) == 0
    after = model.get_weights()
    with averaged_weights(model):
        averages = [np.array(weight) for weight in model.trainable_weights]
    assert all(np.array_equal(left, right) for left, right in zip(after, model.get_weights(), strict=True))
    # The first average is the weights themselves.
    np.testing.assert_allclose(averages[0], model.trainable_weights[0])


def test_the_norm_is_that_of_the_gradient_before_it_is_clipped() -> None:
    weights = [keras.Variable(np.zeros(2, np.float32)), keras.Variable(np.zeros(1, np.float32))]
    optimizer = PretrainingAdamW(0.1, global_clipnorm=1.0)
    optimizer.apply([tf.constant([3.0, 0.0]), tf.constant([4.0])], weights)
    assert float(optimizer.gradient_norm) == pytest.approx(5)
    assert float(optimizer._momentums[1][0]) == pytest.approx(0.1 * 4 / 5)


def test_figures_are_those_of_the_logits(tmp_path: Path) -> None:
    model, rng = compiled(), np.random.default_rng(0)
    ids, positions = rng.integers(4, 30, (3, 6)), rng.integers(0, 6, (3, 2))
    labels = np.array([[5, 6], [-100, 7], [8, -100]])
    weights = (labels != -100).astype(np.float32)
    inputs = {"input_ids": ids, "masked_positions": positions}
    model.evaluate(inputs, labels, sample_weight=weights, batch_size=3, verbose=0)
    figures = Figures.of_batch(model.get_metrics_result())
    logits = np.asarray(model(inputs).logits, np.float64)
    each = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
    assert (figures.tokens, figures.batches) == (4, 1)
    assert figures.loss_sum == pytest.approx((each * weights).sum(), rel=1e-5)
    assert figures.correct == ((logits.argmax(-1) == labels) * weights).sum()
    other = Figures(2.0, 1.0, 1.0, 1)
    other.add(Figures(4.0, 2.0, 0.0, 1))
    assert (other.loss, other.accuracy, other.perplexity) == (2, 1 / 3, math.exp(2))
    assert mean_loss({"a": other, "b": Figures(1.0, 1.0, 0.0, 1)}) == 1.5
    assert math.isnan(Figures().loss) and math.isinf(Figures(1e6, 1.0).perplexity)
