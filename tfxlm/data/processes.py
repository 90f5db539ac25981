"""Work that several processes share."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tfxlm.errors import TFXLMError

Item = TypeVar("Item")
Result = TypeVar("Result")
Shared = TypeVar("Shared")

# What is handed out beyond what is worked on, for each process: enough that none waits, and little to hold.
_AHEAD = 2
# Why there are no processes any more, before and after the first result.
_CANNOT_BEGIN = (
    "The processes that share the work could not begin, or one was ended at once. Each imports the main program: one "
    'that is read from standard input, or does its work outside of `if __name__ == "__main__":`, cannot have others. '
    "Use workers=1, or fewer workers where memory is short."
)
_WAS_ENDED = (
    "A process that shared the work was ended, perhaps for want of memory. What is done is kept: begin the same again, "
    "with fewer workers."
)
_shared: Any = None


def in_order(
    work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Does the same with many items, several at a time.

    Args:
        work: a function of a module, called with what is shared and an item.
        shared: is sent to each process once.
        items: are taken as they are needed.
        workers: processes; 1 works in this one.

    Yields:
        The results, in the order of the items.

    Raises:
        TFXLMError: the processes cannot begin, or one was ended from outside.
    """
    if workers == 1:
        for item in items:
            yield work(shared, item)
        return
    # Processes are begun anew rather than forked: threads of this one, such as those of a progress bar, may hold locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(shared,))
    waiting: collections.deque[Future[Result]] = collections.deque()
    message = _CANNOT_BEGIN

    def next_result() -> Result:
        nonlocal message
        result = waiting.popleft().result()
        message = _WAS_ENDED
        return result

    try:
        for item in items:
            waiting.append(pool.submit(_work, work, item))
            if len(waiting) >= workers * (1 + _AHEAD):
                yield next_result()
        while waiting:
            yield next_result()
    except BrokenProcessPool as error:
        raise TFXLMError(message) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(shared: Any) -> None:
    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(work: Callable[[Any, Item], Result], item: Item) -> Result:
    return work(_shared, item)
