"""Measuring on a machine that other programs use too: interleaved rounds, medians, ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

POLL_SECONDS = 0.001


def interleaved(works: Mapping[str, Callable[[], Any]], *, rounds: int = 15, warmup: int = 2) -> dict[str, list[float]]:
    """Times several works in turns, so that what else the machine does hits all of them alike.

    Args:
        works: functions by name; a result is dropped before the next work starts.
        rounds: timed calls of each.
        warmup: calls of each before.

    Returns:
        Seconds of each call, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in tqdm(range(warmup + rounds), desc="rounds", leave=False):
        for name, work in works.items():
            start = time.perf_counter()
            result = work()
            taken = time.perf_counter() - start
            del result
            if turn >= warmup:
                seconds[name].append(taken)
    return seconds


def median(seconds: list[float]) -> float:
    """Returns the median."""
    return statistics.median(seconds)


@dataclass
class Memory:
    """Megabytes (1e6 bytes) of this process: resident in all, anonymous (not backed by files), and mapped files."""

    rss: float
    anonymous: float
    mapped: float

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.rss - other.rss, self.anonymous - other.anonymous, self.mapped - other.mapped)


def memory_now() -> Memory:
    """Returns this process's memory, from /proc."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = ("VmRSS", "RssAnon", "RssFile")
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(fields)}
    return Memory(*(kilobytes[field] * 1.024e-3 for field in fields))


def mapped_memory(name: str) -> tuple[float, float]:
    """Returns what of mapped files this process has in memory, and its part of that, in megabytes.

    Its part counts a page that several processes map for each of them in equal shares.

    Args:
        name: how the files' paths begin.
    """
    pages: dict[str, float] = {"Rss:": 0, "Pss:": 0}
    is_wanted = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        field, *rest = line.split(maxsplit=5)
        if not field.endswith(":"):
            is_wanted = len(rest) == 5 and rest[4].startswith(name)
        elif is_wanted and field in pages:
            pages[field] += int(rest[0]) * 1.024e-3
    return pages["Rss:"], pages["Pss:"]


@contextmanager
def peak_memory() -> Iterator[Memory]:
    """Yields a `Memory` that holds, after the block, the peak inside it above what there was before."""
    before, peak = memory_now(), Memory(0, 0, 0)
    done = threading.Event()

    def watch() -> None:
        while True:
            grown = memory_now() - before
            peak.rss, peak.anonymous = max(peak.rss, grown.rss), max(peak.anonymous, grown.anonymous)
            peak.mapped = max(peak.mapped, grown.mapped)
            if done.wait(POLL_SECONDS):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def figures_of_fresh_process(module: str, *arguments: str) -> list[float]:
    """Runs ``python -m module *arguments`` and returns the figures on the last line that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [float(figure) for figure in done.stdout.splitlines()[-1].split()]
