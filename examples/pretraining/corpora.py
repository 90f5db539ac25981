"""The text of the examples: Tatoeba's translations, and NTREX for languages that those lack, as files to prepare."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

TATOEBA = {("en", "de"): "tatoeba_anki.en-de.full.tsv.gz", ("en", "fr"): "tatoeba_anki.en-fr.full.tsv.gz"}
NTREX = {
    lang: f"ntrex.{name}.txt"
    for lang, name in {"ar": "arb", "de": "deu", "en": "eng", "fr": "fra", "ru": "rus"}.items()
}

Pairs = list[tuple[str, str]]


def data_folder() -> Path:
    """Returns the folder of the parallel text, or ends the program saying what is missing."""
    root = os.environ.get("TFXLM_DATA")
    if not root:
        sys.exit("TFXLM_DATA is not set: point it at the folder that holds parallel/ with the Tatoeba and NTREX files")
    folder = Path(root) / "parallel"
    missing = [name for name in (*TATOEBA.values(), *NTREX.values()) if not (folder / name).is_file()]
    if missing:
        sys.exit(f"'{folder}' lacks {', '.join(missing)}")
    return folder


def write_corpora(source: Path, out: Path, *, ntrex: bool = False, most: int | None = None) -> dict[str, str]:
    """Writes the text as `tfxlm prepare` reads it: a file for each language, without repetitions, and for each pair.

    Args:
        source: the folder of the parallel text.
        out: where to.
        ntrex: whether NTREX is part of it, in all its pairs, and the German-French pairs of one English sentence.
        most: most pairs of a file; None for all.

    Returns:
        The place of each corpus, by language or pair.
    """
    pairs = {langs: list(_read_tatoeba(source / name))[:most] for langs, name in TATOEBA.items()}
    if ntrex:
        pairs["de", "fr"] = _pivot(pairs["en", "de"], pairs["en", "fr"])
        lines = {lang: _read_lines(source / name)[:most] for lang, name in NTREX.items()}
        for first, second in combinations(sorted(NTREX), 2):
            turned = (second, first) in pairs
            langs = (second, first) if turned else (first, second)
            texts = zip(*(lines[lang] for lang in langs), strict=True)
            pairs.setdefault(langs, []).extend((left, right) for left, right in texts)
    out.mkdir(parents=True, exist_ok=True)
    places = {}
    languages = sorted({lang for langs in pairs for lang in langs})
    for lang in languages:
        sides = (pair[langs.index(lang)] for langs, both in pairs.items() if lang in langs for pair in both)
        places[lang] = _write(out / f"{lang}.txt", dict.fromkeys(sides))
    for langs, both in pairs.items():
        name = "-".join(langs)
        places[name] = _write(out / f"{name}.tsv", dict.fromkeys("\t".join(pair) for pair in both))
    return places


def _read_tatoeba(path: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            first, _, rest = line.rstrip("\n").partition("\t")
            second = rest.partition("\t")[0]
            if first.strip() and second.strip():
                yield first.strip(), second.strip()


def _read_lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _pivot(first: Pairs, second: Pairs) -> Pairs:
    """Joins pairs over their common English side; one pair for each English sentence."""
    translation = dict(second)
    return sorted({(other, translation[english]) for english, other in first if english in translation})


def _write(path: Path, lines: Iterable[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
