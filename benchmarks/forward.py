"""The forward pass of each subject on 8 sequences of 128 tokens, beside the machine's matmul limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.measure import interleaved
from benchmarks.subjects import (
    BATCH,
    LENGTH,
    SUBJECTS,
    Work,
    full_inputs,
    our_forward,
    their_forward,
    torch_forward,
)
from benchmarks.table import Row, rows_beside

PARTS = tuple(SUBJECTS)


def matmul_limit(layers: int, dim: int, heads: int, dtype: str, *, in_order: bool = True) -> Work:
    """Returns a function that does the model's matrix products at their own shapes, and nothing else.

    Args:
        layers: how many there are.
        dim: the hidden size.
        heads: of attention.
        dtype: of the operands.
        in_order: whether a product waits for those that its operands come from in the model, as it must there. All at
            once, each core works on a product of its own, which no model can.
    """
    random = np.random.default_rng(0)

    def array(*shape: int) -> tf.Tensor:
        return tf.cast(random.standard_normal(shape, dtype=np.float32), dtype)

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
        kept: list[Any] = []
        for layer, (query, key, weights) in zip(kernels, attentions, strict=True):
            stages = (
                [(narrow, kernel) for kernel in layer[:3]],
                [(query, key)],
                [(weights, query)],
                [(narrow, layer[3])],
                [(narrow, layer[4])],
                [(wide, layer[5])],
            )
            for stage in stages:
                with tf.control_dependencies(kept if in_order else []):
                    kept = kept + [tf.reshape(tf.matmul(*operands), [-1])[0] for operands in stage]
        return tf.stack(kept)

    return lambda: run().numpy()


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one subject."""
    import tfxlm

    subject = SUBJECTS[part]
    inputs, config = full_inputs(subject), subject.config_of(tfxlm)
    shape = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads)
    seconds = interleaved(
        {
            "matmul limit": matmul_limit(*shape, "float32"),
            "all products at once": matmul_limit(*shape, "float32", in_order=False),
            "tfxlm": our_forward(subject, inputs),
            "tfxlm, bfloat16": our_forward(subject, inputs, dtype="bfloat16"),
            "tfxlm, mixed_bfloat16": our_forward(subject, inputs, dtype="mixed_bfloat16"),
            "matmul limit, bfloat16": matmul_limit(*shape, "bfloat16"),
            **their_forward(subject, inputs),
            "transformers PyTorch": torch_forward(subject, inputs),
        },
        rounds=rounds,
    )
    half = {name: seconds.pop(name) for name in list(seconds) if "bfloat16" in name}
    work = f"forward, {subject.title}, {BATCH} x {LENGTH}"
    return [
        *rows_beside(f"{work}, float32", seconds, "matmul limit", {"tfxlm": 1.05}),
        *rows_beside(
            f"{work}, bfloat16",
            {**half, "tfxlm, float32": seconds["tfxlm"]},
            "tfxlm, float32",
            {"tfxlm, bfloat16": 0.6},
        ),
    ]
