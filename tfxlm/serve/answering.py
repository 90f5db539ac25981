"""From the bytes of a request to the bytes of its answer, for both interfaces."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from tfxlm.errors import ServingError
from tfxlm.serve.admission import Gate, Hold, hold_any, time_limit
from tfxlm.serve.batching import Answers, Batcher
from tfxlm.serve.batching_parameters import BatchingParameters
from tfxlm.serve.calls import Call, Prepared
from tfxlm.serve.metrics import Metrics
from tfxlm.serve.models import ModelManager
from tfxlm.serve.servable import Servable
from tfxlm.serve.workers import WorkerPool

# Reads a request; versions that it finds stay loaded until the stack is closed. It says how many bytes it makes of the
# request before it does.
Prepare = Callable[[contextlib.ExitStack, bytes, Hold], Prepared]

# The same, with what it counts, and with the most bytes that it may become.
_Read = Callable[..., Prepared]

# All requests together may hold the bytes of so many of the largest.
_LARGEST_REQUESTS = 8

_SMALL_BYTES = 8 * 1024

# What a small request may become on the event loop: as many numbers of eight bytes, each of which was sent as one. More
# is a value that is repeated, or a context that each example has a copy of.
_SMALL_READ_BYTES = 8 * _SMALL_BYTES

# Bodies that are decompressed at the same time, each of which may be as large as a request.
_INFLATING_THREADS = 2


class _NotHereError(Exception):
    """A request that is to be read on the event loop becomes too large for that."""


@dataclass(frozen=True)
class Limits:
    """What a server accepts.

    Args:
        max_request_bytes: largest request body or message.
        num_threads: requests worked on at the same time.
        max_queued: requests that may wait for a thread.
        seconds: how long a request may take, unless its client allows less.
    """

    max_request_bytes: int
    num_threads: int
    max_queued: int
    seconds: float


class Answering:
    """Answers requests: reading and writing in worker threads, graphs there too, or in the threads of a batcher.

    Never does a graph run on the event loop.

    Args:
        models: the models to answer for.
        limits: what is accepted.
        metrics: counts what happens.
        batching: how requests are joined, or None for not at all.
    """

    def __init__(
        self, models: ModelManager, limits: Limits, metrics: Metrics, batching: BatchingParameters | None
    ) -> None:
        self.models, self.limits, self.metrics = models, limits, metrics
        self.gate = Gate(
            limits.num_threads + limits.max_queued, limits.max_queued, _LARGEST_REQUESTS * limits.max_request_bytes
        )
        metrics.watch(lambda: self.gate.inside)
        self._workers = WorkerPool(limits.num_threads)
        # Of its own, so that no request waits in the same queue twice.
        self.inflating = WorkerPool(_INFLATING_THREADS, "tfxlm-serve-inflate")
        self._batcher = None if batching is None else Batcher(batching, self._predict, metrics.count_batch)

    async def answer(self, prepare: Prepare, body: bytes, seconds: float, hold: Hold = hold_any) -> bytes:
        """Answers a request that has a place.

        Args:
            prepare: reads it; what its `finish` makes are the bytes of the answer.
            body: the request.
            seconds: how long it may take from now on.
            hold: counts what it holds in memory beyond its own bytes, and may refuse it; called in any thread.

        Raises:
            InputError: the request is wrong.
            ServingError: a model refused it, there is too much to do, or its time is over.
        """

        def read(stack: contextlib.ExitStack, body: bytes, most: float = math.inf) -> Prepared:
            def grow(size: int) -> None:
                if size > most:
                    raise _NotHereError
                hold(max(0, size - len(body)))

            return prepare(stack, body, grow)

        async with time_limit(seconds):
            if self._batcher is None:
                return await self._answer_alone(read, body)
            # What is small is read and written right here, in less time than a thread takes to be woken.
            here: tuple[Prepared, contextlib.ExitStack] | None = None
            if len(body) <= _SMALL_BYTES:
                with contextlib.suppress(_NotHereError):
                    here = self._prepare(read, body, _SMALL_READ_BYTES)
            if here is None:
                here = await self._workers.run(self._prepare, read, body, undo=_closed)
            prepared, stack = here
            with stack:
                outputs = await _answer_together(self._batcher, prepared.calls)
                if sum(array.nbytes for output in outputs for array in output.values()) <= _SMALL_BYTES:
                    return prepared.finish(outputs)
                return await self._workers.run(prepared.finish, outputs)

    def close(self) -> None:
        """Drops what waits."""
        self._workers.close()
        self.inflating.close()
        if self._batcher is not None:
            self._batcher.close()

    def _prepare(self, read: _Read, body: bytes, *most: float) -> tuple[Prepared, contextlib.ExitStack]:
        with contextlib.ExitStack() as stack:
            prepared = read(stack, body, *most)
            return prepared, stack.pop_all()

    async def _answer_alone(self, read: _Read, body: bytes) -> bytes:
        gone = threading.Event()
        try:
            return await self._workers.run(self._answer_at_once, read, body, gone)
        finally:
            gone.set()

    def _answer_at_once(self, read: _Read, body: bytes, gone: threading.Event) -> bytes:
        with contextlib.ExitStack() as stack:
            prepared, outputs = read(stack, body), []
            for call in prepared.calls:
                if gone.is_set():  # in the middle of several
                    raise ServingError("Nobody waits for this answer any more.", "CANCELLED")
                outputs.append(self._predict(call.servable, call.signature_name, call.inputs))
            return prepared.finish(outputs)

    def _predict(
        self, servable: Servable, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        try:
            return servable.predict(signature_name, inputs)
        finally:
            self.metrics.time_graph(servable.name, time.perf_counter() - start)


async def _answer_together(batcher: Batcher, calls: Sequence[Call]) -> list[Answers]:
    """Answers calls; where one fails, or nobody waits any more, the others leave their queues."""
    futures: list[Future[Answers]] = []
    try:
        for call in calls:
            futures.append(batcher.submit(call.servable, call.signature_name, call.inputs))
        return await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()


def _closed(result: tuple[Prepared, contextlib.ExitStack]) -> None:
    result[1].close()


def code_of(error: BaseException | None) -> str:
    """Returns the canonical code of how a request ended."""
    if error is None:
        return "OK"
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    return error.code if isinstance(error, ServingError) else "UNKNOWN"
