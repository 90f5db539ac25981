"""A script for the TensorFlow classes of `transformers` 4 runs with the import changed, and gives the same results."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
import transformers

from tests.parity.reference import SWEEP

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("migration_script.py")

TASKS = {
    "XLM": ("Model", "WithLMHeadModel", "ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification",
            "ForQuestionAnsweringSimple"),
    "XLMRoberta": ("Model", "ForMaskedLM", "ForCausalLM", "ForSequenceClassification", "ForMultipleChoice",
                   "ForTokenClassification", "ForQuestionAnswering"),
}  # fmt: skip
CLASSES = {family: tuple(f"TF{family}{task}" for task in tasks) for family, tasks in TASKS.items()}
NAMES = [(family, name) for family, names in CLASSES.items() for name in names]
# Those that are trained in every run, as tracing is most of the work: each task in one of the families.
TRAINED = {
    "TFXLMWithLMHeadModel", "TFXLMForMultipleChoice", "TFXLMForQuestionAnsweringSimple", "TFXLMRobertaForCausalLM",
    "TFXLMRobertaForSequenceClassification", "TFXLMRobertaForTokenClassification",
}  # fmt: skip
PARTS = [
    (family, name, part)
    for part in ("calls", "description", "storing", "auto", "training", "resizing")
    for family, name in NAMES
    if SWEEP or part != "training" or name in TRAINED
]
CONFIGS = {
    "XLM": {
        "emb_dim": 16, "n_layers": 2, "n_heads": 2, "n_langs": 2, "dropout": 0.0, "attention_dropout": 0.0,
        "summary_first_dropout": 0.0, "lang2id": {"de": 0, "en": 1}, "id2lang": {"0": "de", "1": "en"},
        "initializer_range": 0.02,  # the class that chooses reads it, and the configuration does not have it
    },
    "XLMRoberta": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20,
        "type_vocab_size": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip
PADDING = {"XLM": 2, "XLMRoberta": 1}

# What the TensorFlow classes fail at, by the end of the name; there is nothing to compare with.
THEY_FAIL = (
    *("numpy int8", "numpy int16", "numpy uint8", "tensors int8", "tensors int16", "tensors uint8"),
    *("plain lists", "head mask", "embeddings", "subfolder", "another number of labels"),
)


@dataclasses.dataclass
class Results:
    """What the script kept."""

    arrays: dict[str, np.ndarray]
    values: dict[str, Any]
    errors: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Results:
        """Reads what the script wrote."""
        return cls(dict(np.load(path.with_suffix(".npz"))), **json.loads(path.with_suffix(".json").read_text()))

    def part(self, start: str) -> Results:
        """Those whose name begins so."""
        return Results(
            *({name: it for name, it in kind.items() if name.startswith(start)} for kind in dataclasses.astuple(self))
        )


def make_source(family: str, folder: Path) -> None:
    """Writes what the script reads: a checkpoint of each class, a batch, and a tokenizer's files."""
    rng = np.random.default_rng(0)
    for seed, name in enumerate(CLASSES[family]):
        torch.manual_seed(seed)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=40,
            max_position_embeddings=24,
            num_labels=2 if "Question" in name else 3,
            is_decoder="Causal" in name,
            **CONFIGS[family],
        )
        model = getattr(transformers, name.removeprefix("TF"))(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        # Its TensorFlow classes read no safetensors of PyTorch's.
        model.save_pretrained(folder / name, safe_serialization=False)
    mask = np.arange(7) < np.array([7, 4, 5, 6, 2, 7])[:, None]
    np.savez(
        folder / "batch.npz",
        input_ids=np.where(mask, rng.integers(6, 40, mask.shape), PADDING[family]),
        attention_mask=mask,
        kinds=rng.integers(0, 2, mask.shape),
        classes=rng.integers(0, 3, 6),
        token_classes=rng.integers(0, 3, mask.shape),
        choices=rng.integers(0, 2, 3),
        starts=rng.integers(0, 2, 6),
        ends=rng.integers(0, 2, 6),
        embeddings=rng.normal(size=(6, 7, 16)).astype(np.float32),
    )
    (folder / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(ROOT / "examples" / "checkpoint" / name, folder / "tokenizer")


@functools.cache
def results_of(family: str, parent: Path) -> dict[str, Results]:
    """Runs the script with both libraries, unless another process of the tests has."""
    folder, libraries = parent / family, ("tfxlm", "transformers")
    with filelock.FileLock(parent / f"{family}.lock"):
        if not folder.exists():
            run_script(family, folder)
    return {library: Results.read(folder / library) for library in libraries}


def run_script(family: str, folder: Path) -> None:
    make_source(family, folder / "source")
    # transformers sets the variable for the whole process, so a test that ran before may have left it here.
    environments = {
        "transformers": {"TF_USE_LEGACY_KERAS": "1"},
        "tfxlm": {"TF_USE_LEGACY_KERAS": "0", "PYTHONPATH": str(ROOT)},
    }
    trained = [name for name in CLASSES[family] if (family, name, "training") in PARTS]
    names = [",".join(CLASSES[family]), family, ",".join(trained)]
    runs = {
        library: subprocess.Popen(
            [sys.executable, SCRIPT, library, folder / "source", folder / library, *names],
            env={**os.environ, **environment, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for library, environment in environments.items()
    }
    for library, run in runs.items():
        _, messages = run.communicate()
        assert run.returncode == 0, f"{library}: {messages[-3000:]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the tests share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "migration"
    shared.mkdir(exist_ok=True)
    return shared


def compare(ours: Results, theirs: Results) -> None:
    assert ours.errors == {}
    assert [name for name in theirs.errors if not name.endswith(THEY_FAIL)] == []
    assert set(theirs.arrays) <= set(ours.arrays) and set(theirs.values) <= set(ours.values)
    for name, reference in theirs.arrays.items():
        value = ours.arrays[name]
        if "/loss" in name:
            # There the loss of a call is one number for each row, or (1,).
            assert value.shape == ()
            reference = reference.mean()
        assert value.shape == reference.shape, name
        np.testing.assert_allclose(value, reference, rtol=2e-5, atol=2e-5, err_msg=name)
    for name, reference in theirs.values.items():
        assert ours.values[name] == reference, name


@pytest.mark.parametrize(("family", "name", "part"), PARTS)
def test_a_script_gives_the_same_results(family: str, name: str, part: str, folder: Path) -> None:
    results = results_of(family, folder)
    ours, theirs = (results[library].part(f"{name}/{part}/") for library in ("tfxlm", "transformers"))
    assert theirs.arrays or (name in ("TFXLMModel", "TFXLMRobertaModel") and part == "training")
    compare(ours, theirs)


def test_the_tokenizer_gives_the_same_results(folder: Path) -> None:
    results = results_of("XLM", folder)
    ours, theirs = (results[library].part("tokenizer/") for library in ("tfxlm", "transformers"))
    assert theirs.arrays and theirs.values
    compare(ours, theirs)


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_what_works_only_here(family: str, name: str, folder: Path) -> None:
    """Integers of every width are the same ids; a head of another size is made anew."""
    results = results_of(family, folder)
    ours = results["tfxlm"].part(f"{name}/calls/").arrays
    for dtype in ("int8", "int16", "int32", "int64", "uint8"):
        for kind in ("numpy", "tensors"):
            np.testing.assert_array_equal(ours[f"{name}/calls/{kind} {dtype}"], ours[f"{name}/calls/dict"])
    if name.endswith("ForSequenceClassification"):
        values = results["tfxlm"].values[f"{name}/storing/another number of labels"]
        assert values == [5, [6, 5], "LABEL_4", 2]
