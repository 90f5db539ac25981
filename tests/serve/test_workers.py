"""Threads, places and time limits of requests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from tfxlm.errors import ServingError
from tfxlm.serve.admission import Gate, time_limit
from tfxlm.serve.workers import WorkerPool


def test_results_and_exceptions_come_back() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1)
        assert await pool.run(lambda a, b: a + b, 2, 3) == 5
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert await pool.run(threading.get_ident) != threading.get_ident()
        pool.close()

    asyncio.run(scenario())


def test_what_is_cancelled_before_its_turn_never_runs_and_a_late_result_is_undone() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1)
        started, leave, undone = threading.Event(), threading.Event(), threading.Event()
        calls: list[str] = []

        def slow() -> str:
            started.set()
            leave.wait(30)
            return "late"

        running = asyncio.create_task(pool.run(slow, undo=lambda result: (calls.append(result), undone.set())))
        waiting = asyncio.create_task(pool.run(calls.append, "never", undo=lambda _: calls.append("nor this")))
        while not started.is_set():
            await asyncio.sleep(0.01)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        leave.set()
        assert undone.wait(30)
        await pool.run(calls.append, "next")
        assert calls == ["late", "next"]
        pool.close()

    asyncio.run(scenario())


def test_what_is_cancelled_is_forgotten_at_once_with_all_it_holds() -> None:
    class Body:
        pass

    async def scenario() -> None:
        pool = WorkerPool(1)
        started, leave = threading.Event(), threading.Event()
        running = asyncio.create_task(pool.run(lambda: (started.set(), leave.wait(30))))
        while not started.is_set():
            await asyncio.sleep(0.01)
        body = Body()
        held = weakref.ref(body)
        waiting = asyncio.create_task(pool.run(print, body))
        await asyncio.sleep(0)
        assert pool.waiting == 1
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert pool.waiting == 0
        del body, waiting
        gc.collect()
        assert held() is None
        leave.set()
        await running
        pool.close()

    asyncio.run(scenario())


def test_an_error_holds_nothing_of_what_was_run() -> None:
    class Body:
        pass

    def fail(body: Body) -> None:
        raise ValueError

    async def scenario() -> None:
        pool = WorkerPool(1)
        body = Body()
        held = weakref.ref(body)
        with contextlib.suppress(ValueError):
            await pool.run(fail, body)
        del body
        await pool.run(gc.isenabled)  # the thread has let go of it
        assert held() is None
        pool.close()

    gc.disable()
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()


def test_a_closed_pool_is_unavailable() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1)
        pool.close()
        with pytest.raises(ServingError, match="The server is stopping") as caught:
            await pool.run(lambda: None)
        assert caught.value.code == "UNAVAILABLE"

    asyncio.run(scenario())


def test_a_full_gate_refuses_and_a_place_is_given_back() -> None:
    gate = Gate(2, 1, 100)
    with gate.entered() as one:
        one.hold(60)
        with gate.entered() as two:
            with pytest.raises(ServingError, match=r"^The server is busy: 1 requests are waiting already") as caught:
                gate.entered().__enter__()
            assert caught.value.code == "RESOURCE_EXHAUSTED"
            with pytest.raises(ServingError, match=r"^The server is busy: requests of 60 bytes are waiting already"):
                two.hold(41)
            two.hold(40)
        assert (gate.inside, gate.held) == (1, 60)
    assert (gate.inside, gate.held) == (0, 0)


def test_a_place_that_was_left_holds_nothing_more() -> None:
    gate = Gate(2, 1, 100)
    with gate.entered() as place:
        place.hold(60)
    with pytest.raises(ServingError, match="Nobody waits for this answer any more") as caught:
        place.hold(1)  # a thread that still reads
    assert (caught.value.code, gate.held) == ("CANCELLED", 0)


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
def test_time_that_is_over(seconds: float) -> None:
    began = []

    async def scenario() -> None:
        async with time_limit(seconds):
            began.append(True)
            await asyncio.sleep(30)

    with pytest.raises(
        ServingError, match=rf"^The request was not answered within its {max(seconds, 0):g} sec"
    ) as caught:
        asyncio.run(scenario())
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert bool(began) == (seconds > 0)
