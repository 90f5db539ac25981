"""Configurations of XLM-RoBERTa and XLM-RoBERTa-XL against those of `transformers`, through files."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tfxlm
from tfxlm.configs.checks import ACTIVATION_NAMES
from tfxlm.configs.xlm_roberta import POSITION_TYPES

PAIRS = [
    (tfxlm.XLMRobertaConfig, transformers.XLMRobertaConfig),
    (tfxlm.XLMRobertaXLConfig, transformers.XLMRobertaXLConfig),
]
BOTH = pytest.mark.parametrize(("ours", "reference"), PAIRS, ids=["base", "xl"])

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "decoder": {"is_decoder": True, "add_cross_attention": True, "use_cache": False},
    "labels": {"num_labels": 5, "problem_type": "multi_label_classification"},
    "named_labels": {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}},
    "sizes": {
        "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 20,
        "max_position_embeddings": 40, "type_vocab_size": 3, "initializer_range": 0.5, "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.25,
    },
    "special_tokens": {"pad_token_id": 7, "bos_token_id": None, "eos_token_id": None, "sep_token_id": 2},
    "pruned": {"pruned_heads": {0: [1, 2], 3: [0]}},
    "outputs": {"output_attentions": True, "output_hidden_states": True, "return_dict": False},
    "loose": {"tie_word_embeddings": False, "chunk_size_feed_forward": 4, "dtype": "bfloat16", "torchscript": True},
    "kept": {"task": {"nested": [1, None]}, "finetuning_task": "xnli", "architectures": ["Mine"], "prefix": "x"},
    **{name: {"hidden_act": name} for name in ACTIVATION_NAMES},
    **{name: {"position_embedding_type": name} for name in POSITION_TYPES},
}  # fmt: skip
SETTING = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@BOTH
def test_every_field_and_its_default(ours: Any, reference: Any) -> None:
    expected, found = reference(), ours()
    documented = [name for name in inspect.signature(reference.__init__).parameters if name not in ("self", "kwargs")]
    positional = [field.name for field in dataclasses.fields(ours) if not field.kw_only and field.init]
    assert positional == documented
    shared = ("num_labels", "id2label", "label2id", "pruned_heads", "use_return_dict", "chunk_size_feed_forward")
    for name in {*documented, *shared, *found.to_dict()}:
        assert getattr(found, name) == getattr(expected, name), name


@BOTH
@SETTING
def test_their_file_through_ours(ours: Any, reference: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = reference(**settings)
    theirs.save_pretrained(tmp_path / "theirs")
    read = ours.from_pretrained(tmp_path / "theirs")
    for name, value in settings.items():
        expected = getattr(torch, value) if name == "dtype" else value
        assert getattr(read, name) == value and getattr(theirs, name) == expected, name
    read.save_pretrained(tmp_path / "ours")
    back = reference.from_pretrained(tmp_path / "ours")
    again = reference.from_pretrained(tmp_path / "theirs")
    assert back.to_dict() == again.to_dict()
    assert back.to_diff_dict() == theirs.to_diff_dict()


@BOTH
@SETTING
def test_our_file_through_theirs(ours: Any, reference: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    config = ours(**settings, mask_from_padding=False)
    config.save_pretrained(tmp_path / "ours")
    reference.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = ours.from_pretrained(tmp_path / "theirs")
    found, expected = back.to_dict(), config.to_dict()
    del found["transformers_version"]
    # Theirs writes what it keeps beside fields, with its defaults.
    assert {name: value for name, value in found.items() if name in expected} == expected
    for name in set(found) - set(expected):
        assert found[name] == json.loads(reference().to_json_string(use_diff=False))[name], name


@BOTH
def test_models_take_our_files(ours: Any, reference: Any, tmp_path: Path) -> None:
    sizes = {**SETTINGS["sizes"], "position_embedding_type": "relative_key_query", "is_decoder": True}
    ours(**sizes).save_pretrained(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(config) is reference and config.to_diff_dict() == reference(**sizes).to_diff_dict()
    assert type(tfxlm.AutoConfig.from_pretrained(tmp_path)) is ours
