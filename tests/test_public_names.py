"""What `import tfxlm` offers, also where optional packages are missing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

import tfxlm
from tfxlm.errors import TFXLMError, explain_missing


def run(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'tfxlm' has no attribute 'XLMModel'$"):
        tfxlm.XLMModel  # noqa: B018


def test_every_name_is_there_and_listed() -> None:
    names = {*tfxlm.__all__, "Server"}
    assert set(dir(tfxlm)) == names
    assert all(getattr(tfxlm, name) is not None for name in names)


def test_everything_but_the_extras_comes_without_them() -> None:
    script = """
import sys
sys.modules["starlette"] = sys.modules["uvicorn"] = None
from tfxlm import *
import tfxlm
assert export_model is tfxlm.export_model and Client is tfxlm.Client
assert "Server" not in globals()
tfxlm.Server
"""
    result = run(script)
    last = result.stderr.splitlines()[-1]
    assert "MissingDependencyError: The embedded server needs uvicorn, which is not installed." in last
    assert last.endswith('Install it with: pip install "tfxlm[serve]"')


@pytest.mark.parametrize("package", ["httpx", "grpc"])
def test_a_client_without_its_transport_says_what_to_install(package: str) -> None:
    result = run(f"import sys; sys.modules[{package!r}] = None; from tfxlm import Client")
    last = result.stderr.splitlines()[-1]
    assert f"MissingDependencyError: The client needs {package}, which is not installed." in last
    assert last.endswith('pip install "tfxlm"')


def test_a_fault_of_ours_is_not_taken_for_a_missing_package() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'tfxlm\.absent'$") as caught,
        explain_missing("Nothing", "tfxlm"),
    ):
        importlib.import_module("tfxlm.absent")
    assert not isinstance(caught.value, TFXLMError)
