"""`tfxlm serve`, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.test_cli import ENVIRONMENT, ROOT, run
from tests.serve.tiny_models import save_plus_model
from tfxlm.client import Client

PORTS = ("--port", "0", "--rest_api_port=0")


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that adds 1."""
    return save_plus_model(tmp_path_factory.mktemp("exported") / "1", 1).parent


@contextmanager
def served(*arguments: object, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tfxlm", "serve", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**ENVIRONMENT, **(environment or {})},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def addresses(process: subprocess.Popen[str]) -> tuple[str, str]:
    line = process.stdout.readline()
    found = re.fullmatch(r"Serving plus: REST (http://127\.0\.0\.1:\d+), gRPC (127\.0\.0\.1:\d+)\n", line)
    assert found, line + process.stderr.read()
    return found[1], found[2]


# A model whose calls never end, in place of one that is slow.
STUCK = """
import sys, time
import tfxlm.serve.running
from tfxlm.serve.servable import Servable
tfxlm.serve.running.STOP_MARGIN_SECONDS = 1  # the time alone would be a quarter of a minute
def predict(*_):
    print("asked", flush=True)
    time.sleep(3600)
Servable.predict = predict
from tfxlm.cli import main
sys.argv = ["tfxlm", "serve", *sys.argv[1:]]
main()
"""


def test_a_server_from_its_start_to_its_end(plus: Path, tmp_path: Path) -> None:
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 1000 }")
    with served(f"plus={plus}", *PORTS, "--batching_parameters_file", batching, "--threads=2") as process:
        rest_url, grpc_address = addresses(process)
        with Client(rest=rest_url) as rest, Client(grpc=grpc_address) as grpc:
            for client in (rest, grpc):
                assert client.predict("plus", {"x": [1.0]})["y"].tolist() == [2]
        assert httpx.get(f"{rest_url}/readyz").json() == {"status": "ready"}
        assert ':tensorflow:serving:request_count{model_name="plus",status="OK"} 2.0' in (
            httpx.get(f"{rest_url}/monitoring/prometheus/metrics").text
        )
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "Stopping; a second signal ends it at once.\n")
        assert "Traceback" not in errors


@pytest.mark.parametrize("way", ["a second signal", "the time"])
def test_a_call_that_never_ends_does_not_hold_it_up(plus: Path, way: str) -> None:
    drain = 600 if way == "a second signal" else 0
    command = [sys.executable, "-c", STUCK, f"plus={plus}", *PORTS, f"--drain-seconds={drain}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    ) as process:
        try:
            rest_url, _ = addresses(process)
            host, port = rest_url.removeprefix("http://").split(":")
            body = b'{"instances": [1.0]}'
            with socket.create_connection((host, int(port)), timeout=60) as connection:
                head = f"POST /v1/models/plus:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                assert process.stdout.readline() == "asked\n"
                process.send_signal(signal.SIGINT)
                assert process.stdout.readline() == "Stopping; a second signal ends it at once.\n"
                if way == "a second signal":
                    process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=60)
            if way == "a second signal":
                assert process.returncode == -signal.SIGTERM
            else:
                assert process.returncode == 1
                assert errors.count("Thread 0x") > 1  # and where each was
        finally:
            process.kill()


