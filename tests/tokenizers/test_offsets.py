"""Where tokens stand in the given text."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.tokenizers.offsets import check_offsets
from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tfxlm.tokenizers import XLMTokenizer

DATA = Path(os.environ.get("TFXLM_DATA", ""))
SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")

OPTIONS: dict[str, dict[str, Any]] = {
    "lower-cased": {},
    "cased": {"do_lowercase_and_remove_accent": False},
    "fair": {"preprocessing": "fair"},
    "fair ascii": {"preprocessing": "fair", "case": "ascii", "accents": "strip"},
}
LANGUAGES = ["en", "de", "fr", "it", "ro", "ko", "el", "xx"]
TOKENIZERS = {name: XLMTokenizer(toy_vocabulary(), MERGES, **options) for name, options in OPTIONS.items()}
# A token that keeps its capitals makes the lower-casing go part by part.
TOKENIZERS["capitals"] = XLMTokenizer(toy_vocabulary(), MERGES, special_tokens=["[CLS]", "İX"])


@settings(max_examples=5000 if SWEEP else 250, deadline=None)
@given(text=hard_texts)
def test_offsets_of_hard_texts(text: str) -> None:
    for tokenizer in TOKENIZERS.values():
        for lang in LANGUAGES:
            check_offsets(tokenizer, text, lang=lang)
        check_offsets(tokenizer, text, bypass_tokenizer=True)


def spans(tokenizer: XLMTokenizer, text: str, **options: Any) -> str:
    """Writes each token with the characters that it stands for."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, **options)
    found = zip(tokenizer.tokenize(text, **options), encoding["offset_mapping"], strict=True)
    return " ".join(f"{token.replace('</w>', '_')}={text[start:end]}" for token, (start, end) in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world", "hello_=Hello ,_=, world_=world"),
        ("„the“ «er»", '"_=„ the_=the "_=“ "_=« er_=er "_=»'),
        ("the…", "the_=the .=… .=… ._=…"),  # one character became three, which share it
        ("the ...", "the_=the .=. .=. ._=."),
        ("ß ﬁ", "ß_=ß ﬁ_=ﬁ"),
        ("İn", "i_=İ n_=n"),  # lower case is i and a dot above, at which Moses cuts
        ("e\u0301er", "e_=e\u0301 er_=er"),  # an accent that is taken off stays with its letter
        ("éer", "e=é er_=er"),
        ("a\u0301\u0302 b", "a_=a\u0301\u0302 b_=b"),
        ("한", "ᄒ=한 ᅡ=한 ᆫ_=한"),
        ("😀the", "😀_=😀 the_=the"),
        ("a\u200db", "a=a b_=b"),  # the joiner is deleted, and belongs to nobody
        ("don't", "d=d o=o n_=n '=' t_=t"),
        ("l''a", "l_=l \"_='' a_=a"),
        ("r&b &amp;", "r_=r &_=& b_=b &_=& a=a m=m p_=p ;_=;"),
        ("the\ter", "th=th e=e er_=er"),
        ("the\xa0er", "the_=the er_=er"),
        ("1\xa0000", "1=1 .=\xa0 0=0 0=0 0_=0"),
        ("1 000", "1_=1 0=0 0=0 0_=0"),
        ("No. 7", "n=N o_=o ._=. 7_=7"),
        ("er.", "er_=er ._=."),
        ('"er".', '"_=" er_=er ._=" "_=.'),  # the full stop and the quotation mark change places
        ("a — b", "a_=a -_=— b_=b"),
        ("( a )", "(_=( a_=a )_=)"),
        ("。 中。\u3000中", "._=。 中_=中 ._=。 中_=中"),
        ("http://a.er/?x", "h=h t=t t=t p_=p :_=: /_=/ /_=/ a=a .=. er_=er /_=/ ?_=? x_=x"),
        ("ΑΣ", "α=Α σ_=Σ"),
        ("<S>the</s>", "<s>=<S> the_=the </s>=</s>"),
        ("\u0301 \u200b", ""),
        ("", ""),
    ],
)
def test_hand_checked(text: str, expected: str) -> None:
    assert spans(TOKENIZERS["lower-cased"], text) == expected


