"""Shards: what the processes of `tfxlm prepare` make of a part of a corpus each."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfxlm import files
from tfxlm.data.corpora import Corpus, Unit
from tfxlm.tokenizers.base import Tokenizer

_SENTENCES, _CHARACTERS = 20_000, 2_000_000  # of a shard
# `zipfile` raises RuntimeError for what seems to be encrypted, or compressed in a way that it does not know.
_BROKEN = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Job:
    """What all processes know.

    Args:
        tokenizer: cuts texts.
        dtype: of the ids.
        documents: whether what belongs together is a document, behind which an empty sentence stands.
        bypass_tokenizer: whether texts are cut into words already.
        folder: where shards are.
        key: of all that decides what becomes of a text.
    """

    tokenizer: Tokenizer
    dtype: str
    documents: bool
    bypass_tokenizer: bool
    folder: Path
    key: str


@dataclass(frozen=True)
class Chunk:
    """A part of a corpus.

    Args:
        corpus: of which.
        number: which part of it.
        units: what belongs together.
        digest: of `units` and the job.
    """

    corpus: Corpus
    number: int
    units: list[Unit]
    digest: bytes

    @property
    def file(self) -> str:
        """Name of the shard."""
        return f"{self.corpus.name}.{self.number:08d}.npz"


@dataclass(frozen=True)
class Shard:
    """What becomes of a chunk.

    Args:
        tokens: (tokens,) ids.
        lengths: (sentences,) int64.
        hashes: (sentences,) uint64, the same for the same ids.
        sizes: (units,) int64, sentences of each.
        unit_hashes: (units,) uint64, the same for the same sentences.
        dropped: sentences of which the tokenizer leaves nothing; with one of a pair the other goes, too.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    sizes: np.ndarray
    unit_hashes: np.ndarray
    dropped: int


def cut(corpus: Corpus, units: Iterable[Unit], key: str) -> Iterator[Chunk]:
    """Cuts a corpus into chunks, the same ones each time."""
    number, waiting, sentences, characters = 0, [], 0, 0
    for unit in units:
        waiting.append(unit)
        sentences += len(unit)
        characters += sum(map(len, unit))
        if sentences >= _SENTENCES or characters >= _CHARACTERS:
            yield Chunk(corpus, number, waiting, _digest(waiting, key))
            number, waiting, sentences, characters = number + 1, [], 0, 0
    if waiting:
        yield Chunk(corpus, number, waiting, _digest(waiting, key))


def make_shard(job: Job, chunk: Chunk) -> None:
    """Writes the shard of a chunk; it appears whole or not at all."""
    size = len(chunk.corpus.languages)
    rows = _encoded(job, chunk)
    kept: list[Any] = []
    lengths: list[int] = []
    hashes: list[int] = []
    sizes: list[int] = []
    unit_hashes: list[int] = []
    place = dropped = 0
    for unit in chunk.units:
        found = [row for row in rows[place : place + len(unit)] if len(row)]
        place += len(unit)
        dropped += len(unit) - len(found)
        if not found or (size == 2 and len(found) < 2):
            dropped += len(found)
            continue
        own = [_hash(np.asarray(row, "<u4").tobytes()) for row in found]
        unit_hashes.append(_hash(np.array(own, "<u8").tobytes()))
        if job.documents and size == 1:
            found.append([])
            own.append(0)
        kept += found
        lengths += map(len, found)
        hashes += own
        sizes.append(len(found))
    arrays = {
        "tokens": np.concatenate([np.asarray(row, job.dtype) for row in kept] or [np.empty(0, job.dtype)]),
        "lengths": np.array(lengths, np.int64),
        "hashes": np.array(hashes, np.uint64),
        "sizes": np.array(sizes, np.int64),
        "unit_hashes": np.array(unit_hashes, np.uint64),
        "dropped": np.int64(dropped),
        "digest": np.frombuffer(chunk.digest, np.uint8),
    }
    with files.atomic_file(job.folder / chunk.file) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_shard(path: Path) -> Shard:
    """Reads a shard that is whole."""
    with np.load(path, allow_pickle=False) as arrays:
        return Shard(
            **{name: arrays[name] for name in Shard.__dataclass_fields__ if name != "dropped"},
            dropped=int(arrays["dropped"]),
        )


def is_done(folder: Path, chunk: Chunk) -> bool:
    """Whether the shard of a chunk is there, whole, and of the same texts; reads all of it."""
    path = folder / chunk.file
    try:
        with np.load(path, allow_pickle=False) as arrays:
            # Reading compares with the checksums of the archive.
            return {name: arrays[name] for name in arrays.files}["digest"].tobytes() == chunk.digest
    except _BROKEN:
        return False


def _encoded(job: Job, chunk: Chunk) -> list[list[int] | np.ndarray]:
    """Returns the ids of all sentences, in order."""
    found: list[Any] = [sentence for unit in chunk.units for sentence in unit]
    size = len(chunk.corpus.languages)
    for turn, language in enumerate(chunk.corpus.languages):
        # Sentences of a store are ids already.
        places = [place for place in range(turn, len(found), size) if isinstance(found[place], str)]
        rows = job.tokenizer(
            [found[place] for place in places],
            lang=language,
            add_special_tokens=False,
            split_special_tokens=True,  # what looks like one in a text is text
            bypass_tokenizer=job.bypass_tokenizer,
            return_attention_mask=False,
            return_langs=False,
            verbose=False,
        )["input_ids"]
        for place, row in zip(places, rows, strict=True):
            found[place] = row
    return found


def _digest(units: Iterable[Unit], key: str) -> bytes:
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for unit in units:
        for sentence in unit:
            content = sentence.encode() if isinstance(sentence, str) else np.asarray(sentence, "<u4").tobytes()
            digest.update(len(content).to_bytes(8, "little") + content)
        digest.update(b"\n")
    return digest.digest()


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
