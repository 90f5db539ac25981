"""Batches of pre-training: how fast they are made, and what share of a small model's step is spent waiting for them."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from benchmarks.measure import median
from benchmarks.table import Row

# It makes the store, which is not part of what is measured.
TOKENIZER = Path(__file__).parents[1] / "examples/checkpoint"
TEXTS = {"en": "ntrex.eng.txt", "de": "ntrex.deu.txt"}
PARTS = {"mlm": "mlm:de,en", "clm": "clm:de,en", "tlm": "tlm:en-de"}
ROWS, LENGTH, BATCHES, STEPS = 32, 64, 200, 60
# A model whose steps are as short as those of large models are on a GPU.
MODEL = {"emb_dim": 128, "n_layers": 2, "n_heads": 4, "max_position_embeddings": LENGTH}
MOST_WAITING = 0.05


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one objective; no rows without TFXLM_DATA."""
    if "TFXLM_DATA" not in os.environ:
        print(f"pipeline, {part}: skipped, set TFXLM_DATA to the folder with parallel/{TEXTS['en']}", file=sys.stderr)
        return []
    from tfxlm.data import PretrainingData
    from tfxlm.data.prepare import prepare_store
    from tfxlm.training import PretrainingConfig, pretrain

    folder = Path(os.environ["TFXLM_DATA"], "parallel")
    corpora = {lang: str(folder / name) for lang, name in TEXTS.items()}
    corpora["en-de"] = ",".join(corpora.values())
    with tempfile.TemporaryDirectory() as scratch:
        store = prepare_store(corpora, TOKENIZER, Path(scratch, "store"))
        data = PretrainingData(store, None, PARTS[part], batch_size=ROWS, length=LENGTH)
        walls = []
        for turn in range(rounds):
            batches = iter(data.dataset(first_step=turn * BATCHES))
            next(batches)
            begin = time.perf_counter()
            for _ in islice(batches, BATCHES):
                pass
            walls.append((time.perf_counter() - begin) / BATCHES)
        result = pretrain(
            PretrainingConfig(
                store=str(store.path),
                output=str(Path(scratch, "run")),
                objectives=PARTS[part],
                model=MODEL,
                steps=STEPS,
                batch_size=ROWS,
                length=LENGTH,
                warmup_steps=10,
                evaluate_every=0,
                tensorboard=False,
            )
        )
    tokens = ROWS * LENGTH
    alone, step = tokens / median(walls), tokens / result.tokens_per_second
    small = f"a step of {MODEL['n_layers']} x {MODEL['emb_dim']}"
    work = f"{part}, {ROWS} x {LENGTH} tokens"
    return [
        Row(work, "batches alone", alone / 1e6, median(walls) / step, f"x {small}", unit="M tokens/s"),
        Row(work, "tfxlm pretrain", 100 * result.waiting, result.waiting, small, MOST_WAITING, "% waiting"),
    ]
