"""Runs the benchmarks and prints a table of each part as soon as it is measured.

Every ratio is of medians of interleaved rounds in one process; a peer is compared by the better of its modes. Each part
has a process of its own, so that none is measured among the models of another, and what runs out of memory takes no
other with it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from benchmarks.parts import measured, parts_of
from benchmarks.table import print_table

NAMES = (
    "loading",
    "forward",
    "padding",
    "latency",
    "training",
    "generation",
    "memory",
    "tokenization",
    "texts",
    "pipeline",
)
# Only when they are named: they fill the disk.
NAMED = ("large",)


def in_fresh_process(function: Any, *arguments: Any) -> Any:
    """Returns what a function returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> int:
    """Returns 1 when a bound is missed or a part was not measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = f"{', '.join(NAMES)} (default: all of these); {', '.join(NAMED)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {known}")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="the part of this name, or those that hold it, e.g. xlm-roberta"
    )
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each (default: 15)")
    parser.add_argument(
        "--folder", help="of large: where its checkpoint, 7 or 21.5 GB, is made (default: the system's)"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - {*NAMES, *NAMED}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join((*NAMES, *NAMED))}")
    given, holds = {"rounds": options.rounds, "folder": options.folder}, True
    for name in options.names or NAMES:
        parts = in_fresh_process(parts_of, name)
        chosen = [options.only] if options.only in parts else [part for part in parts if options.only in part]
        for part in chosen:
            try:
                rows = in_fresh_process(measured, name, part, given)
            except BrokenProcessPool:
                print(f"{name}, {part}: its process was killed, as the system does when memory runs out.", flush=True)
                holds = False
                continue
            print_table(f"{name}, {part}", rows)
            # A part without rows was skipped, and shows nothing.
            holds &= bool(rows) and all(row.holds for row in rows)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
