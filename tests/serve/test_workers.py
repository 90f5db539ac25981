"""The bounded pool of threads."""

import asyncio
import threading

import pytest

from tfxlm.errors import ServingError
from tfxlm.serve.workers import WorkerPool


def test_results_and_exceptions_come_back() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1, 0)
        assert await pool.run(lambda a, b: a + b, 2, 3) == 5
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert await pool.run(threading.get_ident) != threading.get_ident()
        pool.close()

    asyncio.run(scenario())


def test_a_full_pool_refuses_and_a_cancelled_wait_frees_its_place() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1, 1)
        leave = threading.Event()
        calls = []
        running = asyncio.create_task(pool.run(leave.wait, 30))
        waiting = asyncio.create_task(pool.run(calls.append, "never"))
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="1 requests are waiting already") as caught:
            await pool.run(calls.append, "refused")
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        taken = asyncio.create_task(pool.run(calls.append, "taken"))
        await asyncio.sleep(0)
        leave.set()
        await running
        await taken
        assert calls == ["taken"]
        pool.close()

    asyncio.run(scenario())


def test_a_closed_pool_is_unavailable() -> None:
    async def scenario() -> None:
        pool = WorkerPool(1, 1)
        pool.close()
        for _ in range(3):  # more often than there are places: a refusal gives its place back
            with pytest.raises(ServingError, match="The server is stopping") as caught:
                await pool.run(lambda: None)
            assert caught.value.code == "UNAVAILABLE"

    asyncio.run(scenario())
