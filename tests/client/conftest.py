"""A server with the tiny model, and a client for each way to ask it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.tiny_models import save_tiny_model
from tfxlm.client import Client
from tfxlm.serve import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("exported") / "tiny"
    save_tiny_model(folder / "3")
    with Server({"tiny": folder}, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(params=["rest columns", "rest rows", "grpc"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    options = {
        "rest columns": {"rest": server.rest_url},
        "rest rows": {"rest": server.rest_url, "rest_format": "rows"},
        "grpc": {"grpc": server.grpc_address},
    }[request.param]
    with Client(**options) as opened:
        yield opened
