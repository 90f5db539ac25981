"""One step of masked language modeling: XLM with 6 layers of width 1024, 8 sequences of 128 tokens, Adam."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.measure import interleaved
from benchmarks.subjects import BATCH, LENGTH, MODES, SHAPE, Arrays, Work, as_tensors, full_inputs
from benchmarks.table import Row, best, rows_beside

# 15 % of the positions.
MASKED = 19
IGNORED = -100


def masked_batch() -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Returns inputs, the masked positions (batch, MASKED), and the labels there."""
    inputs, random = full_inputs(), np.random.default_rng(1)
    positions = np.sort([random.permutation(np.arange(1, LENGTH))[:MASKED] for _ in range(BATCH)]).astype(np.int32)
    labels = np.take_along_axis(inputs["input_ids"], positions, axis=1)
    np.put_along_axis(inputs["input_ids"], positions, 5, axis=1)
    return inputs, positions, labels


def our_step() -> Work:
    """Returns one training step of ours: only the masked positions reach the output layer."""
    import keras

    from tfxlm import TFXLMWithLMHeadModel, XLMConfig

    inputs, positions, labels = masked_batch()
    model = TFXLMWithLMHeadModel(XLMConfig(**SHAPE))
    model.compile(optimizer=keras.optimizers.Adam(1e-5))
    batch = as_tensors({**inputs, "masked_positions": positions, "labels": labels})
    return lambda: model.train_on_batch(batch)


def their_step(jit: bool) -> Work:
    """Returns the same step with the TensorFlow class of `transformers`, whose outputs are for all positions."""
    import tensorflow as tf
    import tf_keras
    import transformers

    inputs, positions, labels = masked_batch()
    grid = np.full((BATCH, LENGTH), IGNORED, np.int32)
    np.put_along_axis(grid, positions, labels, axis=1)
    model = transformers.TFXLMWithLMHeadModel(transformers.XLMConfig(**SHAPE))
    # It has no loss of its own.
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-5), loss=loss, jit_compile=jit)
    batch, targets = as_tensors(inputs), tf.constant(grid)
    return lambda: model.train_on_batch(batch, targets)


def steps() -> dict[str, Any]:
    """Returns what makes the training step of each, by name."""
    return {"tfxlm": our_step, **{name: lambda jit=jit: their_step(jit) for name, jit in MODES.items()}}


def run(rounds: int = 15) -> list[Row]:
    """Measures, and returns the rows of the table."""
    seconds = interleaved({name: make() for name, make in steps().items()}, rounds=rounds)
    return rows_beside(f"MLM training step, {BATCH} x {LENGTH}", seconds, best(seconds, MODES), {"tfxlm": 0.5})
