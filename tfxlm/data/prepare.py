"""Makes a store of corpora: reads, tokenizes in several processes, splits, writes. See `tfxlm prepare`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfxlm import files
from tfxlm.data import store
from tfxlm.data.corpora import Corpus, parse_corpora, read_units
from tfxlm.data.merging import HeldOut, merge
from tfxlm.data.processes import in_order
from tfxlm.data.readers import MAX_LINE_BYTES, Counts
from tfxlm.data.shards import Chunk, Job, cut, is_done, make_shard
from tfxlm.data.special_ids import SpecialIds, fingerprint
from tfxlm.errors import CorruptFileError, InputError, TokenizerError
from tfxlm.tokenizers.auto import AutoTokenizer
from tfxlm.tokenizers.base import Tokenizer

_JOB, _SHARDS = "job.json", "shards"


def prepare_store(
    corpora: Mapping[str, str | Sequence[str]] | Iterable[str],
    tokenizer: Tokenizer | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    held_out: float = 0,
    documents: bool = False,
    bypass_tokenizer: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> store.Store:
    """Tokenizes corpora into a store for pre-training, which appears when it is whole.

    What was done before an interruption is kept beside it, in a folder that begins with a dot, and the next call with
    the same arguments goes on from there.

    Args:
        corpora: where the texts are, by language ("en") or pair ("en-de"), see `corpora.parse_corpora`: files of one
            sentence in each line, plain or compressed; for pairs with a tab between two sentences; folders, patterns,
            other stores.
        tokenizer: the tokenizer, or its folder.
        out: the folder to make.
        held_out: how many sentences, pairs or documents of each corpus are held out; or a share of them, below 1. The
            hash of their ids chooses, and no sentence that is held out is learned from in any corpus.
        documents: whether a blank line ends a document; then documents are separated, and held out as a whole.
        bypass_tokenizer: whether texts are cut into words by white space already.
        max_line_bytes: longer lines are left out.
        workers: processes that tokenize.
        progress: called with the bytes read and those of all files.

    Returns:
        The store; its `report` says what was read and left out.

    Raises:
        InputError: a corpus is not there, an option is wrong, or the work of an interrupted call was another one.
        LanguageError: the tokenizer does not have a language, or it needs a segmenter.
        TokenizerError: the tokenizer cuts texts at random, or lacks tokens.
        CorruptFileError: a compressed file is damaged.
        OutputExistsError: `out` exists, or is being made by another process.
    """
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    _check(held_out, workers, max_line_bytes)
    if tokenizer.cuts_at_random:
        raise TokenizerError("The tokenizer cuts texts at random, but a store is made once. Load it without sampling.")
    SpecialIds.of(tokenizer)
    found = parse_corpora(corpora, tokenizer.languages.ids)
    for language in sorted({language for corpus in found for language in corpus.languages}):
        tokenizer("a", lang=language, bypass_tokenizer=bypass_tokenizer)  # says what it lacks before hours of work
    size = len(tokenizer)
    job = {
        "fingerprint": fingerprint(tokenizer),
        "corpora": {corpus.name: [list(map(str, source)) for source in corpus.sources] for corpus in found},
        "held_out": held_out,
        "documents": documents,
        "bypass_tokenizer": bypass_tokenizer,
        "max_line_bytes": max_line_bytes,
    }
    for corpus in found:
        _check_stores(corpus, str(job["fingerprint"]))
    dtype = next(name for name, limit in store.DTYPES.items() if size <= limit)
    with files.resumable_folder(out) as work:
        _check_job(work, job)
        shards = work / _SHARDS
        shards.mkdir(exist_ok=True)
        key = repr((job["fingerprint"], documents, bypass_tokenizer, dtype))
        shared = Job(tokenizer, dtype, documents, bypass_tokenizer, shards, key)
        reading = _Reading(found, shared, max_line_bytes, progress)
        for _ in in_order(make_shard, shared, reading.missing(), workers):
            pass
        _write(work, reading, held_out, tokenizer, job)
        shutil.rmtree(shards)
        (work / _JOB).unlink()
    return store.open_store(out)


class _Reading:
    """Reads corpora, and knows afterwards what was in them."""

    def __init__(
        self, corpora: Sequence[Corpus], job: Job, max_bytes: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.corpora, self.job, self._max_bytes, self._progress = corpora, job, max_bytes, progress
        self._read, self._bytes = 0, sum(corpus.bytes for corpus in corpora)
        self.counts = {corpus.name: Counts() for corpus in corpora}
        self.shards: dict[str, list[Path]] = {corpus.name: [] for corpus in corpora}

    def missing(self) -> Iterator[Chunk]:
        """Yields the chunks whose shards are not there."""
        for corpus in self.corpora:
            units = read_units(
                corpus,
                self.counts[corpus.name],
                documents=self.job.documents,
                max_bytes=self._max_bytes,
                progress=self._advance,
            )
            for chunk in cut(corpus, units, self.job.key):
                self.shards[corpus.name].append(self.job.folder / chunk.file)
                if not is_done(self.job.folder, chunk):
                    yield chunk
            if not self.shards[corpus.name]:
                raise InputError(
                    f"The corpus {corpus.name!r} has no text in {self.counts[corpus.name].lines} lines. Of a language "
                    "a line is a sentence; of a pair it has a tab between two."
                )

    def _advance(self, read: int) -> None:
        self._read += read
        if self._progress:
            self._progress(self._read, self._bytes)


def _write(work: Path, reading: _Reading, amount: float, tokenizer: Tokenizer, job: Mapping[str, Any]) -> None:
    """Writes the files of a store."""
    size, dtype = len(tokenizer), reading.job.dtype
    held_out = HeldOut(reading.shards, amount)
    frequencies = np.zeros(size, np.int64)
    entries: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for corpus in reading.corpora:
        name, count = corpus.name, len(corpus.languages)
        report[name] = asdict(reading.counts[name])
        unknown = int(tokenizer.unk_token_id or 0)
        parts = merge(work, name, reading.shards[name], count, held_out, dtype, size, unknown, report[name])
        (train, seen), (held, _) = parts
        if not train.tokens:
            raise InputError(f"Nothing of {name!r} is left to learn from: all of it is held out. Hold out less.")
        frequencies += seen
        entries[name] = {"languages": list(corpus.languages), "train": asdict(train), "held_out": asdict(held)}
    frequencies.astype("<i8").tofile(work / store.FREQUENCIES)
    tokenizer.save_pretrained(work / store.TOKENIZER)
    header = {
        "format": store.FORMAT,
        "version": store.VERSION,
        "dtype": dtype,
        "vocab_size": size,
        "fingerprint": job["fingerprint"],
        "settings": {name: job[name] for name in ("held_out", "documents", "bypass_tokenizer", "max_line_bytes")},
        "entries": entries,
        "report": report,
    }
    names = [store.FREQUENCIES]
    names += [store.file_name(name, split, kind) for name in entries for split in store.SPLITS for kind in store.KINDS]
    files.write_json(work / store.HEADER, header | {"checksums": {name: store.checksum(work / name) for name in names}})


def _check(held_out: float, workers: int, max_line_bytes: int) -> None:
    if held_out < 0 or (held_out >= 1 and held_out != int(held_out)):
        raise InputError(f"held_out must be a number of sentences, or a share below 1, got {held_out}.")
    for name, value in (("workers", workers), ("max_line_bytes", max_line_bytes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number, 1 or more, got {value!r}.")


def _check_stores(corpus: Corpus, expected: str) -> None:
    """Refuses stores of another tokenizer, and those that do not have the languages."""
    for path in (path for source in corpus.sources for path in source if path.is_dir()):
        opened = store.open_store(path)
        opened.languages_of(corpus.name)
        if opened.fingerprint != expected:
            raise TokenizerError(
                f"The store '{path}' was made by another tokenizer: its ids are not those of this one."
            )


def _check_job(work: Path, job: Mapping[str, Any]) -> None:
    """Refuses to go on with work that was another one."""
    path = work / _JOB
    try:
        begun = files.read_json(path) if path.exists() else None
    except CorruptFileError as error:
        raise InputError(f"{error} Remove the folder '{work}' to begin anew.") from error
    if begun is None:
        files.write_json(path, job)
        return
    others = [name for name in job if begun.get(name) != job[name]]
    if others:
        raise InputError(
            f"'{work}' has the work of an interrupted run that was another one: it had another {', '.join(others)}. "
            "Give the same again to go on with it, or remove that folder to begin anew."
        )
