"""Which class a ``config.json`` asks for, and what the others say about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfxlm import AutoConfig, XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig
from tfxlm.configs import config_class_for
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, ConfigError, InputError

CLASSES = (XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig)
# What the released file of XLM-RoBERTa-XXL says.
XXL = {"architectures": ["XLMRobertaXLForMaskedLM"], "model_type": "xlm-roberta"}


def written(folder: Path, values: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model_type": "xlm"}, XLMConfig),
        ({"model_type": "xlm-roberta"}, XLMRobertaConfig),
        ({"model_type": "xlm-roberta-xl"}, XLMRobertaXLConfig),
        (XXL, XLMRobertaXLConfig),
        ({"architectures": ["XLMWithLMHeadModel"]}, XLMConfig),
        ({"architectures": ["TFXLMRobertaModel"]}, XLMRobertaConfig),
        ({"architectures": ["XLMRobertaXLModel"], "model_type": "xlm-roberta-xl"}, XLMRobertaXLConfig),
        # What says nothing about the family, or two things, leaves it to `model_type`.
        ({"architectures": ["MyTagger"], "model_type": "xlm-roberta"}, XLMRobertaConfig),
        ({"architectures": ["XLMProphetNetModel"], "model_type": "xlm"}, XLMConfig),
        ({"architectures": ["XLMModel", "XLMRobertaModel"], "model_type": "xlm-roberta"}, XLMRobertaConfig),
        ({"architectures": None, "model_type": "xlm"}, XLMConfig),
        ({"architectures": "XLMRobertaXLModel", "model_type": "xlm"}, XLMConfig),
        ({"architectures": [7, ["XLMRobertaXLModel"]], "model_type": "xlm"}, XLMConfig),
    ],
)
def test_recognition(values: dict[str, Any], expected: type) -> None:
    assert config_class_for(values) is expected


@pytest.mark.parametrize(
    ("values", "evidence"),
    [
        ({"model_type": "bert"}, "model_type 'bert'"),
        ({"architectures": ["XLMProphetNetModel"]}, "no model_type"),
        ({"model_type": ["xlm"]}, r"model_type \['xlm'\]"),
    ],
)
def test_other_models(values: dict[str, Any], evidence: str, tmp_path: Path) -> None:
    message = (
        rf"has {evidence}, for which there is no configuration class\. There is one for 'xlm' \(XLMConfig\), "
        r"'xlm-roberta' \(XLMRobertaConfig\), 'xlm-roberta-xl' \(XLMRobertaXLConfig\)\. If the model is one of these,"
    )
    with pytest.raises(ConfigError, match=rf"^config\.json {message}"):
        config_class_for(values)
    with pytest.raises(ConfigError, match=f"^{tmp_path} {message}"):
        AutoConfig.from_pretrained(written(tmp_path, values))


@pytest.mark.parametrize("config_class", CLASSES)
def test_from_pretrained(config_class: Any, tmp_path: Path) -> None:
    config = config_class(vocab_size=40, unknown="kept", id2label={0: "a", 1: "b", 2: "c"})
    config.save_pretrained(tmp_path)
    found = AutoConfig.from_pretrained(tmp_path)
    assert found == config.replace(name_or_path=str(tmp_path)) and type(found) is config_class
    changed = AutoConfig.from_pretrained(tmp_path, num_labels=2, output_attentions=True, local_files_only=True)
    assert changed.num_labels == 2 and changed.output_attentions and changed.unknown == "kept"
    with pytest.raises(ConfigError, match=f"{config_class.__name__} has no field 'num_label'"):
        AutoConfig.from_pretrained(tmp_path, num_label=2)
    with pytest.raises(CheckpointNotFoundError, match="has no subfolder 'a'"):
        AutoConfig.from_pretrained(tmp_path, subfolder="a")


def test_for_model() -> None:
    assert AutoConfig.for_model("xlm", emb_dim=64, n_heads=4) == XLMConfig(emb_dim=64, n_heads=4)
    assert AutoConfig.for_model("xlm-roberta-xl", 31) == XLMRobertaXLConfig(31)
    with pytest.raises(ConfigError, match="model_type 'xlmr', for which there is no configuration class"):
        AutoConfig.for_model("xlmr")


def test_it_has_no_instances() -> None:
    with pytest.raises(ArgumentError, match=r"has no instances\. Use AutoConfig\.from_pretrained\(name\), or"):
        AutoConfig()


def test_xxl_is_an_xl_model(tmp_path: Path) -> None:
    values = {**XXL, "hidden_size": 4096, "num_hidden_layers": 48, "intermediate_size": 16384, "pad_token_id": 1}
    found = XLMRobertaXLConfig.from_pretrained(written(tmp_path, values))
    assert (found.hidden_size, found.num_hidden_layers, found.vocab_size) == (4096, 48, 250880)
    assert AutoConfig.from_pretrained(tmp_path) == found and found.to_dict()["model_type"] == "xlm-roberta-xl"
    with pytest.raises(
        ConfigError,
        match=rf"^The config\.json of {tmp_path} has architectures \['XLMRobertaXLForMaskedLM'\], but XLMRobertaConfig "
        r"reads 'xlm-roberta'\. Use XLMRobertaXLConfig and the models named TFXLMRobertaXL\.\.\., or AutoConfig and "
        r"the models named TFAuto\.\.\.$",
    ):
        XLMRobertaConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("stored", CLASSES)
@pytest.mark.parametrize("reader", CLASSES)
def test_files_of_other_families_are_refused(stored: Any, reader: Any, tmp_path: Path) -> None:
    stored().save_pretrained(tmp_path)
    if stored is reader:
        assert type(reader.from_pretrained(tmp_path)) is reader
        return
    stem = stored.__name__.removesuffix("Config")
    message = (
        f"has model_type '{stored.model_type}', but {reader.__name__} reads '{reader.model_type}'. "
        rf"Use {stem}Config and the models named TF{stem}\.\.\., or AutoConfig"
    )
    with pytest.raises(ConfigError, match=message):
        reader.from_pretrained(tmp_path)


def test_a_file_that_names_no_family_is_taken_at_the_class_s_word(tmp_path: Path) -> None:
    written(tmp_path, {"hidden_size": 64, "num_attention_heads": 4})
    assert XLMRobertaConfig.from_pretrained(tmp_path).hidden_size == 64
    assert XLMConfig.from_pretrained(tmp_path).emb_dim == 64


def test_a_model_of_no_family(tmp_path: Path) -> None:
    written(tmp_path, {"model_type": "bert"})
    with pytest.raises(
        ConfigError, match=r"reads 'xlm'\. The families here are 'xlm', 'xlm-roberta', 'xlm-roberta-xl'"
    ):
        XLMConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("reader", [XLMConfig, XLMRobertaConfig, AutoConfig])
def test_what_is_no_name(reader: Any) -> None:
    message = (
        r"^from_pretrained needs a folder or the name of a hub repository, got None\. For a new configuration, call"
    )
    with pytest.raises(InputError, match=message):
        reader.from_pretrained(None)


@pytest.mark.parametrize("reader", [XLMRobertaConfig, AutoConfig])
def test_a_released_file(reader: Any, tmp_path: Path) -> None:
    labels = ["B-LOC", "B-MISC", "B-ORG", "I-LOC", "I-MISC", "I-ORG", "I-PER", "O"]
    values = {
        "_name_or_path": "xlm-roberta-large", "_num_labels": 8, "architectures": ["XLMRobertaForTokenClassification"],
        "id2label": {str(index): name for index, name in enumerate(labels)}, "output_past": True, "pad_token_id": 1,
        "label2id": {name: index for index, name in enumerate(labels)}, "max_position_embeddings": 514,
        "model_type": "xlm-roberta", "torch_dtype": "float32", "transformers_version": "4.20.0", "vocab_size": 250002,
        "type_vocab_size": 1, "layer_norm_eps": 1e-05, "hidden_size": 1024, "num_attention_heads": 16,
    }  # fmt: skip
    config = reader.from_pretrained(written(tmp_path, values))
    assert (config.num_labels, config.id2label[3], config.dtype) == (8, "I-LOC", "float32")
    assert config.name_or_path == str(tmp_path) and config.output_past is True and config.max_sequence_length == 512
    stored = config.to_dict()
    del values["_name_or_path"]
    assert {name: stored[name] for name in values} == values
