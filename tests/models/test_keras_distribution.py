"""`MirroredStrategy` on two CPU devices learns what one learns, in every class, however unevenly labels are spread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.cases import CASES, sampled

ROOT = Path(__file__).parents[2]
# The class without a loss of its own, one with a label for each token, and one with several labels.
COMPILED = (
    "TFXLMModel",
    "TFXLMForTokenClassification",
    "TFXLMForQuestionAnswering",
    "TFXLMRobertaXLForTokenClassification",
)
WITH_OWN_LOSS = [case for case in CASES if not case.loss_function]
# Class, loss, mode, and how it differs from its case: a kind of summary, or an input that is left out. Eager, as
# tracing costs seconds for each number of rows on each device; one class in graphs.
RUNS = [(str(case), "own", "eager", "") for case in sampled("distribution", WITH_OWN_LOSS)]
RUNS += [(name, "compiled", "eager", "") for name in COMPILED]
RUNS += [("TFXLMForSequenceClassification", "own", "eager", kind) for kind in ("last", "cls_index")]
RUNS += [("TFXLMForQuestionAnswering", "own", "eager", "without cls_index")]
RUNS.append(("TFXLMForTokenClassification", "own", "graph", ""))
# The classes that also evaluate and predict, each of whose outputs are put together in another way.
MEASURED = ("TFXLMForTokenClassification", "TFXLMForMultipleChoice", "TFXLMForQuestionAnswering")


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str, str], dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.replicas"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-5000:]
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return {tuple(line["run"]): line for line in lines}


@pytest.mark.parametrize(("name", "loss", "mode", "variant"), RUNS)
def test_two_devices_learn_as_one(results: Any, name: str, loss: str, mode: str, variant: str) -> None:
    one, two = (results[name, loss, mode, variant][devices] for devices in ("one", "two"))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert two["metrics"] == [pytest.approx(values) for values in one["metrics"]]
    assert list(two["predicted"]) == list(one["predicted"]) and bool(two["predicted"]) == (name in MEASURED)
    for output, expected in one["predicted"].items():
        np.testing.assert_allclose(two["predicted"][output], expected, atol=1e-4, err_msg=output)
    assert len(two["weights"]) == len(one["weights"]) > 10
    for left, right in zip(two["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
