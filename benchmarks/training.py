"""One step of masked language modeling with Adam, for each subject: 8 sequences of 128 tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.measure import interleaved
from benchmarks.subjects import (
    BATCH,
    LENGTH,
    MODES,
    SUBJECTS,
    Arrays,
    Subject,
    Work,
    as_tensors,
    full_inputs,
    real_batches,
)
from benchmarks.table import Row, best, rows_beside

MASKED_SHARE = 0.15
MASK_TOKEN = 5
IGNORED = -100


def masked(inputs: Arrays) -> tuple[Arrays, np.ndarray]:
    """Masks a share of the real tokens of each row, the first excepted.

    Returns:
        The inputs, and the labels on the grid (batch, length), `IGNORED` elsewhere.
    """
    random, ids = np.random.default_rng(1), inputs["input_ids"].copy()
    labels = np.full_like(ids, IGNORED)
    for row, length in enumerate(inputs["attention_mask"].sum(axis=1)):
        chosen = 1 + random.permutation(length - 1)[: max(1, round(MASKED_SHARE * length))]
        labels[row, chosen], ids[row, chosen] = ids[row, chosen], MASK_TOKEN
    return {**inputs, "input_ids": ids}, labels


def our_step(subject: Subject, inputs: Arrays) -> Work:
    """Returns one training step of ours: only the masked positions reach the output layer."""
    import keras

    import tfxlm

    inputs, grid = masked(inputs)
    is_masked = grid != IGNORED
    # Rows with fewer masked tokens than others are filled up with positions whose label is ignored.
    positions = np.argsort(~is_masked, axis=1, kind="stable")[:, : is_masked.sum(axis=1).max()].astype(np.int32)
    labels = np.take_along_axis(grid, positions, axis=1)
    model = subject.model(tfxlm, subject.language_model)(subject.config_of(tfxlm))
    model.compile(optimizer=keras.optimizers.Adam(1e-5))
    batch = as_tensors({**inputs, "masked_positions": positions, "labels": labels})
    return lambda: model.train_on_batch(batch)


def their_step(subject: Subject, inputs: Arrays, jit: bool) -> Work:
    """Returns the same step with the TensorFlow class of `transformers`, whose outputs are for all positions."""
    import tensorflow as tf
    import tf_keras
    import transformers

    inputs, grid = masked(inputs)
    model = subject.model(transformers, subject.language_model)(subject.config_of(transformers))
    # It has no loss of its own.
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-5), loss=loss, jit_compile=jit)
    batch, targets = as_tensors(inputs), tf.constant(grid)
    return lambda: model.train_on_batch(batch, targets)


def steps(subject: Subject, inputs: Arrays) -> dict[str, Callable[[], Work]]:
    """Returns what makes the training step of each, by name."""
    theirs = {name: lambda jit=jit: their_step(subject, inputs, jit) for name, jit in MODES.items()}
    return {"tfxlm": lambda: our_step(subject, inputs), **theirs}


def works(subject: Subject) -> dict[str, Arrays]:
    """Returns batches by title; real sentences only with TFXLM_DATA."""
    found = {f"MLM training step, {subject.title}, {BATCH} x {LENGTH} without padding": full_inputs(subject)}
    batches = real_batches(1, subject)
    if batches is None:
        print("training: no real sentences, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return found
    fill = batches[0]["attention_mask"].mean()
    title = f"MLM training step, {subject.title}, real sentences, {fill:.0%} of {BATCH} x {LENGTH}"
    return {**found, title: batches[0]}


def run(rounds: int = 15) -> list[Row]:
    """Measures, and returns the rows of the table."""
    rows = []
    for subject in SUBJECTS.values():
        for work, inputs in works(subject).items():
            made = {name: make() for name, make in steps(subject, inputs).items()}
            seconds = interleaved(made, rounds=rounds)
            rows += rows_beside(work, seconds, best(seconds, MODES), {"tfxlm": 0.5})
    return rows
