"""Where requests are worked on: a few threads beside the event loop, with a bounded queue."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tfxlm.errors import ServingError

Result = TypeVar("Result")


class WorkerPool:
    """Runs functions in threads and refuses work that would wait too long.

    Args:
        num_threads: functions that run at the same time.
        max_queued: functions that may wait for a thread.
    """

    def __init__(self, num_threads: int, max_queued: int) -> None:
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="tfxlm-serve")
        self._max_queued = max_queued
        self._free = num_threads + max_queued
        self._lock = threading.Lock()

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs a function in a thread; if the caller goes away before it starts, it never runs.

        Raises:
            ServingError: the queue is full (code `RESOURCE_EXHAUSTED`).
        """
        with self._lock:
            if self._free == 0:
                raise ServingError(
                    f"The server is busy: {self._max_queued} requests are waiting already. Try again later.",
                    "RESOURCE_EXHAUSTED",
                )
            self._free -= 1
        try:
            future = self._executor.submit(function, *arguments)
        except RuntimeError:
            self._release()
            raise ServingError("The server is stopping.", "UNAVAILABLE") from None
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, _: Any = None) -> None:
        with self._lock:
            self._free += 1

    def close(self) -> None:
        """Drops what waits and lets what runs finish."""
        self._executor.shutdown(wait=True, cancel_futures=True)
