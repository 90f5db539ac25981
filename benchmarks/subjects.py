"""What is measured: one shape of XLM, its inputs, and how each library runs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# The size of the released XLM models of two languages: 6 layers of width 1024.
SHAPE: dict[str, Any] = {"vocab_size": 64699, "emb_dim": 1024, "n_layers": 6, "n_heads": 8, "n_langs": 2}
BATCH, LENGTH = 8, 128
# The share of real positions in batches of real sentences.
FILL = 0.34
# How the TensorFlow peer is compiled, by name in the table: whether with XLA.
MODES = {"transformers TF, graph": False, "transformers TF, XLA": True}
# A tokenizer for real sentences.
TOKENIZER = Path(__file__).parents[1] / "examples" / "checkpoint"

Work = Callable[[], Any]
Arrays = dict[str, np.ndarray]


def full_inputs(batch: int = BATCH, length: int = LENGTH) -> Arrays:
    """Returns random inputs (batch, length) without padding."""
    random = np.random.default_rng(0)
    return {
        "input_ids": random.integers(14, SHAPE["vocab_size"], (batch, length), dtype=np.int32),
        "attention_mask": np.ones((batch, length), np.int32),
        "langs": random.integers(0, SHAPE["n_langs"], (batch, length), dtype=np.int32),
    }


def real_batches(count: int) -> list[Arrays] | None:
    """Returns batches of consecutive English news sentences, those whose share of real positions is nearest to `FILL`.

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
        {name: array[start : start + BATCH].astype(np.int32) for name, array in encoded.items()} for start in starts
    ]
    return sorted(batches, key=lambda batch: abs(batch["attention_mask"].mean() - FILL))[:count]


def as_tensors(arrays: Arrays) -> dict[str, Any]:
    """Returns the arrays as TensorFlow constants."""
    import tensorflow as tf

    return {name: tf.constant(array) for name, array in arrays.items()}


def our_forward(arrays: Arrays, *, dtype: str = "float32", **config: Any) -> Work:
    """Returns our forward pass, as a graph."""
    import tensorflow as tf

    from tfxlm import TFXLMModel, XLMConfig

    model = TFXLMModel(XLMConfig(**SHAPE, **config), dtype=dtype)
    run = tf.function(lambda batch: model(batch, training=False)["last_hidden_state"])
    batch = as_tensors(arrays)
    return lambda: run(batch).numpy()


def their_forward(arrays: Arrays) -> dict[str, Work]:
    """Returns the forward pass of `transformers` in TensorFlow, in each of `MODES`."""
    import tensorflow as tf
    import transformers

    model, batch = transformers.TFXLMModel(transformers.XLMConfig(**SHAPE)), as_tensors(arrays)

    def compiled(jit: bool) -> Work:
        run = tf.function(lambda inputs: model(inputs, training=False).last_hidden_state, jit_compile=jit)
        return lambda: run(batch).numpy()

    return {name: compiled(jit) for name, jit in MODES.items()}


def torch_forward(arrays: Arrays) -> Work:
    """Returns the forward pass of `transformers` in PyTorch."""
    import torch
    import transformers

    model = transformers.XLMModel(transformers.XLMConfig(**SHAPE)).eval()
    batch = {name: torch.tensor(array, dtype=torch.long) for name, array in arrays.items()}

    def run() -> Any:
        with torch.inference_mode():
            return model(**batch).last_hidden_state.numpy()

    return run
