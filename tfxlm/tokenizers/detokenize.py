"""From pieces back to text."""

from collections.abc import Iterable

from tfxlm.tokenizers.rules.chains import Chain, Literal

#: English punctuation and contractions that Moses set apart.
CLEAN_UP = (
    *(Literal(f" {mark}", mark) for mark in ".?!,"),
    Literal(" ' ", "'"),
    *(Literal(f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
_clean_up = Chain(CLEAN_UP)


def join_pieces(pieces: Iterable[str], space: str) -> str:
    """Joins the pieces of words.

    Args:
        pieces: the pieces, which have a mark where a word ends, or begins.
        space: the mark.
    """
    return "".join(pieces).replace(space, " ").strip()


def clean_up(text: str) -> str:
    """Takes the spaces before English punctuation and contractions away."""
    return _clean_up(text)
