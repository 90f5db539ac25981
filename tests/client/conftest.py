"""A server with tiny models, and clients for each way to ask it."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.text_model import save_text_model
from tests.serve.tiny_models import save_tiny_model
from tfxlm.client import AsyncClient, Client
from tfxlm.serve import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("exported")
    save_tiny_model(folder / "tiny" / "3")
    save_text_model(folder / "texts" / "1")
    models = {name: folder / name for name in ("tiny", "texts")}
    with Server(models, rest_port=0, grpc_port=0) as running:
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


class Awaited:
    """An `AsyncClient` in the guise of a `Client`: each call is awaited in one event loop."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.Runner()
        self._client = AsyncClient(**options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        assert inspect.iscoroutinefunction(method)
        return lambda *args, **options: self._loop.run(method(*args, **options))

    def __enter__(self) -> "Awaited":
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run(self._client.close())
        self._loop.close()


Make = Callable[..., Any]
"""Makes a client of addresses and options."""


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture(params=["rest", "grpc"])
def either(make: Make, server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both kinds of clients over both protocols."""
    with make(**{request.param: server.rest_url if request.param == "rest" else server.grpc_address}) as opened:
        yield opened
