"""The README: every code block runs as it stands, in order, or says why it is not run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.example_files import ROOT
from tests.test_import_order import LINES
from tfxlm.client import Client

README = ROOT / "README.md"
SERVE = "tfxlm serve "
# The ports that the README names; free ones take their place.
PORTS = ("8501", "8500")

BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the line its code starts on, and why it is not run, if so."""

    kind: str
    code: str
    line: int
    reason: str | None


def read_blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    blocks = [
        Block(match["kind"], match["code"], text[: match.start("code")].count("\n") + 1, match["reason"])
        for match in BLOCK.finditer(text)
    ]
    assert 2 * len(blocks) == len(re.findall(r"^```", text, re.M)), f"{path.name} has a block that is not understood"
    return blocks


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for open_socket in sockets:
            open_socket.bind(("127.0.0.1", 0))
        return [open_socket.getsockname()[1] for open_socket in sockets]


class Reader:
    """Somebody who types the README's blocks in, in one Python session and one shell."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "readme"}
        self.ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.servers: list[subprocess.Popen[bytes]] = []
        self.answers: list[dict[str, Any]] = []

    def run(self, block: Block) -> None:
        code = re.sub("|".join(PORTS), lambda match: self.ports[match[0]], block.code)
        {"python": self.python, "bash": self.shell}[block.kind](code, block)

    def python(self, code: str, block: Block) -> None:
        """Runs it, and compares what it prints with the comments behind `print(...)`."""
        # Empty lines before it make line numbers in a traceback those of the README.
        program = compile("\n" * (block.line - 1) + code, str(README), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(program, self.namespace)
        printed = iter(output.getvalue().splitlines())
        for expected in PRINTED.findall(code):
            assert expected in printed, f"line {block.line}: {expected!r} is not printed, in {output.getvalue()!r}"

    def shell(self, code: str, block: Block) -> None:
        for command in code.replace("\\\n", " ").splitlines():
            if command.startswith(SERVE):
                self.start_server(command)
            elif command.startswith("curl "):
                self.curl(shlex.split(command)[1:])
            elif command.startswith("python examples/"):
                subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
            elif command.startswith("tfxlm "):
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                subprocess.run([sys.executable, "-m", "tfxlm", *shlex.split(command)[1:]], check=True, env=environment)
            else:
                raise AssertionError(f"line {block.line}: no rule to run {command!r}; write one, or say why not to run")

    def start_server(self, command: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.servers.append(
            subprocess.Popen([sys.executable, "-m", "tfxlm", *shlex.split(command)[1:]], env=environment)
        )
        with Client(rest=f"http://127.0.0.1:{self.ports['8501']}") as client:
            client.wait_until_available("intent", timeout=120)

    def curl(self, arguments: list[str]) -> None:
        """Sends what curl would send, on machines without curl too."""
        option, body, url = arguments
        assert option == "-d"
        assert body.startswith("@")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = httpx.post(url, content=Path(body[1:]).read_bytes(), headers=headers, timeout=60)
        assert response.status_code == 200, response.text
        self.answers.append(json.loads(response.text))

    def leave(self) -> None:
        for server in self.servers:
            server.terminate()
            server.wait(timeout=60)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in a folder of their own, with the examples in it."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    someone = Reader()
    yield someone
    someone.leave()


def test_every_block_runs(reader: Reader) -> None:
    for block in read_blocks(README):
        if block.reason is None:
            reader.run(block)
    (answer,) = reader.answers
    assert set(answer["outputs"]) == {"label", "score", "scores"}
    assert len(answer["outputs"]["label"]) == 2
    made = {"whole.keras", "small.keras", "converted", "saved", "exported", "request.json", "tiny"} | {
        "texts",
        "store",
        "pretrained",
    }
    assert {path.name for path in Path().iterdir()} == {"examples", *made}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "README.md",
            [
                ("make quickstart", "each makes an environment of its own"),
                ("pip install -e", "changes the environment"),
                ("docker run", "needs Docker"),
            ],
        ),
        (
            "serving/README.md",
            [
                ("python -c 'import tfxlm;", "needs Docker"),
                ("curl http://localhost:8501", "needs Docker"),
                ("docker run", "needs Docker"),
                ("docker build", "needs Docker"),
                ("docker compose", "needs Docker"),
                ("docker build", "needs a cluster"),
                ("python serving/load_test.py", "needs a server"),
            ],
        ),
    ],
)
def test_what_is_not_run_says_why(name: str, expected: list[tuple[str, str]]) -> None:
    unrun = [block for block in read_blocks(ROOT / name) if block.reason]
    found = [(block.code[: len(start)], block.reason) for block, (start, _) in zip(unrun, expected, strict=True)]
    assert found == expected


def test_the_commands_are_those_of_the_makefile() -> None:
    rules = re.findall(r"^([a-z]+):.*## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    text = README.read_text(encoding="utf-8")
    assert re.findall(r"^\| `make ([a-z]+)` \| (.+) \|$", text, re.M) == rules


def test_the_layout_is_the_one_that_the_import_test_enforces() -> None:
    here = {path.stem for path in (ROOT / "tfxlm").iterdir() if not path.name.startswith("_")}
    lines = [[module for module in line if module in here] for line in LINES]
    (block,) = (block for block in read_blocks(ROOT / "CONTRIBUTING.md") if "configs" in block.code)
    assert [line.split() for line in block.code.splitlines()] == [line for line in lines if line]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "serving/README.md"])
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
