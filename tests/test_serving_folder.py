"""The files in `serving/`: what they say fits TensorFlow Serving, and fits together."""

from __future__ import annotations

import re
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from google.protobuf import message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.example_files import ROOT
from tfxlm.cli import app
from tfxlm.client.descriptors import build_pool
from tfxlm.client.text_requests import TextRequest
from tfxlm.errors import ConfigError
from tfxlm.serve import (
    Monitoring,
    ServedModel,
    VersionPolicy,
    read_batching_parameters,
    read_model_config,
    read_monitoring_config,
    read_ssl_config,
)

SERVING = ROOT / "serving"
KUBERNETES = SERVING / "kubernetes"
CONFIGS = ("models.config", "batching.config", "monitoring.config")
CANARY = "canary.config"  # in place of the first
IMAGE = "tensorflow/serving"
COMPOSE = {"compose.yaml", "compose.gpu.yaml"}
METRICS = "/monitoring/prometheus/metrics"

# Messages that tensorflow-serving-api does not have, as TensorFlow Serving documents them.
_NUMBER = "google.protobuf.Int64Value"
DOCUMENTED = build_pool(
    {
        "tensorflow.serving": {
            "BatchingParameters": (
                (1, "max_batch_size", _NUMBER),
                (2, "batch_timeout_micros", _NUMBER),
                (3, "max_enqueued_batches", _NUMBER),
                (4, "num_batch_threads", _NUMBER),
                (5, "thread_pool_name", "google.protobuf.StringValue"),
                (6, "allowed_batch_sizes", "repeated int64"),
                (7, "pad_variable_length_inputs", "bool"),
            ),
            "PrometheusConfig": ((1, "enable", "bool"), (2, "path", "string")),
            "MonitoringConfig": ((1, "prometheus_config", "tensorflow.serving.PrometheusConfig"),),
            "SSLConfig": (
                (1, "server_key", "string"),
                (2, "server_cert", "string"),
                (3, "custom_ca", "string"),
                (4, "client_verify", "bool"),
            ),
        }
    },
    {},
)


def read(name: str) -> str:
    return (SERVING / name).read_text(encoding="utf-8")


def read_models(name: str = "models.config") -> model_server_config_pb2.ModelServerConfig:
    return text_format.Parse(read(name), model_server_config_pb2.ModelServerConfig())


def read_documented(file: str, name: str) -> Any:
    message = message_factory.GetMessageClass(DOCUMENTED.FindMessageTypeByName(f"tensorflow.serving.{name}"))()
    return text_format.Parse(read(file), message, descriptor_pool=DOCUMENTED)


