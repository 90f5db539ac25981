"""A server with the tiny model, and a shorthand for asking it over REST."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.tiny_models import save_tiny_model
from tfxlm.serve import Server

Post = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder with two versions, of which 10 is the newest, and things that are no versions."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    save_tiny_model(folder / "9")
    shutil.copytree(folder / "9", folder / "10")
    (folder / "notes").mkdir()
    (folder / "README.txt").write_text("not a version")
    return folder


@pytest.fixture(scope="session")
def server(tiny_folder: Path) -> Iterator[Server]:
    with Server({"tiny": tiny_folder}, rest_port=0, grpc_port=0, max_request_bytes=2_000_000, num_threads=2) as running:
        yield running


@pytest.fixture(scope="session")
def post(server: Server) -> Iterator[Post]:
    """Posts a body (JSON value or raw bytes) to the predict endpoint; returns status and parsed answer."""
    with httpx.Client(base_url=server.rest_url) as client:

        def send(body: Any, path: str = "/v1/models/tiny:predict", **options: Any) -> tuple[int, Any]:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            response = client.post(path, content=content, **options)
            return response.status_code, json.loads(response.text)

        yield send


CLASSIFY = {"input_ids": [[1, 2], [3, 4]], "lengths": [2, 1], "langs": [[0, 0], [1, 1]]}
