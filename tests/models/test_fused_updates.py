"""Optimizers that a model was compiled with: Keras's steps, taken in one pass, and everything around them as it was."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import BY_NAME
from tests.models.test_keras_fit import plain
from tfxlm.models.fused_updates import fuse_updates

ROOT = Path(__file__).parents[2]
STEPS = 20
SHAPES = ((5, 16), (33,), ())


class KerasAdam(keras.optimizers.Adam):
    """As Keras has it: derived classes are left alone."""


class KerasAdamW(keras.optimizers.AdamW):
    """As Keras has it."""


PLAIN = {keras.optimizers.Adam: KerasAdam, keras.optimizers.AdamW: KerasAdamW}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "numbers": {"beta_1": 0.8, "beta_2": 0.98, "epsilon": 1e-4},
    "decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.5},
    "averages": {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 2},
    "loss scale": {"loss_scale_factor": 8.0},
    "schedule": {"learning_rate": keras.optimizers.schedules.PolynomialDecay(1e-3, STEPS)},
}


@pytest.fixture
def no_keras_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where Keras's own chain of functions would run."""

    def refuse(*args: Any) -> None:
        raise AssertionError("Keras's own update_step was called")

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", refuse)


def variables(dtype: str = "float32") -> list[keras.Variable]:
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype(np.float32), dtype=dtype) for shape in SHAPES]


def train(optimizer: Any, weights: list[keras.Variable], **compilation: Any) -> list[np.ndarray]:
    """Returns weights and all that the optimizer keeps, after `STEPS` steps along the same random gradients."""
    random = np.random.default_rng(1)
    optimizer.build(weights)
    apply = tf.function(lambda gradients: optimizer.apply(gradients, weights), **compilation)
    for _ in range(STEPS):
        apply([tf.cast(random.normal(size=weight.shape), weight.dtype) for weight in weights])
    return [value.numpy().astype(np.float64) for value in (*weights, *optimizer.variables)]


def assert_as_keras(values: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-5, atol=1e-6)
    for value, other in zip(values[: len(SHAPES)], expected, strict=False):
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("cls", PLAIN)
def test_steps_are_those_of_keras(cls: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(PLAIN[cls](**options), variables())
    with monkeypatch.context() as patch:
        patch.setattr(keras.optimizers.Adam, "update_step", None)
        optimizer = cls(**options)
        fuse_updates(optimizer)
        values = train(optimizer, variables())
    assert_as_keras(values, expected)
    assert np.abs(values[0] - variables()[0].numpy()).max() > 1e-3


@pytest.mark.usefixtures("no_keras_steps")
def test_in_xla() -> None:
    results = []
    for compilation in ({}, {"jit_compile": True}):
        optimizer = keras.optimizers.Adam()
        fuse_updates(optimizer)
        results.append(train(optimizer, variables(), **compilation))
    assert_as_keras(*results)


@pytest.mark.parametrize(("options", "dtype"), [({"amsgrad": True}, "float32"), ({}, "bfloat16"), ({}, "float64")])
def test_what_keras_does_itself(options: dict[str, Any], dtype: str) -> None:
    optimizer = keras.optimizers.Adam(0.1, **options)
    fuse_updates(optimizer)
    values = train(optimizer, variables(dtype))
    for value, other in zip(values, train(KerasAdam(0.1, **options), variables(dtype)), strict=True):
        np.testing.assert_array_equal(value, other)


def test_slices() -> None:
    """Gradients of single rows, as layers of others make them."""
    results = []
    for optimizer in (keras.optimizers.Adam(), KerasAdam()):
        fuse_updates(optimizer)
        table = variables()[0]
        optimizer.apply([tf.IndexedSlices(tf.ones((2, 16)), tf.constant([1, 3]), tf.constant([5, 16]))], [table])
        results.append(table.numpy())
    np.testing.assert_array_equal(*results)


def test_others_stay_as_they_are() -> None:
    own = keras.optimizers.Adam()
    step = own.update_step = lambda gradient, variable, learning_rate: None
    for optimizer in (own, KerasAdam(), keras.optimizers.SGD(), keras.optimizers.Nadam(), None):
        fuse_updates(optimizer)
    assert own.update_step is step
    assert all("update_step" not in vars(cls()) for cls in (KerasAdam, keras.optimizers.SGD, keras.optimizers.Nadam))


CASE = BY_NAME["TFXLMForTokenClassification"]


def fit(model: Any, **options: Any) -> list[float]:
    inputs, labels = CASE.data()
    data = (inputs, plain(labels))
    return model.fit(*data, batch_size=4, shuffle=False, verbose=0, **options).history["loss"]


@pytest.mark.usefixtures("no_keras_steps")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_compiled_models(dtype: str) -> None:
    model = CASE.compiled(keras.optimizers.Adam(1e-2), model=CASE.model(dtype=dtype))
    losses = fit(model, epochs=4)
    assert losses[-1] < 0.9 * losses[0]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The losses of two epochs in graphs."""
    return fit(CASE.compiled(keras.optimizers.AdamW(1e-3)), epochs=2)


@pytest.mark.usefixtures("no_keras_steps")
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}], ids=str)
def test_ways_to_run(options: dict[str, Any], expected: list[float]) -> None:
    assert fit(CASE.compiled(keras.optimizers.AdamW(1e-3), **options), epochs=2) == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("no_keras_steps")
def test_files_continue_training(tmp_path: Path) -> None:
    """A model that was saved, and one that was interrupted, end as one that was not."""
    model = CASE.compiled(keras.optimizers.AdamW(1e-2))
    callbacks = [keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)]
    fit(model, epochs=1, callbacks=callbacks)
    model.save(tmp_path / "model.keras")
    saved = keras.saving.load_model(tmp_path / "model.keras")
    restored = CASE.compiled(keras.optimizers.AdamW(1e-2))
    losses = [fit(model, epochs=1), fit(saved, epochs=1), fit(restored, epochs=2, callbacks=callbacks)]
    assert losses[0] == losses[1] == losses[2]
    for again in (saved, restored):
        for value, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(value.numpy(), other.numpy())


def test_copies() -> None:
    """A copy is an optimizer of Keras again, with the same state."""
    optimizer = keras.optimizers.Adam(0.5)
    CASE.compiled(optimizer)
    assert optimizer.get_config() == keras.optimizers.Adam(0.5, name=optimizer.name).get_config()
    for again in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert type(again) is keras.optimizers.Adam and again.get_config() == optimizer.get_config()
    assert keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)).learning_rate == 0.5


def test_reuse_outside_of_the_model() -> None:
    """The optimizer goes on elsewhere as any other."""
    optimizer = keras.optimizers.Adam(1e-3)
    CASE.compiled(optimizer)
    assert_as_keras(train(optimizer, variables()), train(KerasAdam(1e-3), variables()))


def test_replicas() -> None:
    """Two devices learn what one learns, and what Keras's own steps lead to."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.test_fused_updates"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-5000:]
    one, two, keras_steps = json.loads(run.stdout.splitlines()[-1])
    for other in (two, keras_steps):
        for value, expected in zip(other, one, strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-5)


def main() -> None:
    """The process of `test_replicas`: logical devices must be configured before TensorFlow starts."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.OneDeviceStrategy("/cpu:0"), tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    results = []
    for strategy, cls in ((one, keras.optimizers.AdamW), (two, keras.optimizers.AdamW), (two, KerasAdamW)):
        with strategy.scope():
            model = CASE.compiled(cls(1e-3))
        fit(model)
        results.append([weight.ravel().tolist() for weight in model.get_weights()])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
