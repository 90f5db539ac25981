"""Whether workers share the folder of a run: two threads in the places of two workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.training.support import settings
from tfxlm.errors import ConfigError
from tfxlm.training import PretrainingConfig, distribution
from tfxlm.training.distribution import Devices


class Worker(Devices):
    """One of two workers, which are threads."""

    barrier = threading.Barrier(2, timeout=60)
    numbers: list[int] = [0, 0]

    def __init__(self, index: int) -> None:
        super().__init__(PretrainingConfig.from_dict(settings(Path("store"), Path("run"))))
        self._has_workers, self.index = True, index

    @property
    def writes(self) -> bool:
        return self.index == 0

    def sum_over_workers(self, number: int) -> int:
        self.numbers[self.index] = number
        self.barrier.wait()
        whole = sum(self.numbers)
        self.barrier.wait()
        return whole


def errors(*folders: Path) -> list[BaseException | None]:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(Worker(index).check_shared, folder) for index, folder in enumerate(folders)]
        return [run.exception(timeout=60) for run in runs]


def test_workers_share_a_folder_or_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors(tmp_path / "run", tmp_path / "run") == [None, None]
    assert list((tmp_path / "run").iterdir()) == []
    monkeypatch.setattr(distribution, "_PATIENCE", 0.3)
    # That of another run, too.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.workers").write_text("7")
    for found in errors(tmp_path / "run", tmp_path / "other"):
        assert isinstance(found, ConfigError)
        assert "1 of the workers does not see what is written to" in str(found) and "all workers share" in str(found)
    assert list((tmp_path / "run").iterdir()) == []
