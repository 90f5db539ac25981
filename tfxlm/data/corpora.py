"""Corpora by language and by pair of languages: which files they are in, and their sentences one after the other."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfxlm.data.readers import MAX_LINE_BYTES, Counts, Progress, read_lines
from tfxlm.data.store import HEADER, LANGUAGE, SPLITS, Store, open_store
from tfxlm.errors import InputError

# The sentences of a document that belong together, at most: what has no blank line for so long is no document.
_LONGEST_DOCUMENT = 10_000

#: A sentence: its text, or its ids.
Sentence = str | np.ndarray
#: Sentences that belong together: one, a pair, or a document.
Unit = list[Sentence]


@dataclass(frozen=True)
class Corpus:
    """Texts of a language, or pairs of sentences.

    Args:
        languages: one code, or the two of a pair.
        sources: each is a file; two files of a pair whose lines go together; or the folder of a store.
    """

    languages: tuple[str, ...]
    sources: tuple[tuple[Path, ...], ...]

    @property
    def name(self) -> str:
        """Name of the entry in a store."""
        return "-".join(self.languages)

    @property
    def bytes(self) -> int:
        """Bytes of all files on the disk."""
        return sum(_bytes(path) for source in self.sources for path in source)


def parse_corpora(
    given: Mapping[str, str | Sequence[str]] | Iterable[str], languages: Iterable[str] = ()
) -> list[Corpus]:
    """Finds the files of corpora.

    Args:
        given: where the texts are, by language ("en") or pair ("en-de"); or texts "en=..." of the same form, of which
            several may name one language. Each place is a file, a folder with all files under it, a pattern ("*.gz"),
            or a store. Those of a pair have two texts in each line, with a tab between; or are two places with a comma
            between, of files whose lines go together.
        languages: the codes that there are; any, if none are named.

    Returns:
        The corpora, in the order of their first mention.

    Raises:
        InputError: the form is another one, there is no file at a place, or a language is none.
    """
    if not isinstance(given, Mapping):
        given = _by_name(given)
    if not given:
        raise InputError("There is no corpus. Name one or more, such as en=corpus.txt.gz and en-de=pairs.tsv.")
    known = tuple(languages)
    found = []
    for name, places in given.items():
        codes = _languages_of(name, known)
        listed = [places] if isinstance(places, str) else list(places)
        sources = [source for place in listed for source in _find(place, len(codes))]
        found.append(Corpus(codes, tuple(sources)))
    return found


def read_units(
    corpus: Corpus,
    counts: Counts,
    *,
    documents: bool = False,
    max_bytes: int = MAX_LINE_BYTES,
    progress: Progress | None = None,
) -> Iterator[Unit]:
    """Reads what belongs together.

    Args:
        corpus: where.
        counts: are added to.
        documents: whether a blank line ends a document, whose sentences belong together; otherwise they are alone.
        max_bytes: longest line that is read.
        progress: is told the number of bytes read.

    Yields:
        A sentence alone; the two of a pair; the sentences of a document.
    """
    for source in corpus.sources:
        if source[0].is_dir():
            yield from _of_store(open_store(source[0]), corpus.name, counts, documents)
            if progress:
                progress(_bytes(source[0]))
        elif len(source) == 2:
            yield from _aligned(source, counts, max_bytes, progress)
        else:
            lines = read_lines(source[0], counts, max_bytes=max_bytes, progress=progress)
            if len(corpus.languages) == 2:
                yield from _with_tabs(lines, counts)
            elif documents:
                yield from _documents(_stripped(lines), counts)
            else:
                for line in _stripped(lines):
                    counts.empty += line == ""
                    if line:
                        yield [line]


def _stripped(lines: Iterable[str | None]) -> Iterator[str | None]:
    for line in lines:
        yield None if line is None else line.strip()


def _with_tabs(lines: Iterable[str | None], counts: Counts) -> Iterator[Unit]:
    for line in lines:
        columns = [column.strip() for column in line.split("\t")[:2]] if line else []
        if len(columns) == 2 and all(columns):
            yield list(columns)
        elif any(columns) and len(columns) == 1:
            counts.no_pair += 1
        elif line is not None:
            counts.empty += 1


def _aligned(source: Sequence[Path], counts: Counts, max_bytes: int, progress: Progress | None) -> Iterator[Unit]:
    own = [counts, Counts()]
    sides = (
        _stripped(read_lines(path, each, max_bytes=max_bytes, progress=progress))
        for path, each in zip(source, own, strict=True)
    )
    # Lines have been stripped: none is a line end.
    for first, second in itertools.zip_longest(*sides, fillvalue="\n"):
        if "\n" in (first, second):
            shorter, longer = source if first == "\n" else source[::-1]
            raise InputError(
                f"'{shorter}' has fewer lines than '{longer}', but in a pair of files the lines go together. Make them "
                "as long as each other."
            )
        if first and second:
            yield [first, second]
        elif first == "" or second == "":
            counts.empty += 1
    for name in ("bad_utf8", "crlf", "too_long"):
        setattr(counts, name, getattr(counts, name) + getattr(own[1], name))


def _documents(lines: Iterable[str | None], counts: Counts) -> Iterator[Unit]:
    document: Unit = []
    for line in lines:
        counts.empty += line == ""
        if line:
            document.append(line)
        if document and (line == "" or len(document) == _LONGEST_DOCUMENT):
            yield document
            document = []
    if document:
        yield document


def _of_store(store: Store, name: str, counts: Counts, documents: bool) -> Iterator[Unit]:
    pairs = len(store.languages_of(name)) == 2
    for split in SPLITS:
        tokens, starts = store.tokens(name, split), store.starts(name, split)
        unit: Unit = []
        for begin, end in itertools.pairwise(starts):
            sentence = np.asarray(tokens[begin:end])
            counts.lines += 1
            if len(sentence):
                unit.append(sentence)
            # An empty sentence is the end of a document.
            if unit and (len(unit) == 2 if pairs else not (documents and len(sentence))):
                yield unit
                unit = []
        if unit:
            yield unit


def _by_name(given: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not name or not place:
            raise InputError(f"{text!r} is no corpus. Write a language or pair, '=' and a place: en=corpus.txt.gz.")
        found.setdefault(name, []).append(place)
    return found


def _languages_of(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the one or two codes that a name is made of; codes may have hyphens of their own."""
    if name in known:
        return (name,)
    parts = name.split("-")
    cuts = [("-".join(parts[:at]), "-".join(parts[at:])) for at in range(1, len(parts))]
    fitting = [cut for cut in cuts if not known or set(cut) <= set(known)]
    if not known and len(parts) == 1:
        fitting = [(name,)]  # type: ignore[list-item]
    codes = fitting[0] if len(fitting) == 1 else ()
    if not codes or not all(LANGUAGE.fullmatch(code) for code in codes):
        there = f"The tokenizer has {', '.join(known)}." if known else "Codes are such as 'en' and 'zh_Hans'."
        if not known and len(fitting) > 1:
            there = (
                f"It could be {' or '.join(' and '.join(cut) for cut in fitting)}: write a code's own hyphens as '_'."
            )
        raise InputError(f"{name!r} is no language and no pair of languages, as 'en' and 'en-de' are. {there}")
    if len(set(codes)) < len(codes):
        raise InputError(f"The pair {name!r} has one language twice. A pair is of two languages.")
    return codes


def _find(place: str, languages: int) -> list[tuple[Path, ...]]:
    sides = place.split(",")
    if languages == 2 and len(sides) == 2 and not os.path.exists(place):
        first, second = (_expanded(side) for side in sides)
        if len(first) != len(second):
            raise InputError(
                f"{sides[0]!r} has {len(first)} files and {sides[1]!r} {len(second)}, but the lines of each go "
                "together with those of another. Name as many."
            )
        return list(zip(first, second, strict=True))
    return [(path,) for path in _expanded(place)]


def _expanded(place: str) -> list[Path]:
    path = Path(place).expanduser()
    matches = [path] if path.exists() else [Path(match) for match in glob.glob(str(path), recursive=True)]
    found = sorted({file for match in matches for file in _files(match)})
    if not found:
        raise InputError(f"There is no file at {place!r}. Name a file, a folder with files, or a pattern in quotes.")
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir() or (path / HEADER).is_file():
        return [path]
    return [
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