def read_yaml(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def objects() -> dict[tuple[str, str], Any]:
    """Everything in the folder for Kubernetes, by kind and name."""
    found = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for document in read_yaml(path):
            found[document["kind"], document["metadata"]["name"]] = document
    return found


def docker_commands() -> list[list[str]]:
    text = read("README.md") + (ROOT / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.startswith("docker run")]


def flags(arguments: list[str], **variables: str) -> dict[str, str]:
    """The server's flags, with variables of the environment in them or their defaults."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1], found[2])

    given = [re.sub(r"\$\{(\w+):-(.*?)\}", value, argument) for argument in arguments]
    return dict(argument.removeprefix("--").split("=", 1) for argument in given)


def test_the_model_config_is_one_that_the_server_reads() -> None:
    (model,) = read_models().model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("intent", "/models/intent", "tensorflow")


def test_labels_name_versions_that_are_served() -> None:
    (model,) = read_models("canary.config").model_config_list.config
    assert (model.name, model.base_path) == ("intent", "/models/intent")
    assert set(model.version_labels) == {"stable", "canary"}
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)
    assert model.version_labels["stable"] < model.version_labels["canary"]
    served = read_model_config(SERVING / "canary.config")["intent"]
    assert (served.labels, served.policy.specific) == ({"stable": 1, "canary": 2}, {1, 2})


def test_batches_are_as_the_server_wants_them() -> None:
    batching = read_documented("batching.config", "BatchingParameters")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value
    # What a client sends at once has to fit.
    assert TextRequest().batch_size <= batching.max_batch_size.value
    assert not batching.pad_variable_length_inputs
    assert "pad_variable_length_inputs: false" in read("batching.config")
    # Each field has its reasons above it.
    for field, _ in batching.ListFields():
        assert re.search(rf"^#.*\n{field.name}", read("batching.config"), re.M), field.name


def test_metrics_are_where_they_are_looked_for() -> None:
    monitoring = read_documented("monitoring.config", "MonitoringConfig").prometheus_config
    assert (monitoring.enable, monitoring.path) == (True, METRICS)
    template = objects()["Deployment", "serving"]["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == METRICS
    (endpoint,) = objects()["PodMonitor", "serving"]["spec"]["podMetricsEndpoints"]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert (endpoint["path"], str(ports[endpoint["port"]])) == (METRICS, annotations["prometheus.io/port"])


def test_the_example_of_encryption_is_one_that_the_server_reads() -> None:
    config = read_documented("ssl.config.example", "SSLConfig")
    assert config.client_verify
    for pem in (config.server_key, config.server_cert, config.custom_ca):
        assert pem.startswith("-----BEGIN ") and pem.endswith("-----\n")


def dockerfile() -> tuple[dict[str, str], list[str], set[str]]:
    """What is copied where, the arguments of the server, and the ports."""
    text = read("Dockerfile")
    copies = {}
    for line in re.findall(r"^COPY (.+)$", text, re.M):
        *sources, target = line.split()
        for source in sources:
            copies[source] = f"{target}{Path(source).name}" if target.endswith("/") else target
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.M)
    (ports,) = re.findall(r"^EXPOSE (.*)$", text, re.M)
    return copies, yaml.safe_load(command), set(ports.split())


def test_the_image_has_everything_where_the_server_looks_for_it() -> None:
    copies, command, ports = dockerfile()
    assert ports == {"8500", "8501"}
    for source in copies:
        assert source == "exported" or (ROOT / source).is_file()
    files = {flag: path for flag, path in flags(command).items() if flag.endswith("_file")}
    assert set(files.values()) == {copies[f"serving/{name}"] for name in CONFIGS}
    assert copies[f"serving/{CANARY}"] == f"/config/{CANARY}"
    for model in read_models().model_config_list.config:
        assert model.base_path == f"{copies['exported']}/{model.name}"


def test_all_three_start_the_server_alike() -> None:
    _, image, _ = dockerfile()
    compose = read_yaml(SERVING / "compose.yaml")[0]["services"]["serving"]["command"]
    pod = objects()["Deployment", "serving"]["spec"]["template"]["spec"]["containers"][0]["args"]
    expected = flags(image)
    assert expected["enable_batching"] == "true"
    # Or a server would not start with labels.
    assert expected["allow_version_labels_for_unavailable_models"] == "true"
    for other in (flags(compose), flags(pod)):
        assert expected.items() <= other.items()


def test_compose_mounts_what_the_server_reads() -> None:
    service = read_yaml(SERVING / "compose.yaml")[0]["services"]["serving"]
    mounts = {}
    for volume in service["volumes"]:
        outside, inside, mode = volume.split(":")
        assert mode == "ro"
        mounts[inside] = (SERVING / outside).resolve()
    assert mounts.pop("/models") == (ROOT / "exported").resolve()
    assert all(path.is_file() for path in mounts.values())
    for models in (CONFIGS[0], CANARY):
        read = {path for flag, path in flags(service["command"], MODELS=models).items() if flag.endswith("_file")}
        assert {f"/config/{name}" for name in (models, *CONFIGS[1:])} == read <= set(mounts)
    assert set(mounts) == {f"/config/{name}" for name in (*CONFIGS, CANARY)}
    assert {port.split(":")[-1] for port in service["ports"]} == {"8500", "8501"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    (model,) = read_models().model_config_list.config
    assert f"GET /v1/models/{model.name} " in service["healthcheck"]["test"][-1]


def test_a_gpu_changes_the_image_and_the_device() -> None:
    service = read_yaml(SERVING / "compose.gpu.yaml")[0]["services"]["serving"]
    assert service["image"].endswith("-gpu}")
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_kustomize_names_files_that_are_there() -> None:
    (kustomization,) = read_yaml(SERVING / "kustomization.yaml")
    named = {*kustomization["resources"], "kubernetes/pod-monitor.yaml"}
    assert named == {f"kubernetes/{path.name}" for path in KUBERNETES.glob("*.yaml")}
    (generator,) = kustomization["configMapGenerator"]
    assert set(generator["files"]) == {*CONFIGS, CANARY}
    volumes = objects()["Deployment", "serving"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "configMap": {"name": generator["name"]}} in volumes
    assert kustomization["namespace"] in {name for kind, name in objects() if kind == "Namespace"}
    (image,) = kustomization["images"]
    containers = objects()["Deployment", "serving"]["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == image["name"]


def test_images_have_the_version_that_exports_are_made_with() -> None:
    """Pinned everywhere: an image that changes by itself, or is older than the exports, breaks what runs."""
    files = [SERVING / "README.md", ROOT / "README.md", SERVING / "Dockerfile", *SERVING.rglob("*.yaml")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    found = [set(re.findall(rf"(?:{IMAGE}:|TAG:-|TAG=|newTag: )(\d[\w.]*)", text)) for text in texts]
    pinned = {path.name for path, versions in zip(files, found, strict=True) if versions}
    assert pinned == {"README.md", "Dockerfile", "deployment.yaml", "kustomization.yaml"} | COMPOSE
    assert not any(re.search(r"[:=-] ?latest\b(?! \{)", text) for text in texts)
    asked = [word for command in docker_commands() for word in command if word.startswith(IMAGE)]
    assert asked and all(word.startswith(f"{IMAGE}:") for word in asked)
    (version,) = set.union(*found)
    assert version.split(".")[:2] == metadata.version("tensorflow-serving-api").split(".")[:2]


def test_the_parts_on_kubernetes_find_each_other() -> None:
    found = objects()
    deployment = found["Deployment", "serving"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    container = deployment["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for service in ("serving", "serving-rest"):
        spec = found["Service", service]["spec"]
        assert spec["selector"].items() <= labels.items()
        assert all(port["port"] == ports[port["targetPort"]] for port in spec["ports"])
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        assert found[kind, "serving"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = found["HorizontalPodAutoscaler", "serving"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in found
    assert "replicas" not in deployment, "the autoscaler's number would be overwritten"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in deployment["template"]["spec"]["volumes"]}
    (model,) = read_models().model_config_list.config
    assert model.base_path == f"{mounts['models']}/{model.name}"


def test_probes_ask_for_the_model_that_is_served() -> None:
    container = objects()["Deployment", "serving"]["spec"]["template"]["spec"]["containers"][0]
    (model,) = read_models().model_config_list.config
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[probe]["httpGet"]
        assert get["port"] == "rest"
        assert get["path"].removesuffix("/metadata") == f"/v1/models/{model.name}"


@pytest.mark.parametrize("part", ["initContainers", "containers"])
def test_pods_have_no_more_rights_than_they_need(part: str) -> None:
    pod = objects()["Deployment", "serving"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    for container in pod[part]:
        context = container["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


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
            assert all(model.base_path == f"/models/{model.name}" for model in read_models().model_config_list.config)


def test_the_embedded_server_reads_the_same_file(tmp_path: Path) -> None:
    assert read_model_config(SERVING / "models.config") == {"intent": ServedModel("/models/intent")}
    text = read("models.config")
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
    (command,) = re.findall(r"^tfxlm serve (.*)$", read("README.md"), re.M)
    program = typer.main.get_command(app).commands["serve"]
    options = program.make_context("serve", shlex.split(command)).params
    assert (options["model_config_file"], options["model_config_file_poll_wait_seconds"]) == ("models.config", 10)


def test_the_embedded_server_reads_the_other_files_too(tmp_path: Path) -> None:
    batching = read_batching_parameters(SERVING / "batching.config")
    assert (batching.max_batch_size, batching.allowed_batch_sizes[-1]) == (32, 32)
    assert read_monitoring_config(SERVING / "monitoring.config") == Monitoring("/monitoring/prometheus/metrics")
    with pytest.raises(ConfigError, match="server_key, server_cert and custom_ca cannot be used"):
        read_ssl_config(SERVING / "ssl.config.example")  # in which "..." stands for what is secret


def test_curl_asks_for_the_model_that_is_served() -> None:
    asked = re.findall(r"^curl .*http://localhost:8501/v1/models/([^/:\s]+)", read("README.md"), re.M)
    names = {model.name for model in read_models().model_config_list.config}
    assert len(asked) == 3
    assert set(asked) <= names


def test_the_readme_names_every_file() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", read("README.md")))
    files = {path.name for path in SERVING.iterdir()} - {"README.md", "load_test_texts.tsv", "__pycache__"}
    assert files <= linked
    assert all((SERVING / path).exists() for path in linked)
