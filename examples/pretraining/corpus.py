"""The parallel text the checkpoint is trained on: reading, tokenization, and what is held back for evaluation."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from transformers import XLMTokenizer

LANGUAGES = ("ar", "de", "en", "fr", "ru")
TATOEBA_FILES = {("en", "de"): "tatoeba_anki.en-de.full.tsv.gz", ("en", "fr"): "tatoeba_anki.en-fr.full.tsv.gz"}
NTREX_NAMES = ("arb", "deu", "eng", "fra", "rus")
NTREX_FILES = {lang: f"ntrex.{name}.txt" for lang, name in zip(LANGUAGES, NTREX_NAMES, strict=True)}
TATOEBA_HELD_BACK = 1000
NTREX_HELD_BACK = 200

Sentence = tuple[str, str]
"""A language code and a raw sentence."""


@dataclass
class Stream:
    """Sentence pairs of one source and one pair of languages.

    Args:
        name: where the pairs come from, e.g. `"tatoeba en-de"`.
        langs: language codes of the two sides.
        train: pairs to learn from.
        held_back: pairs never learned from, on either side.
    """

    name: str
    langs: tuple[str, str]
    train: list[tuple[str, str]]
    held_back: list[tuple[str, str]]


def _read_tatoeba(path: Path) -> list[tuple[str, str]]:
    pairs = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) >= 2 and fields[0].strip() and fields[1].strip():
                pairs.append((fields[0].strip(), fields[1].strip()))
    return pairs


def _read_lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _pivot(first: Iterable[tuple[str, str]], second: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Joins two pair lists over their common English side; one pair per English sentence."""
    translation = dict(second)
    return sorted({(other, translation[english]) for english, other in first if english in translation})


def read_streams(folder: Path) -> list[Stream]:
    """Reads all streams under `folder` and splits them into training and held-back pairs.

    Args:
        folder: the folder that holds the files of `TATOEBA_FILES` and `NTREX_FILES`.

    Returns:
        Tatoeba en-de and en-fr, the de-fr pairs that follow from the two, and NTREX in all ten language pairs.

    Raises:
        FileNotFoundError: if a file is absent.
        ValueError: if the NTREX files differ in length.
    """
    missing = [name for name in [*TATOEBA_FILES.values(), *NTREX_FILES.values()] if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    streams = []
    for langs, name in TATOEBA_FILES.items():
        pairs = _read_tatoeba(folder / name)
        streams.append(
            Stream(f"tatoeba {'-'.join(langs)}", langs, pairs[:-TATOEBA_HELD_BACK], pairs[-TATOEBA_HELD_BACK:])
        )
    # Tatoeba repeats a sentence once per translation, so a held-back sentence would otherwise be trained on elsewhere.
    held_back = {side for stream in streams for pair in stream.held_back for side in pair}
    for stream in streams:
        stream.train = [pair for pair in stream.train if held_back.isdisjoint(pair)]
    streams.append(Stream("tatoeba de-fr", ("de", "fr"), _pivot(streams[0].train, streams[1].train), []))

    lines = {lang: _read_lines(folder / name) for lang, name in NTREX_FILES.items()}
    lengths = {lang: len(sentences) for lang, sentences in lines.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the NTREX files of {folder} must be line-aligned, their numbers of lines are {lengths}")
    for first, second in combinations(LANGUAGES, 2):
        pairs = list(zip(lines[first], lines[second], strict=True))
        streams.append(
            Stream(f"ntrex {first}-{second}", (first, second), pairs[:-NTREX_HELD_BACK], pairs[-NTREX_HELD_BACK:])
        )
    return streams


def sentences_by_language(streams: Iterable[Stream], *, held_back: bool = False) -> dict[str, list[str]]:
    """Returns each distinct sentence once per language, in order of first appearance."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for stream in streams:
        for pair in stream.held_back if held_back else stream.train:
            for lang, text in zip(stream.langs, pair, strict=True):
                found[lang][text] = None
    return {lang: list(found[lang]) for lang in LANGUAGES}


@cache
def _splitter(scratch: Path) -> XLMTokenizer:
    """Makes a tokenizer to split with, once per process."""
    from transformers import XLMTokenizer

    # Splitting needs no vocabulary, but the tokenizer insists on one.
    vocabulary, merges = scratch / f"vocab.{os.getpid()}.json", scratch / f"merges.{os.getpid()}.txt"
    vocabulary.write_text('{"<unk>": 0}', encoding="utf-8")
    merges.write_text("", encoding="utf-8")
    return XLMTokenizer(vocabulary, merges)


def _words(sentence: Sentence, scratch: Path) -> list[str]:
    """Splits a sentence into lower-cased words without accents, by the steps of `transformers`' tokenizer."""
    from transformers.models.xlm.tokenization_xlm import lowercase_and_remove_accent

    lang, text = sentence
    splitter = _splitter(scratch)
    # `tokenizer(text)` lower-cases before Moses sees the text, which changes what Moses takes for an abbreviation.
    text = splitter.moses_pipeline(text.lower(), lang=lang)
    return [word for word in lowercase_and_remove_accent(splitter.moses_tokenize(text, lang=lang)) if word]


def split_into_words(streams: Iterable[Stream], processes: int = 2) -> dict[Sentence, list[str]]:
    """Splits every sentence, held back or not, into the words that BPE works on.

    Args:
        streams: where the sentences are.
        processes: how many processes share the work.

    Returns:
        The words of each sentence.
    """
    streams = list(streams)
    parts = [sentences_by_language(streams, held_back=held_back) for held_back in (False, True)]
    sentences = list(dict.fromkeys((lang, text) for part in parts for lang, texts in part.items() for text in texts))
    with tempfile.TemporaryDirectory() as scratch, Pool(processes) as pool:
        found = pool.imap(partial(_words, scratch=Path(scratch)), sentences, chunksize=2000)
        bar = tqdm(found, total=len(sentences), desc="words", unit="sentence", unit_scale=True)
        return dict(zip(sentences, bar, strict=True))
