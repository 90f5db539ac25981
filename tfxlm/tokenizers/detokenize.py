"""From pieces back to text."""

from collections.abc import Iterable

from tfxlm.tokenizers.rules.chains import Chain, Literal

#: English punctuation and contractions that Moses set apart.
_CLEAN_UP = Chain(
    [
        *(Literal(f" {mark}", mark) for mark in ".?!,"),
        Literal(" ' ", "'"),
        *(Literal(f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
    ]
)


def join_pieces(pieces: Iterable[str], end_of_word: str) -> str:
    """Joins the pieces of words; a space follows each end of a word.

    Args:
        pieces: pieces, the last of each word ending with `end_of_word`.
        end_of_word: the mark.
    """
    return "".join(pieces).replace(end_of_word, " ").strip()


def clean_up(text: str) -> str:
    """Takes the spaces before English punctuation and contractions away."""
    return _CLEAN_UP(text)
