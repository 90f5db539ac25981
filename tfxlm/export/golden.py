"""Golden requests: what an export must answer, checked in a fresh process that does not know tfxlm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import ExportError
from tfxlm.export.signatures import Signature

# Largest allowed |difference| / max(1, |expected|), by the model's compute dtype. Two processes may divide work among
# threads in two ways, so equality to the bit is not asked for.
TOLERANCES = {"float32": 1e-4, "float64": 1e-6, "bfloat16": 5e-2, "float16": 1e-2}

TIMEOUT_SECONDS = 600

# Runs in the fresh process: every signature of each SavedModel, on requests named ``signature/input``. It imports
# TensorFlow and nothing of ours.
_RUN = """
import pathlib
import sys
import numpy as np
import tensorflow as tf

for folder, request, answers in zip(*[iter(sys.argv[1:])] * 3):
    graph = pathlib.Path(folder, "saved_model.pb")
    if graph.is_file() and b"Sentencepiece" in graph.read_bytes():
        import tensorflow_text  # brings the operations of SentencePiece
    given = dict(np.load(request).items())
    flat = {}
    for signature, function in tf.saved_model.load(folder).signatures.items():
        inputs = {name: tf.constant(given[signature + "/" + name]) for name in function.structured_input_signature[1]}
        for name, value in function(**inputs).items():
            if value.dtype.is_floating:
                value = tf.cast(value, tf.float64)  # numpy's files hold no bfloat16
            array = value.numpy()
            text = array.dtype == object
            flat[signature + "/" + name] = np.char.decode(array.astype(bytes), "utf-8") if text else array
    np.savez(answers, **flat)
"""


def run_signatures(signatures: Mapping[str, Signature]) -> dict[str, dict[str, np.ndarray]]:
    """Runs every signature on its sample here, with the model's variables, on the CPU.

    The graphs are run, not the model step by step: between the two, kernels round differently, and where two answers
    are as good as each other (as they are in half precision), another one may win.

    Returns:
        Arrays by signature and output name; text as `str`, floating point numbers as float64.
    """
    with tf.device("CPU:0"):
        answers = {
            name: signature.graph(**{key: tf.constant(array) for key, array in signature.sample.items()})
            for name, signature in signatures.items()
        }
    return {name: {key: _as_array(value) for key, value in answer.items()} for name, answer in answers.items()}


def flat(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns arrays by ``signature/name``."""
    return {f"{signature}/{name}": array for signature, named in arrays.items() for name, array in named.items()}


def _as_array(value: tf.Tensor) -> np.ndarray:
    if value.dtype == tf.string:
        return np.char.decode(value.numpy().astype(bytes), "utf-8")
    return (tf.cast(value, tf.float64) if value.dtype.is_floating else value).numpy()


def check_in_fresh_process(
    folder: Path,
    requests: Mapping[str, Mapping[str, np.ndarray]],
    expected: Mapping[str, Mapping[str, np.ndarray]],
    tolerance: float,
) -> float:
    """Loads the SavedModel in a new process, runs all signatures, and compares.

    Args:
        folder: of the SavedModel.
        requests: arrays by signature and input name.
        expected: arrays by signature and output name.
        tolerance: the largest difference that is allowed.

    Returns:
        The largest difference, relative to max(1, |expected|).

    Raises:
        ExportError: when it does not load, or answers differently.
    """
    with tempfile.TemporaryDirectory() as scratch:
        request_file, answer_file = Path(scratch, "request.npz"), Path(scratch, "answers.npz")
        np.savez(request_file, **flat(requests))  # type: ignore[arg-type]
        # On the CPU, because this process may hold all of the GPU's memory.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", _RUN, str(folder), str(request_file), str(answer_file)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"The export did not load and answer within {TIMEOUT_SECONDS} s.") from error
        if done.returncode != 0:
            raise ExportError(f"The export does not load in a fresh process:\n{done.stderr[-2000:]}")
        with np.load(answer_file) as answers:
            found = dict(answers)
    return _compare(expected, found, tolerance)


def _compare(expected: Mapping[str, Mapping[str, np.ndarray]], found: Mapping[str, Any], tolerance: float) -> float:
    worst = 0.0
    for signature, outputs in expected.items():
        for name, value in outputs.items():
            answer = found.get(f"{signature}/{name}")
            where = f"output {name!r} of signature {signature!r}"
            if answer is None or answer.shape != value.shape:
                shape = None if answer is None else answer.shape
                raise ExportError(f"The reloaded export has another shape for {where}: {shape}, not {value.shape}.")
            if value.dtype.kind == "U":
                difference = 0.0 if (answer == value).all() else np.inf
            else:
                difference = float(np.max(np.abs(answer - value) / np.maximum(1, np.abs(value)), initial=0))
            if not difference <= tolerance:
                raise ExportError(
                    f"The reloaded export answers differently from the model: {where} is off by {difference:.3g}, "
                    f"allowed is {tolerance:.3g}."
                )
            worst = max(worst, difference)
    return worst
