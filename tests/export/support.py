"""What the export tests share: a configuration, a request, and other processes that answer it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfxlm import XLMConfig
from tfxlm.export import golden

LABELS = {0: "non", 1: "oui", 2: "peut-être"}

# Commands that take FOLDER REQUEST.npz ANSWERS.npz, and load a SavedModel each in its own way.
WITHOUT_TFXLM = ["-c", golden._RUN + '\nassert not any(name.startswith("tfxlm") for name in sys.modules)\n']
C_API = [str(Path(__file__).with_name("c_api.py"))]


def config(**changes: Any) -> XLMConfig:
    values = {"vocab_size": 60, "emb_dim": 24, "n_layers": 2, "n_heads": 3, "n_langs": 4, "id2label": LABELS}
    return XLMConfig(**{**values, "max_position_embeddings": 16, **changes})


def requests() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    lengths = np.array([11, 1, 6, 4], np.int32)
    ids = random.integers(3, 60, (4, 11)).astype(np.int32)
    return {"input_ids": ids, "lengths": lengths, "langs": random.integers(0, 4, (4, 11)).astype(np.int32)}


def ask_process(command: list[str], folder: Path, scratch: Path) -> dict[str, np.ndarray]:
    np.savez(scratch / "request.npz", **requests())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    files = [str(folder), str(scratch / "request.npz"), str(scratch / "answers.npz")]
    done = subprocess.run([sys.executable, *command, *files], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(np.load(scratch / "answers.npz").items())
