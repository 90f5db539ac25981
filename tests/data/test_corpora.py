"""Files of corpora: what they may hold, and how they are named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest

from tfxlm.data.corpora import parse_corpora, read_units
from tfxlm.data.readers import Counts, read_lines
from tfxlm.errors import CorruptFileError, InputError, UnsupportedFileError

LINES = ["One.", "Zwei.", "Trois."]
TEXT = b"One.\nZwei.\r\n\n  Trois. "


def units(given: Any, counts: Counts | None = None, languages: tuple[str, ...] = (), **options: Any) -> list[Any]:
    (corpus,) = parse_corpora(given, languages)
    return list(read_units(corpus, counts or Counts(), **options))


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gz", "bz2", "xz"]
)
def test_lines_of_files_in_every_form(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "text"  # the name says nothing
    path.write_bytes(compress(b"\xef\xbb\xbf" + TEXT))
    counts, read = Counts(), []
    assert list(read_lines(path, counts, progress=read.append)) == ["One.", "Zwei.", "", "  Trois. "]
    assert counts == Counts(lines=4, crlf=1)
    assert sum(read) == path.stat().st_size
    counts = Counts()
    assert units({"en": str(path)}, counts) == [[line] for line in LINES] and counts.empty == 1


def test_what_is_peculiar_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"caf\xe9\n" + b"x" * 5000 + b"\nshort\n" + b"y" * 100 + b"\n" + b"z" * 101)
    counts = Counts()
    assert list(read_lines(path, counts, max_bytes=100)) == ["caf\ufffd", None, "short", "y" * 100, None]
    assert counts == Counts(lines=5, bad_utf8=1, too_long=2)
    assert list(read_lines(path, Counts(), max_bytes=101))[3:] == ["y" * 100, "z" * 101]


def test_other_line_ends_end_no_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\u2028still\x85one\rone\ntwo", encoding="utf-8", newline="")
    assert list(read_lines(tmp_path / "a", Counts())) == ["one\u2028still\x85one\rone", "two"]


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    whole = gzip.compress(b"".join(b"%d\n" % number for number in range(10_000)))
    for content, error, message in (
        (whole[:-2000], CorruptFileError, r"text' is damaged or cut off .* behind line \d+\. Get it again"),
        (whole[:500] + b"\0" * 99 + whole[600:], CorruptFileError, "is damaged or cut off"),
        (b"\x28\xb5\x2f\xfd....", UnsupportedFileError, "is no text in UTF-8, but compressed by Zstandard"),
        (b"PK\x03\x04....", UnsupportedFileError, "but a ZIP archive. Unpack it"),
        ("one".encode("utf-16"), UnsupportedFileError, "but UTF-16. Convert it"),
        (b"version https://git-lfs.github.com/spec/v1\n", CorruptFileError, "a git-LFS pointer"),
    ):
        path.write_bytes(content)
        with pytest.raises(error, match=message):
            list(read_lines(path, Counts()))
    with pytest.raises(InputError, match=r"absent' cannot be read: No such file"):
        list(read_lines(tmp_path / "absent", Counts()))


def test_pairs_with_tabs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\n c \t d \tfrom somewhere\nalone\n\te\n\n\tf\tg\n", encoding="utf-8")
    counts = Counts()
    assert units({"en-de": str(path)}, counts) == [["a", "b"], ["c", "d"]]
    assert (counts.lines, counts.no_pair, counts.empty) == (6, 1, 3)


def test_pairs_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "x.en").write_text("a\n\nc\nd\n")
    (tmp_path / "x.de").write_bytes(b"A\nB\nC\r\nD\n")
    counts = Counts()
    given = {"en-de": f"{tmp_path}/x.en,{tmp_path}/x.de"}
    assert units(given, counts) == [["a", "A"], ["c", "C"], ["d", "D"]]
    assert (counts.lines, counts.empty, counts.crlf) == (4, 1, 1)
    (tmp_path / "x.de").write_text("A\n")
    with pytest.raises(InputError, match=r"x.de' has fewer lines than '.*x.en', but in a pair of files"):
        units(given)
    (tmp_path / "y.en").touch()
    with pytest.raises(InputError, match=r"has 2 files and '.*x.de' 1, but the lines of each go together"):
        units({"en-de": f"{tmp_path}/*.en,{tmp_path}/x.de"})


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("\na\nb\n\n\nc\n")
    assert units({"en": str(path)}, documents=True) == [["a", "b"], ["c"]]


def test_places(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/.hidden", "b/deep/3.txt", "1.txt", "4.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    for place, expected in (
        ("", ["1.txt", "4.md", "b/2.txt", "b/deep/3.txt"]),
        ("*.txt", ["1.txt"]),
        ("**/*.txt", ["1.txt", "b/2.txt", "b/deep/3.txt"]),
        ("b", ["b/2.txt", "b/deep/3.txt"]),
    ):
        assert units({"en": str(tmp_path / place)}) == [[name] for name in expected]
    found = parse_corpora([f"en={tmp_path}/1.txt", f"de={tmp_path}/4.md", f"en={tmp_path}/b"])
    assert [(corpus.name, len(corpus.sources)) for corpus in found] == [("en", 3), ("de", 1)]
    assert units({"en": [str(tmp_path / "4.md"), str(tmp_path / "1.txt")]}) == [["4.md"], ["1.txt"]]


def test_names(tmp_path: Path) -> None:
    place = str(tmp_path)
    (tmp_path / "a").write_text("a\n")

    def languages(name: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
        return parse_corpora({name: place}, known)[0].languages

    assert languages("en-de") == ("en", "de") and languages("zh_Hans") == ("zh_Hans",)
    known = ("en", "zh", "zh-classical", "be-x-old")
    assert languages("zh-classical", known) == ("zh-classical",)
    assert languages("en-zh-classical", known) == ("en", "zh-classical")
    assert languages("be-x-old-zh", known) == ("be-x-old", "zh")
    for name, message in (
        ("fr", "'fr' is no language and no pair of languages, as 'en' and 'en-de' are. The tokenizer has en, zh"),
        ("en-en", "has one language twice"),
    ):
        with pytest.raises(InputError, match=message):
            languages(name, known)
    with pytest.raises(InputError, match=r"'a/\.\./b' is no language"):
        languages("a/../b")
    with pytest.raises(InputError, match=r"It could be en and zh-old or en-zh and old: write a code's own hyphens as"):
        languages("en-zh-old")
    with pytest.raises(InputError, match=r"'de' is no corpus\. Write a language or pair, '=' and a place"):
        parse_corpora(["de"])
    with pytest.raises(InputError, match=r"There is no corpus\. Name one or more"):
        parse_corpora([])
    with pytest.raises(InputError, match=r"There is no file at '.*absent"):
        parse_corpora({"en": f"{place}/absent*"})
