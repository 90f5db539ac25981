"""Small tokenizers made by hand, and texts that are hard to cut."""

import json
from pathlib import Path

from hypothesis import strategies as st

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10))]
MERGES = [
    *(("t", "h"), ("th", "e</w>"), ("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o</w>"), ("o", "r")),
    *(("w", "or"), ("wor", "l"), ("worl", "d</w>"), ("i", "n"), ("in", "g</w>"), ("e", "r</w>"), ("é", "t")),
]
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'\"!?()-éüßж中"


def toy_vocabulary() -> dict[str, int]:
    pieces = [*SPECIAL, *CHARACTERS, *(f"{char}</w>" for char in CHARACTERS), *(a + b for a, b in MERGES)]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def write_toy(folder: Path, **settings: object) -> Path:
    """Writes a tokenizer as `transformers` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(toy_vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in MERGES), encoding="utf-8")
    settings = {"tokenizer_class": "XLMTokenizer", "model_max_length": 512} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


FRAGMENTS = [
    *("\t", "\n", "\r\n", "\x00", "\x1f", "\x7f", "\x85", "\xad", "\u200b", "\u2028", "\u3000", "\xa0", "  ", " "),
    *("'", "''", '"', "`", "``", "´", "´´", "‘", "’", "‚", "„", "“", "”", "«", "»", "\xa0«\xa0", "\xa0»\xa0"),
    *(".", "..", "...", "....", ".....", "…", ". . .", ".'", ". '", '."', ',"', '",', '".', '."<', ",", ",,", ",."),
    *("5,300", "1,2,3", "a,b,c", "7,", ",7", "5 %", "5\xa0%", "1\xa0000", "nº\xa07", "20\xa0ºC", "3\xa0cm", "x\xa0:"),
    *("Mr.", "No. 7", "No. seven", "Nr. 5", "e.g.", "U.S.A.", "z.B.", "bzw.", "a.M.", "Art. 3", "St.", "x. y", "x. Y"),
    *(
        "don't",
        "l'été",
        "O'Neil's",
        "1990's",
        "'tis",
        "rock 'n' roll",
        "n't",
        "it's.'",
        "(a)",
        " (",
        ") ",
        ") .",
        "( a",
    ),
    *("http://example.com/a?b=c&d", "a@b.org", "#tag", "@user", "<b>", "&amp;", "|", "[x]", "{y}", "a/b", "a-b", "--"),
    *("ΟΔΟΣ", "Σ", "ς", "ΑΣ.", "İstanbul", "I", "ı", "ǅ", "ß", "ﬁ", "Å", "K", "É", "e\u0301", "\u0301", "n\u0303a"),
    *(
        "한국어.",
        "中文，",
        "。 ",
        "．",
        "日本",
        "ไทย",
        "हिन्दी",
        "مرحبا",
        "Привет",
        "Şţ",
        "ÎÂ",
        "😀",
        "👩‍👩‍👧",
        "\ue000",
        "\ue000.",
    ),
    *(
        "０１",
        "％",
        "～",
        "【",
        "─",
        "━",
        "½",
        "²",
        "٣",
        "٣,٣",
        "\u0660\xa0\u0661",
        "–",
        "—",
        "〈",
        "\U0001d400",
        "\ud800",
    ),
    *("<s>", "</s>", "<pad>", "<special1>", "<special12>", "<S>", "</S>", "<Unk>", "<mask>", "</w>", "@@", "<unk"),
]

#: Pieces of text that rules treat in a way of their own, mixed with any characters.
hard_texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=12).map("".join)
