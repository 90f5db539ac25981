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
        TFXLMError: a process was ended from outside.
    """
    if workers == 1:
        for item in items:
            yield work(shared, item)
        return
    # Processes are begun anew rather than forked: threads of this one, such as those of a progress bar, may hold locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(shared,))
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(_work, work, item))
            if len(waiting) >= workers * (1 + _AHEAD):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise TFXLMError(
            "A process that shared the work was ended, perhaps for want of memory. What is done is kept: begin the "
            "same again, with fewer workers."
        ) from error
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
