"""The forward pass: XLM with 6 layers of width 1024 on 8 sequences of 128 tokens, beside the machine's matmul limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.measure import interleaved, median
from benchmarks.table import Row
from tfxlm import TFXLMModel, XLMConfig

SHAPE = {"vocab_size": 64699, "emb_dim": 1024, "n_layers": 6, "n_heads": 8, "n_langs": 2}
BATCH, LENGTH = 8, 128


def matmul_limit(layers: int, dim: int, heads: int) -> Callable[[], Any]:
    """Returns a function that does the model's matrix products at their own shapes, and nothing else."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> tf.Tensor:
        return tf.constant(random.standard_normal(shape, dtype=np.float32))

    rows = BATCH * LENGTH
    narrow, wide = array(rows, dim), array(rows, 4 * dim)
    kernels = [[array(dim, dim) for _ in range(4)] + [array(dim, 4 * dim), array(4 * dim, dim)] for _ in range(layers)]
    # Each layer has its own, or the layers' equal products would be done once.
    attentions = [
        (
            array(BATCH, heads, LENGTH, dim // heads),
            array(BATCH, heads, dim // heads, LENGTH),
            array(BATCH, heads, LENGTH, LENGTH),
        )
        for _ in range(layers)
    ]

    @tf.function
    def run() -> Any:
        # All products are returned in a small form, so that none is optimised away.
        kept = []
        for layer, (query, key, weights) in zip(kernels, attentions, strict=True):
            kept += [tf.matmul(narrow, kernel)[0, 0] for kernel in layer[:5]]
            kept.append(tf.matmul(wide, layer[5])[0, 0])
            kept += [tf.matmul(query, key)[0, 0, 0, 0], tf.matmul(weights, query)[0, 0, 0, 0]]
        return tf.stack(kept)

    return lambda: run().numpy()


def ours(inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Returns our forward pass, as a graph."""
    model = TFXLMModel(XLMConfig(**SHAPE))
    run = tf.function(lambda batch: model(batch, training=False)["last_hidden_state"])
    batch = {name: tf.constant(array) for name, array in inputs.items()}
    return lambda: run(batch).numpy()


def peers(inputs: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """Returns the forward passes of `transformers`: TensorFlow as graph and with XLA, and PyTorch."""
    import torch
    import transformers

    config = transformers.XLMConfig(**SHAPE)
    batch = {name: tf.constant(array) for name, array in inputs.items()}
    keras_model = transformers.TFXLMModel(config)
    graph, xla = (
        tf.function(lambda b: keras_model(b, training=False).last_hidden_state, jit_compile=jit)
        for jit in (False, True)
    )
    torch_model = transformers.XLMModel(config).eval()
    torch_batch = {name: torch.tensor(array, dtype=torch.long) for name, array in inputs.items()}

    def run_torch() -> Any:
        with torch.inference_mode():
            return torch_model(**torch_batch).last_hidden_state.numpy()

    return {
        "transformers TF, graph": lambda: graph(batch).numpy(),
        "transformers TF, XLA": lambda: xla(batch).numpy(),
        "transformers PyTorch": run_torch,
    }


def run(rounds: int = 15) -> list[Row]:
    """Measures, and returns the rows of the table."""
    random = np.random.default_rng(0)
    shape = (BATCH, LENGTH)
    inputs = {
        "input_ids": random.integers(14, SHAPE["vocab_size"], shape, dtype=np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "langs": random.integers(0, 2, shape, dtype=np.int32),
    }
    limit = matmul_limit(SHAPE["n_layers"], SHAPE["emb_dim"], SHAPE["n_heads"])
    seconds = interleaved({"matmul limit": limit, "tfxlm": ours(inputs), **peers(inputs)}, rounds=rounds)
    base = median(seconds["matmul limit"])
    return [
        Row("forward, float32, 8 x 128", name, median(values), median(values) / base, "x the matmul limit", bound)
        for name, values in seconds.items()
        for bound in [1.10 if name == "tfxlm" else None]
    ]
