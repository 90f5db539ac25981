"""One step of masked language modeling with Adam, for each subject: 8 sequences of 128 tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.forward import Sizes, matmul_limit
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
LIMIT = "its matrix products alone"


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


def step_sizes(subject: Subject, inputs: Arrays) -> Sizes:
    """Returns what the matrix products of our step depend on."""
    import tfxlm

    config = subject.config_of(tfxlm)
    chosen = int((masked(inputs)[1] != IGNORED).sum())
    return Sizes.of(config, words=config.vocab_size, chosen=chosen)


def real_inputs(subject: Subject) -> Arrays | None:
    """Returns a batch of real sentences; None without TFXLM_DATA."""
    batches = real_batches(1, subject)
    return batches[0] if batches else None


BATCHES: dict[str, Callable[[Subject], Arrays | None]] = {"full": full_inputs, "real sentences": real_inputs}
PARTS = tuple(f"{key}, {batch}" for key in SUBJECTS for batch in BATCHES)


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one subject on one batch; no rows for real sentences without TFXLM_DATA."""
    key, batch = part.split(", ")
    subject = SUBJECTS[key]
    inputs = BATCHES[batch](subject)
    if inputs is None:
        print(f"training, {part}: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    fill = inputs["attention_mask"].mean()
    # Ours gives the output layer the masked positions only, which the class of `transformers` cannot.
    work = (
        f"MLM training step (ours: logits of masked positions), {subject.title}, {fill:.0%} of {BATCH} x {LENGTH} real"
    )
    works = {name: make() for name, make in steps(subject, inputs).items()}
    if batch == "full":
        # What the step could take at best; of a batch with padding it depends on what is computed.
        works[LIMIT] = matmul_limit(step_sizes(subject, inputs), "float32", gradients=True)
    seconds = interleaved(works, rounds=rounds)
    return rows_beside(work, seconds, best(seconds, MODES), {"tfxlm": 0.5})
