"""The embedded server at more than it can do: `python -m benchmarks.serving --minutes 10`.

Starts `tfxlm serve` in a process of its own on a small export, measures how many requests a second it
answers when each client waits for its answer (closed loop), then sends twice as many whatever comes back (open loop),
while new versions take over; at the end it is told to stop with requests in progress. Every request must be answered or
refused, none may fail; memory, the time of what is answered and that of the end must stay within bounds.
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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np

from benchmarks.serving_outcome import Counts, Outcome
from tfxlm.client import messages
from tfxlm.client.tensors import write_tensor

MODEL = "intent"
VOCABULARY = 1000
LENGTHS = (32, 48, 64)

# One request in so many goes over REST: its client costs ten times what gRPC's does.
REST_EVERY = 10
ANSWER_SECONDS = 60.0
MAX_QUEUED = 64
DRAIN_SECONDS = 10.0
# What the end of a server may take beyond the requests in progress.
END_SECONDS = 5.0

METRICS = "/monitoring/prometheus/metrics"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


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


# CANCELLED is what gRPC says for a server that did not look at a call in time.
_GRPC_CODES = {"DEADLINE_EXCEEDED": "LOST", "UNAVAILABLE": "LOST", "CANCELLED": "LATE"}
_HTTP_CODES = {200: "OK", 429: "RESOURCE_EXHAUSTED", 503: "LOST", 504: "LOST"}


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
        elif code == "LATE":
            counts.late += 1
        elif code == "LOST":
            counts.lost += 1
        else:
            counts.failed[code] += 1

    async def _over_grpc(self, question: Question) -> str:
        try:
            await self._call(question.message, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return _GRPC_CODES.get(error.code().name, error.code().name)
        return "OK"

    async def _over_rest(self, question: Question) -> str:
        try:
            answer = await self._http.post(self._url, content=question.body)
        except httpx.HTTPError:
            return "LOST"
        return _HTTP_CODES.get(answer.status_code, str(answer.status_code))


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
    if counts.failed or counts.lost or counts.late or counts.refused:
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
        counts.behind = max(counts.behind, (due - sent) / rate)
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


async def swap_versions(
    folder: Path, rest_url: str, every: float, count: int, taken: Callable[[], None] = lambda: None
) -> int:
    """Puts new versions into a model's folder, and waits until each answers; returns how many did.

    Args:
        folder: of the model.
        rest_url: of the server.
        every: seconds from one to the next.
        count: how many.
        taken: is called whenever a version answers and the one before it is gone.
    """
    highest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    done = 0
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as http:
        for version in range(highest + 1, highest + 1 + count):
            await asyncio.sleep(every)
            scratch = folder / f".{version}"
            await asyncio.to_thread(shutil.copytree, folder / str(version - 1), scratch)
            scratch.rename(folder / str(version))
            end = time.monotonic() + ANSWER_SECONDS
            states: dict[str, str] = {}
            while time.monotonic() < end and states != {str(version): "AVAILABLE", str(version - 1): "END"}:
                await asyncio.sleep(0.2)
                answer = (await http.get(f"{rest_url}/v1/models/{MODEL}")).json()
                newest = sorted(answer.get("model_version_status", ()), key=lambda it: -int(it["version"]))[:2]
                states = {it["version"]: it["state"] for it in newest}
            if states.get(str(version)) == "AVAILABLE":
                done += 1
                taken()
                say(f"version {version} answers")
            shutil.rmtree(folder / str(version - 1))
    return done


def say(text: str) -> None:
    """Tells how far it has come."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def resident_megabytes(process: int) -> float:
    """Returns the memory of a process, from /proc."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmRSS:\s+(\d+)", status, re.M)[0]) * 1.024e-3


async def answered(rest_url: str) -> int:
    """Returns how many requests a server says it answered."""
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as http:
        text = (await http.get(f"{rest_url}{METRICS}")).text
    found = re.findall(rf'^:tensorflow:serving:request_count{{model_name="{MODEL}",status="OK"}} (\S+)', text, re.M)
    return int(float(found[0])) if found else 0


def stop(server: subprocess.Popen[str]) -> float | None:
    """Tells a server to stop; returns how many seconds it took, None when it had to be killed."""
    start = time.perf_counter()
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(4 * (DRAIN_SECONDS + END_SECONDS))
    except subprocess.TimeoutExpired:
        server.kill()
        return None
    return time.perf_counter() - start


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
    rest_url, counts, megabytes = addresses[0], Counts(), list[float]()
    async with asking(*addresses, questions) as asker:
        await closed_loop(asker, closed_seconds / 3, MAX_QUEUED // 2)
        capacity = await closed_loop(asker, closed_seconds, MAX_QUEUED // 2)
        say(f"capacity: {capacity:.0f} requests/s")
        rate, first, before = factor * capacity, resident_megabytes(server.pid), await answered(rest_url)

        async def watch() -> None:
            while True:
                await asyncio.sleep(max(1.0, seconds / 60))
                say(
                    f"{counts.offered} offered, {counts.accepted} accepted, {counts.refused} refused, "
                    f"{counts.late} late, {counts.lost} lost, {dict(counts.failed)} failed, "
                    f"{resident_megabytes(server.pid):.0f} MB"
                )

        watching, start = asyncio.create_task(watch()), time.perf_counter()
        try:
            # A version that answers later than planned is no reason to offer requests any longer.
            changing = asyncio.create_task(
                swap_versions(
                    folder,
                    rest_url,
                    0.5 * seconds / max(1, swaps),
                    swaps,
                    lambda: megabytes.append(resident_megabytes(server.pid)),
                )
            )
            rest = seconds
            while rest > 0:
                await open_loop(asker, rate, rest, counts)
                # As long as versions come, requests do.
                rest = 0 if changing.done() else min(5.0, 1.5 * seconds - (time.perf_counter() - start))
            await changing
            both = await answered(rest_url) - before, counts.accepted
            stopping: list[asyncio.Task[float | None]] = []
            await open_loop(
                asker, rate, 1.0, counts, lambda: stopping.append(asyncio.create_task(asyncio.to_thread(stop, server)))
            )
            taken = time.perf_counter() - start
            drained = await stopping[0]
        finally:
            watching.cancel()
    return Outcome(
        capacity, rate, MAX_QUEUED, counts, taken, both, swaps, first, megabytes, DRAIN_SECONDS + END_SECONDS,
        drained, server.returncode,
    )  # fmt: skip


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[str], tuple[str, str]]:
    """Starts `tfxlm serve`; returns its process, URL and address."""
    command = [sys.executable, "-m", "tfxlm", "serve", f"{MODEL}={folder}", "--port=0", "--rest-api-port=0"]
    command += [
        f"--max-queued={MAX_QUEUED}",
        f"--drain-seconds={DRAIN_SECONDS}",
        "--file-system-poll-wait-seconds=0.5",
        *options,
    ]
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
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
