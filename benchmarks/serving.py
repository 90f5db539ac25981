"""The embedded server at more than it can do: `python -m benchmarks.serving --minutes 10`.

Starts `tfxlm serve` in a process of its own on a small export, measures how many requests a second it
answers when each client waits for its answer (closed loop), then sends twice as many whatever comes back (open loop),
while new versions take over; at the end it is told to stop with requests in progress. Every request must be answered or
refused, none may fail, memory and the time of what is answered must stay within bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from tfxlm.client import messages
from tfxlm.client.tensors import write_tensor

MODEL = "intent"
VOCABULARY = 1000
LENGTHS = (32, 48, 64)

# One request in so many goes over REST: its client costs ten times what gRPC's does.
REST_EVERY = 10
ANSWER_SECONDS = 60.0
MAX_QUEUED = 64

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class Counts:
    """What became of requests: accepted are those with an answer, lost those with none at all."""

    offered: int = 0
    refused: int = 0
    lost: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Those that were answered."""
        return len(self.seconds)

    def percentile(self, percent: float) -> float:
        """Returns the seconds within which so many of the accepted were answered."""
        return float(np.percentile(self.seconds, percent)) if self.seconds else float("nan")


@dataclass(frozen=True)
class Question:
    """One request in the form of each interface."""

    message: bytes
    body: bytes


def question(inputs: dict[str, np.ndarray], model: str = MODEL) -> Question:
    """Makes a request."""
    request = messages.PredictRequest()
    request.model_spec.name = model
    for name, array in inputs.items():
        write_tensor(request.inputs[name], array, name)
    body = json.dumps({"inputs": {name: array.tolist() for name, array in inputs.items()}}).encode()
    return Question(request.SerializeToString(), body)


def questions() -> list[Question]:
    """Makes requests of one row each, of several lengths."""
    generator = np.random.default_rng(0)
    rows = [generator.integers(5, VOCABULARY, (1, length), dtype=np.int32) for length in LENGTHS]
    return [question({"input_ids": row, "lengths": np.array([row.shape[1]], np.int32)}) for row in rows]


class Asker:
    """Sends requests over both interfaces and notes what becomes of them."""

    def __init__(
        self, rest_url: str, channel: grpc.aio.Channel, http: httpx.AsyncClient, questions: Sequence[Question]
    ) -> None:
        self._url, self._http = f"{rest_url}/v1/models/{MODEL}:predict", http
        self._call = channel.unary_unary(PREDICT)
        self._questions = itertools.cycle(questions)
        self._numbers = itertools.count()

    async def ask(self, counts: Counts) -> None:
        """Sends one request."""
        question, number = next(self._questions), next(self._numbers)
        counts.offered += 1
        start = time.perf_counter()
        code = await (self._over_rest if number % REST_EVERY == 0 else self._over_grpc)(question)
        if code == "OK":
            counts.seconds.append(time.perf_counter() - start)
        elif code == "RESOURCE_EXHAUSTED":
            counts.refused += 1
        elif code == "LOST":
            counts.lost += 1
        else:
            counts.failed[code] += 1

    async def _over_grpc(self, question: Question) -> str:
        try:
            await self._call(question.message, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return {"DEADLINE_EXCEEDED": "LOST", "UNAVAILABLE": "LOST"}.get(error.code().name, error.code().name)
        return "OK"

    async def _over_rest(self, question: Question) -> str:
        try:
            answer = await self._http.post(self._url, content=question.body)
        except httpx.HTTPError:
            return "LOST"
        return {200: "OK", 429: "RESOURCE_EXHAUSTED"}.get(answer.status_code, str(answer.status_code))


@asynccontextmanager
async def asking(rest_url: str, grpc_address: str, questions: Sequence[Question]) -> AsyncIterator[Asker]:
    """Opens the connections of an `Asker`."""
    limits = httpx.Limits(max_connections=4 * MAX_QUEUED, max_keepalive_connections=4 * MAX_QUEUED)
    async with (
        grpc.aio.insecure_channel(grpc_address) as channel,
        httpx.AsyncClient(limits=limits, timeout=ANSWER_SECONDS, trust_env=False) as http,
    ):
        yield Asker(rest_url, channel, http, questions)


async def closed_loop(asker: Asker, seconds: float, clients: int) -> float:
    """Has clients ask again whenever they have an answer; returns answers per second."""
    counts, end = Counts(), time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:
            await asker.ask(counts)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    if counts.failed or counts.lost or counts.refused:
        raise RuntimeError(f"not every request of the closed loop was answered: {counts.failed or counts}")
    return counts.accepted / (time.perf_counter() - start)


async def open_loop(
    asker: Asker, rate: float, seconds: float, counts: Counts, at_end: Callable[[], None] = lambda: None
) -> None:
    """Sends requests at a rate, whatever becomes of them, and waits for all answers.

    Args:
        asker: sends them.
        rate: requests per second.
        seconds: how long.
        counts: where what becomes of them is noted.
        at_end: is called right after the last one was sent.
    """
    start = time.perf_counter()
    pending: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.perf_counter() - start) < seconds:
        due = int(now * rate)
        for _ in range(due - sent):
            task = asyncio.create_task(asker.ask(counts))
            pending.add(task)
            task.add_done_callback(pending.discard)
        sent = due
        await asyncio.sleep(max(0.0, (sent + 1) / rate - (time.perf_counter() - start)))
    # What was sent has been received before the server is told to stop.
    await asyncio.sleep(0.5)
    at_end()
    while pending:
        await asyncio.wait(pending)


