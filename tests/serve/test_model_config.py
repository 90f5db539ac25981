"""`models.config`: what TensorFlow Serving reads is read the same, and everything else gets a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfxlm.errors import ConfigError, InputError
from tfxlm.serve.model_config import ALL, NEWEST, ServedModel, VersionPolicy, checked_models, read_model_config

WHOLE = """
# two models
model_config_list {
  config {
    name: "intent"
    base_path: "/models/intent"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 3 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 3 }
  }
  config: { name: 'names', base_path: '/models/names' model_version_policy: { all {} } }
  config { name: "two" base_path: "/two" model_version_policy { latest { num_versions: 2 } } }
  config { name: "one" base_path: "/one" model_version_policy { latest { } } }
  config { name: "plain" base_path: "/plain" logging_config { sampling_config { sampling_rate: 0.5 } } }
}
"""


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "models.config"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def one(fields: str) -> str:
    return f"model_config_list {{ config {{ {fields} }} }}"


def test_everything_that_the_stock_server_reads(tmp_path: Path) -> None:
    specific = VersionPolicy(specific=frozenset({1, 3}))
    assert read_model_config(write(tmp_path, WHOLE)) == {
        "intent": ServedModel("/models/intent", specific, {"stable": 1, "canary": 3}),
        "names": ServedModel("/models/names", ALL),
        "two": ServedModel("/two", VersionPolicy(latest=2)),
        "one": ServedModel("/one", NEWEST),
        "plain": ServedModel("/plain", NEWEST),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no model; expected a model_config_list with one config for each model"),
        ("model_config_list {}", "names no model"),
        ("custom_model_config {}", "names no model"),
        (
            "model_config_list {",
            r"is not a ModelServerConfig in protocol buffer text format: .*Expected: model_config_l",
        ),
        ('{"model_config_list": []}', "is not a ModelServerConfig in protocol buffer text format: 1:1 : "),
        (one('name: "a" base_pth: "/a"'), r'1:\d+ : Message type "tensorflow.serving.ModelConfig" .*"base_pth"'),
        (one('name: "a" base_path: 3'), r"in protocol buffer text format: 1:\d+ : .*Expected string"),
        (one('name: "a" base_path: "/a" model_version_policy { latest { num_versions: -1 } }'), "num_versions"),
        (
            one('name: "a" base_path: "/a" model_version_policy { latest {} all {} }'),
            'should not be specified along with field "latest"|is specified along with field',
        ),
        (
            one('name: "a" base_path: "/a" model_version_policy { specific {} }'),
            "'a' asks for specific versions, but na",
        ),
        (
            one('name: "a" base_path: "/a" model_version_policy { specific { versions: -2 } }'),
            r"models.config: specific must name versions, whole numbers of 0 or more; got \[-2\]",
        ),
        (
            one('name: "a" base_path: "models/a"'),
            r"model 'a' has base_path 'models/a'; expected the absolute path of an",
        ),
        (one('name: "a"'), "model 'a' has base_path ''; expected the absolute path"),
        (one('base_path: "/a"'), r"models.config: A model name must be non-empty and hold no '/' and no ':', got ''"),
        (one('name: "a/b" base_path: "/a"'), "A model name must be non-empty and hold no '/' and no ':', got 'a/b'"),
        (
            one('name: "a" base_path: "/a" version_labels { key: "x:y" value: 1 }'),
            "A version label must be non-empty and hold no '/' and no ':', got 'x:y'",
        ),
        (
            one('name: "a" base_path: "/a" model_platform: "onnx"'),
            'has model_platform "onnx"; only "tensorflow" can be',
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" } config { name: "a" base_path: "/b" } }',
            "models.config: the name 'a' is given twice. Give each model a name of its own",
        ),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "is larger than 1048576 bytes, so it is no model configuration"),
        ("custom_model_config { [type.googleapis.com/tensorflow.serving.ModelConfig] {} }" * 1, "names no model"),
    ],
)
def test_files_that_are_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_model_config(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The model configuration .*absent cannot be read: No such file"):
        read_model_config(tmp_path / "absent")


def test_policies_that_ask_for_nothing() -> None:
    with pytest.raises(InputError, match=r"^latest must be at least 1, got 0\."):
        VersionPolicy(latest=0)
    with pytest.raises(InputError, match=r"^specific must name versions, .* got \[\]\."):
        VersionPolicy(specific=frozenset())


def test_folders_stand_for_models() -> None:
    assert checked_models({"a": "x", "b": ServedModel("y", ALL)}) == {"a": ServedModel("x"), "b": ServedModel("y", ALL)}
