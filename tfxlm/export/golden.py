"""Golden requests: what an export must answer, checked in a fresh process that does not know tfxlm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import ExportError
from tfxlm.models import TFPreTrainedModel

# Largest allowed |difference| / max(1, |expected|), by the model's compute dtype. Kernels differ between an eager call
# and a saved graph, so equality to the bit is not asked for.
TOLERANCES = {"float32": 1e-4, "float64": 1e-6, "bfloat16": 5e-2, "float16": 1e-2}

TIMEOUT_SECONDS = 600

# Runs in the fresh process: every signature of a SavedModel on one request. It imports TensorFlow and nothing of ours.
_RUN = """
import sys
import numpy as np
import tensorflow as tf

folder, request, answers = sys.argv[1:]
loaded = tf.saved_model.load(folder)
inputs = {name: tf.constant(array) for name, array in np.load(request).items()}
flat = {}
for signature, function in loaded.signatures.items():
    for name, value in function(**inputs).items():
        text = value.dtype == tf.string
        array = np.char.decode(value.numpy().astype(bytes), "utf-8") if text else tf.cast(value, tf.float64).numpy()
        flat[signature + "/" + name] = array
np.savez(answers, **flat)
"""


def golden_request(model: TFPreTrainedModel, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """Makes a small request with padding: three rows of different lengths.

    Returns:
        int32 arrays by input name.
    """
    config = model.config
    length = min(8, config.max_position_embeddings)
    lengths = np.array([length, max(1, length // 2), 1], dtype=np.int32)
    random = np.random.default_rng(0)
    ids = random.integers(0, config.vocab_size, (len(lengths), length), dtype=np.int32)
    request = {
        "input_ids": np.where(np.arange(length) < lengths[:, None], ids, np.int32(config.pad_index)),
        "lengths": lengths,
        "langs": random.integers(0, config.n_langs, ids.shape, dtype=np.int32),
    }
    return {name: request[name] for name in specs}


def run_signatures(
    signatures: Mapping[str, Callable[..., dict[str, tf.Tensor]]], request: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Runs every signature here, through the Keras model, on the CPU.

    Returns:
        Arrays by signature and output name; text as `str`, numbers as float64.
    """
    with tf.device("CPU:0"):
        inputs = {name: tf.constant(array) for name, array in request.items()}
        answers = {name: function(**inputs) for name, function in signatures.items()}
    return {name: {key: _as_array(value) for key, value in answer.items()} for name, answer in answers.items()}


def _as_array(value: tf.Tensor) -> np.ndarray:
    if value.dtype == tf.string:
        return np.char.decode(value.numpy().astype(bytes), "utf-8")
    return tf.cast(value, tf.float64).numpy()


def check_in_fresh_process(
    folder: Path,
    request: Mapping[str, np.ndarray],
    expected: Mapping[str, Mapping[str, np.ndarray]],
    tolerance: float,
) -> float:
    """Loads the SavedModel in a new process, runs all signatures on `request`, and compares.

    Returns:
        The largest difference, relative to max(1, |expected|).

    Raises:
        ExportError: when it does not load, or answers differently.
    """
    with tempfile.TemporaryDirectory() as scratch:
        request_file, answer_file = Path(scratch, "request.npz"), Path(scratch, "answers.npz")
        np.savez(request_file, **dict(request))  # type: ignore[arg-type]
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
