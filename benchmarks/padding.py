"""Padding left out: real sentences in batches of which a third is real, beside the same model computing the padding."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfxlm
from benchmarks.measure import interleaved
from benchmarks.subjects import BATCH, LENGTH, SUBJECTS, Arrays, Subject, Work, as_tensors, real_batches
from benchmarks.table import Row, rows_beside

BATCHES = 3
LABELS = 3
REMOVED, KEPT = "tfxlm", "tfxlm, padding kept"


def make_model(subject: Subject, remove_padding: bool) -> Any:
    """Returns a classifier that computes padding or leaves it out, as it does by default."""
    model = subject.model(tfxlm, "ForSequenceClassification")(subject.config_of(tfxlm, num_labels=LABELS))
    model.base_model.remove_padding = remove_padding
    model.compile(optimizer=keras.optimizers.Adam(1e-5))
    return model


def forward(model: Any, batches: list[Arrays]) -> Work:
    """Returns the forward pass of all batches, as a graph."""
    run = tf.function(lambda batch: model(batch, training=False)["logits"])
    tensors = [as_tensors(batch) for batch in batches]
    return lambda: [run(batch).numpy() for batch in tensors]


def predict(model: Any, batches: list[Arrays]) -> Work:
    """Returns `model.predict` on all batches."""
    data = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return lambda: model.predict(data, batch_size=BATCH, verbose=0)


def fit(model: Any, batches: list[Arrays]) -> Work:
    """Returns an epoch of `model.fit` on all batches, with the model's own loss."""
    data = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    data["labels"] = np.arange(len(batches) * BATCH, dtype=np.int32) % LABELS
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(BATCH)
    return lambda: model.fit(dataset, verbose=0)


def exported(model: Any, batches: list[Arrays]) -> Work:
    """Returns the default signature of the exported model on all batches."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = tf.saved_model.load(str(tfxlm.export_model(model, None, Path(folder) / "model")))
    signature = loaded.signatures["serving_default"]
    requests = []
    for batch in batches:
        lengths = batch["attention_mask"].sum(axis=1, dtype=np.int32)
        ids = {name: array for name, array in batch.items() if name != "attention_mask"}
        requests.append(as_tensors({**ids, "lengths": lengths}))

    def run() -> Any:
        # The signatures are found as long as what was loaded lives.
        return loaded and [signature(**request)["scores"].numpy() for request in requests]

    return run


# What is measured, with the share of the time with padding that is allowed.
WORKS: dict[str, tuple[Callable[[Any, list[Arrays]], Work], float]] = {
    "forward": (forward, 1 / 2.2),
    "predict": (predict, 1 / 2.2),
    "exported signature": (exported, 1 / 2.2),
    "fit": (fit, 1 / 1.8),
}


PARTS = tuple(f"{key}, {work}" for key in SUBJECTS for work in WORKS)


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one work of one subject; no rows without the environment variable TFXLM_DATA."""
    key, work = part.split(", ")
    subject, (make, bound) = SUBJECTS[key], WORKS[work]
    batches = real_batches(BATCHES, subject)
    if batches is None:
        print(f"padding, {part}: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    fill = np.mean([batch["attention_mask"] for batch in batches])
    models = {REMOVED: make_model(subject, True), KEPT: make_model(subject, False)}
    seconds = interleaved({name: make(model, batches) for name, model in models.items()}, rounds=rounds)
    title = f"{work}, {subject.title}, {BATCHES} batches of real sentences, {fill:.0%} of {BATCH} x {LENGTH}"
    return rows_beside(title, seconds, KEPT, {REMOVED: bound})
