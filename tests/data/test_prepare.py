"""Stores: what is in them, how they are made in spite of kills, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.stores import rows, sentences, small_store, tiny_xlm, write_lines
from tests.example_files import CHECKPOINT, ROOT
from tfxlm import XLMTokenizer
from tfxlm.data import open_store, shards
from tfxlm.data.prepare import prepare_store
from tfxlm.data.store import Store
from tfxlm.errors import (
    CheckpointNotFoundError,
    CorruptFileError,
    InputError,
    OutputExistsError,
    TokenizerError,
    UnsafeFileError,
    UnsupportedFileError,
)


@pytest.fixture(scope="module")
def tokenizer() -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("store"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ids(tokenizer: XLMTokenizer, text: str, lang: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, lang=lang, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def test_a_store_has_the_ids_of_every_sentence(store: Store, tokenizer: XLMTokenizer) -> None:
    assert (store.languages, store.pairs, store.dtype) == (("en", "de"), (("en", "de"),), "uint16")
    assert isinstance(store.tokens("en"), np.memmap) and store.tokens("en").dtype == np.uint16
    for language, count in (("en", 900), ("de", 200)):
        expected = [ids(tokenizer, text, language) for text in sentences(language, count)]
        train, held = rows(store, language, "train"), rows(store, language, "held_out")
        assert sorted(train + held) == sorted(expected) and len(held) == 20
        assert train == [row for row in expected if row not in set(held)]  # in order
        part = store.part(language)
        assert (part.sentences, part.tokens, part.unknown) == (count - 20, sum(map(len, train)), 0)
    pairs = rows(store, "en-de", "train")
    expected = [ids(tokenizer, text, "en") for text in sentences("en", 150, 1)]
    assert len(pairs) == 260 and [row for row in expected if row in set(pairs[::2])] == pairs[::2]
    counted = np.zeros(len(tokenizer), np.int64)
    for name in store.names:
        np.add.at(counted, store.tokens(name), 1)
    assert (store.frequencies() == counted).all()
    store.verify()
    assert store.tokenizer().get_vocab() == tokenizer.get_vocab()


def test_what_is_held_out_is_learned_from_nowhere(tmp_path: Path) -> None:
    lines = sentences("en", 300)
    english = write_lines(tmp_path / "en", lines + lines[:50])  # some twice
    pairs = write_lines(
        tmp_path / "pairs", [f"{line}\t{other}" for line, other in zip(lines, sentences("de", 300), strict=True)]
    )
    made = prepare_store({"en": str(english), "en-de": str(pairs)}, CHECKPOINT, tmp_path / "out", held_out=0.2)
    held = {row for name in made.names for row in rows(made, name, "held_out")}
    train = {row for name in made.names for row in rows(made, name, "train")}
    assert not held & train
    count = len(set(rows(made, "en", "held_out")))
    assert 60 - 4 * 7 < count < 60 + 4 * 7  # binomial, 300 x 0.2
    assert made.report["en"]["held_out_elsewhere"] > 0 and made.report["en-de"]["held_out_elsewhere"] > 0


def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "en", ["hello </s> <special1> world", "two"])
    made = prepare_store([f"en={path}"], CHECKPOINT, tmp_path / "out")
    assert made.tokens("en").min() >= 14


def test_documents_are_whole_and_end_with_an_empty_sentence(tmp_path: Path, tokenizer: XLMTokenizer) -> None:
    lines = sentences("en", 40)
    groups = [lines[first : first + 4] for first in range(0, 40, 4)]
    path = write_lines(tmp_path / "en", [line for group in groups for line in (*group, "")])
    made = prepare_store({"en": str(path)}, CHECKPOINT, tmp_path / "out", held_out=3, documents=True)
    expected = [[*(ids(tokenizer, line, "en") for line in group), ()] for group in groups]
    found = {split: rows(made, "en", split) for split in ("train", "held_out")}
    assert {split: len(found[split]) for split in found} == {"train": 35, "held_out": 15}
    for split in found:
        assert all(found[split][first : first + 5] in expected for first in range(0, len(found[split]), 5))
    # As a corpus of another store, documents stay what they are.
    again = prepare_store({"en": str(made.path)}, CHECKPOINT, tmp_path / "again", documents=True)
    assert rows(again, "en", "train") == found["train"] + found["held_out"]


def test_a_store_is_a_corpus(store: Store, tmp_path: Path) -> None:
    more = write_lines(tmp_path / "de", ["Noch ein Haus"])
    again = prepare_store(
        [f"en-de={store.path}", f"de={store.path}", f"de={more}"], store.tokenizer(), tmp_path / "out", workers=1
    )
    assert rows(again, "en-de", "train") == rows(store, "en-de", "train") + rows(store, "en-de", "held_out")
    assert rows(again, "de", "train")[:-1] == rows(store, "de", "train") + rows(store, "de", "held_out")
    with pytest.raises(TokenizerError, match="was made by another tokenizer: its ids are not those of this one"):
        prepare_store([f"de={store.path}"], tiny_xlm(), tmp_path / "other")
    with pytest.raises(InputError, match=r"has no 'fr'\. It has en, de, en-de"):
        prepare_store([f"fr={store.path}"], CHECKPOINT, tmp_path / "other")


_KILLED = """
import sys, os
from tfxlm.data import prepare, shards
from tfxlm.data.prepare import prepare_store
shards._SENTENCES = 50

