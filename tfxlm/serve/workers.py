"""Where requests are worked on: a few threads beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tfxlm.errors import ServingError

Result = TypeVar("Result")


class WorkerPool:
    """Runs functions in threads. Who may wait for one is `admission.Gate`'s business.

    Args:
        num_threads: functions that run at the same time.
        name: of the threads.
    """

    def __init__(self, num_threads: int, name: str = "tfxlm-serve") -> None:
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix=name)

    async def run(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        undo: Callable[[Result], None] | None = None,
    ) -> Result:
        """Runs a function in a thread; if the caller goes away before it starts, it never runs.

        Args:
            function: what to run.
            *arguments: what with.
            undo: is given a result that nobody waits for any more.

        Raises:
            ServingError: the pool is closed (code `UNAVAILABLE`).
        """
        try:
            future = self._executor.submit(function, *arguments)
        except RuntimeError:
            raise ServingError("The server is stopping.", "UNAVAILABLE") from None
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if undo is not None:
                future.add_done_callback(lambda done: _undone(done, undo))
            raise

    def close(self) -> None:
        """Drops what waits; what runs is left to finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _undone(future: "Future[Result]", undo: Callable[[Result], None]) -> None:
    if not future.cancelled() and future.exception() is None:
        undo(future.result())
