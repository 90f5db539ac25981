"""What a text holds that nobody has cut into words, in languages that are written without spaces between them."""

from collections.abc import Mapping
from types import MappingProxyType

_HAN = "\u3400-\u9fff"
_KANA = "\u3041-\u30ff"
_THAI = "\u0e01-\u0e7f"
_MARKS = "\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a"


def _long(letters: str, most: int) -> str:
    return f"[{letters}]{{{most + 1},}}"


def _unparted(letters: str) -> str:
    return f"[{letters}][{_MARKS}]|[{_MARKS}][{letters}]"


#: Patterns by language code: more letters in a row than words have, or punctuation that is not set apart. Of 9,997
#: Chinese and 1,997 Thai lines that rjieba and PyThaiNLP cut none has them.
UNCUT: Mapping[str, str] = MappingProxyType(
    {
        "zh": f"{_long(_HAN, 11)}|{_unparted(_HAN)}",
        "ja": f"{_long(_HAN + _KANA, 15)}|{_unparted(_HAN + _KANA)}",
        "th": _long(_THAI, 22),
    }
)
