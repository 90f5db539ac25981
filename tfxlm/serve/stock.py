"""TensorFlow Serving's own server in place of the embedded one."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfxlm.errors import ServingError
from tfxlm.serve.model_config import PLATFORM

PROGRAM = "tensorflow_model_server"

# What it listens on: no option of it says otherwise.
_ALL_ADDRESSES = ("0.0.0.0", "::")


def run_stock(models: Mapping[str, str], host: str, flags: Mapping[str, object]) -> int:
    """Runs `tensorflow_model_server` until it ends.

    Args:
        models: name -> exported folder; empty where `flags` have a model configuration.
        host: address to listen on, which must be all of them.
        flags: its flags, by name; those that are None are left out.

    Returns:
        Its exit status.

    Raises:
        ServingError: it is not on the PATH, or would listen where it was not told to.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise ServingError(
            f"--stock needs {PROGRAM}, which is not on the PATH. Install TensorFlow Serving, run its image as "
            "serving/README.md shows, or leave --stock out: the embedded server speaks the same protocol.",
            "NOT_FOUND",
        )
    if host not in _ALL_ADDRESSES:
        raise ServingError(
            f"{PROGRAM} listens on all addresses of this machine and cannot be told to listen on {host} only. Say so "
            "with --host 0.0.0.0, or leave --stock out.",
            "FAILED_PRECONDITION",
        )
    with tempfile.TemporaryDirectory() as folder:
        given = {name: value for name, value in flags.items() if value is not None}
        if models:
            file = Path(folder) / "models.config"
            file.write_text(_config_text(models), encoding="utf-8")
            given["model_config_file"] = file
        command = [program, *(f"--{name}={_written(value)}" for name, value in given.items())]
        with subprocess.Popen(command) as process:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: process.send_signal(number))
            return process.wait()


def _config_text(models: Mapping[str, str]) -> str:
    config = model_server_config_pb2.ModelServerConfig()
    for name, path in models.items():
        config.model_config_list.config.add(name=name, base_path=os.path.abspath(path), model_platform=PLATFORM)
    return text_format.MessageToString(config, as_utf8=True)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
