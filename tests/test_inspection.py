"""What a checkpoint is, by the headers of its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

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
from tfxlm.inspection import backbone_shapes

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
