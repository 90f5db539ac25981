"""Token ids against the slow XLM-RoBERTa tokenizer of `transformers`, live, on real text."""

import gzip
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from tests.parity.reference import SWEEP
from tests.tokenizers.offsets import check_places
from tfxlm.tokenizers import XLMRobertaTokenizer

DATA = Path(os.environ.get("TFXLM_DATA", ""))
pytestmark = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")

NEWS = ["eng", "deu", "fra", "rus", "arb", "swa", "jpn", "tha", "zho-CN"]
SHORT = ["en-de.full.tsv.gz", "en-fr.full.tsv.gz", "en-zh.tsv"]
STRATEGIES = ["longest_first", "only_first", "only_second", "do_not_truncate"]

Both = tuple[XLMRobertaTokenizer, transformers.XLMRobertaTokenizer]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Both tokenizers, from the released pieces."""
    folder = tmp_path_factory.mktemp("released")
    shutil.copy(DATA / "vocab" / "xlmr_sentencepiece_rebuilt.model", folder / "sentencepiece.bpe.model")
    path = folder / "sentencepiece.bpe.model"
    return XLMRobertaTokenizer.from_pretrained(folder), transformers.XLMRobertaTokenizer(str(path))


def news(name: str) -> list[str]:
    """The lines of a file. Not `splitlines`: characters that it takes for ends of lines stand in texts."""
    return (DATA / "parallel" / f"ntrex.{name}.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")


def short(name: str) -> list[list[str]]:
    path = DATA / "parallel" / f"tatoeba_anki.{name}"
    opened: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as file:  # type: ignore[attr-defined]
        return [row.rstrip("\n").split("\t") for row in file]


def compare(both: Both, lines: list[str], every: int) -> None:
    """Compares the ids of lines, one of `every` outside the sweep; and checks the offsets of some."""
    lines = lines if SWEEP else lines[::every]
    ours, theirs = both
    found, expected = ours(lines)["input_ids"], theirs(lines)["input_ids"]
    different = [line for line, left, right in zip(lines, found, expected, strict=True) if left != right]
    print(f"{len(lines)} lines, {len(different)} differ")
    assert not different, f"{len(different)} of {len(lines)} differ, first: {different[0]!r}"
    for line in lines[:: 1 if len(lines) < 3000 and SWEEP else 20]:
        check_places(ours, line)


@pytest.mark.parametrize("name", NEWS)
def test_ids_of_news_lines(released: Both, name: str) -> None:
    compare(released, news(name), 5)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("name", SHORT)
def test_ids_of_short_sentences(released: Both, name: str, column: int) -> None:
    rows = short(name)
    compare(released, [row[column] for row in rows], max(len(rows) // 400, 1))


@pytest.mark.filterwarnings("ignore:A row has")
def test_pairs_of_real_sentences(released: Both) -> None:
    ours, theirs = released
    rows = list(zip(news("eng"), news("jpn"), strict=True))
    # Some pairs are cut, some are not, and of both texts something stays.
    for turn, (strategy, side, special) in enumerate(
        itertools.product(STRATEGIES, ["right", "left"], [True, False]), start=1
    ):
        part = rows if SWEEP else rows[turn :: 4 * len(STRATEGIES)]
        ours.truncation_side = theirs.truncation_side = side
        sizes = [[len(ids) for ids in ours(list(column))["input_ids"]] for column in zip(*part, strict=True)]
        longest = 56
        kept = [
            row
            for row, first, second in zip(part, *sizes, strict=True)
            if strategy in ("longest_first", "do_not_truncate")
            or (second if strategy == "only_first" else first) < longest - 4
        ]
        assert len(kept) > len(part) // 3
        options = {"truncation": strategy, "max_length": longest, "add_special_tokens": special}
        found = ours(kept, return_special_tokens_mask=True, **options)
        assert dict(found) == dict(theirs(kept, return_special_tokens_mask=True, **options)), options
    ours.truncation_side = theirs.truncation_side = "right"
