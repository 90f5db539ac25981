"""The files in `serving/`: what they say fits TensorFlow Serving, and fits together."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.example_files import ROOT
from tfxlm.serve import ServedModel, VersionPolicy, read_model_config
from tfxlm.serve.__main__ import parser

SERVING = ROOT / "serving"


def read_config() -> model_server_config_pb2.ModelServerConfig:
    text = (SERVING / "models.config").read_text(encoding="utf-8")
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def docker_commands() -> list[list[str]]:
    text = (SERVING / "README.md").read_text(encoding="utf-8")
    text += (ROOT / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.startswith("docker run")]


def test_the_model_config_is_one_that_the_server_reads() -> None:
    (model,) = read_config().model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("intent", "/models/intent", "tensorflow")


def test_the_image_has_the_models_where_the_config_looks_for_them() -> None:
    dockerfile = (SERVING / "Dockerfile").read_text(encoding="utf-8")
    copies = dict(re.findall(r"^COPY (\S+) (\S+)$", dockerfile, re.M))
    assert (ROOT / "serving" / "models.config").is_file()
    assert f'"--model_config_file={copies["serving/models.config"]}"' in dockerfile
    for model in read_config().model_config_list.config:
        assert model.base_path == f"{copies['exported']}/{model.name}"


def test_mounted_folders_are_where_the_server_looks_for_them() -> None:
    mounting = [command for command in docker_commands() if "-v" in command]
    assert len(mounting) == 3
    for command in mounting:
        options = [command[index + 1] for index, word in enumerate(command) if word == "-v"]
        mounts = {inside: outside.removeprefix("$PWD/") for outside, inside in (mount.split(":") for mount in options)}
        if "-e" in command:
            name = command[command.index("-e") + 1].removeprefix("MODEL_NAME=")
            assert mounts == {f"/models/{name}": f"exported/{name}"}
        else:
            (config,) = [word.removeprefix("--model_config_file=") for word in command if "config_file=" in word]
            assert mounts == {config: "serving/models.config", "/models": "exported"}
            assert all(model.base_path == f"/models/{model.name}" for model in read_config().model_config_list.config)


def test_the_embedded_server_reads_the_same_file(tmp_path: Path) -> None:
    assert read_model_config(SERVING / "models.config") == {"intent": ServedModel("/models/intent")}
    text = (SERVING / "models.config").read_text(encoding="utf-8")
    # What it shows in comments is valid too: the last policy, and the labels.
    shown = re.sub(r"^    #   (model_version_policy .*specific|version_labels)", r"\1", text, flags=re.M)
    (tmp_path / "models.config").write_text(shown, encoding="utf-8")
    model = read_model_config(tmp_path / "models.config")["intent"]
    assert model.policy == VersionPolicy(specific=frozenset({1, 2}))
    assert model.labels == {"stable": 1, "canary": 2}
    for line in re.findall(r"#   (model_version_policy .*)", text):
        (tmp_path / "models.config").write_text(text.replace(f"#   {line}", line), encoding="utf-8")
        assert read_model_config(tmp_path / "models.config")["intent"].path == "/models/intent"


def test_the_embedded_servers_command_is_one_that_it_takes() -> None:
    text = (SERVING / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python -m tfxlm\.serve (.*)$", text, re.M)
    options = parser().parse_args(shlex.split(command))
    assert (options.model_config_file, options.model_config_file_poll_wait_seconds) == ("models.config", 10)


def test_curl_asks_for_the_model_that_is_served() -> None:
    text = (SERVING / "README.md").read_text(encoding="utf-8")
    asked = re.findall(r"^curl .*http://localhost:8501/v1/models/([^/:\s]+)", text, re.M)
    names = {model.name for model in read_config().model_config_list.config}
    assert len(asked) == 3
    assert set(asked) <= names
