"""What must hold of the offsets of any text."""

import itertools
import unicodedata
from typing import Any

from tfxlm.tokenizers import XLMRobertaTokenizer, XLMTokenizer

# Letters and digits that normalisation writes otherwise, or takes apart.
FULL_WIDTH = frozenset("０１２３４５６７８９")


def check_offsets(tokenizer: XLMTokenizer, text: str, **options: Any) -> None:
    """Checks the offsets of one text, given as a str."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, **options)
    assert encoding["input_ids"] == tokenizer(text, add_special_tokens=False, **options)["input_ids"]
    spans, words = encoding["offset_mapping"], encoding.word_ids()
    tokens = tokenizer.tokenize(text, **options)
    assert len(spans) == len(words) == len(tokens) == len(encoding["input_ids"])
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    for (start, end), (next_start, next_end) in itertools.pairwise(spans):
        assert start <= next_start and end <= next_end
        assert next_start >= end - 1, "tokens share at most the character that both were made of"
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(words)), (
        "words are numbered without gaps"
    )

    covered: set[int] = set()
    for token, (start, end) in zip(tokens, spans, strict=True):
        piece = token.removesuffix("</w>")
        assert start < end or not piece.strip(), f"{token!r} comes from somewhere"
        covered.update(range(start, end))
        if token in tokenizer.added_tokens_encoder and tokenizer.special.tokens[tokenizer.special.ids[token]].lstrip:
            # White space before such a token belongs to it, and is dropped with it.
            covered.update(range(len(text[:start].rstrip()), start))
        source = text[start:end]
        if source.isalnum() and not FULL_WIDTH.intersection(source):
            assert folded(piece) in folded(source), (token, source)
            if unicodedata.is_normalized("NFD", source):  # otherwise a character may have gone into several tokens
                assert folded(piece) == folded(source), (token, source)
    lost = [char for index, char in enumerate(text) if char.isalnum() and index not in covered]
    assert not lost, "every letter and digit is in a token"


def folded(text: str) -> str:
    """Takes away what the letter case of a vocabulary, and the spelling of a language, change."""
    marked = unicodedata.normalize("NFD", text.lower().replace("ς", "σ"))
    return "".join(char for char in marked if unicodedata.category(char) != "Mn")


def check_places(tokenizer: XLMRobertaTokenizer, text: str, **options: Any) -> None:
    """Checks the offsets of one text: what stands at a token's place becomes the token again."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, **options)
    assert encoding["input_ids"] == tokenizer(text, add_special_tokens=False, **options)["input_ids"]
    spans, words = encoding["offset_mapping"], encoding.word_ids()
    tokens = tokenizer.tokenize(text, **options)
    assert len(spans) == len(words) == len(tokens)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    normalize = tokenizer.sentence_pieces._processor.normalize
    covered: set[int] = set()
    last = 0
    for token, (start, end), (next_start, next_end) in zip(tokens, spans, [*spans, (len(text),) * 2][1:], strict=True):
        assert start <= next_start and end <= next_end
        visible = token.strip("▁")
        assert (start < end) == bool(visible), f"{token!r} comes from somewhere"
        if token in tokenizer.added_tokens_encoder:
            assert text[start:end] == token
        else:
            made = normalize(whole(text[start:end])).strip("▁")
            assert made == visible or (visible in made and not last <= start <= end <= next_start), (
                "or shares characters"
            )
        covered.update(range(start, end))
        if token in tokenizer.added_tokens_encoder and tokenizer.special.tokens[tokenizer.special.ids[token]].lstrip:
            # White space before such a token belongs to it, and is dropped with it.
            covered.update(range(len(text[:start].rstrip()), start))
        last = end
    rest = "".join(char if index not in covered else " " for index, char in enumerate(text))
    assert not normalize(whole(rest)).strip("▁"), "what is in no token becomes nothing"
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(words))


def whole(text: str) -> str:
    """Puts U+FFFD for halves of surrogate pairs."""
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
