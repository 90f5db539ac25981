"""`Watch` of gRPC's health check: the status at once, and each change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.serve.held import wait_until
from tests.serve.tiny_models import save_plus_model
from tfxlm.serve import Server, health

# The bytes of HealthCheckResponse {status: ...}.
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    save_plus_model(tmp_path / "plus" / "1", 1)
    options: dict[str, Any] = {"rest_port": 0, "grpc_port": 0, "file_system_poll_wait_seconds": 0.1}
    # Far longer than a test may take: calls that watch must not be waited for.
    with Server({"plus": tmp_path / "plus"}, drain_seconds=3600, **options) as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as opened:
        yield opened


def watch(channel: grpc.Channel, service: bytes = b"") -> Any:
    request = b"\n" + bytes([len(service)]) + service if service else b""
    return channel.unary_stream("/grpc.health.v1.Health/Watch")(request, timeout=60)


def test_the_status_comes_at_once_and_when_it_changes_and_the_end_of_the_server_ends_it(
    server: Server, channel: grpc.Channel, tmp_path: Path
) -> None:
    changes = watch(channel)
    one = watch(channel, b"tensorflow.serving.PredictionService")
    assert next(changes) == next(one) == SERVING
    shutil.move(tmp_path / "plus" / "1", tmp_path / "away")
    assert next(changes) == next(one) == NOT_SERVING
    shutil.move(tmp_path / "away", tmp_path / "plus" / "1")
    assert next(changes) == next(one) == SERVING
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        assert next(changes) == next(one) == NOT_SERVING
        for call in (changes, one):
            with pytest.raises(grpc.RpcError, match=r"The server is stopping\.") as caught:
                next(call)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        stopped.result(30)


def test_a_service_that_is_not_here_is_unknown_and_the_call_goes_on(server: Server, channel: grpc.Channel) -> None:
    call = watch(channel, b"other")
    assert next(call) == SERVICE_UNKNOWN
    assert call.is_active()
    with pytest.raises(grpc.RpcError, match=r"A HealthCheckRequest has at most 65536 bytes here\.") as caught:
        next(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"x" * 100_000, timeout=30))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_only_so_many_watch_and_who_goes_gives_its_place_to_others(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_WATCHERS", 1)
    first = watch(channel)
    assert next(first) == SERVING
    with pytest.raises(grpc.RpcError, match=r"1 clients watch this server already\. Ask with Check") as caught:
        next(watch(channel))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    first.cancel()

    def let_in() -> bool:
        try:
            return next(watch(channel)) == SERVING
        except grpc.RpcError:
            return False

    wait_until(let_in)
