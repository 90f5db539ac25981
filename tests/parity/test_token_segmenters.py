"""Ids of Chinese, Japanese and Thai against the XLM tokenizer of `transformers`, with the same segmenters."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import Mykytea
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parity.reference import SWEEP
from tests.tokenizers.kytea import write_kytea_model
from tests.tokenizers.offsets import check_offsets
from tests.tokenizers.toy import hard_texts, write_toy
from tfxlm.tokenizers import XLMTokenizer
from tfxlm.tokenizers.segmenters import KYTEA_MODEL

DATA = Path(os.environ.get("TFXLM_DATA", ""))
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")
LANGUAGES = ["zh", "ja", "th"]
Load = Callable[[Path, str], "Reference"]


class Reference(transformers.XLMTokenizer):
    """`transformers`' tokenizer with the language honoured: its lower-casing first, then `_tokenize(lang=...)`."""

    rules_language = "zh"

    def _tokenize(self, text: str, lang: str = "en", bypass_tokenizer: bool = False) -> list[str]:
        return super()._tokenize(text, lang=self.rules_language, bypass_tokenizer=bypass_tokenizer)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Loads theirs for a language. Both read a KyTea model that the tests wrote, in place of a released one."""
    model = write_kytea_model(tmp_path_factory.mktemp("kytea"))
    made: dict[tuple[Path, str], Reference] = {}

    def reference(folder: Path, lang: str) -> Reference:
        if (folder, lang) not in made:
            made[folder, lang] = Reference.from_pretrained(folder)
            made[folder, lang].rules_language = lang
            made[folder, lang].ja_word_tokenizer = Mykytea.Mykytea(f"-model {model}")
        return made[folder, lang]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KYTEA_MODEL, str(model))
        yield reference


@pytest.fixture(scope="module", params=[True, False], ids=["lower-cased", "cased"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), do_lowercase_and_remove_accent=request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["lower-cased", "cased"])
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lists = DATA / "vocab" / "xlm_cc_by_nc"
    folder = tmp_path_factory.mktemp("released")
    XLMTokenizer.from_fastbpe(
        lists / "codes_xnli_15", lists / "vocab_xnli_15", do_lowercase_and_remove_accent=request.param
    ).save_pretrained(folder)
    return folder


def tatoeba() -> list[str]:
    rows = (DATA / "parallel" / "tatoeba_anki.en-zh.tsv").read_text(encoding="utf-8").split("\n")
    return [row.split("\t")[1] for row in rows if row]


def news(name: str) -> list[str]:
    return (DATA / "parallel" / f"ntrex.{name}.txt").read_text(encoding="utf-8").split("\n")


@needs_data
@pytest.mark.parametrize(
    ("lang", "texts"),
    [
        pytest.param("zh", tatoeba, id="zh short sentences"),
        pytest.param("zh", lambda: news("zho-CN"), id="zh news"),
        pytest.param("ja", lambda: news("jpn"), id="ja news"),
        pytest.param("th", lambda: news("tha"), id="th news"),
    ],
)
def test_ids_and_offsets_of_real_text(released: Path, load: Load, lang: str, texts: Callable[[], list[str]]) -> None:
    lines = texts() if SWEEP else texts()[::5]
    ours, theirs = XLMTokenizer.from_pretrained(released), load(released, lang)
    found = ours(lines, lang=lang)["input_ids"]
    different = [line for line, ids in zip(lines, found, strict=True) if ids != theirs(line)["input_ids"]]
    assert not different, f"{len(different)} of {len(lines)} differ, first: {different[0]!r}"
    for line in lines if SWEEP else lines[::4]:
        check_offsets(ours, line, lang=lang)


FAR_EASTERN = st.text("北京大学我来 。，、「」ab1%.กขิ้ๆเกมากひらカナ漢字\u3000\xa0", max_size=20)


@settings(max_examples=3000 if SWEEP else 100, deadline=None)
@given(text=st.one_of(hard_texts, FAR_EASTERN))
def test_ids_of_hard_texts(toy: Path, load: Load, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()  # half of a surrogate pair is an exception of rjieba's there
    if toy not in _made:
        _made[toy] = XLMTokenizer.from_pretrained(toy)
    for lang in LANGUAGES:
        theirs = load(toy, lang)
        assert _made[toy].tokenize(text, lang=lang) == theirs.tokenize(text), lang
        assert _made[toy](text, lang=lang)["input_ids"] == theirs(text)["input_ids"], lang


_made: dict[Path, XLMTokenizer] = {}


def test_half_a_surrogate_pair(toy: Path, load: Load) -> None:
    with pytest.raises(UnicodeEncodeError):
        load(toy, "zh").tokenize("京\ud800")
    assert XLMTokenizer.from_pretrained(toy).tokenize("京\ud800 the", lang="zh") == ["京</w>", "the</w>"]
