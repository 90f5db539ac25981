"""A few seconds of `benchmarks.serving`: more than the server can do, while versions change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import MODEL, Counts, asking, open_loop, question, swap_versions
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
        return done

    options = {"rest_port": 0, "grpc_port": 0, "num_threads": 1, "max_queued": 2, "file_system_poll_wait_seconds": 0.1}
    with Server({MODEL: tmp_path / MODEL}, batching=batching, **options) as server:
        assert asyncio.run(scenario(server)) == 2
    assert (counts.lost, counts.failed) == (0, {})
    assert counts.accepted + counts.refused == counts.offered
    assert counts.accepted > 0