async def swap_versions(folder: Path, rest_url: str, every: float, count: int) -> int:
    """Puts new versions into a model's folder, and waits until each answers; returns how many did."""
    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    done = 0
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as http:
        for version in range(newest + 1, newest + 1 + count):
            await asyncio.sleep(every)
            scratch = folder / f".{version}"
            await asyncio.to_thread(shutil.copytree, folder / str(version - 1), scratch)
            scratch.rename(folder / str(version))
            url, end = f"{rest_url}/v1/models/{MODEL}/versions/{version}", time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < end:
                answer = (await http.get(url)).json()
                if [it["state"] for it in answer.get("model_version_status", ())] == ["AVAILABLE"]:
                    done += 1
                    say(f"version {version} answers")
                    break
                await asyncio.sleep(0.2)
            shutil.rmtree(folder / str(version - 1))
    return done


def say(text: str) -> None:
    """Tells how far it has come."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def resident_megabytes(process: int) -> float:
    """Returns the memory of a process, from /proc."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmRSS:\s+(\d+)", status, re.M)[0]) * 1.024e-3


@dataclass
class Outcome:
    """All that was measured."""

    capacity: float
    rate: float
    counts: Counts
    swaps: int
    wanted_swaps: int
    megabytes: list[float]
    taken: float
    exit_status: int | None = None

    def bounds(self) -> dict[str, tuple[str, bool]]:
        """Returns each bound: what was measured, and whether it is kept."""
        counts, middle = self.counts, self.megabytes[len(self.megabytes) // 2]
        answered = counts.accepted + counts.refused + counts.lost + counts.failed.total()
        # A request waits behind a full queue at most; twice that allows for versions that are being loaded.
        slowest = 1.0 + 2 * (MAX_QUEUED + (os.cpu_count() or 1)) * self.taken / max(1, counts.accepted)
        return {
            "every request accounted for": (f"{answered} of {counts.offered}", answered == counts.offered),
            "accepted requests lost": (str(counts.lost), counts.lost == 0),
            "requests failed": (
                ", ".join(f"{n} {code}" for code, n in counts.failed.items()) or "0",
                not counts.failed,
            ),
            f"p99 of accepted at most {slowest:.2f} s": (
                f"{counts.percentile(99):.3f} s",
                counts.percentile(99) <= slowest,
            ),
            "memory at the end at most 1.1 of the middle's": (
                f"{self.megabytes[-1] / middle:.2f}",
                self.megabytes[-1] <= 1.1 * middle,
            ),
            "versions that took over": (f"{self.swaps} of {self.wanted_swaps}", self.swaps == self.wanted_swaps),
            "exit status of the server": (str(self.exit_status), self.exit_status == 0),
        }

    def print(self) -> None:
        """Prints two tables."""
        counts, megabytes = self.counts, self.megabytes
        console = Console(width=140)
        table = Table("figure", "value", title="The embedded server at twice its capacity")
        shares = {
            name: f"{n} ({n / max(1, counts.offered):.0%})"
            for name, n in (("a", counts.accepted), ("r", counts.refused))
        }
        for name, value in (
            ("capacity, closed loop", f"{self.capacity:.0f} requests/s"),
            ("offered, open loop", f"{counts.offered}, {self.rate:.0f} requests/s"),
            ("accepted", shares["a"]),
            ("refused (429, RESOURCE_EXHAUSTED)", shares["r"]),
            ("failed", str(counts.failed.total())),
            ("lost", str(counts.lost)),
            ("accepted: p50, p95, p99", ", ".join(f"{1000 * counts.percentile(p):.0f} ms" for p in (50, 95, 99))),
            ("resident memory: start, middle, end", ", ".join(
                f"{megabytes[i]:.0f} MB" for i in (0, len(megabytes) // 2, -1)
            )),
            ("version swaps", f"{self.swaps} of {self.wanted_swaps}"),
        ):  # fmt: skip
            table.add_row(name, value)
        console.print(table)
        table = Table("bound", "measured", "")
        for name, (value, kept) in self.bounds().items():
            table.add_row(name, value, "kept" if kept else "MISSED")
        console.print(table)


async def measure(
    folder: Path,
    server: subprocess.Popen[str],
    addresses: tuple[str, str],
    questions: Sequence[Question],
    seconds: float,
    swaps: int,
    closed_seconds: float = 10.0,
    factor: float = 2.0,
) -> Outcome:
    """Measures a server that runs, and stops it.

    Args:
        folder: of the model, to which new versions come.
        server: its process.
        addresses: URL of its REST and address of its gRPC interface.
        questions: what it is asked, in turns.
        seconds: of the open loop.
        swaps: new versions during it.
        closed_seconds: of the closed loop, after a third of it to get warm.
        factor: how many times the capacity the open loop offers.
    """
    async with asking(*addresses, questions) as asker:
        await closed_loop(asker, closed_seconds / 3, MAX_QUEUED // 2)
        capacity = await closed_loop(asker, closed_seconds, MAX_QUEUED // 2)
        say(f"capacity: {capacity:.0f} requests/s")
        counts, megabytes, done = Counts(), [resident_megabytes(server.pid)], 0

        async def watch() -> None:
            while True:
                await asyncio.sleep(seconds / 60)
                megabytes.append(resident_megabytes(server.pid))
                say(
                    f"{counts.offered} offered, {counts.accepted} accepted, {counts.refused} refused, "
                    f"{counts.lost} lost, {dict(counts.failed)} failed, {megabytes[-1]:.0f} MB"
                )

        async def swap() -> None:
            nonlocal done
            # A version that answers later than planned is no reason to offer requests any longer.
            done = await swap_versions(folder, addresses[0], 0.5 * seconds / max(1, swaps), swaps)

        async def offer() -> None:
            changing = asyncio.create_task(swap())
            start, rest = time.perf_counter(), seconds
            while rest > 0:
                await open_loop(asker, factor * capacity, rest, counts)
                # As long as versions come, requests do.
                rest = 0 if changing.done() else min(5.0, 1.5 * seconds - (time.perf_counter() - start))
            await changing
            await open_loop(asker, factor * capacity, 1.0, counts, lambda: server.send_signal(signal.SIGTERM))

        watching = asyncio.create_task(watch())
        try:
            start = time.perf_counter()
            await offer()
            taken = time.perf_counter() - start
        finally:
            watching.cancel()
        rate = factor * capacity
    outcome = Outcome(capacity, rate, counts, done, swaps, megabytes, taken)
    outcome.exit_status = await asyncio.to_thread(server.wait, 60)
    return outcome


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[str], tuple[str, str]]:
    """Starts `tfxlm serve`; returns its process, URL and address."""
    command = [sys.executable, "-m", "tfxlm", "serve", f"{MODEL}={folder}", "--port=0", "--rest-api-port=0"]
    command += [f"--max-queued={MAX_QUEUED}", "--file-system-poll-wait-seconds=0.5", *options]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    line = process.stdout.readline() if process.stdout is not None else ""
    found = re.search(r"REST (\S+), gRPC (\S+)", line)
    if found is None:
        process.kill()
        raise RuntimeError(f"the server did not start: {line!r}")
    return process, (found[1], found[2])


def export(folder: Path) -> Path:
    """Exports a small classifier."""
    from tfxlm import TFXLMForSequenceClassification, XLMConfig, export_model

    config = XLMConfig(vocab_size=VOCABULARY, emb_dim=512, n_heads=8, n_layers=2, num_labels=6)
    return export_model(TFXLMForSequenceClassification(config), None, folder / MODEL).parent


BATCHING = "max_batch_size { value: 64 } num_batch_threads { value: 2 } pad_variable_length_inputs: true"


def main() -> int:
    """Returns 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of the open loop (default: 1)")
    parser.add_argument("--swaps", type=int, default=20, help="versions that take over meanwhile (default: 20)")
    parser.add_argument("--no-batching", action="store_true", help="answer each request on its own")
    parser.add_argument("--folder", help="an export made before, with versions in it, which is changed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder) if options.folder else export(Path(scratch))
        parameters = Path(scratch) / "batching.config"
        parameters.write_text(BATCHING, encoding="utf-8")
        joined = [] if options.no_batching else [f"--batching-parameters-file={parameters}"]
        process, addresses = start_server(folder, *joined)
        try:
            outcome = asyncio.run(measure(folder, process, addresses, questions(), 60 * options.minutes, options.swaps))
        finally:
            process.kill()
    outcome.print()
    return 0 if all(kept for _, kept in outcome.bounds().values()) else 1


if __name__ == "__main__":
    sys.exit(main())
