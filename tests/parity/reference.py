"""Random small models of the PyTorch reference, inputs for them, and the comparison of numbers."""

from __future__ import annotations

import dataclasses
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import tfxlm

SEED = int(os.environ.get("TFXLM_SEED", "20190122"))
SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
CASES = 200 if SWEEP else 20

TOLERANCE = 2e-5
# Of gradients, beside the relative part: some are zero in exact arithmetic, those of key biases for example.
GRADIENT_FLOOR = 1e-6

PAIRS = {
    "XLMModel": tfxlm.TFXLMModel,
    "XLMWithLMHeadModel": tfxlm.TFXLMWithLMHeadModel,
    "XLMForSequenceClassification": tfxlm.TFXLMForSequenceClassification,
}

torch.set_num_threads(2)


def random_config(rng: np.random.Generator, index: int) -> dict[str, Any]:
    """Draws a configuration; what has few values is cycled through, so that a few cases see all of them."""
    heads, head_dim = int(rng.integers(1, 5)), int(rng.choice([9, 11, 13, 16]))
    summary_type = ("first", "last", "mean", "cls_index")[index % 4]
    n_langs = (1, 2, 5)[index % 3]
    config = {
        "vocab_size": int(rng.integers(23, 64)),
        "emb_dim": heads * head_dim,
        "n_heads": heads,
        "n_layers": 1 + index % 3,
        "causal": index % 2 == 1,
        "n_langs": n_langs,
        "use_lang_emb": index % 7 != 3,
        "gelu_activation": index % 5 not in (1, 4),
        "sinusoidal_embeddings": index % 6 == 5,
        "max_position_embeddings": int(rng.integers(19, 41)),
        "layer_norm_eps": float(rng.choice([1e-12, 1e-6, 1e-5, 1e-3])),
        "pad_index": int(rng.choice([2, 2, 0, 7])),
        "summary_type": summary_type,
        "summary_use_proj": index % 10 != 9,
        "summary_proj_to_labels": index % 8 != 6,
        "summary_activation": (None, None, "tanh", "relu", "gelu")[index % 5],
        "num_labels": (3, 2, 5, 1)[(index // 4) % 4],
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "summary_first_dropout": 0.0,
        "summary_last_dropout": 0.0,
    }
    if n_langs > 1:
        config["lang2id"] = {f"l{i}": i for i in range(n_langs)}
        config["id2lang"] = {str(i): f"l{i}" for i in range(n_langs)}
    return config


def make_reference(name: str, config: dict[str, Any], seed: int) -> Any:
    """Makes the PyTorch model with weights away from 0 and 1, so that every bias and normalisation counts."""
    torch.manual_seed(seed)
    # `summary_over_padding` is a field of ours: the reference always reads padding.
    model = getattr(transformers, name)(transformers.XLMConfig(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter.shape[-1] if parameter.dim() == 2 else 16
            parameter.add_(torch.randn_like(parameter) * fan_in**-0.5)
    return model


@dataclasses.dataclass
class Case:
    """A reference model, ours from its files, and what to draw inputs from."""

    name: str
    reference: Any
    model: Any
    folder: Path
    rng: np.random.Generator

    @property
    def config(self) -> Any:
        """The configuration of our model."""
        return self.model.config

    def ids(self, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Draws ids (batch, length), right-padded, and how many of each row are real."""
        batch, length = shape or (int(self.rng.integers(2, 5)), int(self.rng.integers(4, 14)))
        lengths = self.rng.integers(1, length + 1, batch)
        lengths[self.rng.integers(batch)] = length
        ids = self.rng.integers(0, self.config.vocab_size - 1, (batch, length))
        ids = ids + (ids >= self.config.pad_index)  # every id but the padding token's
        return np.where(np.arange(length) < lengths[:, None], ids, self.config.pad_index), lengths

    def grid(self, like: np.ndarray, limit: int) -> np.ndarray:
        """Draws integers below `limit` for each position."""
        return self.rng.integers(0, limit, like.shape)

    def labels(self, ids: np.ndarray, lengths: np.ndarray, problem_type: str | None = None) -> np.ndarray:
        """Draws labels for the class's task."""
        batch, num_labels = len(ids), self.config.num_labels
        if self.name == "XLMWithLMHeadModel":
            keep = (np.arange(ids.shape[1]) < lengths[:, None]) & (self.rng.random(ids.shape) < 0.7)
            keep[0, 0] = True
            return np.where(keep, self.grid(ids, self.config.vocab_size), -100)
        if problem_type == "regression" or num_labels == 1:
            return self.rng.normal(size=(batch, num_labels)[: 1 if num_labels == 1 else 2]).astype(np.float32)
        if problem_type == "multi_label_classification":
            return self.rng.integers(0, 2, (batch, num_labels)).astype(np.float32)
        return self.rng.integers(0, num_labels, batch)


def make_case(name: str, index: int, folder: Path, **changes: Any) -> Case:
    """Makes random configuration number `index` of a class; the summary reads padding, as the reference's does."""
    seed = [SEED, zlib.crc32(name.encode()), index]
    rng = np.random.default_rng(seed)
    config = {**random_config(rng, index), **changes}
    reference = make_reference(name, config, int(rng.integers(2**31)))
    reference.save_pretrained(folder)
    model = PAIRS[name].from_pretrained(folder, summary_over_padding=True)
    return Case(name, reference, model, folder, rng)


def to_torch(inputs: dict[str, Any]) -> dict[str, Any]:
    """Converts arrays to torch tensors."""
    return {
        name: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for name, value in inputs.items()
    }


def close(ours: Any, reference: Any, where: np.ndarray | None = None, what: str = "") -> None:
    """Compares numbers: |difference| <= 2e-5 max(1, |reference|), where `where` is True on the leading axes."""
    left = np.asarray(ours, dtype=np.float64)
    right = np.asarray(reference.detach() if torch.is_tensor(reference) else reference, dtype=np.float64)
    assert left.shape == right.shape, f"{what}: shape {left.shape}, reference {right.shape}"
    error = np.abs(left - right) / np.maximum(1, np.abs(right))
    error = error if where is None else error[where]
    assert np.all(error <= TOLERANCE), f"{what}: off by {np.nanmax(error):.3g} (NaN: {np.isnan(error).any()})"


def in_file_orientation(model: Any, path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the name that checkpoints of the class have for a variable, and its value as they store it."""
    match = type(model).name_map.match_variable(path)
    array = array.T if match.transform.name == "TRANSPOSE" else array
    return type(model).name_map.file_name(match.tensor, bare=not type(model).has_head), array