@pytest.mark.parametrize(
    ("name", "options", "text", "expected"),
    [
        ("cased", {}, "Ée\u0301", "É=É e_=e \u0301_=\u0301"),
        ("lower-cased", {"lang": "de"}, "1\xa0000", "1=1 ,=\xa0 0=0 0=0 0_=0"),
        ("lower-cased", {"lang": "de"}, '"er".', '"_=" er_=er "_=" ._=.'),
        ("lower-cased", {"lang": "de"}, "er's", "er_=er '_=' s_=s"),
        ("lower-cased", {"lang": "fr"}, "l'er", "l=l '_=' er_=er"),
        ("lower-cased", {"lang": "ro"}, "Ţa\u0103", "t=Ţ a=a a_=ă"),
        ("fair", {}, "the\ter", "the_=the er_=er"),
        ("fair", {}, "</s>", "<_=< /_=/ s_=s >_=>"),
        ("fair ascii", {}, "THÉ Ж", "the_=THÉ Ж_=Ж"),
        ("lower-cased", {"bypass_tokenizer": True}, "the, a\xa0b", "th=th e=e ,_=, a_=a b_=b"),
        ("capitals", {}, "A[CLS]İXİ", "a_=A [CLS]=[CLS] İX=İX i_=İ"),
    ],
)
def test_hand_checked_by_options(name: str, options: dict[str, Any], text: str, expected: str) -> None:
    assert spans(TOKENIZERS[name], text, **options) == expected


def test_frames_pairs_and_padding_have_no_place() -> None:
    tokenizer = TOKENIZERS["lower-cased"]
    batch = tokenizer(
        ["the er", "er"], ["er", "the er"], return_offsets_mapping=True, padding=True, pad_to_multiple_of=8
    )
    assert batch["offset_mapping"] == [
        [(0, 0), (0, 3), (4, 6), (0, 0), (0, 2), (0, 0), (0, 0), (0, 0)],
        [(0, 0), (0, 2), (0, 0), (0, 3), (4, 6), (0, 0), (0, 0), (0, 0)],
    ]
    left = tokenizer("er", return_offsets_mapping=True, padding="max_length", max_length=4, padding_side="left")
    assert left["offset_mapping"] == [(0, 0), (0, 0), (0, 2), (0, 0)]
    arrays = tokenizer(["the er", "er"], return_offsets_mapping=True, padding=True, return_tensors="np")
    assert arrays["offset_mapping"].shape == (2, 4, 2)
    assert tokenizer([], return_offsets_mapping=True, return_tensors="np")["offset_mapping"].shape == (0, 0, 2)


def test_a_collator_pads_offsets() -> None:
    tokenizer = TOKENIZERS["lower-cased"]
    rows = [tokenizer(text, return_offsets_mapping=True) for text in ("the er", "er")]
    assert tokenizer.pad(rows, return_tensors="np")["offset_mapping"][1].tolist() == [[0, 0], [0, 2], [0, 0], [0, 0]]


@needs_data
@pytest.mark.parametrize(("lang", "name"), [("en", "eng"), ("de", "deu"), ("fr", "fra"), ("ru", "rus"), ("ar", "arb")])
def test_offsets_of_news(lang: str, name: str) -> None:
    lines = (DATA / "parallel" / f"ntrex.{name}.txt").read_text(encoding="utf-8").split("\n")
    lists = DATA / "vocab" / "xlm_cc_by_nc"
    tokenizer = XLMTokenizer.from_fastbpe(lists / "codes_xnli_15", lists / "vocab_xnli_15")
    for line in lines if SWEEP else lines[::10]:
        check_offsets(tokenizer, line, lang=lang)
