"""Requests that wait: how many, how long, and what becomes of those whose clients do not."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serve.conftest import CLASSIFY
from tests.serve.held import Held, in_progress, wait_until
from tfxlm.client import Client, messages
from tfxlm.errors import ServingError
from tfxlm.serve import BatchingParameters, Server, calls
from tfxlm.serve.models import ModelManager

# A client that does not try again by itself, where it could.
ONCE: dict[str, Any] = {"retry": None}


def make(folder: Path, **options: Any) -> Server:
    return Server({"tiny": folder}, **{"rest_port": 0, "grpc_port": 0, **options})


@contextlib.contextmanager
def asked_over_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[tuple[Server, tuple[Client, Client], Held]]:
    """A server of one thread, clients over REST and gRPC, and its calls, which wait until they are let go."""
    with (
        make(folder, num_threads=1, **options) as server,
        Client(rest=server.rest_url, **ONCE) as over_rest,
        Client(grpc=server.grpc_address, **ONCE) as over_grpc,
        Held(monkeypatch) as held,
    ):
        yield server, (over_rest, over_grpc), held


@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=1)])
def test_a_full_queue_says_so_and_status_still_answers(
    tiny_folder: Path, batching: BatchingParameters | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        ThreadPoolExecutor(2) as pool,
        asked_over_both(tiny_folder, monkeypatch, max_queued=1, batching=batching) as (server, clients, held),
    ):
        url, body = f"{server.rest_url}/v1/models/tiny:predict", json.dumps({"inputs": CLASSIFY})
        first = pool.submit(httpx.post, url, content=body, timeout=60)
        held.wait_for(1)
        second = pool.submit(httpx.post, url, content=body, timeout=60)
        wait_until(lambda: in_progress(server) == 2)
        answer = httpx.post(url, content=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json() == {"error": "The server is busy: 1 requests are waiting already. Try again later."}
        for client in clients:
            with pytest.raises(ServingError, match="1 requests are waiting already") as caught:
                client.predict("tiny", CLASSIFY)
            assert caught.value.code == "RESOURCE_EXHAUSTED"
            assert client.status("tiny")[0].state == "AVAILABLE"
        held.leave.set()
        assert [it.result(30).status_code for it in (first, second)] == [200, 200]


@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=1)])
def test_what_nobody_waits_for_any_more_is_not_run(
    tiny_folder: Path, batching: BatchingParameters | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        asked_over_both(tiny_folder, monkeypatch, batching=batching) as (server, clients, held),
    ):
        for client in clients:
            client.metadata("tiny")
        first = pool.submit(clients[0].predict, "tiny", CLASSIFY, timeout=60)
        held.wait_for(1)
        for client in clients:
            with pytest.raises(ServingError, match=r"not answer(ed)? within") as caught:
                client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three", timeout=0.2)
            assert caught.value.code == "DEADLINE_EXCEEDED"
        wait_until(lambda: in_progress(server) == 1)
        held.leave.set()
        assert first.result(30)["scores"].shape == (2, 3)
        clients[0].predict("tiny", CLASSIFY)
        assert held.calls == ["serving_default", "serving_default"]


@pytest.mark.parametrize(
    "batching", [None, BatchingParameters(num_batch_threads=1, max_batch_size=1, max_enqueued_batches=1)]
)
def test_places_of_those_who_gave_up_are_free_at_once(
    tiny_folder: Path, batching: BatchingParameters | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One place in the queue, taken again and again by requests whose clients give up, over both interfaces."""
    with (
        ThreadPoolExecutor(2) as pool,
        asked_over_both(tiny_folder, monkeypatch, max_queued=1, batching=batching) as (server, clients, held),
    ):
        for client in clients:
            client.metadata("tiny")
        first = pool.submit(clients[0].predict, "tiny", CLASSIFY, timeout=60)
        held.wait_for(1)
        for client in clients * 3:
            with pytest.raises(ServingError, match=r"not answer(ed)? within"):
                client.predict("tiny", {"text": ["a"]}, signature_name="upper", timeout=0.1)
            wait_until(lambda: in_progress(server) == 1)
        last = pool.submit(clients[1].predict, "tiny", {"text": ["a"]}, signature_name="upper", timeout=60)
        wait_until(lambda: in_progress(server) == 2)
        held.leave.set()
        assert first.result(30)["scores"].shape == (2, 3)
        assert last.result(30)["upper"].tolist() == ["A"]
        assert held.calls == ["serving_default", "upper"]


