"""Tokenizers of checkpoints of other programs."""

from __future__ import annotations

import fnmatch
import os
import shutil
from pathlib import Path

import pytest

from tests.checkpoints.torch_writer import Call, Name, archive, storage, tensor
from tests.tokenizers.toy_pieces import write_trained
from tfxlm import AutoTokenizer, XLMRobertaTokenizer, XLMTokenizer
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, TokenizerError
from tfxlm.tokenizers.originals import check_dictionary, letter_case_of
from tfxlm.tokenizers.xlm import FIRST_TOKENS

WORDS = [*FIRST_TOKENS, "the", "The", "child@@", "ren", "t@@", "h@@", "e", "c@@", "x"]
CODES = "t h 9\nth e</w> 8\nT h 8\nTh e</w> 7\nc h 7\nch i 6\nchi l 6\nchil d 5\nr e 5\nre n</w> 4\n"


def write(folder: Path, words: list[str] = WORDS, rows: int | None = None, codes: str | None = CODES) -> Path:
    """Writes a checkpoint of the original code with the fewest tensors that it can have."""
    rows = len(words) if rows is None else rows
    size = max(rows, 4) * 4
    place = storage("0", size)
    state = {
        "embeddings.weight": tensor(place, (rows, 4), (4, 1)),
        "position_embeddings.weight": tensor(place, (4, 4), (4, 1)),
    }
    params = {
        "n_heads": 2,
        "n_langs": 2,
        "lang2id": {"de": 0, "en": 1},
        "id2lang": {0: "de", 1: "en"},
        "mlm_steps": [1],
    }
    value = {"model": state, "params": params, "dico_id2word": dict(enumerate(words))}
    folder.mkdir(exist_ok=True)
    (folder / "mine.pth").write_bytes(archive(value, {"0": bytes(4 * size)}))
    if codes is not None:
        (folder / "codes_mine").write_text(codes)
    return folder / "mine.pth"


@pytest.mark.parametrize("of_folder", [False, True], ids=["file", "folder"])
def test_an_original_xlm(tmp_path: Path, of_folder: bool) -> None:
    path = write(tmp_path)
    for tokenizer_class in (XLMTokenizer, AutoTokenizer):
        tokenizer = tokenizer_class.from_pretrained(path.parent if of_folder else path)
        assert type(tokenizer) is XLMTokenizer
        assert tokenizer.lang2id == {"de": 0, "en": 1} and not tokenizer.do_lowercase_and_remove_accent
        # Ids are those of the checkpoint's dictionary, with "@@" for pieces that go on.
        ids = tokenizer.encode("The children", lang="en", add_special_tokens=False)
        assert ids == [WORDS.index("The"), WORDS.index("child@@"), WORDS.index("ren")]
    fair = XLMTokenizer.from_pretrained(path, preprocessing="fair")
    assert fair.encode("the", lang="de") == [1, WORDS.index("the"), 1]
    fair.save_pretrained(tmp_path / "saved")
    assert sorted(os.listdir(tmp_path / "saved"))[-2:] == ["tokenizer_config.json", "vocab.json"]
    assert (tmp_path / "saved" / "merges.txt").read_text().splitlines()[:2] == ["t h", "th e</w>"]
    assert XLMTokenizer.from_pretrained(tmp_path / "saved").encode("The", lang="de") == fair.encode("The", lang="de")


def test_a_dictionary_that_is_longer_than_the_table(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(write(tmp_path, rows=len(WORDS) - 2))
    assert tokenizer.vocab_size == len(WORDS) - 2 and "x</w>" not in tokenizer.get_vocab()


def test_merges_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, codes=None)
    with pytest.raises(CheckpointNotFoundError, match=r"there is none\. Pass the right one: .*merges_file="):
        XLMTokenizer.from_pretrained(path)
    (tmp_path / "elsewhere").write_text(CODES)
    tokenizer = XLMTokenizer.from_pretrained(path, merges_file=str(tmp_path / "elsewhere"))
    assert tokenizer.tokenize("the") == ["the</w>"]
    for name in ("codes_a", "codes_b"):
        (tmp_path / name).write_text(CODES)
    with pytest.raises(CheckpointNotFoundError, match="there is several: codes_a, codes_b"):
        XLMTokenizer.from_pretrained(path)


