"""HandleReloadConfigRequest, with the official stub."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tests.serve.tiny_models import save_plus_model
from tfxlm.client import Client
from tfxlm.serve import Server


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "plus"
    for version in (1, 2):
        save_plus_model(folder / str(version), version)
    return folder


@pytest.fixture(scope="module")
def server(plus: Path) -> Iterator[Server]:
    with Server({"plus": plus}, rest_port=0, grpc_port=0, file_system_poll_wait_seconds=0) as running:
        yield running


@pytest.fixture(scope="module")
def reload(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def send(text: str) -> Any:
            request = model_management_pb2.ReloadConfigRequest()
            text_format.Parse(text, request.config)
            return stub.HandleReloadConfigRequest(request, timeout=60)

        yield send


def entry(name: str, path: Path, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def ask(server: Server, model: str, **which: Any) -> float:
    with Client(grpc=server.grpc_address) as client:
        return client.predict(model, {"x": [0.0]}, **which)["y"].tolist()[0]


def test_models_policies_and_labels_follow(server: Server, reload: Any, plus: Path) -> None:
    both = "model_version_policy { all {} } version_labels { key: 'old' value: 1 }"
    response = reload(f"model_config_list {{ {entry('plus', plus, both)} {entry('other', plus)} }}")
    assert response.status.error_code == 0
    assert (ask(server, "plus", label="old"), ask(server, "plus"), ask(server, "other")) == (1, 2, 2)
    reload(f"model_config_list {{ {entry('plus', plus)} }}")
    assert server.model_names == ("plus",)


def test_a_model_moves_to_another_folder_and_no_request_is_lost(server: Server, reload: Any, plus: Path) -> None:
    save_plus_model(plus / "moved" / "2", 20)
    answers, done = [], threading.Event()

    def keep_asking() -> None:
        with Client(grpc=server.grpc_address) as client:
            while not done.is_set():
                answers.append(client.predict("plus", {"x": [0.0]})["y"].tolist()[0])

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        try:
            for path, expected in ((plus / "moved", 20), (plus, 2)):
                reload(f"model_config_list {{ {entry('plus', path)} }}")
                assert ask(server, "plus") == expected
        finally:
            done.set()
        asking.result(30)
    assert set(answers) <= {2, 20}
    assert answers


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ("", "INVALID_ARGUMENT", "The model configuration of the request names no model"),
        (
            "model_config_list { config { name: 'a' base_path: 'a' } }",
            "INVALID_ARGUMENT",
            "has base_path 'a'; expected",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/etc' } }",
            "PERMISSION_DENIED",
            "is in no folder that th",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'PLUS/../../..' } }",
            "PERMISSION_DENIED",
            "Model 'a' is in",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'PLUS/1' } }",
            "FAILED_PRECONDITION",
            "is itself a version",
        ),
    ],
)
def test_what_is_refused(server: Server, reload: Any, plus: Path, config: str, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reload(config.replace("PLUS", str(plus)))
    assert caught.value.code().name == code
    assert message in caught.value.details()
    reload(f"model_config_list {{ {entry('plus', plus)} }}")
    assert ask(server, "plus") == 2


def test_a_message_that_is_too_long(server: Server) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")(b"x" * 1_100_000, timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "A ReloadConfigRequest has at most 1048576 bytes here."
