"""Starting, stopping, ports, missing models, many requests at once."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.serve.conftest import CLASSIFY
from tests.serve.held import Held, wait_until
from tfxlm.client import Client, messages
from tfxlm.errors import ExportError, InputError, ServingError
from tfxlm.serve import BatchingParameters, Server
from tfxlm.serve.servable import Servable


def make(folder: Path | str, **options: Any) -> Server:
    return Server({"tiny": folder}, **{"rest_port": 0, "grpc_port": 0, **options})


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def test_start_stop_and_start_again_on_the_same_ports(tiny_folder: Path) -> None:
    rest_port, grpc_port = free_ports()
    server = make(tiny_folder, rest_port=rest_port, grpc_port=grpc_port)
    for _ in range(2):
        assert server.start() is server
        assert server.rest_url == f"http://127.0.0.1:{rest_port}"
        assert server.grpc_address == f"127.0.0.1:{grpc_port}"
        for options in ({"rest": server.rest_url}, {"grpc": server.grpc_address}):
            with Client(**options) as client:
                assert client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three")["y"].tolist() == [3.5]
        server.stop()
        assert not listens(("127.0.0.1", rest_port))
        assert not listens(("127.0.0.1", grpc_port))
    server.stop()  # a second stop does nothing


def test_addresses_need_a_running_server(tiny_folder: Path) -> None:
    server = make(tiny_folder)
    for name in ("rest_url", "grpc_address"):
        with pytest.raises(ServingError, match=r"The server does not run; start\(\) it first"):
            getattr(server, name)


def test_starting_twice_is_refused(tiny_folder: Path) -> None:
    with make(tiny_folder) as server:
        with pytest.raises(ServingError, match=r"runs already; stop\(\) it first") as caught:
            server.start()
        assert caught.value.code == "FAILED_PRECONDITION"
        assert httpx.get(f"{server.rest_url}/v1/models/tiny").status_code == 200


def test_loading_is_done_once_and_not_while_it_runs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Servable] = []
    load = Servable.load
    monkeypatch.setattr(Servable, "load", lambda servable, warm_up: (loads.append(servable), load(servable, warm_up)))
    server = make(tiny_folder)
    server.load()
    server.load()
    with server:
        with pytest.raises(ServingError, match=r"runs already; stop\(\) it first") as caught:
            server.load()
        assert caught.value.code == "FAILED_PRECONDITION"
        assert [servable.status.state for servable in loads] == ["AVAILABLE"]
        assert httpx.get(f"{server.rest_url}/v1/models/tiny").status_code == 200
    server.load()
    assert [servable.status.state for servable in loads] == ["END", "AVAILABLE"]
    server.stop()
    assert [servable.status.state for servable in loads] == ["END", "END"]


def test_two_servers_beside_each_other(tiny_folder: Path) -> None:
    with make(tiny_folder) as one, Server({"other": tiny_folder}, rest_port=0, grpc_port=0) as two:
        for server, name in ((one, "tiny"), (two, "other")):
            with Client(grpc=server.grpc_address) as client:
                assert client.status(name)[0].state == "AVAILABLE"


def test_all_addresses_are_reached_through_this_machine(tiny_folder: Path) -> None:
    with make(tiny_folder, host="0.0.0.0") as server:
        assert server.rest_url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{server.rest_url}/v1/models/tiny").status_code == 200


@pytest.mark.parametrize("taken", ["rest_port", "grpc_port"])
def test_a_port_in_use_leaves_nothing_half_started(tiny_folder: Path, taken: str) -> None:
    other = {"rest_port": "grpc_port", "grpc_port": "rest_port"}[taken]
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        port, free = blocker.getsockname()[1], free_ports()[0]
        interface = {"rest_port": "REST", "grpc_port": "gRPC"}[taken]
        server = make(tiny_folder, **{taken: port, other: free})
        with pytest.raises(ServingError, match=rf"The {interface} interface cannot listen on 127.0.0.1 port {port}"):
            server.start()
    assert not listens(("127.0.0.1", free))
    with server:  # the port is free now
        assert httpx.get(f"{server.rest_url}/v1/models/tiny").status_code == 200


def test_two_servers_cannot_share_a_grpc_port(tiny_folder: Path) -> None:
    with make(tiny_folder) as first:
        port = int(first.grpc_address.rpartition(":")[2])
        with pytest.raises(ServingError, match=rf"gRPC interface cannot listen on 127.0.0.1 port {port}"):
            make(tiny_folder, grpc_port=port).start()


def broken_exports(folder: Path, intact: Path) -> dict[str, tuple[Path, str]]:
    """Damages copies of an export; returns each with what the error must say."""
    cases = {
        "absent": "there is no such folder",
        "empty": r"No version of a model in .*expected folders such as .*1 with a saved_model.pb",
        "version": "is itself a version; give its parent folder",
        "hollow": "version 1 in .* cannot be loaded: saved_model.pb is missing. Export the model again",
        "garbage": "cannot be loaded: saved_model.pb is corrupt",
        "cut": "cannot be loaded: ",
    }
    (folder / "empty" / "v1").mkdir(parents=True)
    shutil.copytree(intact / "10", folder / "version")
    (folder / "hollow" / "1").mkdir(parents=True)
    for name in ("garbage", "cut"):
        shutil.copytree(intact / "10", folder / name / "1")
    (folder / "garbage" / "1" / "saved_model.pb").write_bytes(b"\xff" * 100)
    data = next((folder / "cut" / "1" / "variables").glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:5])
    return {name: (folder / name, message) for name, message in cases.items()}


@pytest.mark.parametrize("case", ["absent", "empty", "version", "hollow", "garbage", "cut"])
def test_broken_models_leave_nothing_half_started(tiny_folder: Path, tmp_path: Path, case: str) -> None:
    folder, message = broken_exports(tmp_path, tiny_folder)[case]
    rest_port, grpc_port = free_ports()
    server = Server({"good": tiny_folder, "bad": folder}, rest_port=rest_port, grpc_port=grpc_port)
    with pytest.raises(ExportError, match=message):
        server.start()
    assert not listens(("127.0.0.1", rest_port))
    assert not listens(("127.0.0.1", grpc_port))


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ({}, {}, "needs at least one model"),
        ({"a/b": "x"}, {}, "must be non-empty and hold no '/'"),
        ({"a": "x"}, {"rest_port": 70000}, "rest_port must be from 0 to 65535, got 70000"),
        ({"a": "x"}, {"grpc_port": -1}, "grpc_port must be from 0 to 65535, got -1"),
        ({"a": "x"}, {"num_threads": 0}, "num_threads must be from 1"),
        ({"a": "x"}, {"max_request_bytes": 0}, "max_request_bytes must be from 1"),
        ({"a": "x"}, {"max_queued": -1}, "max_queued must be from 0"),
        ({"a": "x"}, {"request_timeout_seconds": 0}, "request_timeout_seconds must be from 0.001"),
        ({"a": "x"}, {"drain_seconds": -1}, "drain_seconds must be from 0"),
        ({"a": "x"}, {"file_system_poll_wait_seconds": -1}, "file_system_poll_wait_seconds must be from 0"),
        ({"a": "x"}, {"model_config_file_poll_wait_seconds": -1}, "model_config_file_poll_wait_seconds must be from 0"),
        ({"a": "x"}, {"model_config_file": "x"}, "Give models or model_config_file, not both"),
    ],
)
def test_wrong_arguments(models: dict[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Server(models, **options)


def test_many_requests_at_once_get_their_own_answers(server: Server) -> None:
    with Client(rest=server.rest_url) as over_rest, Client(grpc=server.grpc_address) as over_grpc:

        def ask(number: int) -> bool:
            client = (over_rest, over_grpc)[number % 2]
            outputs = client.predict("tiny", {"x": [number, number + 1]}, signature_name="half_plus_three")
            return outputs["y"].tolist() == [number / 2 + 3, (number + 1) / 2 + 3]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(120)))


@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=2)])
def test_stopping_lets_a_request_in_progress_finish(
    tiny_folder: Path, batching: BatchingParameters | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make(tiny_folder, num_threads=2, batching=batching).start()
    with (
        Held(monkeypatch) as held,
        ThreadPoolExecutor(3) as pool,
        Client(rest=server.rest_url) as over_rest,
        Client(grpc=server.grpc_address) as over_grpc,
    ):
        names = ("serving_default", "half_plus_three")  # which are not joined
        inputs = (CLASSIFY, {"x": [1.0]})
        clients = (over_rest, over_grpc)
        answers = [
            pool.submit(client.predict, "tiny", given, signature_name=name)
            for client, given, name in zip(clients, inputs, names, strict=True)
        ]
        held.wait_for(2)
        port = int(server.rest_url.rpartition(":")[2])
        stopped = pool.submit(server.stop)
        wait_until(lambda: not listens(("127.0.0.1", port)))
        held.leave.set()
        assert answers[0].result(30)["scores"].shape == (2, 3)
        assert answers[1].result(30)["y"].tolist() == [3.5]
        stopped.result(30)


def test_stopping_has_its_time(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tfxlm.serve.server.STOP_MARGIN_SECONDS", 0.2)
    server = make(tiny_folder, drain_seconds=0.2).start()
    with Held(monkeypatch) as held, ThreadPoolExecutor(1) as pool:
        post = pool.submit(httpx.post, f"{server.rest_url}/v1/models/tiny:predict", json={"inputs": CLASSIFY})
        held.wait_for(1)
        server.stop()  # while the call of the model goes on
        assert not held.leave.is_set()
        assert "what still runs is left behind" in caplog.text
        answer = post.result(30)
        assert (answer.status_code, answer.json()) == (
            503,
            {"error": "The server is stopping, and the request was not answered in time."},
        )


def test_requests_beyond_the_limit_over_both_transports(tiny_folder: Path) -> None:
    with make(tiny_folder, max_request_bytes=1000) as server:
        for options in ({"rest": server.rest_url}, {"grpc": server.grpc_address}):
            with Client(**options) as client:
                with pytest.raises(ServingError, match=r"larger than") as caught:
                    client.predict("tiny", {"x": np.zeros(1_000_000, np.float32)}, signature_name="half_plus_three")
                assert caught.value.code == "RESOURCE_EXHAUSTED"
                outputs = client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three")
                assert outputs["y"].tolist() == [3.5]


def test_error_messages_stay_short_however_long_the_request(server: Server) -> None:
    request = messages.PredictRequest()
    request.model_spec.name = "tiny"
    for number in range(500):
        request.inputs[f"ü{number}" * 20].dtype = 3
    with grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(request.SerializeToString(), timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) < 1100


def test_answers_over_rest_are_not_held_back(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small packets are sent at once on each connection, or every answer would wait for an acknowledgement."""
    accepted: list[int] = []
    accept = socket.socket.accept

    def spy(listener: socket.socket) -> tuple[socket.socket, Any]:
        connection, address = accept(listener)
        accepted.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", spy)
    with Server({"tiny": tiny_folder}, rest_port=0, grpc_port=0) as server, Client(rest=server.rest_url) as client:
        client.status("tiny")
    assert accepted
    assert all(accepted)
