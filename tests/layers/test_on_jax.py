"""Decoders on JAX answer as on TensorFlow: relative positions, cross-attention, caches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.layers.jax_program import CASES, answers, inputs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the program wrote."""
    path = tmp_path_factory.mktemp("jax") / "answers.npz"
    run = subprocess.run(
        [sys.executable, "-m", "tests.layers.jax_program", str(path)], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-5000:]
    found = np.load(path)
    assert str(found["backend"]) == "jax"
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: "-".join(map(str, CASES[number])))
def test_answers(found: Any, number: int) -> None:
    atol = 1e-5 if CASES[number][2] == "float32" else 0.15
    expected = answers(*CASES[number])
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"{number} {name}"], value, atol=atol, err_msg=name)
    real = inputs()["mask"]
    np.testing.assert_allclose(found[f"{number} cached"][real], expected["states"][real], atol=atol)


def test_text_that_is_too_long(found: Any) -> None:
    assert "at most max_positions = 5 places" in str(found["refusal"])
