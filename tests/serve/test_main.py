"""`python -m tfxlm.serve`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfxlm.client import Client
from tfxlm.serve import Server
from tfxlm.serve.__main__ import main

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def kept_handlers() -> Iterator[None]:
    """Puts the signal handlers back that `main` replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_serves_until_a_signal(tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "tfxlm.serve", f"tiny={tiny_folder}", "--rest-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"Serving tiny: REST (http://127\.0\.0\.1:\d+), gRPC (127\.0\.0\.1:\d+)\n", line)
            assert match, line + process.stderr.read()
            with Client(rest=match[1]) as rest, Client(grpc=match[2]) as grpc:
                for client in (rest, grpc):
                    outputs = client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three")
                    assert outputs["y"].tolist() == [3.5]
            process.send_signal(signal.SIGTERM)
            rest_of_output, errors = process.communicate(timeout=60)
            assert (process.returncode, rest_of_output) == (0, "Stopping.\n")
            assert "Traceback" not in errors
        finally:
            process.kill()


@pytest.mark.usefixtures("kept_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_stop_it(
    tiny_folder: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Server.start

    def start_and_signal(server: Server) -> Server:
        start(server)
        signal.raise_signal(number)
        return server

    monkeypatch.setattr(Server, "start", start_and_signal)
    assert main([f"tiny={tiny_folder}", "--rest-port", "0", "--grpc-port", "0"]) == 0
    assert capsys.readouterr().out.endswith("Stopping.\n")


@pytest.mark.usefixtures("kept_handlers")
@pytest.mark.parametrize("option", ["--model-config-file", "--model_config_file"])
def test_a_model_config_file(
    option: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start, file = Server.start, tmp_path / "models.config"
    file.write_text(f'model_config_list {{ config {{ name: "from-file" base_path: "{tiny_folder}" }} }}')

    def start_and_signal(server: Server) -> Server:
        start(server)
        signal.raise_signal(signal.SIGTERM)
        return server

    monkeypatch.setattr(Server, "start", start_and_signal)
    assert main([f"{option}={file}", "--rest-port", "0", "--grpc-port", "0"]) == 0
    assert capsys.readouterr().out.startswith("Serving from-file: REST")
    file.write_text("model_config_list {}")
    assert main([option, str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {file} names no model; expected a model_config_list")


@pytest.mark.usefixtures("kept_handlers")
def test_a_missing_model_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"tiny={tmp_path / 'absent'}"]) == 1
    assert re.fullmatch(r"error: No exported model in .*absent: there is no such folder\.\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give models as NAME=PATH, or --model-config-file (one of them)"),
        (["a=x", "--model-config-file", "y"], "give models as NAME=PATH, or --model-config-file (one of them)"),
        (["tiny"], "expected NAME=PATH, got 'tiny'"),
        (["=path"], "expected NAME=PATH, got '=path'"),
        (["a=x", "a=y"], "the name 'a' is given twice"),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    options = (
        "--host",
        "--rest-port",
        "--grpc-port",
        "--max-request-bytes",
        "--model-config-file",
        "--model_config_file",
    )
    for option in (*options, "--file-system-poll-wait-seconds", "NAME=PATH", "127.0.0.1", "8501"):
        assert option in shown


def test_missing_packages_say_how_to_install_them() -> None:
    script = "import sys; sys.modules['uvicorn'] = None; import tfxlm.serve"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert result.returncode == 1
    message = (
        "MissingDependencyError: The embedded server needs uvicorn, which is not installed. "
        'Install it with: pip install "tfxlm[serve]"'
    )
    assert message in result.stderr