def test_dictionaries_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"begins with <s>, the, .* and not with <s>, </s>"):
        XLMTokenizer.from_pretrained(write(tmp_path, ["<s>", "the", *WORDS[2:]]))
    place = storage("0", 16)
    state = {name: tensor(place, (4, 4), (4, 1)) for name in ("embeddings.weight", "position_embeddings.weight")}
    for words, message in (({0: "<s>", 2: "a"}, "has none for 1"), ([1], "has none for 0")):
        value = {"model": state, "params": {}, "dico_id2word": words}
        (tmp_path / "mine.pth").write_bytes(archive(value, {"0": bytes(64)}))
        with pytest.raises(CorruptFileError, match=message):
            XLMTokenizer.from_pretrained(tmp_path / "mine.pth")


@pytest.mark.parametrize(
    ("words", "case", "accents"),
    [
        (["Der", "und", "süß"], "none", "keep"),
        (["der", "und", "suss"], "unicode", "strip"),
        (["der", "Россия", "suss"], "ascii", "strip"),
        (["der", "россия", "süß"], "unicode", "keep"),
        (["a"] * 999 + ["B"], "unicode", "strip"),  # one of a thousand is a stray one
    ],
)
def test_what_was_done_to_letters(words: list[str], case: str, accents: str) -> None:
    assert letter_case_of(words) == (case, accents)


def test_lists_of_fairseq(tmp_path: Path) -> None:
    pieces = ["▁the", "a", "▁"]
    path = tmp_path / "dict.txt"
    path.write_text("▁the 9\na 8\n▁ 7\n")
    check_dictionary(path, pieces)
    for rows, message in (
        ("a 9\n▁the 8\n▁ 7\n", r"has 'a' in row 1, where the model has '▁the': ids by this list are not"),
        ("▁the 9\na 8\n", "has 2 pieces, and the model 3"),
        ("▁the 9\na 8\n▁ 7\nmadeupword0000 0\n", "has 4 pieces, and the model 3"),
    ):
        path.write_text(rows)
        with pytest.raises(TokenizerError, match=message):
            check_dictionary(path, pieces)


@pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set: the pieces are there")
def test_fairseq_beside_its_list(tmp_path: Path) -> None:
    model = Path(os.environ["TFXLM_DATA"], "vocab", "xlmr_sentencepiece_rebuilt.model").read_bytes()
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    names = XLMRobertaTokenizer(model).sentence_pieces.names[3:]
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in names), encoding="utf-8")
    (tmp_path / "model.pt").write_bytes(archive({"a": Call(Name("collections.OrderedDict"), ())}, {}))
    for path in (tmp_path, tmp_path / "model.pt"):
        assert XLMRobertaTokenizer.from_pretrained(path).encode("Hello world!") == [0, 35378, 8999, 38, 2]
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in reversed(names)), encoding="utf-8")
    with pytest.raises(TokenizerError, match="ids by this list are not those of XLM-RoBERTa"):
        XLMRobertaTokenizer.from_pretrained(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository ``me/xlm``, whose files are downloaded by their patterns as the hub library does it."""
    repository, snapshot = tmp_path / "repository", tmp_path / "snapshot"
    repository.mkdir()
    snapshot.mkdir()

    def download(name: str, allow_patterns: list[str], **_: object) -> str:
        assert name == "me/xlm"
        for file in sorted(repository.rglob("*")):
            place = str(file.relative_to(repository))
            if file.is_file() and any(fnmatch.fnmatch(place, pattern) for pattern in allow_patterns):
                (snapshot / place).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, snapshot / place)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return repository


@pytest.mark.parametrize("subfolder", ["", "inner"])
def test_an_original_xlm_on_the_hub(hub: Path, subfolder: str) -> None:
    write(hub / subfolder)
    where = {"subfolder": subfolder} if subfolder else {}
    for tokenizer_class in (AutoTokenizer, XLMTokenizer):
        assert tokenizer_class.from_pretrained("me/xlm", **where).tokenize("the") == ["the</w>"]


@pytest.mark.parametrize("subfolder", ["", "inner"])
def test_lists_of_fairseq_are_checked_wherever_they_are(hub: Path, subfolder: str) -> None:
    write_trained(hub / subfolder)
    (hub / subfolder / "dict.txt").write_text("wrong 1\n")
    where = {"subfolder": subfolder} if subfolder else {}
    for name in ("me/xlm", hub):
        with pytest.raises(TokenizerError, match=r"has 'wrong' in row 1, where the model has"):
            XLMRobertaTokenizer.from_pretrained(name, **where)


def test_merges_of_released_checkpoints(tmp_path: Path) -> None:
    path = write(tmp_path, codes=None).rename(tmp_path / "mlm_ende_1024.pth")
    (tmp_path / "codes_enfr").write_text("")
    (tmp_path / "codes_ende").write_text(CODES)
    assert XLMTokenizer.from_pretrained(path).tokenize("the") == ["the</w>"]
