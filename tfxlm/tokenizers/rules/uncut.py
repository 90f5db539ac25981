"""What a text holds that nobody has cut into words, in languages that are written without spaces between them."""

from collections.abc import Mapping
from types import MappingProxyType

_HAN = "\u3400-\u9fff"
_KANA = "\u3041-\u30ff"
_THAI = "\u0e01-\u0e7f"
_SPACES = "\u3000\\s"
_MARKS = "\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a"


def _long(letters: str, most: int) -> str:
    return f"[{letters}]{{{most + 1},}}"


def _unparted(letters: str) -> str:
    # Where there are spaces, marks may stand beside a word: setting them apart is for the rules that follow.
    return f"^[^{_SPACES}]*(?:[{letters}][{_MARKS}]|[{_MARKS}][{letters}])[^{_SPACES}]*$"


#: Patterns by language code: more letters in a row than words have, or no space at all and punctuation beside a letter.
UNCUT: Mapping[str, str] = MappingProxyType(
    {
        "zh": f"{_long(_HAN, 11)}|{_unparted(_HAN)}",
        "ja": f"{_long(_HAN + _KANA, 15)}|{_unparted(_HAN + _KANA)}",
        "th": _long(_THAI, 22),
    }
)