def test_ctrl_c_while_models_are_loaded_ends_it_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "models.config")  # a configuration that never comes
    with served("--model-config-file", tmp_path / "models.config", *PORTS) as process:
        with (tmp_path / "models.config").open("wb"):  # opened by the server too, then
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give models as NAME=PATH, or --model-config-file (one of them)"),
        (["a=x", "--model-config-file", "y"], "give models as NAME=PATH, or --model-config-file (one of them)"),
        (["tiny"], "expected NAME=PATH, got 'tiny'"),
        (["a=x", "a=y"], "the name 'a' is given twice"),
        (
            ["a=x", "--stock", "--max_queued=3", "--threads=1"],
            "--stock takes no option that tensorflow_model_server has not: max_queued, num_threads",
        ),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str) -> None:
    done = run("serve", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_help_names_every_option_without_tensorflow() -> None:
    script = (
        "import sys\nfrom tfxlm.cli import main\nsys.argv = ['tfxlm', 'serve', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print('tfxlm.serve.server' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "COLUMNS": "200"},
        cwd=ROOT,
        check=True,
    )
    for option in (
        *("--port", "--rest-api-port", "--host", "--model-config-file", "--model-config-file-poll-wait-seconds"),
        *("--file-system-poll-wait-seconds", "--model-root", "--enable-batching", "--batching-parameters-file"),
        *("--monitoring-config-file", "--ssl-config-file", "--rest-api-timeout-in-ms", "--max-request-bytes"),
        *("--threads", "--max-queued", "--drain-seconds", "--stock"),
    ):
        # Where options begin their lines: some are parts of others, or named in what others say.
        assert re.search(rf"^\W*{option}\s", done.stdout, re.M), option
    for option, default in (("--port", 8500), ("--rest-api-port", 8501), ("--host", r"127\.0\.0\.1")):
        assert re.search(rf"^\W*{option}\s.*\[default: {default}\]", done.stdout, re.M), option
    assert re.search(r"^ *Usage: .*\[NAME=PATH\]", done.stdout, re.M)
    assert done.stdout.endswith("False\n")


def test_a_model_that_is_not_there_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run("serve", f"plus={tmp_path / 'absent'}", *PORTS)
    assert done.returncode == 1
    assert f"error: No exported model in {tmp_path / 'absent'}: there is no such folder." in done.stderr
    assert "Traceback" not in done.stderr


STAND_IN = """#!/bin/sh
for word in "$@"; do
  echo "$word"
  case "$word" in --model_config_file=*) cat "${word#*=}" ;; esac
done
exit 7
"""


def stock(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs it with a `tensorflow_model_server` that tells what it is given."""
    program = folder / "tensorflow_model_server"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    command = [sys.executable, "-m", "tfxlm", "serve", "--stock", *map(str, arguments)]
    environment = {**ENVIRONMENT, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def test_the_stock_server_in_its_place(plus: Path, tmp_path: Path) -> None:
    done = stock(tmp_path, f"plus={plus}", "--host=0.0.0.0", "--port=1", "--enable_batching", "--ssl_config_file=s")
    assert done.returncode == 7
    flags = dict(re.findall(r"^--(\w+)=(.*)$", done.stdout, re.M))
    assert Path(flags.pop("model_config_file")).name == "models.config"
    assert flags == {
        "port": "1",
        "rest_api_port": "8501",
        "rest_api_timeout_in_ms": "30000",
        "allow_version_labels_for_unavailable_models": "true",
        "model_config_file_poll_wait_seconds": "0",
        "file_system_poll_wait_seconds": "1",
        "enable_batching": "true",
        "ssl_config_file": "s",
    }
    assert f'name: "plus"\n    base_path: "{plus}"\n    model_platform: "tensorflow"' in done.stdout
    done = stock(tmp_path, f"plus={plus}")
    assert done.returncode == 1
    assert "tensorflow_model_server listens on all addresses of this machine" in done.stderr


def test_the_stock_server_must_be_there(plus: Path) -> None:
    done = run("serve", f"plus={plus}", "--stock")
    assert done.returncode == 1
    assert "--stock needs tensorflow_model_server, which is not on the PATH." in done.stderr


def test_missing_packages_say_how_to_install_them() -> None:
    script = (
        "import sys\nsys.modules['uvicorn'] = None\nsys.argv = ['tfxlm', 'serve', 'a=b']\n"
        "import tfxlm.cli as c\nc.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    message = "error: The embedded server needs uvicorn, which is not installed. Install it with: pip install"
    assert message in done.stderr
