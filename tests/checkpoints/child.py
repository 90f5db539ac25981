"""Runs what reads hostile files in a process of its own, of limited time and memory."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MOST_MEMORY = 2 << 30  # beyond what the process has when it starts


def in_child(run: Callable[[], None], counts: Counter[str], seconds: int) -> None:
    """Runs a function in a copy of this process, which a file that takes too much kills, and fetches its counts."""

    def limited(sender: Any) -> None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
        resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, used + seconds))
        # The collector would go over all that tests before have left, and copy the pages it is in.
        gc.freeze()
        try:
            run()
        except BaseException:
            sender.send(traceback.format_exc())
        else:
            sender.send(counts)

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=limited, args=(sender,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads are not copied
        process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        process.join()
        pytest.fail(
            f"The process that reads the files ended with {process.exitcode}: it took too much time or crashed."
        )
    process.join()
    if isinstance(outcome, str):
        pytest.fail(outcome)
    counts.update(outcome)
