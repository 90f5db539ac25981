"""Where requests are worked on: a few threads beside the event loop."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from tfxlm.errors import ServingError

Result = TypeVar("Result")


class WorkerPool:
    """Runs functions in threads. Who may wait for one is `admission.Gate`'s business.

    Unlike an executor it forgets a function at once, with all that it holds, when its caller goes away before its turn,
    and Python does not wait for its threads when it ends, however long a graph takes.

    Args:
        num_threads: functions that run at the same time.
        name: of the threads.
    """

    def __init__(self, num_threads: int, name: str = "tfxlm-serve") -> None:
        self._waiting: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()
        self._condition = threading.Condition()
        self._closed = False
        for number in range(num_threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

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
        future: Future[Result] = Future()
        with self._condition:
            if self._closed:
                raise ServingError("The server is stopping.", "UNAVAILABLE")
            self._waiting[future] = partial(function, *arguments)
            self._condition.notify()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.cancel()
            with self._condition:
                self._waiting.pop(future, None)
            if undo is not None:
                future.add_done_callback(partial(_undone, undo))
            raise
        finally:
            del future, function, arguments  # as below

    @property
    def waiting(self) -> int:
        """How many functions wait for a thread."""
        return len(self._waiting)

    def close(self) -> None:
        """Drops what waits; what runs is left to finish."""
        with self._condition:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._condition.notify_all()
        for future in waiting:
            future.cancel()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            _run(*work)
            del work  # what it holds goes before the next wait

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popitem(last=False) if self._waiting else None


def _run(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # it is the caller's, whatever it is
        future.set_exception(error)
    finally:
        del future, function  # which the error would hold, by this frame, and the future the error


def _undone(undo: Callable[[Result], None], future: Future[Result]) -> None:
    if not future.cancelled() and future.exception() is None:
        undo(future.result())
