"""What optimizers and layers of every class can be told: accumulation, averages, decay, freezing, precision."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import BY_NAME, IGNORED, Arrays, Case
from tests.models.test_keras_fit import dataset, plain

PARTS = (slice(0, 4), slice(4, None))  # batches of 4 rows and 3


def part_of(arrays: Arrays, rows: slice) -> Arrays:
    return {name: value[rows] for name, value in arrays.items()}


def gradients(case: Case, model: Any, rows: slice) -> list[np.ndarray]:
    """Of the class's loss of some rows."""
    inputs, labels = (part_of(arrays, rows) for arrays in case.data())
    with tf.GradientTape() as tape:
        if case.loss_function:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True).last_hidden_state - labels["labels"]))
        else:
            loss = model(inputs | labels, training=True).loss
    values = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return [tf.convert_to_tensor(value).numpy() for value in values]


def assert_weights(model: Any, expected: list[np.ndarray]) -> None:
    for weight, value in zip(model.trainable_weights, expected, strict=True):
        np.testing.assert_allclose(weight, value, atol=1e-5, err_msg=weight.path)


def steps(case: Case, rate: float) -> list[list[np.ndarray]]:
    """Weights before and after each step of gradient descent over the batches."""
    model = case.model()
    history = [[weight.numpy() for weight in model.trainable_weights]]
    for rows in PARTS:
        for weight, gradient in zip(model.trainable_weights, gradients(case, model, rows), strict=True):
            weight.assign_sub(rate * gradient)
        history.append([weight.numpy() for weight in model.trainable_weights])
    return history


def test_gradient_accumulation(case: Case) -> None:
    """Two batches make one step, along the mean of their gradients."""
    model = case.model()
    before = [weight.numpy() for weight in model.trainable_weights]
    both = zip(*(gradients(case, model, rows) for rows in PARTS), strict=True)
    expected = [weight - 0.1 * (a + b) / 2 for weight, (a, b) in zip(before, both, strict=True)]
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    case.compiled(optimizer, model=model, run_eagerly=case.is_eager)
    inputs, labels = case.data()
    model.train_on_batch(*(part_of(arrays, PARTS[0]) for arrays in (inputs, labels)))
    assert_weights(model, before)
    model.train_on_batch(*(part_of(arrays, PARTS[1]) for arrays in (inputs, labels)))
    assert_weights(model, expected)


def test_averages_of_weights(case: Case) -> None:
    """With `use_ema`, `fit` ends with the averages; with a frequency, weights are overwritten on the way."""
    inputs, labels = case.data()
    _, first, second = steps(case, 0.1)
    average = [0.75 * a + 0.25 * b for a, b in zip(first, second, strict=True)]
    for frequency in (None, 2) if str(case) == "TFXLMModel" else (None,):
        optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=frequency)
        model = case.compiled(optimizer, run_eagerly=case.is_eager)
        model.fit(inputs, plain(labels), batch_size=4, shuffle=False, verbose=0)
        assert_weights(model, average)


def test_weight_decay_with_exclusions(case: Case) -> None:
    """Without gradients only decay is left; every vector is a bias or a scale, and excluded by name."""
    model = case.model()
    inputs, labels = case.data()
    if case.loss_function:
        labels = {"labels": np.asarray(model(inputs).last_hidden_state)}
    else:
        labels = {name: np.full_like(value, IGNORED) for name, value in labels.items() if name != "is_impossible"}
    # Gradients are nothing but rounding here, which a small epsilon would make steps of.
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5, epsilon=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    case.compiled(optimizer, model=model, run_eagerly=case.is_eager)
    before = [weight.numpy() for weight in model.trainable_weights]
    model.train_on_batch(inputs, labels)
    decayed = 0
    for weight, value in zip(model.trainable_weights, before, strict=True):
        if "answer_class" in weight.path:
            continue  # without is_impossible nothing depends on it
        factor = 1.0 if len(weight.shape) == 1 else 0.95
        decayed += factor != 1
        np.testing.assert_allclose(weight, factor * value, rtol=1e-5, atol=1e-7, err_msg=weight.path)
    assert decayed >= 9  # three tables, four kernels of attention, two of the feed-forward layer


@pytest.mark.parametrize("frozen", ["body", "embeddings"])
def test_freezing(case: Case, frozen: str) -> None:
    model = case.model()
    body = model.base_model if frozen == "body" else model.base_model.embeddings
    body.trainable = False
    fixed = {weight.path for weight in body.weights}
    assert {weight.path for weight in model.trainable_weights} == {w.path for w in model.weights} - fixed
    learned = model.num_parameters(only_trainable=True)
    assert learned == model.num_parameters() - sum(int(np.prod(weight.shape)) for weight in body.weights)
    before = {weight.path: weight.numpy() for weight in model.weights}
    inputs, labels = case.data()
    # Of the class without a head nothing is left to learn, which must do no harm.
    case.compiled(keras.optimizers.AdamW(0.1), model=model, run_eagerly=case.is_eager)
    model.train_on_batch(inputs, labels)
    for weight in model.weights:
        assert np.array_equal(weight, before[weight.path]) == (weight.path in fixed), weight.path


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(case: Case, policy: str) -> None:
    """Losses as in float32 up to the precision, weights in float32, and learning."""
    inputs, labels = case.data()
    exact = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=case.is_eager)
    expected = case.loss(case.outputs(exact), labels)
    model = case.compiled(keras.optimizers.SGD(0.1), model=case.model(dtype=policy), run_eagerly=case.is_eager)
    losses = [model.train_on_batch(inputs, plain(labels)) for _ in range(4)]
    assert losses[0] == pytest.approx(expected, rel=0.05)
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    assert all(weight.dtype == "float32" for weight in model.weights)
    is_scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")
    assert (model.optimizer.inner_optimizer if is_scaled else model.optimizer).iterations == 4  # none was skipped
    predicted = model.predict(inputs, batch_size=4, verbose=0)
    main = predicted[0]
    assert np.isfinite(np.asarray(main, np.float32)).all()
    kept = ("start_top_log_probs", "start_top_index", "end_top_log_probs", "end_top_index")  # float32 and int32 always
    assert all(str(np.asarray(value).dtype) == policy.removeprefix("mixed_")
               for name, value in predicted.items() if name not in kept)  # fmt: skip


@pytest.mark.parametrize(("policy", "name"), [("mixed_bfloat16", "compiled"), ("mixed_float16", "own")])
def test_mixed_precision_in_graphs(policy: str, name: str) -> None:
    case = BY_NAME["TFXLMForTokenClassification"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if name == "compiled" else None
    model = case.compiled(keras.optimizers.Adam(1e-2), model=case.model(dtype=policy), loss=loss, metrics=["accuracy"])
    inputs, labels = case.data()
    history = model.fit(dataset(inputs, plain(labels)), epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0] and history["accuracy"][-1] > history["accuracy"][0]
