"""Downloads from and uploads to a stand-in for the hub, by the real hub library in a process of its own."""

import base64
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


# Weights of two gigabytes each, of which there is only the beginning.
LARGE = 1 << 31
HEADERS = {
    name: json.dumps({name: {"dtype": "F16", "shape": [LARGE // 2], "data_offsets": [0, LARGE]}}).encode()
    for name in ("a", "b")
}
HEADERS = {name: len(header).to_bytes(8, "little") + header for name, header in HEADERS.items()}
INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
REPOSITORY |= {
    "large/model.safetensors": HEADERS["a"],
    "shards/model.safetensors.index.json": json.dumps(INDEX).encode(),
    "shards/model-1.safetensors": HEADERS["a"],
    "shards/model-2.safetensors": HEADERS["b"],
    "evil/model.safetensors.index.json": b'{"weight_map": {"a": "../model.safetensors"}}',
}
# What was asked for of files, in ranges and as a whole.
ASKED: list[tuple[str, str | None]] = []

# What was uploaded: of each request the address, the token, and what it said.
POSTED: list[dict[str, Any]] = []


class Hub(BaseHTTPRequestHandler):
    """The addresses that a snapshot download asks for, for the repository ``org/model``, and those of an upload."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(("/api/models/org/gated", "/org/gated")):
            self.answer(403, b"{}", X_Error_Code="GatedRepo")
        elif path.startswith(("/api/models/org/model/revision/v9",)):
            self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        elif path.startswith("/api/models/org/broken"):
            self.answer(500, b"{}")
        elif path == "/api/models/org/new/discussions/7":
            details = {"title": "", "num": 7, "author": {}, "createdAt": "2020-01-01T00:00:00.000Z", "status": "draft"}
            details |= {"repo": {"name": "org/new", "type": "model"}, "isPullRequest": True, "events": []}
            details |= {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
            self.answer(200, json.dumps(details).encode(), Content_Type="application/json")
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
            ASKED.append((path.split(COMMIT + "/")[1], self.headers["range"]))
            self.answer(200, content, ETag=f'"{blob_id(content)}"', X_Repo_Commit=COMMIT)
        elif path.startswith("/org/model/resolve/main/"):
            file = path.removeprefix("/org/model/resolve/main/")
            ASKED.append((file, self.headers["range"]))
            if file in REPOSITORY:
                self.answer(206, REPOSITORY[file])
            else:
                self.answer(404, b"", X_Error_Code="EntryNotFound")
        else:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines() if line]
        POSTED.append({"path": self.path, "token": self.headers["Authorization"], "lines": lines})
        here = f"http://{self.headers['Host']}"
        answer: dict[str, Any] = {}
        if self.headers["Authorization"] != "Bearer right":
            self.answer(401, b"{}")
            return
        if self.path.startswith("/api/repos/create"):
            owner = lines[0].get("organization") or "me"
            answer = {"url": f"{here}/{owner}/{lines[0]['name']}", "name": f"{owner}/{lines[0]['name']}"}
        elif "/preupload/" in self.path:
            files = lines[0]["files"]
            answer = {
                "files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            }
        elif self.path.endswith("/discussions"):
            answer = {"num": 7}
        elif "/commit/" in self.path:
            repository = here + self.path.removeprefix("/api/models").partition("/commit/")[0]
            answer = {"success": True, "commitOid": COMMIT, "commitUrl": f"{repository}/commit/{COMMIT}"}
            if "create_pr=1" in self.path or "refs%2Fpr%2F7" in self.path:
                answer["pullRequestUrl"] = f"{repository}/discussions/7"
        self.answer(200, json.dumps(answer).encode(), Content_Type="application/json")

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
        [sys.executable, "-m", "tests.hub_client"],
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
    wanted = {"name_or_path": "org/model", "patterns": ["config.json", "model.safe*"]}
    small = {"name_or_path": "org/model", "patterns": ["*.json"], "subfolder": "small"}
    online = resolve(hub, tmp_path, [wanted, small])
    assert online[0] == {"files": {"config.json": '{"n_layers": 2}', "model.safetensors": "weights"}}
    assert online[1] == {"files": {"config.json": '{"n_layers": 1}'}}
    # The same cache, with the library's switch, with our argument, and with the hub gone.
    assert resolve(hub, tmp_path, [small], HF_HUB_OFFLINE="1") == online[1:]
    assert resolve("http://127.0.0.1:9", tmp_path, [{**small, "local_files_only": True}, small]) == [online[1]] * 2


def test_inspection_fetches_headers(hub: str, tmp_path: Path) -> None:
    ASKED.clear()
    requests = [{"inspect": "org/model", "subfolder": folder} for folder in ("large", "shards", "evil")]
    large, shards, evil = resolve(hub, tmp_path, requests)
    assert (large["found"]["size"], large["found"]["path"]) == (LARGE, "org/model/model.safetensors")
    assert (shards["found"]["size"], shards["found"]["files"]) == (2 * LARGE, 2)
    assert evil["error"] == "UnsafeFileError" and "Expected a plain file name" in evil["message"]
    fetched = [(file, part) for file, part in ASKED if file.endswith(".safetensors")]
    assert {file for file, _ in fetched} >= {"large/model.safetensors", "shards/model-2.safetensors"}
    assert all(part == "bytes=0-100000" for _, part in fetched)


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


def uploaded(posts: list[dict[str, Any]]) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of a commit, and its header."""
    (commit,) = (post for post in posts if "/commit/" in post["path"])
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in commit["lines"]
        if line["key"] == "file"
    }
    return files, next(line["value"] for line in commit["lines"] if line["key"] == "header")


def test_uploads_the_files_that_are_named(hub: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "notes.txt"):
        (folder / name).write_text(f"content of {name}")
    request = {"folder": str(folder), "repo_id": "org/new", "names": ["config.json", "*.safetensors"], "token": "right"}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, f"/org/new/commit/{COMMIT}", "/api/models/org/new/commit/main"),
        ({"repo_id": "mine", "private": True}, f"/me/mine/commit/{COMMIT}", "/api/models/me/mine/commit/main"),
        (
            {"commit_message": "Better", "revision": "dev"},
            f"/org/new/commit/{COMMIT}",
            "/api/models/org/new/commit/dev",
        ),
        ({"create_pr": True}, "/org/new/discussions/7", ""),  # by one request or by two
    ]
    for changes, url, path in cases:
        POSTED.clear()
        assert resolve(hub, tmp_path / "cache", [{**request, **changes}]) == [{"url": hub + url}]
        files, header = uploaded(POSTED)
        assert files == {name: f"content of {name}".encode() for name in ("config.json", "model.safetensors")}
        assert header["summary"] == changes.get("commit_message", "Upload model")
        assert any(post["path"] == path or not path for post in POSTED)
        created = next(post["lines"][0] for post in POSTED if post["path"].startswith("/api/repos/create"))
        # Two forms, by the version of the hub library.
        private = created.get("private") or created.get("visibility") == "private"
        assert bool(private) == changes.get("private", False)
        branches = [post["path"] for post in POSTED if "/branch/" in post["path"]]
        assert branches == (["/api/models/org/new/branch/dev"] if "revision" in changes else [])


def test_uploads_that_fail(hub: str, tmp_path: Path) -> None:
    request = {"folder": str(tmp_path), "repo_id": "org/new", "names": ["*"]}
    wrong, no_name = resolve(hub, tmp_path, [{**request, "token": "wrong"}, {**request, "repo_id": "a/b/c"}])
    assert wrong["error"] == no_name["error"] == "UploadError"
    assert re.search("Uploading to 'org/new' failed .*401.*pass a `token` that may write there", wrong["message"], re.S)
    assert "'a/b/c' is not a hub name such as 'your-name/your-model', so nothing was uploaded" in no_name["message"]
    (answer,) = resolve("http://127.0.0.1:9", tmp_path, [{**request, "token": "right"}])
    assert answer["error"] == "UploadError" and "Check the connection" in answer["message"]


def test_force_download(hub: str, tmp_path: Path) -> None:
    request = {"name_or_path": "org/model", "patterns": ["config.json"]}
    (found,) = resolve(hub, tmp_path, [request])
    (config,) = tmp_path.rglob("snapshots/*/config.json")
    config.resolve().write_text("broken")
    assert resolve(hub, tmp_path, [request]) == [{"files": {"config.json": "broken"}}]
    assert resolve(hub, tmp_path, [{**request, "force_download": True}]) == [found]
