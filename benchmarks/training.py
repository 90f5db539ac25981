"""One step of masked language modeling with Adam, for each subject: 8 sequences of 128 tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

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
RATE = 1e-5
MIXED = "mixed_bfloat16"
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


def our_step(subject: Subject, inputs: Arrays, dtype: str = "float32") -> Work:
    """Returns one training step of ours: only the masked positions reach the output layer."""
    import keras

    import tfxlm

    inputs, grid = masked(inputs)
    is_masked = grid != IGNORED
    # Rows with fewer masked tokens than others are filled up with positions whose label is ignored.
    positions = np.argsort(~is_masked, axis=1, kind="stable")[:, : is_masked.sum(axis=1).max()].astype(np.int32)
    labels = np.take_along_axis(grid, positions, axis=1)
    model = subject.model(tfxlm, subject.language_model)(subject.config_of(tfxlm), dtype=dtype)
    model.compile(optimizer=keras.optimizers.Adam(RATE))
    batch = as_tensors({**inputs, "masked_positions": positions, "labels": labels})
    return lambda: model.train_on_batch(batch)


def their_step(subject: Subject, inputs: Arrays, jit: bool, dtype: str = "float32") -> Work:
    """Returns the same step with the TensorFlow class of `transformers`, whose outputs are for all positions."""
    import tensorflow as tf
    import tf_keras
    import transformers

    inputs, grid = masked(inputs)
    # For good: layers ask for it when they are first called, too, and all peers of a process have the same.
    tf_keras.mixed_precision.set_global_policy(dtype)
    model = subject.model(transformers, subject.language_model)(subject.config_of(transformers))
    # It has no loss of its own.
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
    model.compile(optimizer=tf_keras.optimizers.Adam(RATE), loss=loss, jit_compile=jit)
    batch, targets = as_tensors(inputs), tf.constant(grid)
    return lambda: model.train_on_batch(batch, targets)


def torch_step(subject: Subject, inputs: Arrays, dtype: str = "float32") -> Work:
    """Returns the same step with the PyTorch class, whose outputs are for all positions; autocast mixes precisions."""
    import torch
    import transformers

    inputs, grid = masked(inputs)
    model = subject.model(transformers, subject.language_model, tf=False)(subject.config_of(transformers)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    batch = {name: torch.tensor(array, dtype=torch.long) for name, array in (inputs | {"labels": grid}).items()}

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == MIXED):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


Steps = dict[str, Callable[[], Work]]


def steps(subject: Subject, inputs: Arrays, dtype: str = "float32") -> Steps:
    """Returns what makes the training step of each, by name, in a dtype policy."""
    theirs = {name: lambda jit=jit: their_step(subject, inputs, jit, dtype) for name, jit in MODES.items()}
    return {"tfxlm": lambda: our_step(subject, inputs, dtype), **theirs}


def steps_beside_torch(subject: Subject, inputs: Arrays, dtype: str) -> Steps:
    """Returns what makes our step and that of PyTorch."""
    return {
        "tfxlm": lambda: our_step(subject, inputs, dtype),
        "transformers PyTorch": lambda: torch_step(subject, inputs, dtype),
    }


def real_inputs(subject: Subject) -> Arrays | None:
    """Returns a batch of real sentences; None without TFXLM_DATA."""
    batches = real_batches(1, subject)
    return batches[0] if batches else None


@dataclass(frozen=True)
class Comparison:
    """Who takes a step on what.

    Args:
        inputs: makes the batch; None where its text is not there.
        steps: makes the steps by name, of ours and of peers.
        bound: the largest share of the peers' time that ours may take.
        dtype: of all, a dtype policy.
        has_limit: whether the step's matrix products are measured too: what it could take at best. Of a batch with
            padding it depends on what is computed.
    """

    inputs: Callable[[Subject], Arrays | None]
    steps: Callable[[Subject, Arrays, str], Steps]
    bound: float
    dtype: str = "float32"
    has_limit: bool = False


HALF, THIRD = 1 / 2, 1 / 3
COMPARISONS = {
    "full": Comparison(full_inputs, steps, HALF, has_limit=True),
    "real sentences": Comparison(real_inputs, steps, HALF),
    "bfloat16": Comparison(full_inputs, steps, HALF, MIXED),
    "PyTorch": Comparison(full_inputs, steps_beside_torch, THIRD),
    "PyTorch, bfloat16": Comparison(full_inputs, steps_beside_torch, THIRD, MIXED),
}
PARTS = tuple(f"{key}, {name}" for key in SUBJECTS for name in COMPARISONS)


def step_sizes(subject: Subject, inputs: Arrays) -> Sizes:
    """Returns what the matrix products of our step depend on."""
    import tfxlm

    config = subject.config_of(tfxlm)
    chosen = int((masked(inputs)[1] != IGNORED).sum())
    return Sizes.of(config, words=config.vocab_size, chosen=chosen)


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one comparison of one subject; no rows for real sentences without TFXLM_DATA."""
    key, name = part.split(", ", 1)
    subject, comparison = SUBJECTS[key], COMPARISONS[name]
    inputs = comparison.inputs(subject)
    if inputs is None:
        print(f"training, {part}: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    fill = inputs["attention_mask"].mean()
    # Ours gives the output layer the masked positions only, which the classes of `transformers` cannot.
    batch = f"{fill:.0%} of {BATCH} x {LENGTH} real"
    work = f"MLM training step (ours: logits of masked positions), {subject.title}, {batch}, {comparison.dtype}"
    works = {who: make() for who, make in comparison.steps(subject, inputs, comparison.dtype).items()}
    peers = [who for who in works if who != "tfxlm"]
    if comparison.has_limit:
        works[LIMIT] = matmul_limit(step_sizes(subject, inputs), comparison.dtype, gradients=True)
    seconds = interleaved(works, rounds=rounds)
    return rows_beside(work, seconds, best(seconds, peers), {"tfxlm": comparison.bound})
