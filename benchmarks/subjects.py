"""What is measured: a model of each family that has a peer in TensorFlow, its inputs, and how each library runs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Args:
        title: in tables.
        stem: what its classes are called after, behind "TF".
        language_model: the rest of the name of the one that predicts masked words.
        config: the fields of its configuration, under the names of `transformers`.
    """

    title: str
    stem: str
    language_model: str
    config: dict[str, Any]

    def config_of(self, library: Any, **changes: Any) -> Any:
        """Returns its configuration, as a library has it."""
        return getattr(library, f"{self.stem}Config")(**{**self.config, **changes})

    def model(self, library: Any, task: str = "Model", *, tf: bool = True) -> Any:
        """Returns a class of a library; `tf` is False for those of PyTorch."""
        return getattr(library, f"{'TF' if tf else ''}{self.stem}{task}")


XLM = Subject(
    "XLM 6 x 1024",  # the size of the released models of two languages
    "XLM",
    "WithLMHeadModel",
    {"vocab_size": 64699, "emb_dim": 1024, "n_layers": 6, "n_heads": 8, "n_langs": 2},
)
XLM_ROBERTA = Subject(
    "XLM-RoBERTa base",
    "XLMRoberta",
    "ForMaskedLM",
    {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
)
SUBJECTS = {"xlm": XLM, "xlm-roberta": XLM_ROBERTA}
BATCH, LENGTH = 8, 128
# The share of real positions in batches of real sentences.
FILL = 0.34
# How the TensorFlow peer is compiled, by name in the table: whether with XLA.
MODES = {"transformers TF, graph": False, "transformers TF, XLA": True}
# A tokenizer for real sentences.
TOKENIZER = Path(__file__).parents[1] / "examples" / "checkpoint"

Work = Callable[[], Any]
Arrays = dict[str, np.ndarray]


def full_inputs(subject: Subject = XLM, batch: int = BATCH, length: int = LENGTH) -> Arrays:
    """Returns random inputs (batch, length) without padding."""
    random = np.random.default_rng(0)
    inputs = {
        "input_ids": random.integers(14, subject.config["vocab_size"], (batch, length), dtype=np.int32),
        "attention_mask": np.ones((batch, length), np.int32),
        "langs": random.integers(0, 2, (batch, length), dtype=np.int32),
    }
    return known_inputs(subject, inputs)


def known_inputs(subject: Subject, inputs: Arrays) -> Arrays:
    """Returns those inputs that the model takes: languages only where it knows some."""
    return {name: array for name, array in inputs.items() if name != "langs" or "n_langs" in subject.config}


def real_batches(count: int, subject: Subject = XLM) -> list[Arrays] | None:
    """Returns batches of consecutive English news sentences, those whose share of real positions is nearest to `FILL`.

    All subjects get the same ids, of a small tokenizer; only how many there are matters.

    Returns:
        `count` batches; None without the environment variable TFXLM_DATA.
    """
    from tfxlm import XLMTokenizer

    data = os.environ.get("TFXLM_DATA")
    if not data:
        return None
    sentences = Path(data, "parallel", "ntrex.eng.txt").read_text(encoding="utf-8").splitlines()
    encoded = XLMTokenizer.from_pretrained(TOKENIZER)(
        sentences, lang="en", padding="max_length", max_length=LENGTH, truncation=True, return_tensors="np"
    )
    # The tokenizer's languages are not the model's.
    encoded["langs"] = np.zeros_like(encoded["input_ids"])
    starts = range(0, len(sentences) - BATCH + 1, BATCH)
    # In the type that signatures take.
    batches = [
        known_inputs(subject, {name: array[start : start + BATCH].astype(np.int32) for name, array in encoded.items()})
        for start in starts
    ]
    return sorted(batches, key=lambda batch: abs(batch["attention_mask"].mean() - FILL))[:count]


def as_tensors(arrays: Arrays) -> dict[str, Any]:
    """Returns the arrays as TensorFlow constants."""
    import tensorflow as tf

    return {name: tf.constant(array) for name, array in arrays.items()}


def our_forward(subject: Subject, arrays: Arrays, *, dtype: str = "float32") -> Work:
    """Returns our forward pass, as a graph."""
    import tensorflow as tf

    import tfxlm

    model = subject.model(tfxlm)(subject.config_of(tfxlm), dtype=dtype)
    run = tf.function(lambda batch: model(batch, training=False)["last_hidden_state"])
    batch = as_tensors(arrays)
    return lambda: run(batch).numpy()


def their_forward(subject: Subject, arrays: Arrays) -> dict[str, Work]:
    """Returns the forward pass of `transformers` in TensorFlow, in each of `MODES`."""
    import tensorflow as tf
    import transformers

    model, batch = subject.model(transformers)(subject.config_of(transformers)), as_tensors(arrays)

    def compiled(jit: bool) -> Work:
        run = tf.function(lambda inputs: model(inputs, training=False).last_hidden_state, jit_compile=jit)
        return lambda: run(batch).numpy()

    return {name: compiled(jit) for name, jit in MODES.items()}


def torch_forward(subject: Subject, arrays: Arrays) -> Work:
    """Returns the forward pass of `transformers` in PyTorch."""
    import torch
    import transformers

    model = subject.model(transformers, tf=False)(subject.config_of(transformers)).eval()
    batch = {name: torch.tensor(array, dtype=torch.long) for name, array in arrays.items()}

    def run() -> Any:
        with torch.inference_mode():
            return model(**batch).last_hidden_state.numpy()

    return run
