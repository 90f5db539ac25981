"""A store of tokenized corpora: numbers in memory-mapped files, by language and by pair of languages."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tfxlm import files
from tfxlm.data.special_ids import fingerprint
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, InputError, TokenizerError, UnsupportedFileError
from tfxlm.tokenizers.auto import AutoTokenizer
from tfxlm.tokenizers.base import Tokenizer

HEADER = "store.json"
TOKENIZER = "tokenizer"
FREQUENCIES = "frequencies"
FORMAT, VERSION = "tfxlm store", 1
SPLITS = ("train", "held_out")
KINDS = ("tokens", "starts")
#: What a language is called: codes such as "en", "zh-classical", "zh_Hans".
LANGUAGE = re.compile(r"[A-Za-z0-9]{1,16}([-_][A-Za-z0-9]{1,16}){0,4}")
DTYPES = {"uint16": 1 << 16, "uint32": 1 << 31}
_LARGEST = 1 << 48  # of any number in a header: more than disks hold
_ENTRIES = 1 << 16
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Part:
    """How much there is of a language or pair in a split.

    Args:
        sentences: sentences, two for each pair; between documents stands an empty one.
        tokens: ids, none of them special.
        unknown: ids of the unknown token among them.
    """

    sentences: int
    tokens: int
    unknown: int


class Store:
    """A folder that `tfxlm prepare` made; see `open_store`.

    Attributes:
        path: the folder.
        languages: codes of the languages that have texts of their own.
        pairs: languages of the pairs of sentences.
        dtype: of the ids, "uint16" or "uint32".
        vocab_size: number of ids of the tokenizer.
        fingerprint: of the tokenizer.
        report: what was read and left out, by entry, as `tfxlm prepare` prints it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.dtype: str = header["dtype"]
        self.vocab_size: int = header["vocab_size"]
        self.fingerprint: str = header["fingerprint"]
        self.report: Mapping[str, Any] = header["report"]
        self.checksums: Mapping[str, str] = header["checksums"]
        self._entries: Mapping[str, Any] = header["entries"]
        self._starts = cache(self._open_starts)
        found = [tuple(entry["languages"]) for entry in self._entries.values()]
        self.languages: tuple[str, ...] = tuple(codes[0] for codes in found if len(codes) == 1)
        self.pairs: tuple[tuple[str, str], ...] = tuple((codes[0], codes[1]) for codes in found if len(codes) == 2)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {', '.join(self._entries)})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all entries: languages such as "en", and pairs such as "en-de"."""
        return tuple(self._entries)

    def name_of(self, languages: str | tuple[str, ...]) -> str:
        """Returns the name of an entry.

        Args:
            languages: a name, or the codes of a pair.

        Raises:
            InputError: there is none.
        """
        name = languages if isinstance(languages, str) else "-".join(languages)
        if name not in self._entries:
            turned = next(
                (f" Write {first}-{second}." for first, second in self.pairs if name == f"{second}-{first}"), ""
            )
            raise InputError(f"The store '{self.path}' has no {name!r}. It has {', '.join(self._entries)}.{turned}")
        return name

    def languages_of(self, name: str | tuple[str, ...]) -> tuple[str, ...]:
        """Returns the codes of an entry, one or two."""
        return tuple(self._entries[self.name_of(name)]["languages"])

    def part(self, name: str | tuple[str, ...], split: str = "train") -> Part:
        """Returns how much there is of an entry in a split, "train" or "held_out"."""
        if split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}.")
        return Part(**self._entries[self.name_of(name)][split])

    def tokens(self, name: str | tuple[str, ...], split: str = "train") -> np.ndarray:
        """Returns the ids of all sentences one behind the other, (tokens,), as a memory map."""
        return _mapped(
            self.path / file_name(self.name_of(name), split, "tokens"), self.dtype, self.part(name, split).tokens
        )

    def starts(self, name: str | tuple[str, ...], split: str = "train") -> np.ndarray:
        """Returns where sentences begin in `tokens`, (sentences + 1,) int64, as a memory map; the last is the end.

        Of pairs the sentences at even places are in the first language.

        Raises:
            CorruptFileError: they are not in order.
        """
        return self._starts(self.name_of(name), split)

    def _open_starts(self, name: str, split: str) -> np.ndarray:
        part, path = self.part(name, split), self.path / file_name(name, split, "starts")
        starts = _mapped(path, "int64", part.sentences + 1)
        ordered = all((np.diff(starts[at : at + _CHUNK + 1]) >= 0).all() for at in range(0, part.sentences, _CHUNK))
        if starts[0] != 0 or starts[-1] != part.tokens or not ordered:
            raise CorruptFileError(f"'{path}' does not say where sentences begin: it is damaged. Make the store again.")
        return starts

    def frequencies(self) -> np.ndarray:
        """Returns how often each id comes in all that is trained on, (vocab_size,) int64."""
        return np.array(_mapped(self.path / FREQUENCIES, "int64", self.vocab_size))

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer that made the store."""
        tokenizer = AutoTokenizer.from_pretrained(self.path / TOKENIZER)
        self.check_tokenizer(tokenizer)
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuses a tokenizer that did not make the store.

        Raises:
            TokenizerError: it gives other ids.
        """
        found = fingerprint(tokenizer)
        if found != self.fingerprint:
            raise TokenizerError(
                f"The store '{self.path}' was made by another tokenizer (its fingerprint is {self.fingerprint}, this "
                f"one's {found}): the same ids stand for other pieces. Use the tokenizer in "
                f"'{self.path / TOKENIZER}', or prepare the corpora again with yours."
            )

    def verify(self) -> None:
        """Reads all files and compares them with their checksums.

        Raises:
            CorruptFileError: one is not what was written.
        """
        for name, expected in self.checksums.items():
            if checksum(self.path / name) != expected:
                raise CorruptFileError(
                    f"'{self.path / name}' is not what was written: its checksum differs. Prepare the store again."
                )


def open_store(path: str | os.PathLike[str]) -> Store:
    """Opens what `tfxlm prepare` made. Reads a header; texts are read when they are used.

    Args:
        path: the folder.

    Returns:
        The store.

    Raises:
        CheckpointNotFoundError: there is no such folder, or no store in it.
        CorruptFileError: the header contradicts itself or the files.
        UnsupportedFileError: it is the store of another version.
        UnsafeFileError: a file is a link that leads out of the folder.

    Example:
        >>> from pathlib import Path
        >>> from tfxlm import open_store, prepare_store
        >>> _ = Path("pairs.tsv").write_text("Good morning!\\tGuten Morgen!\\n")
        >>> _ = prepare_store({"de-en": "pairs.tsv"}, "examples/checkpoint", "store")
        >>> store = open_store("store")
        >>> store.pairs, store.part("de-en").sentences
        ((('de', 'en'),), 2)
    """
    path = Path(path)
    if not (path / HEADER).is_file():
        raise CheckpointNotFoundError(
            f"'{path}' is no store of tokenized corpora: it has no {HEADER}. Make one with tfxlm prepare; one that was "
            "interrupted is gone on with by the same command."
        )
    header = files.read_json(files.inside(path, HEADER))
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise UnsupportedFileError(
            f"'{path / HEADER}' is of format {header.get('format')!r:.40}, version {header.get('version')!r:.40}, but "
            f"{FORMAT!r}, version {VERSION}, is what can be read. Make the store again with this version of tfxlm."
        )
    for problem in _problems(path, header):
        raise CorruptFileError(f"'{path / HEADER}' is damaged: {problem}. Make the store again.")
    return Store(path, header)


def file_name(name: str, split: str, kind: str) -> str:
    """Returns the name of a file: of `kind` "tokens" or "starts"."""
    return f"{name}.{split}.{kind}"


def checksum(path: Path) -> str:
    """Returns the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _problems(path: Path, header: Mapping[str, Any]) -> Iterator[str]:
    """Says what is wrong with a header; what comes later relies on what came before."""
    if header.get("dtype") not in tuple(DTYPES):
        yield f"the ids are {header.get('dtype')!r:.40}, not {' or '.join(DTYPES)}"
    size = header.get("vocab_size")
    if type(size) is not int or not 0 < size <= DTYPES[header["dtype"]]:
        yield f"a vocabulary cannot have {size!r:.40} ids"
    for name, kind in (("fingerprint", str), ("report", dict), ("checksums", dict), ("entries", dict)):
        if not isinstance(header.get(name), kind):
            yield f"{name!r} is missing, or no {kind.__name__}"
    entries, checksums = header["entries"], header["checksums"]
    if not 0 < len(entries) <= _ENTRIES:
        yield f"there are {len(entries)} entries"
    expected = {FREQUENCIES: 8 * header["vocab_size"]}
    for name, entry in entries.items():
        codes = entry.get("languages") if isinstance(entry, dict) else None
        codes = codes if isinstance(codes, list) else []
        if len(codes) not in (1, 2) or "-".join(map(str, codes)) != name:
            yield f"the entry {name!r:.40} does not say its one or two languages"
        if not all(isinstance(code, str) and LANGUAGE.fullmatch(code) for code in codes):
            yield f"{name!r:.40} is no language"
        for split in SPLITS:
            part = entry.get(split)
            if not isinstance(part, dict) or set(part) != set(Part.__dataclass_fields__):
                yield f"the entry {name!r} does not say how much of it is in {split!r}"
            if not all(type(count) is int and 0 <= count < _LARGEST for count in part.values()):
                yield f"the entry {name!r} has numbers that cannot be"
            if part["sentences"] % len(codes):
                yield f"the pairs of {name!r} lack a sentence"
            expected[file_name(name, split, "tokens")] = part["tokens"] * np.dtype(header["dtype"]).itemsize
            expected[file_name(name, split, "starts")] = (part["sentences"] + 1) * 8
    if set(checksums) != set(expected) or not all(isinstance(value, str) for value in checksums.values()):
        yield "there are checksums of other files than those that it has"
    for file, bytes_ in expected.items():
        found = files.inside(path, file)
        if not found.is_file():
            yield f"there is no '{file}'"
        if found.stat().st_size != bytes_:
            yield f"'{file}' has {found.stat().st_size} bytes, not {bytes_}"


def _mapped(path: Path, dtype: str, size: int) -> np.ndarray:
    if not size:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r", shape=(size,))
