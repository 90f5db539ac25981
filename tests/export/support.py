"""What the export tests share: configurations, requests, and other processes that answer them."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb
from tests.models.families import FAMILIES, NEEDS, SWEEP, XLM, Family
from tfxlm.configs import PreTrainedConfig, XLMConfig
from tfxlm.export import export_model, exporter, golden
from tfxlm.models import TFPreTrainedModel

Arrays = dict[str, np.ndarray]

LABELS = {0: "non", 1: "oui", 2: "peut-être"}

# Every class, with its family and what its configuration needs beside what `NEEDS` says.
CLASSES: dict[type[TFPreTrainedModel], tuple[Family, str]] = {
    family.cls(task): (family, task) for family in FAMILIES for task in family.tasks
}
MORE: dict[str, dict[str, Any]] = {
    "TFXLMForSequenceClassification": {"num_hidden_layers": 2},
    "TFXLMForQuestionAnswering": {"start_n_top": 3, "end_n_top": 2},
}

# Those that are asked in every way: each task in one of the families, which share how answers are made.
ASKED_IN_ALL_WAYS = [
    kind
    for kind in CLASSES
    if SWEEP
    or kind.__name__
    in (
        *("TFXLMWithLMHeadModel", "TFXLMForSequenceClassification", "TFXLMForMultipleChoice"),
        *("TFXLMForQuestionAnswering", "TFXLMRobertaForTokenClassification", "TFXLMRobertaForQuestionAnswering"),
        *("TFXLMRobertaXLModel", "TFXLMRobertaXLForCausalLM"),
    )
]

# Commands that take FOLDER REQUEST.npz ANSWERS.npz, any number of times, and load SavedModels each in its own way.
WITHOUT_TFXLM = ["-c", golden._RUN + '\nassert not any(name.startswith("tfxlm") for name in sys.modules)\n']
C_API = [str(Path(__file__).with_name("c_api.py"))]


def config(**changes: Any) -> XLMConfig:
    shape = {"vocab_size": 60, "emb_dim": 24, "n_layers": 1, "n_heads": 3, "max_position_embeddings": 16}
    return XLMConfig(n_langs=4, id2label=LABELS, **shape).replace(**changes)


def config_of(kind: type[TFPreTrainedModel], **changes: Any) -> PreTrainedConfig:
    """A configuration of the class, with the same sizes and room for texts of 16 tokens in all families."""
    family, task = CLASSES[kind]
    needs = {**NEEDS.get(task, {}), **MORE.get(kind.__name__, {})}
    if family is XLM:
        return config(**{**needs, **changes})
    shape = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
    values = {"vocab_size": 60, "id2label": LABELS, "max_position_embeddings": 18, **shape}
    return type(family.config)(**values).replace(**needs).replace(**changes)


def make_model(kind: type[TFPreTrainedModel], dtype: str = "float32", **changes: Any) -> Any:
    return perturb(kind(config_of(kind, **changes), dtype=dtype))


def requests(choices: int | None = None) -> Arrays:
    """Four rows of up to eleven tokens, with garbage at padding; with the axis of choices where there are some."""
    random = np.random.default_rng(3)
    lengths = np.array([11, 1, 6, 4])
    if choices is not None:
        lengths = np.stack([np.roll(lengths, shift) for shift in range(choices)], axis=1)
    shape = (*lengths.shape, 11)
    arrays = {
        "input_ids": random.integers(3, 60, shape),
        "lengths": lengths,
        "langs": random.integers(0, 4, shape),
        "p_mask": random.integers(0, 4, shape) == 0,
        "cls_index": lengths // 2,
        "num_choices": np.array([3, 1, 2, 3]),
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


@dataclasses.dataclass
class Exported:
    """A model, its export, and what the export would have checked in a fresh process."""

    model: TFPreTrainedModel
    folder: Path
    samples: Mapping[str, Arrays]
    expected: Mapping[str, Arrays]
    tolerance: float

    @property
    def has_choices(self) -> bool:
        return self.samples["outputs"]["input_ids"].ndim == 3

    @functools.cached_property
    def loaded(self) -> Any:
        return tf.saved_model.load(str(self.folder))

    def request(self, signature: str) -> Arrays:
        arrays = requests(choices=3 if self.has_choices else None)
        return {name: arrays[name] for name in self.samples[signature]}

    def outputs(self) -> Arrays:
        """The outputs of the model itself, but for a cache, which exports do not have."""
        outputs = self.model(self.request("outputs")).items()
        found = {name: value.numpy() for name, value in outputs if hasattr(value, "numpy")}
        return settled(found)

    def mask(self) -> np.ndarray:
        request = self.request("outputs")
        return np.arange(11) < request["lengths"][..., None]


def settled(outputs: Arrays) -> Arrays:
    """The same, but for positions with which a beam that found too little is filled up: they say nothing."""
    settled = dict(outputs)
    for end in ("start_top", "end_top"):
        if f"{end}_index" in outputs:
            settled[f"{end}_index"] = np.where(outputs[f"{end}_log_probs"] > 0, outputs[f"{end}_index"], -1)
    return settled


@contextmanager
def unchecked() -> Iterator[list[tuple[Any, ...]]]:
    """Exports without the fresh process, which takes longer than all the rest; yields what it would have been given."""
    given: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "check_in_fresh_process", lambda *arguments: given.append(arguments))
        yield given


def export(model: TFPreTrainedModel, path: Path, **options: Any) -> Exported:
    with unchecked() as given:
        folder = export_model(model, None, path, **options)
    ((_, samples, expected, tolerance),) = given
    return Exported(model, folder, samples, expected, tolerance)


def ask_process(command: list[str], asked: Iterable[tuple[Path, Mapping[str, Arrays]]], scratch: Path) -> list[Arrays]:
    """Asks SavedModels in one other process.

    Args:
        command: see `WITHOUT_TFXLM`.
        asked: folders with arrays by signature and input.
        scratch: folder for requests and answers.

    Returns:
        Arrays by ``signature/output`` for each.
    """
    files = []
    for number, (folder, request) in enumerate(asked):
        files += [str(folder), str(scratch / f"request{number}.npz"), str(scratch / f"answers{number}.npz")]
        np.savez(files[-2], **golden.flat(request))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, *command, *files], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [dict(np.load(name).items()) for name in files[2::3]]
