"""Learned vocabularies: the best merges, shares of languages, and the same files each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tests.data.stores import sentences, write_lines
from tests.example_files import ROOT
from tfxlm import AutoTokenizer, XLMRobertaTokenizer, XLMTokenizer
from tfxlm.data.corpora import parse_corpora
from tfxlm.data.sampling import quotas, sample
from tfxlm.data.vocabularies import learn_bpe, learn_vocabulary
from tfxlm.errors import InputError, OutputExistsError

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10))]


@pytest.fixture
def corpora(tmp_path: Path) -> list[str]:
    english = write_lines(tmp_path / "en.txt", sentences("en", 300))
    german = write_lines(tmp_path / "de.txt", sentences("de", 60))
    pairs = write_lines(tmp_path / "pairs.tsv", ["the Cat\tdie Katze"])
    return [f"en={english}", f"de={german}", f"en-de={pairs}"]


def plain_bpe(words: dict[str, int], merges: int) -> list[int]:
    """How often the pair of each merge comes, by the definition: the most frequent pair becomes one symbol."""
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    found = []
    for _ in range(merges):
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(split[word]):
                counts[pair] += count
        best, count = max(counts.items(), key=lambda entry: (entry[1], entry[0]))
        found.append(count)
        for symbols in split.values():
            at = 0
            while at < len(symbols) - 1:
                if (symbols[at], symbols[at + 1]) == best:
                    symbols[at : at + 2] = ["".join(best)]
                at += 1
    return found


def test_merges_are_the_most_frequent_pairs() -> None:
    words = {"low": 50, "lower": 20, "newest": 61, "widest": 33, "wow": 7}
    characters = sorted(set("".join(words)))
    size = len(SPECIAL) + 2 * len(characters) + 8
    pieces, merges = learn_bpe(words, size)
    assert list(pieces)[:14] == SPECIAL and sorted(pieces.values()) == list(range(size))
    assert all(pieces[form] < 14 + 2 * len(characters) for one in characters for form in (one, f"{one}</w>"))
    assert [first + second for first, second in merges] == list(pieces)[-8:]
    # Ties may be broken otherwise, but a count is a count.
    expected = plain_bpe(words, 8)
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    for merge, count in zip(merges, expected, strict=True):
        assert sum(words[word] for word in words for pair in pairwise(split[word]) if pair == merge) == count
        for symbols in split.values():
            at = 0
            while at < len(symbols) - 1:
                if (symbols[at], symbols[at + 1]) == merge:
                    symbols[at : at + 2] = ["".join(merge)]
                at += 1


def test_shares_of_languages(corpora: list[str]) -> None:
    # sqrt(0.9) : sqrt(0.1) = 3 : 1
    assert quotas({"en": 900, "de": 100}, 0.5, None) == {"en": 750, "de": 250}
    assert quotas({"en": 900, "de": 100}, 1, 100) == {"en": 90, "de": 10}
    taken: Counter[str] = Counter()
    texts: dict[str, list[int]] = {"en": [], "de": []}
    for one in sample(parse_corpora(corpora), 0.5, 200):
        taken[one.language] += one.times
        texts[one.language].append(one.times)
    shares = np.sqrt([301, 61]) / np.sqrt([301, 61]).sum()
    assert [taken["en"], taken["de"]] == [round(200 * share) for share in shares]
    assert set(texts["en"]) == {1} and len(texts["en"]) < 301 and set(texts["de"]) <= {1, 2}


def test_xlm_files_that_the_tokenizer_loads(corpora: list[str], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = learn_vocabulary(corpora, tmp_path / "out", size=120, progress=lambda *done: seen.append(done))
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert isinstance(loaded, XLMTokenizer) and len(loaded) == 120 and loaded.get_vocab() == made.get_vocab()
    assert (loaded.lang2id, loaded.preprocessing) == ({"de": 0, "en": 1}, "fair") and seen[-1][0] == seen[-1][1]
    assert loaded.encoder.merges == made.encoder.merges and loaded.model_max_length == 512
    ids = loaded("the Cat sees die Katze schläft", lang="de")["input_ids"]
    assert ids[0] == ids[-1] == 1 and 3 not in ids
    assert loaded.decode(ids, skip_special_tokens=True) == "the Cat sees die Katze schläft"
    assert len(ids) < len("thecatseesdiekatzeschläft")
    lower = learn_vocabulary(corpora, tmp_path / "lower", size=120, case="unicode", accents="strip", preprocessing="hf")
    assert not any(piece != piece.lower() for piece in lower.get_vocab())
    assert "ä" not in lower.get_vocab() and lower("Schläft", lang="de")["input_ids"][0] == 0


def test_the_same_texts_give_the_same_files(corpora: list[str], tmp_path: Path) -> None:
    """In processes that order sets and dicts of Rust and Python otherwise, and with several workers."""
    script = (
        "import sys\nfrom tfxlm.data.vocabularies import learn_vocabulary\n"
        "if __name__ == '__main__':\n"
        "    learn_vocabulary(sys.argv[3:], sys.argv[1], size=150, workers=int(sys.argv[2]))\n"
    )
    (tmp_path / "script.py").write_text(script)
    contents = []
    for seed, workers in ((1, 1), (2, 2)):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        out = tmp_path / f"out{seed}"
        command = [sys.executable, str(tmp_path / "script.py"), str(out), str(workers), *corpora]
        subprocess.run(command, check=True, env=environment, timeout=240)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1] and "merges.txt" in contents[0]


def test_sentence_pieces(corpora: list[str], tmp_path: Path) -> None:
    made = learn_vocabulary(corpora, tmp_path / "out", size=70, family="xlm-roberta")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert isinstance(loaded, XLMRobertaTokenizer) and len(loaded) == 70 and loaded.get_vocab() == made.get_vocab()
    ids = loaded.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    assert ids == [0, 1, 2, 3, 69]
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "sentencepiece.bpe.model"))
    assert len(model) == 68
    text = "the cat sees die Katze"
    # Each id of SentencePiece is one more in fairseq.
    assert loaded(text)["input_ids"] == [0, *(index + 1 for index in model.encode(text)), 2]
    learn_vocabulary(corpora, tmp_path / "again", size=70, family="xlm-roberta")
    assert (tmp_path / "again" / "sentencepiece.bpe.model").read_bytes() == made.sentence_pieces.model


def test_wrong_calls(corpora: list[str], tmp_path: Path) -> None:
    for options, message in (
        ({"size": 31}, r"size must be a whole number, 32 or more, got 31"),
        ({"size": 60}, r"A vocabulary of 60 has no room for \d+ characters, each within a word and at its end"),
        ({"size": 9000}, r"The texts give a vocabulary of \d+ at most, not of 9000\. Give a smaller size"),
        ({"size": 9000, "family": "xlm-roberta"}, r"SentencePiece cannot learn a vocabulary of 9000 from these texts"),
        ({"size": 99, "family": "bert"}, r"family must be one of 'xlm', 'xlm-roberta', got 'bert'"),
        ({"size": 99, "alpha": 3}, r"alpha must be from 0 to 1, and coverage above 0 up to 1, got 3 and 1"),
        ({"size": 99, "family": "xlm-roberta", "case": "none"}, r"case and accents are options of XLM"),
        (
            {"size": 99, "preprocessing": "hf", "case": "ascii"},
            r"letters stay as they are, or case='unicode' goes",
        ),
    ):
        with pytest.raises(InputError, match=message):
            learn_vocabulary(corpora, tmp_path / "out", **options)
    with pytest.raises(InputError, match=r"The corpora have no sentences"):
        learn_vocabulary([f"en={write_lines(tmp_path / 'empty', [''])}"], tmp_path / "out", size=99)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputExistsError, match="exists already"):
        learn_vocabulary(corpora, tmp_path / "there", size=99)
    assert not (tmp_path / "out").exists()


def test_rare_characters_may_be_left_out(tmp_path: Path) -> None:
    words = ["".join("ab"[int(bit)] for bit in f"{number:06b}") for number in range(64)]
    path = write_lines(tmp_path / "en", [*words, "漢字"])
    made = learn_vocabulary([f"en={path}"], tmp_path / "out", size=32, coverage=0.99)
    assert not {"漢", "字"} & set(made.get_vocab()) and {"a", "b"} <= set(made.get_vocab())
    assert 3 in made("漢")["input_ids"] and 3 not in made("abba")["input_ids"]
