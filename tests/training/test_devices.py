"""What one device learns, two devices learn too, and two workers; what was killed learns what was not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.training.support import LIVES, SHARED, settings
from tfxlm.errors import ConfigError
from tfxlm.training import pretrain

ROOT = Path(__file__).parents[2]


@contextmanager
def started(kind: str, store: Path, output: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end, whatever happens."""
    command = [sys.executable, "-m", "tests.training.program", kind, str(store), str(output)]
    made = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    with subprocess.Popen(
        command, cwd=ROOT, env=made, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], status: int = 0) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors[-5000:]


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Ports that nobody else gets until the end: processes that share ports, too (`TF_GRPC_REUSE_PORT`), may listen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what comes of all processes."""
    made = tmp_path_factory.mktemp("processes")
    with ExitStack() as stack:
        addresses = [f"127.0.0.1:{port}" for port in stack.enter_context(reserved_ports(2))]
        workers = []
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {"TF_CONFIG": json.dumps(task), "TF_GRPC_REUSE_PORT": "1"}
            workers.append(stack.enter_context(started("worker", store, made / "workers", **environment)))
        devices = stack.enter_context(started("devices then killed", store, made))
        for worker in workers:
            end(worker)
        end(devices, -9)
    pretrain(settings(store, made / "one", **SHARED))
    return made


def arrays(path: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(path)


@pytest.mark.parametrize("others", ["devices", "workers"])
def test_several_learn_what_one_learns(folder: Path, others: str) -> None:
    one, several = (arrays(folder / name / "checkpoints/step-000000006/state.safetensors") for name in ("one", others))
    assert one.keys() == several.keys() and len(one) > 60
    for name, value in one.items():
        np.testing.assert_allclose(several[name], value, atol=2e-6, err_msg=name)
    results, expected = (json.loads((folder / name / "results.json").read_text()) for name in (others, "one"))
    for kind in ("trained", "held_out"):
        assert set(results[kind]) == {"mlm:en", "clm:fr"}
        for name, figures in expected[kind].items():
            assert results[kind][name] == pytest.approx(figures, rel=1e-4), name
    assert sorted(path.name for path in (folder / others).iterdir()) == ["checkpoints", "logs", "model", "results.json"]


def test_what_was_killed_goes_on_as_if_it_was_not(store: Path, folder: Path, poisoned: tuple[Path, str]) -> None:
    """First after a checkpoint, then in the middle of writing the next."""
    checkpoints = folder / "killed/checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step-000000004"]
    with started("killed while writing", store, folder) as process:
        end(process, -9)
    (left,) = set(checkpoints.iterdir()) - {checkpoints / "step-000000004"}
    assert left.name.startswith(".step-000000008.")
    pretrain(settings(store, folder / "killed", **LIVES), resume=True)
    assert {path.name for path in checkpoints.iterdir()} == {f"step-{step:09d}" for step in (4, 8, 12)}
    runs = (folder / "killed", poisoned[0])
    killed, whole = (arrays(run / "checkpoints/step-000000012/state.safetensors") for run in runs)
    assert killed.keys() == whole.keys()
    # Weights, optimizer, the step, and the states of dropout, which go on by one a step.
    states = [array for array in whole.values() if array.dtype == np.int64 and array.shape == (2,)]
    assert len(states) == 4 and all(state[1] > 0 for state in states)
    for name, value in whole.items():
        np.testing.assert_allclose(killed[name], value, rtol=0, atol=1e-6, err_msg=name)
    figures = [json.loads((run / "checkpoints/step-000000012/state.json").read_text())["total"] for run in runs]
    assert figures[0]["mlm:en"] == pytest.approx(figures[1]["mlm:en"])


def test_devices_that_are_not_there(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"strategy": "mirrored", "devices": ["gpu:7"]}, r"devices must be some of cpu:0.*, which are here; got gpu:7"),
        ({"strategy": "multi_worker"}, "strategy is 'multi_worker', but the environment has no TF_CONFIG, which names"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message):
            pretrain(settings(store, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
