"""What a checkpoint is, by the headers of its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tfxlm
from tests.example_files import CHECKPOINT
from tfxlm import (
    TFXLMModel,
    TFXLMRobertaModel,
    TFXLMRobertaXLModel,
    XLMConfig,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
    inspect_checkpoint,
)
from tfxlm.checkpoints.maps.families import NAME_MAPS
from tfxlm.inspection.shapes import backbone_shapes

XLM = {"vocab_size": 11, "emb_dim": 8, "n_layers": 3, "n_heads": 2, "max_position_embeddings": 9}
ROBERTA = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 9,
    "type_vocab_size": 2,
}


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (TFXLMModel, XLMConfig(**XLM, n_langs=4)),
        (TFXLMModel, XLMConfig(**XLM, n_langs=4, use_lang_emb=False)),
        (TFXLMRobertaModel, XLMRobertaConfig(**ROBERTA)),
        (TFXLMRobertaXLModel, XLMRobertaXLConfig(**ROBERTA)),
    ],
    ids=["xlm", "xlm without languages", "xlm-roberta", "xlm-roberta-xl"],
)
def test_shapes_are_those_of_models(model_class: Any, config: Any, tmp_path: Path) -> None:
    model_class(config).save_pretrained(tmp_path)
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    name_map = NAME_MAPS[config.model_type]
    found = {name_map.full_name(name): tensor.shape for name, tensor in tensors.items() if "pooler" not in name}
    assert backbone_shapes(config, name_map, config.num_hidden_layers) == found
    # There is no tokenizer.
    assert [problem[:12] for problem in inspect_checkpoint(tmp_path).problems] == ["no tokenizer"]


def test_tensors_that_are_missing_or_have_other_shapes(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    whole = safetensors.numpy.load_file(path)
    absent = [name for name in whole if "k_lin" in name or "layer_norm1" in name]
    others = {name: np.zeros((3, 3), np.float16) for name in whole if "ffns" in name}
    safetensors.numpy.save_file({name: whole[name] for name in whole if name not in absent} | others, path)
    first, second = inspect_checkpoint(tmp_path / "model").problems
    assert first.startswith(f"{len(absent)} tensors are missing: transformer.") and first.endswith(", ...")
    assert second.startswith(f"{len(others)} tensors have other shapes than by the configuration: ")
    assert ".lin1.weight (3, 3) instead of (1024, 256)" in second


def test_layers_with_pruned_heads() -> None:
    config = XLMConfig(**XLM, pruned_heads={1: [0]})
    shapes = backbone_shapes(config, NAME_MAPS["xlm"], 3)
    layers = [name.split(".")[2] for name in shapes if "q_lin.weight" in name]
    assert layers == ["0", "2"] and "transformer.layer_norm1.1.weight" in shapes


def model_of(name: str, **fields: Any) -> Any:
    """Makes a model of a class, by its name."""
    shape = ROBERTA if "Roberta" in name else XLM
    model_class = getattr(tfxlm, name)
    return model_class(model_class.config_class(**{**shape, "num_labels": 2, **fields}))


# By class: the heads that a file of it has, and what other classes take all of it.
HEADS: dict[str, tuple[dict[str, int], list[str]]] = {
    "TFXLMModel": ({}, []),
    "TFXLMWithLMHeadModel": ({"language modeling head": 1}, []),
    "TFXLMForSequenceClassification": ({"sequence summary": 2}, []),
    "TFXLMForMultipleChoice": ({"sequence summary": 2, "multiple choice head": 2}, []),
    "TFXLMForTokenClassification": ({"token classification head": 2}, []),
    "TFXLMForQuestionAnsweringSimple": ({"span question answering head": 2}, []),
    "TFXLMForQuestionAnswering": ({"beam question answering head": 11}, []),
    "TFXLMRobertaModel": ({}, []),
    "TFXLMRobertaForMaskedLM": ({"language modeling head": 5}, ["TFXLMRobertaForCausalLM"]),
    "TFXLMRobertaForSequenceClassification": ({"sequence classification head": 4}, []),
    "TFXLMRobertaForMultipleChoice": ({"classifier": 2}, []),
    "TFXLMRobertaForTokenClassification": ({"classifier": 2}, []),
    "TFXLMRobertaForQuestionAnswering": ({"question answering head": 2}, []),
    "TFXLMRobertaXLForMaskedLM": ({"language modeling head": 5}, ["TFXLMRobertaXLForCausalLM"]),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_and_classes_that_take_them(name: str, tmp_path: Path) -> None:
    model_of(name).save_pretrained(tmp_path)
    found = inspect_checkpoint(tmp_path)
    heads, others = HEADS[name]
    assert found.heads == heads and set(found.loads_as) == {name, *others}
    assert [problem[:12] for problem in found.problems] == ["no tokenizer"] and not found.notes
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("TFXLMWithLMHeadModel", {"asm": True, "asm_cutoffs": [4, 7], "asm_div_value": 2.0}),
        ("TFXLMForMultipleChoice", {"summary_use_proj": False}),
        ("TFXLMForMultipleChoice", {"summary_proj_to_labels": False}),
        ("TFXLMForMultipleChoice", {"num_labels": 3}),
    ],
    ids=["adaptive softmax", "no projection", "projection to the width", "three labels"],
)
def test_heads_that_the_configuration_changes(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model_of(name, **fields).save_pretrained(tmp_path)
    found = inspect_checkpoint(tmp_path)
    assert name in found.loads_as and [problem[:12] for problem in found.problems] == ["no tokenizer"]


def test_heads_that_are_not_whole(tmp_path: Path) -> None:
    model_of("TFXLMForQuestionAnswering").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = safetensors.numpy.load_file(path)

    def problems_with(tensors: dict[str, np.ndarray]) -> list[str]:
        safetensors.numpy.save_file(tensors, path)
        found = inspect_checkpoint(tmp_path)
        assert found.loads_as == () and found.notes == (
            "saved from XLMForQuestionAnswering, and the file does not have all of its head",
        )
        return [problem for problem in found.problems if not problem.startswith("no tokenizer")]

    start = "qa_outputs.start_logits.dense.weight"
    assert problems_with({name: tensor for name, tensor in whole.items() if name != start}) == [
        f"of the beam question answering head, 1 tensors are missing: {start}"
    ]
    assert problems_with(whole | {start: np.zeros((3, 8), np.float32)}) == [
        f"1 tensors of heads have other shapes than by the configuration: {start} (3, 8) instead of (1, 8)"
    ]
    tail = {"pred_layer.proj.tail.0.0.weight": np.zeros((3, 8), np.float32)}
    assert problems_with({name: tensor for name, tensor in whole.items() if "qa_" not in name} | tail) == [
        "1 tensors are of heads that models of this configuration do not have: pred_layer.proj.tail.0.0.weight"
    ]


def test_shapes_that_either_of_two_classes_has(tmp_path: Path) -> None:
    model_of("TFXLMRobertaForTokenClassification").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(whole | {"classifier.weight": np.zeros((3, 8), np.float32)}, path)
    assert "classifier.weight (3, 8) instead of (1, 8) or (2, 8)" in inspect_checkpoint(tmp_path).problems[0]
