"""How long steps take, by a clock that only waiting and computing move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tfxlm.training import callbacks
from tfxlm.training.run import Seconds


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class OnDevice:
    """A number that its device computes until somebody wants to have it."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.is_there = clock, False

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.clock.now += 0 if self.is_there else 5
        self.is_there = True
        return np.zeros(())


def test_a_step_is_over_when_the_device_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seconds = Clock(), Seconds()
    monkeypatch.setattr(callbacks, "time", clock)
    monkeypatch.setattr(callbacks.ops, "convert_to_numpy", np.asarray)

    def batches() -> Iterator[int]:
        while True:
            clock.now += 3
            yield 1

    def train_function(iterator: Iterator[int]) -> dict[str, OnDevice]:
        next(iterator)
        clock.now += 1  # the device is told
        return {"loss": OnDevice(clock)}

    step = callbacks._timed(train_function, seconds)
    for _ in range(2):
        step(batches())
    assert (seconds.waiting, seconds.learning) == (6, 12) and seconds.share == pytest.approx(1 / 3)
