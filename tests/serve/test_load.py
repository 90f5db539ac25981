"""A few seconds of `benchmarks.serving`: more than the server can do, while versions change."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from benchmarks.serving import MODEL, answered, asking, open_loop, question, swap_versions
from benchmarks.serving_outcome import Counts, Outcome
from tests.serve.tiny_models import save_plus_model
from tfxlm.serve import BatchingParameters, Server


@pytest.mark.parametrize("batching", [None, BatchingParameters()])
def test_nothing_is_lost(tmp_path: Path, batching: BatchingParameters | None) -> None:
    save_plus_model(tmp_path / MODEL / "1", 1)
    asked = [question({"x": np.zeros(rows, np.float32)}) for rows in (1, 2, 3)]
    counts = Counts()

    async def scenario(server: Server) -> int:
        async with asking(server.rest_url, server.grpc_address, asked) as asker:
            offering = asyncio.create_task(open_loop(asker, 400, 3, counts))
            done = await swap_versions(tmp_path / MODEL, server.rest_url, 0.2, 2)
            await offering
            assert await answered(server.rest_url) == counts.accepted
        return done

    options = {"rest_port": 0, "grpc_port": 0, "num_threads": 1, "max_queued": 2, "file_system_poll_wait_seconds": 0.1}
    with Server({MODEL: tmp_path / MODEL}, batching=batching, **options) as server:
        assert asyncio.run(scenario(server)) == 2
    assert (counts.lost, counts.failed) == (0, {})
    assert counts.accepted + counts.refused + counts.late == counts.offered
    assert counts.accepted > 0
    assert counts.refused > 0


@pytest.mark.parametrize(
    ("code", "refused", "late", "lost", "failed"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1, 0, 0, {}),
        (grpc.StatusCode.CANCELLED, 0, 1, 0, {}),
        (grpc.StatusCode.UNAVAILABLE, 0, 0, 1, {}),
        (grpc.StatusCode.INTERNAL, 0, 0, 0, {"INTERNAL": 1}),
    ],
)
def test_what_is_given_up_by_grpc_is_not_taken_for_refused(
    code: grpc.StatusCode, refused: int, late: int, lost: int, failed: dict[str, int]
) -> None:
    async def answer(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await context.abort(code, "")

    async def scenario() -> Counts:
        server, counts = grpc.aio.server(), Counts()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        service = "tensorflow.serving.PredictionService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Predict": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asking("http://127.0.0.1:1", f"127.0.0.1:{port}", [question({})]) as asker:
            next(asker._numbers)  # the first one goes over REST
            await asker.ask(counts)
        await server.stop(0)
        return counts

    counts = asyncio.run(scenario())
    assert (counts.refused, counts.late, counts.lost, counts.failed) == (refused, late, lost, failed)


def outcome(**changes: Any) -> Outcome:
    """What a good server does, changed."""
    counts = Counts(100, 40, 0, 0.0, Counter(), [0.5] * 60)
    megabytes = [500.0, 510.0, 505.0, 515.0, 512.0, 510.0]
    good = {
        "capacity": 5.0,
        "rate": 10.0,
        "max_queued": 4,
        "counts": counts,
        "taken": 10.0,
        "answered": (50, 50),
        "wanted_swaps": 6,
        "first_megabytes": 480.0,
        "megabytes": megabytes,
        "drain_seconds": 15.0,
        "drained": 3.0,
        "exit_status": 0,
    }
    return Outcome(**{**good, **changes})


def test_requests_that_grpc_gave_up_are_accounted_for() -> None:
    counts = Counts(100, 30, 0, 0.0, Counter(), [0.5] * 60, late=10)
    assert outcome(counts=counts).is_good
    assert not outcome(counts=Counts(100, 0, 0, 0.0, Counter(), [0.5] * 60, late=40)).is_good  # none was refused


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({"counts": Counts(60, 0, 0, 0.0, Counter(), [0.5] * 60)}, "more than it can do: refused"),
        ({"counts": Counts(100, 39, 1, 0.0, Counter(), [0.5] * 60)}, "requests lost"),
        ({"counts": Counts(100, 39, 0, 0.0, Counter({"500": 1}), [0.5] * 60)}, "requests failed"),
        ({"counts": Counts(101, 40, 0, 0.0, Counter(), [0.5] * 60)}, "every request accounted for"),
        ({"counts": Counts(100, 40, 0, 0.0, Counter(), [500.0] * 60)}, "p99 of accepted at most"),
        ({"answered": (51, 50)}, "answers of the server that came"),
        ({"answered": (0, 0)}, "answers of the server that came"),
        # A model of 20 MB that stays with each version; most of it before the middle of the time is no excuse.
        ({"megabytes": [500.0 + 20 * n for n in range(6)]}, "memory after the last version"),
        ({"megabytes": [500.0] * 5}, "versions that took over"),
        ({"drained": 15.1}, "end of the server within 15 s"),
        ({"drained": None}, "end of the server within 15 s"),
        ({"exit_status": 1}, "exit status of the server"),
    ],
)
def test_each_bound_of_the_benchmark_can_be_missed(changes: dict[str, Any], bound: str) -> None:
    assert outcome().is_good
    (missed,) = [name for name, (_, kept) in outcome(**changes).bounds().items() if not kept]
    assert missed.startswith(bound)
