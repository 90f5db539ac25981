"""The forward pass of each subject on 8 sequences of 128 tokens, beside the machine's matmul limit."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model's matrix products depend on.

    Args:
        layers: how many there are.
        dim: the hidden size.
        heads: of attention.
        words: of the vocabulary, where the output layer counts.
        chosen: positions that reach the output layer.
    """

    layers: int
    dim: int
    heads: int
    words: int = 0
    chosen: int = 0

    @classmethod
    def of(cls, config: Any, **more: int) -> Sizes:
        """Returns those of a configuration."""
        return cls(config.num_hidden_layers, config.hidden_size, config.num_attention_heads, **more)


def stages_of(sizes: Sizes, dtype: str) -> list[list[tuple[tf.Tensor, tf.Tensor]]]:
    """Returns the operands of a model's matrix products; those of a stage do not depend on each other."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> tf.Tensor:
        return tf.cast(random.standard_normal(shape, dtype=np.float32), dtype)

    rows, dim, head = BATCH * LENGTH, sizes.dim, sizes.dim // sizes.heads
    narrow, wide = array(rows, dim), array(rows, 4 * dim)
    stages: list[list[tuple[tf.Tensor, tf.Tensor]]] = []
    # Each layer has its own, or the layers' equal products would be done once.
    for _ in range(sizes.layers):
        query, key = array(BATCH, sizes.heads, LENGTH, head), array(BATCH, sizes.heads, head, LENGTH)
        stages += [
            [(narrow, array(dim, dim)) for _ in range(3)],
            [(query, key)],
            [(array(BATCH, sizes.heads, LENGTH, LENGTH), query)],
            [(narrow, array(dim, dim))],
            [(narrow, array(dim, 4 * dim))],
            [(wide, array(4 * dim, dim))],
        ]
    if sizes.words:
        stages.append([(array(sizes.words, dim), array(dim, sizes.chosen))])
    return stages


def matmul_limit(sizes: Sizes, dtype: str, *, in_order: bool = True, gradients: bool = False) -> Work:
    """Returns a function that does a model's matrix products at their own shapes, and nothing else.

    Args:
        sizes: of the model.
        dtype: of the operands.
        in_order: whether a product waits for those that its operands come from in the model, as it must there. All at
            once, each core works on a product of its own, which no model can.
        gradients: whether the two products follow that the gradient of each consists of.
    """
    stages = stages_of(sizes, dtype)

    @tf.function
    def run() -> Any:
        # All products are returned in a small form, so that none is optimised away.
        kept: list[Any] = []
        results = []
        for stage in stages:
            with tf.control_dependencies(kept if in_order else []):
                results.append([tf.matmul(*operands) for operands in stage])
                kept = kept + [_first(product) for product in results[-1]]
        for stage, products in zip(stages[::-1], results[::-1], strict=True) if gradients else ():
            with tf.control_dependencies(kept):
                for (left, right), product in zip(stage, products, strict=True):
                    of_both = tf.matmul(product, right, transpose_b=True), tf.matmul(left, product, transpose_a=True)
                    kept = kept + [_first(gradient) for gradient in of_both]
        return tf.stack(kept)

    return lambda: run().numpy()


def _first(product: tf.Tensor) -> tf.Tensor:
    return tf.reshape(product, [-1])[0]


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one subject."""
    import tfxlm

    subject = SUBJECTS[part]
    inputs, config = full_inputs(subject), subject.config_of(tfxlm)
    sizes = Sizes.of(config)
    seconds = interleaved(
        {
            "matmul limit": matmul_limit(sizes, "float32"),
            "all products at once": matmul_limit(sizes, "float32", in_order=False),
            "tfxlm": our_forward(subject, inputs),
            "tfxlm, bfloat16": our_forward(subject, inputs, dtype="bfloat16"),
            "tfxlm, mixed_bfloat16": our_forward(subject, inputs, dtype="mixed_bfloat16"),
            "matmul limit, bfloat16": matmul_limit(sizes, "bfloat16"),
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