@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=1)])
def test_small_messages_of_large_tensors_count_as_what_they_become(
    tiny_folder: Path, batching: BatchingParameters | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of the largest requests fit; these take a few bytes each, and become as large."""
    readers = []
    read = calls.read_tensor

    def noted(*arguments: Any) -> Any:
        readers.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(calls, "read_tensor", noted)
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", "half_plus_three"
    request.inputs["x"].dtype = types_pb2.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=100_000)
    request.inputs["x"].float_val.append(1.0)
    assert request.ByteSize() < 100
    options: dict[str, Any] = {"num_threads": 9, "max_request_bytes": 400_000, "batching": batching}
    with (
        make(tiny_folder, **options) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
        Held(monkeypatch) as held,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        answers = [predict.future(request, timeout=60) for _ in range(8)]
        wait_until(lambda: len(readers) == 8)
        with pytest.raises(grpc.RpcError, match=r"The server is busy: requests of \d+ bytes are waiting") as caught:
            predict(request, timeout=60)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        held.leave.set()
        assert {len(it.result(30).outputs["y"].tensor_content) for it in answers} == {400_000}
    assert "tfxlm-serve-loop" not in readers


def test_what_was_sent_before_a_server_stops_is_answered(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that wait for the event loop, where nothing has counted them, while it is told to stop."""
    busy, leave = threading.Event(), threading.Event()
    statuses = ModelManager.statuses

    def slow(*arguments: Any) -> Any:
        busy.set()
        leave.wait(30)
        return statuses(*arguments)

    monkeypatch.setattr(ModelManager, "statuses", slow)
    server = make(tiny_folder, num_threads=2).start()
    with (
        ThreadPoolExecutor(10) as pool,
        Client(rest=server.rest_url, **ONCE) as over_rest,
        Client(grpc=server.grpc_address, **ONCE) as over_grpc,
    ):
        for client in (over_rest, over_grpc):
            client.metadata("tiny")
        status = pool.submit(over_rest.status, "tiny")
        assert busy.wait(30)
        answers = [
            pool.submit(client.predict, "tiny", {"text": ["a"]}, signature_name="upper")
            for client in (over_rest, over_grpc) * 4
        ]
        stopped = pool.submit(server.stop)
        time.sleep(1.5)  # until all are sent
        leave.set()
        assert status.result(30)[0].state == "AVAILABLE"
        assert [answer.result(30)["upper"].tolist() for answer in answers] == [["A"]] * 8
        stopped.result(30)


def test_what_waits_too_long_for_the_event_loop_is_given_up(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.serve.listeners._MAX_WAIT_SECONDS", 1)
    busy, leave = threading.Event(), threading.Event()
    statuses = ModelManager.statuses

    def slow(*arguments: Any) -> Any:
        busy.set()
        leave.wait(30)
        return statuses(*arguments)

    monkeypatch.setattr(ModelManager, "statuses", slow)
    with (
        make(tiny_folder) as server,
        ThreadPoolExecutor(5) as pool,
        Client(grpc=server.grpc_address, **ONCE) as client,
        Held(monkeypatch) as held,
    ):
        client.metadata("tiny")
        status = pool.submit(client.status, "tiny")
        assert busy.wait(30)
        asked = [pool.submit(client.predict, "tiny", CLASSIFY) for _ in range(4)]
        time.sleep(3)  # all have waited for more than the second
        held.leave.set()
        leave.set()
        assert status.result(30)[0].state == "AVAILABLE"
        errors = [error for error in (it.exception(30) for it in asked) if error is not None]
        assert len(errors) >= 3  # the first may have been taken in
        assert {(error.code, error.is_transient) for error in errors} == {("CANCELLED", True)}
        assert len(held.calls) == 4 - len(errors)


def test_a_request_has_its_time(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(tiny_folder, request_timeout_seconds=0.2) as server, Held(monkeypatch) as held:
        answer = httpx.post(f"{server.rest_url}/v1/models/tiny:predict", json={"inputs": CLASSIFY})
        assert answer.status_code == 504
        assert re.fullmatch(r"The request was not answered within its 0\.\d+ seconds\.", answer.json()["error"])
        with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as caught:
            request = messages.PredictRequest()
            request.model_spec.name = "tiny"
            request.model_spec.signature_name = "upper"
            request.inputs["text"].CopyFrom(messages.TensorProto(dtype=7, string_val=[b"a"]))
            request.inputs["text"].tensor_shape.dim.add(size=1)
            channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request.SerializeToString())
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        host, port = server.rest_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:  # a body that never comes whole
            connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert connection.recv(100).startswith(b"HTTP/1.1 504")
        held.leave.set()


def test_requests_together_hold_so_many_bytes(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"inputs": CLASSIFY}).encode()
    with (
        make(tiny_folder, max_request_bytes=len(body), num_threads=1) as server,
        ThreadPoolExecutor(8) as pool,
        Held(monkeypatch) as held,
    ):
        url = f"{server.rest_url}/v1/models/tiny:predict"
        posts = [pool.submit(httpx.post, url, content=body, timeout=60) for _ in range(8)]
        wait_until(lambda: in_progress(server) == 8)
        wait_until(lambda: httpx.post(url, content=body).status_code == 429)
        held.leave.set()
        assert {post.result(30).status_code for post in posts} == {200}


def test_only_so_many_connections(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.serve.listeners._MAX_CONNECTIONS", 3)
    with make(tiny_folder) as server:
        host, port = server.rest_url.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(2)]
        url = f"{server.rest_url}/v1/models/tiny"
        wait_until(lambda: httpx.get(url).status_code == 503)
        with Client(rest=server.rest_url, **ONCE) as client, pytest.raises(ServingError) as caught:
            client.status("tiny")
        assert (caught.value.code, caught.value.is_transient) == ("UNAVAILABLE", True)
        for connection in idle:
            connection.close()
        wait_until(lambda: httpx.get(url).status_code == 200)
