"""What a text holds that nobody has cut into words, in languages that are written without spaces between them."""

from collections.abc import Mapping
from types import MappingProxyType

_HAN = "\u3400-\u9fff"
_KANA = "\u3041-\u30ff"
_THAI = "\u0e01-\u0e7f"
_SPACES = "\u3000\\s"
_MARKS = "\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a"


def _uncut(letters: str, most: int, most_beside_spaces: int, marks: str = "") -> str:
    """Writes the pattern of texts that nobody cut.

    Args:
        letters: of the language, as what stands between brackets.
        most: letters in a row of a text that has no space at all.
        most_beside_spaces: the same in other texts.
        marks: punctuation. Between letters it tells, and beside one where there are no spaces: in a text that is cut,
            setting it apart from the word before is for the rules that follow.
    """
    anywhere, without_spaces = [f"[{letters}]{{{most_beside_spaces + 1},}}"], [f"[{letters}]{{{most + 1},}}"]
    if marks:
        anywhere.append(f"[{letters}][{marks}][{letters}]")
        without_spaces += [f"[{letters}][{marks}]", f"[{marks}][{letters}]"]
    return f"{'|'.join(anywhere)}|^[^{_SPACES}]*(?:{'|'.join(without_spaces)})[^{_SPACES}]*$"


#: Patterns by language code. Of the 30,526 Chinese and 10,808 Thai texts there are to try, rjieba and PyThaiNLP cut
#: none so that it has them. Words in katakana are longer, and Thai has spaces between phrases.
UNCUT: Mapping[str, str] = MappingProxyType(
    {
        "zh": _uncut(_HAN, 11, 15, _MARKS),
        "ja": _uncut(_HAN + _KANA, 15, 40, _MARKS),
        "th": _uncut(_THAI, 22, 22),
    }
)
