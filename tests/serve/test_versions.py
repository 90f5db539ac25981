"""Models and versions side by side in a running server: paths, labels, new versions while requests come."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.tiny_models import save_plus_model
from tfxlm.client import Client
from tfxlm.errors import ConfigError, ServingError
from tfxlm.serve import ServedModel, Server, VersionPolicy

POLL = 0.05


def make(models: Any = None, **options: Any) -> Server:
    polls = {"file_system_poll_wait_seconds": POLL, "model_config_file_poll_wait_seconds": POLL}
    return Server(models, **{"rest_port": 0, "grpc_port": 0, **polls, **options})


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL / 2)


@pytest.fixture
def plus(tmp_path: Path) -> Path:
    for version in (1, 2):
        save_plus_model(tmp_path / "models" / "plus" / str(version), version)
    return tmp_path / "models" / "plus"


def write_config(folder: Path, **models: str) -> Path:
    entries = [
        f'config {{ name: "{name}" base_path: "{folder / "models" / "plus"}" {more} }}' for name, more in models.items()
    ]
    file = folder / "new.config"
    file.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    return file.rename(folder / "models.config")


BOTH = "model_version_policy { all {} }"
LABELS = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'


@pytest.fixture
def clients() -> Iterator[Callable[[Server], list[Client]]]:
    opened: list[Client] = []

    def make_clients(server: Server) -> list[Client]:
        options = ({"rest": server.rest_url}, {"rest": server.rest_url, "rest_format": "rows"})
        opened.extend(Client(**it) for it in (*options, {"grpc": server.grpc_address}))
        return opened

    yield make_clients
    for client in opened:
        client.close()


def ask(client: Client, model: str = "plus", **which: Any) -> float:
    return client.predict(model, {"x": [0.0]}, **which)["y"].tolist()[0]


def test_versions_and_labels_of_a_config_file(
    plus: Path, tmp_path: Path, clients: Callable[[Server], list[Client]]
) -> None:
    with make(model_config_file=write_config(tmp_path, plus=f"{BOTH} {LABELS}", newest="")) as server:
        assert server.model_names == ("plus", "newest")
        for client in clients(server):
            assert [ask(client, version=1), ask(client, version=2), ask(client)] == [1, 2, 2]
            assert [ask(client, label="stable"), ask(client, label="canary")] == [1, 2]
            assert client.metadata("plus", label="stable").version == 1
            assert [it.version for it in client.status("plus")] == [2, 1]
            assert [it.version for it in client.status("plus", label="stable")] == [1]
            assert [it.version for it in client.status("newest")] == [2]
            with pytest.raises(ServingError, match=r"Model 'newest' has no version 1 here; served: 2\.") as caught:
                ask(client, "newest", version=1)
            assert caught.value.code == "NOT_FOUND"
        for path, expected in (("", 2), ("/versions/1", 1), ("/versions/2", 2), ("/labels/stable", 1)):
            url = f"{server.rest_url}/v1/models/plus{path}"
            assert httpx.post(f"{url}:predict", json={"instances": [0.0]}).json() == {"predictions": [expected]}
            assert httpx.get(f"{url}/metadata").json()["model_spec"]["version"] == str(expected)
            statuses = httpx.get(url).json()["model_version_status"]
            assert {it["state"] for it in statuses} == {"AVAILABLE"} and len(statuses) == (1 if path else 2)


def test_a_new_version_takes_over_without_a_failed_request(plus: Path) -> None:
    with make({"plus": plus}) as server:
        stop = threading.Event()

        def keep_asking(options: dict[str, str]) -> list[float]:
            answers = []
            with Client(**options) as client:
                while not stop.is_set():
                    answers.append(ask(client))
            return answers

        with ThreadPoolExecutor(4) as pool, Client(grpc=server.grpc_address) as client:
            ways = [{"rest": server.rest_url}, {"grpc": server.grpc_address}] * 2
            asking = [pool.submit(keep_asking, way) for way in ways]
            try:
                for version in (3, 4):
                    save_plus_model(plus / str(version), version)
                    wait_for(lambda version=version: ask(client) == version)
                shutil.rmtree(plus / "4")
                wait_for(lambda: ask(client) == 3)
                wait_for(lambda: {it.version: it.state for it in client.status("plus")}[4] == "END")
            finally:
                stop.set()
            for answers in asking:
                given = answers.result(60)  # every request was answered
                assert given
                order = iter([2, 3, 4, 3])
                changes = [one for one, before in zip(given, [None, *given], strict=False) if one != before]
                assert all(version in order for version in changes), f"{changes} goes back and forth"


def test_a_config_file_that_changes(plus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_config(tmp_path, plus=f"{BOTH} {LABELS}")
    with make(model_config_file=file) as server, Client(grpc=server.grpc_address) as client:
        write_config(tmp_path, plus="model_version_policy { specific { versions: 1 } }", other=BOTH)
        client.wait_until_available("other")
        wait_for(lambda: [it.state for it in client.status("plus", version=2)] == ["END"])
        assert (ask(client), ask(client, "other")) == (1, 2)
        file.write_text("model_config_list { config {")
        wait_for(lambda: "the model configuration stays as it was" in caplog.text)
        assert (ask(client), ask(client, "other")) == (1, 2)
        write_config(tmp_path, plus="")
        wait_for(lambda: server.model_names == ("plus",))
        wait_for(lambda: ask(client) == 2)
        with pytest.raises(ServingError, match="Model 'other' is not served here"):
            ask(client, "other")


def test_a_server_that_does_not_look_again(plus: Path, tmp_path: Path) -> None:
    file = write_config(tmp_path, plus="")
    never = {"file_system_poll_wait_seconds": 0, "model_config_file_poll_wait_seconds": 0}
    with make(model_config_file=file, **never) as server, Client(grpc=server.grpc_address) as client:
        save_plus_model(plus / "3", 3)
        time.sleep(4 * POLL)
        assert ask(client) == 2


def test_models_with_policies_as_arguments(plus: Path) -> None:
    model = ServedModel(plus, VersionPolicy(latest=2), {"old": 1})
    with make({"plus": model, "other": plus}) as server, Client(rest=server.rest_url) as client:
        assert (ask(client, label="old"), ask(client), ask(client, "other")) == (1, 2, 2)


def test_a_broken_config_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    server = make(model_config_file=file)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        server.start()
    file.write_text("model_config_list {}")
    with pytest.raises(ConfigError, match="names no model"):
        server.start()
