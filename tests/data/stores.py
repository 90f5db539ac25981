"""Small corpora, and stores of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from tests.example_files import CHECKPOINT
from tfxlm import XLMTokenizer
from tfxlm.data.prepare import prepare_store
from tfxlm.data.store import Store

WORDS = {
    "en": ["the", "cat", "sees", "a", "small", "house", "and", "sleeps", "in", "it", "today"],
    "de": ["die", "Katze", "sieht", "ein", "Haus", "und", "schläft"],
}


def sentences(language: str, count: int, seed: int = 0) -> list[str]:
    """Random sentences, no two of them alike."""
    rng = np.random.default_rng([seed, *language.encode()])
    return [" ".join(rng.choice(WORDS[language], rng.integers(3, 9))) + f" {index}" for index in range(count)]


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def tiny_xlm() -> XLMTokenizer:
    """An XLM tokenizer of two languages whose pieces are characters, and "th"."""
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10))]
    characters = "abcdefghijklmnopqrstuvwxyzäöüßDHK0123456789.,!"
    pieces = [*special, "th", *(form for character in characters for form in (character, f"{character}</w>"))]
    return XLMTokenizer(
        {piece: index for index, piece in enumerate(pieces)},
        [("t", "h")],
        lang2id={"de": 0, "en": 1},
        preprocessing="fair",
        case="none",
        accents="keep",
    )


def small_store(folder: Path, tokenizer: XLMTokenizer | Path = CHECKPOINT, held_out: float = 20) -> Store:
    """A store of English (more of it), German, and pairs."""
    corpora = {
        "en": str(write_lines(folder / "en.txt", sentences("en", 900))),
        "de": str(write_lines(folder / "de.txt", sentences("de", 200))),
        "en-de": str(
            write_lines(
                folder / "pairs.tsv",
                [f"{a}\t{b}" for a, b in zip(sentences("en", 150, 1), sentences("de", 150, 1), strict=True)],
            )
        ),
    }
    return prepare_store(corpora, tokenizer, folder / "store", held_out=held_out)


def rows(store: Store, name: str, split: str) -> list[tuple[int, ...]]:
    """All sentences of an entry as ids."""
    tokens, starts = store.tokens(name, split), store.starts(name, split)
    return [tuple(tokens[begin:end].tolist()) for begin, end in itertools.pairwise(starts)]
