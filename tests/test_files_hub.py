"""Downloads from a stand-in for the hub, by the real hub library in a process of its own."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = {
    "config.json": b'{"n_layers": 2}',
    "model.safetensors": b"weights",
    "tf_model.h5": b"not wanted",
    "small/config.json": b'{"n_layers": 1}',
}


def blob_id(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """The four addresses that a snapshot download asks for, for the repository ``org/model``."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(("/api/models/org/gated", "/org/gated")):
            self.answer(403, b"{}", X_Error_Code="GatedRepo")
        elif path.startswith(("/api/models/org/model/revision/v9",)):
            self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        elif path.startswith("/api/models/org/broken"):
            self.answer(500, b"{}")
        elif path.startswith("/api/models/org/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
                for name, content in REPOSITORY.items()
            ]
            self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        elif path.startswith("/api/models/org/model"):
            siblings = [{"rfilename": name} for name in REPOSITORY]
            body = {
                "id": "org/model",
                "sha": COMMIT,
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 0,
            }
            self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
        elif path.startswith(f"/org/model/resolve/{COMMIT}/"):
            content = REPOSITORY[path.split(COMMIT + "/")[1]]
            self.answer(200, content, ETag=f'"{blob_id(content)}"', X_Repo_Commit=COMMIT)
        else:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def resolve(endpoint: str, cache: Path, requests: list[dict[str, Any]], **settings: str) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", **settings}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("hub_client.py")],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_downloads_what_matches_and_then_works_offline(hub: str, tmp_path: Path) -> None:
    wanted = {"name_or_path": "org/model", "patterns": ["config.json", "*.safetensors"]}
    small = {"name_or_path": "org/model", "patterns": ["*.json"], "subfolder": "small"}
    online = resolve(hub, tmp_path, [wanted, small])
    assert online[0] == {"files": {"config.json": '{"n_layers": 2}', "model.safetensors": "weights"}}
    assert online[1] == {"files": {"config.json": '{"n_layers": 1}'}}
    # The same cache, with the library's switch, with our argument, and with the hub gone.
    assert resolve(hub, tmp_path, [small], HF_HUB_OFFLINE="1") == online[1:]
    assert resolve("http://127.0.0.1:9", tmp_path, [{**small, "local_files_only": True}, small]) == [online[1]] * 2


def test_errors_say_the_way_out(hub: str, tmp_path: Path) -> None:
    cases = [
        ({"name_or_path": "org/nowhere"}, "no hub repository of that name that you may see. Check the spelling"),
        ({"name_or_path": "org/gated"}, "'org/gated' is gated. Accept its terms on its page, then log in with"),
        ({"name_or_path": "org/model", "revision": "v9"}, "'org/model' has no revision 'v9'. Give an existing branch"),
        ({"name_or_path": "org/model", "subfolder": "tiny"}, "'org/model' has no subfolder 'tiny'"),
        ({"name_or_path": "org/broken"}, "hub cannot be reached|from the hub failed"),
        ({"name_or_path": "org/model", "local_files_only": True}, "downloads are off .* Download it once while online"),
    ]
    # The last case needs a cache that nothing was downloaded to.
    answers = resolve(hub, tmp_path / "a", [{"patterns": ["*.bin"], **request} for request, _ in cases[:-1]])
    answers += resolve(hub, tmp_path / "b", [{"patterns": ["*.bin"], **request} for request, _ in cases[-1:]])
    for (request, message), answer in zip(cases, answers, strict=True):
        assert answer.get("error") == "CheckpointNotFoundError", (request, answer)
        assert re.search(message, answer["message"]), answer


def test_no_network(tmp_path: Path) -> None:
    request = {"name_or_path": "org/model", "patterns": ["*.json"]}
    (answer,) = resolve("http://127.0.0.1:9", tmp_path, [request])
    assert answer["error"] == "CheckpointNotFoundError"
    assert "the hub cannot be reached. Check the connection and HF_ENDPOINT" in answer["message"]
    (answer,) = resolve("http://127.0.0.1:9", tmp_path, [request], HF_HUB_OFFLINE="1")
    assert "downloads are off" in answer["message"]
