"""The classes on JAX answer and learn as on TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.jax.program import ADAPTED, CALLED, STORED, TAGGER, TRAINED
from tests.models.cases import ROWS, Case
from tests.models.test_keras_fit import losses_of, plain
from tests.models.test_keras_quantize import cosine

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """What the program printed, by run."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.jax.program"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-5000:]
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert {line["backend"] for line in lines} == {"jax"} and keras.backend.backend() == "tensorflow"
    return {line["name"]: line for line in lines}


def result_of(results: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    assert "error" not in results[name], results[name]["error"]
    return results[name]


def assert_close(left: Any, right: Any) -> None:
    assert set(left) == set(right)
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CALLED, ids=str)
def test_outputs(results: Any, case: Case) -> None:
    result = result_of(results, f"forward {case}")
    inputs, labels = case.data()
    model = case.model()
    x = inputs if case.loss_function else inputs | labels
    everything = model(x, output_hidden_states=True, output_attentions=True)
    names = [name for name in (*case.targets.values(), "loss") if name in everything]
    assert_close(result["training"], {name: everything[name] for name in names})
    np.testing.assert_allclose(result["hidden"], everything.hidden_states[-1], atol=1e-5)
    np.testing.assert_allclose(result["attention"], everything.attentions[-1], atol=1e-5)
    assert_close(result["predicted"], model(inputs))


@pytest.mark.parametrize("case", TRAINED, ids=str)
def test_training(results: Any, case: Case) -> None:
    """Compiled by JAX, as Keras does by default."""
    result = result_of(results, f"training {case}")
    assert result["jit"] is True
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.1), run_eagerly=True)
    history = model.fit(inputs, plain(labels), batch_size=ROWS, epochs=2, shuffle=False, verbose=0).history
    assert result["history"]["loss"] == pytest.approx(history["loss"], rel=1e-4)
    for left, right in zip(result["weights"], model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)


def test_mixed_precision(results: Any) -> None:
    losses = result_of(results, "mixed_bfloat16")["history"]["loss"]
    _, labels = TAGGER.data()
    expected = TAGGER.loss(TAGGER.outputs(TAGGER.model()), labels)
    assert losses[0] == pytest.approx(expected, rel=0.05) and losses[1] < losses[0]


@pytest.mark.parametrize("case", STORED, ids=str)
def test_files(results: Any, case: Case) -> None:
    assert result_of(results, f"files {case}")["same"] == [True, True]


def test_weights_and_compiled_losses(results: Any) -> None:
    """Of rows and of classes, from `tf.data` with labels beside the inputs and among them."""
    losses = result_of(results, "data")["losses"]
    case = TAGGER
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=True)
    outputs = case.outputs(model)
    weight = np.array([1, 0, 2, 1, 0.5, 0, 3], np.float32)
    accuracy = (outputs["logits"].argmax(-1) == labels["labels"])[labels["labels"] >= 0].mean()
    assert losses[0] == pytest.approx([case.loss(outputs, labels, weight), accuracy], rel=1e-5)
    class_weight = {0: 0.25, 1: 3.0}
    history = model.fit(inputs | labels, class_weight=class_weight, batch_size=ROWS, verbose=0).history
    assert losses[1] == pytest.approx(history["loss"], rel=1e-5)
    case.compiled(keras.optimizers.SGD(0.0), model=model, loss=losses_of(case), metrics=["accuracy"], run_eagerly=True)
    assert losses[2] == pytest.approx([case.loss(outputs, labels), accuracy], rel=1e-5)


@pytest.mark.parametrize("case", ADAPTED, ids=str)
def test_lora_and_quantization(results: Any, case: Case) -> None:
    result = result_of(results, f"adapted {case}")
    assert result["same"] and result["losses"] == sorted(result["losses"], reverse=True)
    for name, value in result["int8"].items():
        assert cosine(value, result["exact"][name]) > 0.999
