"""Requests that need several calls: when one fails, or nobody waits any more, the others are not made."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tfxlm.client.metadata import Signature
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import BatchingParameters
from tfxlm.serve.admission import Hold
from tfxlm.serve.answering import Answering, Limits
from tfxlm.serve.calls import Call, Prepared
from tfxlm.serve.metrics import Metrics
from tfxlm.serve.models import ModelManager

BATCHING = [None, BatchingParameters(num_batch_threads=1)]


class Model:
    """Answers each signature at once, but for two: `bad` fails, `slow` waits until it is let go."""

    name = "model"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unjoinable = set[str]()
        self.entered, self.leave = threading.Event(), threading.Event()

    def signature(self, name: str) -> Signature:
        return Signature({}, {})  # which is never joined

    def predict(self, name: str, inputs: Any) -> dict[str, np.ndarray]:
        self.asked.append(name)
        if name == "bad":
            raise InputError("bad")
        if name == "slow":
            self.entered.set()
            assert self.leave.wait(30)
        return {"y": np.array(len(self.asked))}

    def prepare(self, stack: ExitStack, body: bytes, hold: Hold) -> Prepared:
        calls = [Call(self, name, {}) for name in body.decode().split()]  # type: ignore[arg-type]
        return Prepared(calls, lambda outputs: str([int(output["y"]) for output in outputs]).encode())


def make(batching: BatchingParameters | None) -> Answering:
    return Answering(ModelManager({}), Limits(1000, 1, 10, 30), Metrics(), batching)


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("batching", BATCHING)
def test_all_are_answered(batching: BatchingParameters | None) -> None:
    model, answering = Model(), make(batching)
    assert asyncio.run(answering.answer(model.prepare, b"a b c", 30)) == b"[1, 2, 3]"
    answering.close()


@pytest.mark.parametrize("batching", BATCHING)
@pytest.mark.parametrize(("size", "on_the_loop"), [(1000, True), (1_000_000, False)])
def test_what_becomes_large_is_counted_and_not_read_on_the_event_loop(
    batching: BatchingParameters | None, size: int, on_the_loop: bool
) -> None:
    model, answering, held, readers = Model(), make(batching), [], []

    def prepare(stack: ExitStack, body: bytes, hold: Hold) -> Prepared:
        hold(size)
        readers.append(threading.current_thread())
        return model.prepare(stack, body, hold)

    assert asyncio.run(answering.answer(prepare, b"a b", 30, held.append)) == b"[1, 2]"
    assert held == [size - 3]  # beyond the body itself
    (reader,) = readers
    assert (reader is threading.main_thread()) == (on_the_loop and batching is not None)
    answering.close()


@pytest.mark.parametrize("batching", BATCHING)
@pytest.mark.parametrize("way", ["cancelled", "late"])
def test_what_nobody_waits_for_is_not_begun(batching: BatchingParameters | None, way: str) -> None:
    async def scenario() -> None:
        model, answering = Model(), make(batching)
        answer = asyncio.create_task(answering.answer(model.prepare, b"slow b c", 0.2 if way == "late" else 30))
        await until(model.entered)
        if way == "cancelled":
            answer.cancel()
        await asyncio.wait({answer})
        model.leave.set()
        assert await answering.answer(model.prepare, b"last", 30)
        assert model.asked == ["slow", "last"]
        assert answer.cancelled() == (way == "cancelled")
        if way == "late":
            with pytest.raises(ServingError, match=r"not answered within its 0\.2 seconds"):
                answer.result()
        answering.close()

    asyncio.run(scenario())


def test_when_one_fails_the_others_leave_the_queue() -> None:
    async def scenario() -> None:
        model, answering = Model(), make(BATCHING[1])
        with pytest.raises(InputError, match=r"^bad$"):
            await answering.answer(model.prepare, b"bad slow c d", 30)
        model.leave.set()
        assert await answering.answer(model.prepare, b"last", 30)
        assert [name for name in model.asked if name != "slow"] == ["bad", "last"]  # slow may have been begun
        answering.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("batching", BATCHING)
def test_what_has_no_time_left_is_not_begun(batching: BatchingParameters | None) -> None:
    model, answering = Model(), make(batching)
    with pytest.raises(ServingError, match="not answered within its 0 seconds") as caught:
        asyncio.run(answering.answer(model.prepare, b"a", 0))
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert model.asked == []
    answering.close()
