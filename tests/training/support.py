"""A small store, and settings that learn from it in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.tokenizers.toy import write_toy
from tfxlm.data.prepare import prepare_store

WORDS = ("hello", "the", "world", "in", "or", "ether", "thing", "hell", "do", "re", "mi")
LANGUAGES = {"de": 0, "en": 1, "fr": 2}
MIXED = "mlm:en,de clm:fr tlm:en-de"
MODEL = {"emb_dim": 16, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 32, "dropout": 0.1}


def make_store(folder: Path, sentences: int = 150) -> Path:
    """Makes a store of three languages and a pair, with sentences that follow rules."""
    tokenizer = write_toy(folder / "tokenizer", lang2id=LANGUAGES, id2lang={v: k for k, v in LANGUAGES.items()})
    rng = np.random.default_rng(0)
    lines = [
        [WORDS[(first + i * step) % len(WORDS)] for i in range(3)] for first, step in rng.integers(1, 9, (sentences, 2))
    ]
    lines = [[*line, str(number)] for number, line in enumerate(lines)]
    texts = {"en": lines, "de": [line[::-1] for line in lines], "fr": [sorted(line) for line in lines]}
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    pairs = zip(texts["en"], texts["de"], strict=True)
    (folder / "en-de.tsv").write_text("".join(f"{' '.join(en)}\t{' '.join(de)}\n" for en, de in pairs))
    corpora = {name: str(folder / f"{name}.txt") for name in texts} | {"en-de": str(folder / "en-de.tsv")}
    prepare_store(corpora, tokenizer, folder / "store", held_out=12)
    return folder / "store"


def settings(store: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Returns settings of a short training."""
    return {
        "store": str(store),
        "output": str(output),
        "objectives": MIXED,
        "model": MODEL,
        "steps": 12,
        "batch_size": 4,
        "length": 16,
        "learning_rate": 1e-2,
        "warmup_steps": 4,
        "evaluate_every": 6,
        "checkpoint_every": 4,
        "log_every": 3,
        **changes,
    }


# A training of one language, with dropout and without evaluations.
LIVES = {"objectives": "mlm:en", "evaluate_every": 0, "tensorboard": False}

# One that several devices share: dropout is off, as each of them has lots of its own.
SHARED = {
    "objectives": "mlm:en clm:fr",
    "model": {**MODEL, "dropout": 0.0, "attention_dropout": 0.0},
    "steps": 6,
    "clip_norm": 0.5,
    "ema": 0.5,
    "evaluate_every": 6,
    "checkpoint_every": 6,
}
