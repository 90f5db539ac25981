"""What `benchmarks.serving` measures, and the bounds that it keeps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table

# Memory after the last version took over, over that after the first third of them did: one version of the small model
# that stayed with each swap would be several times this.
MEMORY_RATIO = 1.05


@dataclass
class Counts:
    """What became of requests: accepted are those with an answer, lost those with none at all.

    Late are those that gRPC gave up because the server did not take them in in time: nobody refused them, and a client
    may send them again.

    `behind` is by how many seconds the program that asks was late at most: so much of the times is its own.
    """

    offered: int = 0
    refused: int = 0
    lost: int = 0
    behind: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    late: int = 0

    @property
    def accepted(self) -> int:
        """Those that were answered."""
        return len(self.seconds)

    def percentile(self, percent: float) -> float:
        """Returns the seconds within which so many of the accepted were answered."""
        return float(np.percentile(self.seconds, percent)) if self.seconds else float("nan")


@dataclass
class Outcome:
    """All that was measured.

    Args:
        capacity: requests a second of the closed loop.
        rate: requests a second of the open loop.
        max_queued: requests that may wait in the server.
        counts: what became of the requests of the open loop.
        taken: how many seconds it took.
        answered: requests that the server says it answered, and answers that came, before it was told to stop.
        wanted_swaps: versions that were to take over.
        first_megabytes: the server's memory when the open loop began.
        megabytes: its memory after each version that took over.
        drain_seconds: how long the server may take to end.
        drained: how long it took, or None when it did not.
        exit_status: of the server, or None.
    """

    capacity: float
    rate: float
    max_queued: int
    counts: Counts
    taken: float
    answered: tuple[int, int]
    wanted_swaps: int
    first_megabytes: float
    megabytes: Sequence[float]
    drain_seconds: float
    drained: float | None = None
    exit_status: int | None = None

    def bounds(self) -> dict[str, tuple[str, bool]]:
        """Returns each bound: what was measured, and whether it is kept."""
        counts, swaps = self.counts, len(self.megabytes)
        answered = counts.accepted + counts.refused + counts.late + counts.lost + counts.failed.total()
        # A request waits behind a full queue at most; twice that allows for versions that are being loaded.
        places = self.max_queued + (os.cpu_count() or 1)
        slowest = 1.0 + counts.behind + 2 * places * self.taken / max(1, counts.accepted)
        failed = ", ".join(f"{n} {code}" for code, n in counts.failed.items()) or "0"
        first = max(self.megabytes[: max(1, swaps // 3)], default=self.first_megabytes)
        last = self.megabytes[-1] if self.megabytes else self.first_megabytes
        drained = "not" if self.drained is None else f"{self.drained:.1f} s"
        return {
            "every request accounted for": (f"{answered} of {counts.offered}", answered == counts.offered),
            "more than it can do: refused": (str(counts.refused), counts.refused > 0),
            "requests lost": (str(counts.lost), counts.lost == 0),
            "answers of the server that came": (
                f"{self.answered[1]} of {self.answered[0]}",
                0 < self.answered[0] == self.answered[1],
            ),
            "requests failed": (failed, not counts.failed),
            f"p99 of accepted at most {slowest:.2f} s": (
                f"{counts.percentile(99):.3f} s",
                counts.percentile(99) <= slowest,
            ),
            f"memory after the last version at most {MEMORY_RATIO} of that after the first third": (
                f"{last / first:.3f}",
                last <= MEMORY_RATIO * first,
            ),
            "versions that took over": (f"{swaps} of {self.wanted_swaps}", swaps == self.wanted_swaps),
            f"end of the server within {self.drain_seconds:.0f} s": (
                drained,
                self.drained is not None and self.drained <= self.drain_seconds,
            ),
            "exit status of the server": (str(self.exit_status), self.exit_status == 0),
        }

    @property
    def is_good(self) -> bool:
        """Whether every bound is kept."""
        return all(kept for _, kept in self.bounds().values())

    def print(self) -> None:
        """Prints two tables."""
        counts, megabytes = self.counts, [self.first_megabytes, *self.megabytes]
        console = Console(width=140)
        table = Table("figure", "value", title="The embedded server at twice its capacity")
        accepted, refused, late = (
            f"{n} ({n / max(1, counts.offered):.0%})" for n in (counts.accepted, counts.refused, counts.late)
        )
        for name, value in (
            ("capacity, closed loop", f"{self.capacity:.0f} requests/s"),
            ("offered, open loop", f"{counts.offered}, {self.rate:.0f} requests/s"),
            ("accepted", accepted),
            ("refused (429, RESOURCE_EXHAUSTED)", refused),
            ("not taken in in time (CANCELLED)", late),
            ("failed", str(counts.failed.total())),
            ("lost", str(counts.lost)),
            ("accepted: p50, p95, p99", ", ".join(f"{1000 * counts.percentile(p):.0f} ms" for p in (50, 95, 99))),
            ("who asks was late by at most", f"{1000 * counts.behind:.0f} ms"),
            ("resident memory: before, and after each version", ", ".join(f"{it:.0f}" for it in megabytes) + " MB"),
        ):
            table.add_row(name, value)
        console.print(table)
        table = Table("bound", "measured", "")
        for name, (value, kept) in self.bounds().items():
            table.add_row(name, value, "kept" if kept else "MISSED")
        console.print(table)