if __name__ == "__main__":
    made, corpora, out = shards.make_shard, sys.argv[1], sys.argv[2]
    def slow(job, chunk):
        made(job, chunk)
        if chunk.number == 3:
            print("waiting", flush=True)
            sys.stdin.read()
    prepare.make_shard = slow
    prepare_store([corpora], "examples/checkpoint", out, held_out=30)
"""


def test_after_a_kill_the_rest_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "en.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in sentences("en", 400)).encode()))
    script = tmp_path / "script.py"
    script.write_text(_KILLED)
    out = tmp_path / "out"
    command = [sys.executable, str(script), f"en={path}", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as child:
        assert child.stdout is not None and child.stdout.readline() == b"waiting\n"
        child.send_signal(signal.SIGKILL)
    assert not out.exists()
    partial = tmp_path / ".out.partial"
    done = sorted((partial / "shards").glob("*.npz"))
    assert [file.name for file in done] == [f"en.0000000{number}.npz" for number in range(4)]
    # One shard is damaged, one is of another text, and one says that it is encrypted.
    done[1].write_bytes(done[1].read_bytes()[:-10] + bytes(10))
    shutil.copy(done[0], done[2])
    whole = done[3].read_bytes()
    flags = whole.index(b"PK\x01\x02") + 8
    done[3].write_bytes(whole[:flags] + b"\x01" + whole[flags + 1 :])

    monkeypatch.setattr(shards, "_SENTENCES", 50)
    made: list[str] = []
    original = shards.make_shard

    def counted(job: Any, chunk: Any) -> None:
        made.append(chunk.file)
        original(job, chunk)

    monkeypatch.setattr("tfxlm.data.prepare.make_shard", counted)
    with pytest.raises(InputError, match=r"interrupted run that was another one: it had another held_out\. Give"):
        prepare_store([f"en={path}"], CHECKPOINT, out, held_out=31)
    resumed = prepare_store([f"en={path}"], CHECKPOINT, out, held_out=30)
    assert made == [f"en.0000000{number}.npz" for number in range(1, 8)]
    assert not partial.exists()
    clean = prepare_store([f"en={path}"], CHECKPOINT, tmp_path / "clean", held_out=30)
    assert files(resumed.path) == files(clean.path)


def test_several_processes_make_the_same_store(tmp_path: Path, store: Store) -> None:
    folder = store.path.parent
    corpora = {"en": f"{folder}/en.txt", "de": f"{folder}/de.txt", "en-de": f"{folder}/pairs.tsv"}
    seen: list[tuple[int, int]] = []
    made = prepare_store(
        corpora, CHECKPOINT, tmp_path / "out", held_out=20, workers=2, progress=lambda *done: seen.append(done)
    )
    assert files(made.path) == files(store.path)
    assert (
        seen[-1][0] == seen[-1][1] == sum((folder / name).stat().st_size for name in ("en.txt", "de.txt", "pairs.tsv"))
    )


def test_wrong_calls(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "en", sentences("en", 30))
    out = tmp_path / "out"
    for options, error, message in (
        ({"held_out": -1}, InputError, r"held_out must be a number of sentences, or a share below 1, got -1"),
        ({"held_out": 1.5}, InputError, r"held_out must be a number of sentences"),
        ({"held_out": 30}, InputError, r"held_out=30 leaves nothing of 'en' to learn from, which has 30 different"),
        ({"workers": 0}, InputError, r"workers must be a whole number, 1 or more, got 0"),
        ({"max_line_bytes": 1}, InputError, r"The corpus 'en' has no text in 30 lines\. Of a language a line"),
    ):
        with pytest.raises(error, match=message):
            prepare_store({"en": str(path)}, CHECKPOINT, out, **options)
        shutil.rmtree(tmp_path / ".out.partial", ignore_errors=True)
    with pytest.raises(InputError, match=r"'xx' is no language and no pair of languages.*The tokenizer has ar, de"):
        prepare_store({"xx": str(path)}, CHECKPOINT, out)
    out.mkdir()
    with pytest.raises(OutputExistsError, match="exists already"):
        prepare_store({"en": str(path)}, CHECKPOINT, out)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["en", "out"]


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "en", sentences("en", 30))

    def again(done: int, total: int) -> None:
        with pytest.raises(OutputExistsError, match="is being made by another process"):
            prepare_store({"en": str(path)}, CHECKPOINT, tmp_path / "out")

    prepare_store({"en": str(path)}, CHECKPOINT, tmp_path / "out", progress=again)


def test_another_tokenizer_is_refused(store: Store, tokenizer: XLMTokenizer) -> None:
    store.check_tokenizer(tokenizer)
    other = XLMTokenizer.from_pretrained(CHECKPOINT, preprocessing="fair")
    with pytest.raises(TokenizerError, match=r"was made by another tokenizer \(its fingerprint is [0-9a-f]{32}, this"):
        store.check_tokenizer(other)
    tokens = dict(tokenizer.get_vocab().items())
    swapped = dict(zip(tokens, [*list(tokens.values())[:-2], *list(tokens.values())[:-3:-1]], strict=True))
    other = XLMTokenizer(swapped, tokenizer.encoder.merges, lang2id=tokenizer.lang2id)
    with pytest.raises(TokenizerError, match="was made by another tokenizer"):
        store.check_tokenizer(other)


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update(values)


def change_part(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["entries"]["en"]["train"].update(values)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            change(format="x"),
            UnsupportedFileError,
            "is of format 'x', version 1, but 'tfxlm store', version 1, is what",
        ),
        (change(version=2), UnsupportedFileError, "version 2, but"),
        (change(dtype="float64"), CorruptFileError, "the ids are 'float64', not uint16 or uint32"),
        (change(dtype=["uint16"]), CorruptFileError, "the ids are"),
        (change(vocab_size=1 << 40), CorruptFileError, "a vocabulary cannot have 1099511627776 ids"),
        (change(vocab_size=True), CorruptFileError, "a vocabulary cannot have True ids"),
        (change(entries=[]), CorruptFileError, "'entries' is missing, or no dict"),
        (change(entries={}), CorruptFileError, "there are 0 entries"),
        (change(entries={"en": 5}), CorruptFileError, "the entry 'en' does not say its one or two languages"),
        (change(entries={"../x": {"languages": ["../x"]}}), CorruptFileError, r"'../x' is no language"),
        (change(entries={"en": {"languages": ["en"]}}), CorruptFileError, "does not say how much of it is in 'train'"),
        (change_part(tokens=-1), CorruptFileError, "the entry 'en' has numbers that cannot be"),
        (change_part(tokens=1e9), CorruptFileError, "numbers that cannot be"),
        (change_part(tokens=10), CorruptFileError, "'en.train.tokens' has .* bytes, not 20"),
        (change_part(sentences=1), CorruptFileError, "'en.train.starts' has .* bytes, not 16"),
        (change_part(more=1), CorruptFileError, "does not say how much of it"),
        (change(checksums={}), CorruptFileError, "there are checksums of other files than those that it has"),
    ],
)
def test_hostile_headers(store: Store, tmp_path: Path, damage: Any, error: type[Exception], message: str) -> None:
    folder = tmp_path / "store"
    shutil.copytree(store.path, folder, copy_function=os.link)
    header = json.loads((folder / "store.json").read_text())
    damage(header)
    (folder / "store.json").unlink()
    (folder / "store.json").write_text(json.dumps(header))
    with pytest.raises(error, match=message):
        open_store(folder)


def test_damaged_files(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(store.path, folder)
    tokens = np.fromfile(folder / "de.train.tokens", np.uint16)
    tokens[3] += 1
    tokens.tofile(folder / "de.train.tokens")
    with pytest.raises(CorruptFileError, match=r"de.train.tokens' is not what was written: its checksum differs"):
        open_store(folder).verify()
    starts = np.fromfile(folder / "en.train.starts", np.int64)
    starts[5] = 1 << 60
    starts.tofile(folder / "en.train.starts")
    with pytest.raises(CorruptFileError, match="does not say where sentences begin: it is damaged"):
        open_store(folder).starts("en")
    (folder / "en.train.starts").unlink()
    with pytest.raises(CorruptFileError, match=r"there is no 'en\.train\.starts'"):
        open_store(folder)
    (folder / "en.train.starts").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeFileError, match="leads out of its folder"):
        open_store(folder)
    with pytest.raises(CheckpointNotFoundError, match=r"is no store of tokenized corpora: it has no store\.json"):
        open_store(tmp_path)
    with pytest.raises(InputError, match=r"split must be one of 'train', 'held_out', got 'test'"):
        store.part("en", "test")
    with pytest.raises(InputError, match=r"has no 'fr'\. It has en, de, en-de"):
        store.tokens("fr")


@pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")
def test_real_texts(tmp_path: Path, tokenizer: XLMTokenizer) -> None:
    folder = Path(os.environ["TFXLM_DATA"]) / "parallel"
    english, german = (folder / f"ntrex.{name}.txt" for name in ("eng", "deu"))
    with gzip.open(folder / "tatoeba_anki.en-de.full.tsv.gz", "rt", encoding="utf-8", newline="\n") as lines:
        tatoeba = [line for line, _ in zip(lines, range(1500), strict=False)]
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress("".join(tatoeba).encode()))
    corpora = {"en-de": [f"{english},{german}", str(tmp_path / "pairs.tsv.gz")], "de": str(german)}
    made = prepare_store(corpora, tokenizer, tmp_path / "store", held_out=100)
    report, count = made.report["en-de"], len(english.read_bytes().splitlines())
    assert report["lines"] == count + 1500 and report["crlf"] == 2 * count and report["bad_utf8"] == 0
    held, train = rows(made, "en-de", "held_out"), rows(made, "en-de", "train")
    assert len(held) + len(train) + report["held_out_elsewhere"] + report["no_token"] == 2 * (count + 1500)
    texts = [line.split("\t")[:2] for line in tatoeba[:200]]
    expected = {(ids(tokenizer, first, "en"), ids(tokenizer, second, "de")) for first, second in texts}
    found = {*zip(train[::2], train[1::2], strict=True), *zip(held[::2], held[1::2], strict=True)}
    assert len(expected - found) <= report["held_out_elsewhere"]  # those alone may be missing
    assert len(expected & found) > 150
    assert not {*held, *rows(made, "de", "held_out")} & {*train, *rows(made, "de", "train")}
    assert made.part("de").unknown / made.part("de").tokens < 0.001
