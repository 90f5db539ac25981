"""Trainings that need a process of their own: on two devices, as one of two workers, or until they are killed.

python -m tests.training.program KIND STORE OUTPUT
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import safetensors.numpy
import tensorflow as tf

from tests.training.support import LIVES, SHARED, settings

KILLED_AT = 6


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DieAt(keras.callbacks.Callback):
    """Ends the process without a word, as a machine does that is switched off."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch + 1 == KILLED_AT:
            die()


def write_half(arrays: Any, path: Path) -> None:
    """Writes half of a file, and no more."""
    data = safetensors.numpy.save(arrays)
    path.write_bytes(data[: len(data) // 2])
    die()


def main(kind: str, store: Path, output: Path) -> None:
    if kind == "devices then killed":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from tfxlm.training import checkpoints, pretrain

    if kind == "worker":
        pretrain(settings(store, output, **SHARED, strategy="multi_worker"))
    elif kind == "devices then killed":
        pretrain(settings(store, output / "devices", **SHARED, strategy="mirrored", devices=["cpu:0", "cpu:1"]))
        pretrain(settings(store, output / "killed", **LIVES), callbacks=[DieAt()])
    elif kind == "killed while writing":
        checkpoints.safetensors.numpy.save_file = write_half
        pretrain(settings(store, output / "killed", **LIVES), resume=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
