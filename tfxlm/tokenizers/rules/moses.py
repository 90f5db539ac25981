"""Moses' rules for normalising punctuation and separating words, as data.

The steps are those of the Moses scripts `replace-unicode-punctuation`, `normalize-punctuation`,
`remove-non-printing-char` and `tokenizer` (mosesdecoder), and for Romanian of the WMT16 scripts `normalise-romanian`
and `remove-diacritics`, in the form that sacremoses gives them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tfxlm.tokenizers.rules.chains import Literal, Pattern, Rule, Squeeze

NBSP = "\u00a0"
#: Stands for one dot of a run of dots. Private-use characters are removed before, so no text holds it.
DOT = "\ue000"
#: The language whose rules serve where none is given.
DEFAULT_LANGUAGE = "en"

NON_PRINTING = "[{other}]"


def _literals(table: Mapping[str, str]) -> tuple[Rule, ...]:
    return tuple(Literal(old, new) for old, new in table.items())


_SPACES = Pattern(" +", " ", needs="  ")

UNICODE_PUNCTUATION: tuple[Rule, ...] = (
    *_literals(dict(zip("，、”“∶：？《》）！（；」「～’━〈〉【】％", ',,""::?"")!(;""~\'-<>[]%', strict=True))),
    *_literals(dict(zip("０１２３４５６７８９", "0123456789", strict=True))),
    Literal("…", "..."),
    Pattern("。[{space}]*", ". ", needs="。"),
    Pattern("．[{space}]*", ". ", needs="．"),
)

_BRACKETS_AND_SPACES: tuple[Rule, ...] = (
    Literal("\r", ""),
    Literal("(", " ("),
    Literal(")", ") "),
    _SPACES,
    Pattern(r"\) ([.!:?;,])", r")\1", needs=") "),
    Literal("( ", "("),
    Literal(" )", ")"),
    Pattern("([{digit}]) %", r"\1%", needs=" %"),
    Literal(" :", ":"),
    Literal(" ;", ";"),
)

_QUOTES_AND_DASHES: tuple[Rule, ...] = (
    Literal("`", "'"),
    Literal("''", ' " '),
    Literal("„", '"'),
    Literal("–", "-"),
    Literal("—", " - "),
    _SPACES,
    Literal("´", "'"),
    Literal("‘", "'"),
    Literal("‚", "'"),
    Literal("''", '"'),
    Literal(f"{NBSP}«{NBSP}", '"'),
    Literal(f"«{NBSP}", '"'),
    Literal("«", '"'),
    Literal(f"{NBSP}»{NBSP}", '"'),
    Literal(f"{NBSP}»", '"'),
    Literal("»", '"'),
)

_NO_BREAK_SPACES: tuple[Rule, ...] = (
    Literal(f"{NBSP}%", "%"),
    Literal(f"nº{NBSP}", "nº "),
    Literal(f"{NBSP}:", ":"),
    Literal(f"{NBSP}ºC", " ºC"),
    Literal(f"{NBSP}cm", " cm"),
    Literal(f"{NBSP}?", "?"),
    Literal(f"{NBSP}!", "!"),
    Literal(f"{NBSP};", ";"),
    Literal(f",{NBSP}", ", "),
    _SPACES,
)

# A quotation mark and the comma or full stop beside it change places.
_QUOTE_BEFORE_COMMA: tuple[Rule, ...] = (Pattern('"([,.]+)', r'\1"', needs='"'),)
_COMMA_BEFORE_QUOTE: tuple[Rule, ...] = (
    Literal(',"', '",'),
    # Runs of dots without a quotation mark match as well, unchanged: starting again at each dot would take forever.
    Pattern(r'(\.+)(?:(")([{space}]*[^<]))?', r"\2\1\3", needs='."'),
)
_QUOTE_ORDER: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {"en": _QUOTE_BEFORE_COMMA} | dict.fromkeys(("de", "es", "fr"), _COMMA_BEFORE_QUOTE)
)

_DIGIT_GROUPS = f"([{{digit}}]){NBSP}([{{digit}}])"
_GROUPS_WITH_POINT: tuple[Rule, ...] = (Pattern(_DIGIT_GROUPS, r"\1.\2", needs=NBSP),)
_GROUPS_WITH_COMMA: tuple[Rule, ...] = (Pattern(_DIGIT_GROUPS, r"\1,\2", needs=NBSP),)
_DIGIT_GROUPING: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    dict.fromkeys(("de", "es", "cz", "cs", "fr"), _GROUPS_WITH_COMMA)
)

#: What follows the removal of non-printing characters, before words are separated.
LANGUAGE_SPELLING: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {"ro": _literals(dict(zip("ŞşŢţȘșȚțĂăÂâÎî", "SsTtSsTtAaAaIi", strict=True)))}
)

_SPECIAL_CHARACTERS: tuple[Rule, ...] = (Squeeze(), Pattern(r"([^{alnum}{space}.'`,\-])", r" \1 "))
# Runs of two and more dots stay together: pairs first, then the odd dot that is left.
_DOTS: tuple[Rule, ...] = (
    Literal("..", DOT * 2),
    Literal(f"{DOT}.", DOT * 2),
    Pattern(f"({DOT}+)", r" \1 ", needs=DOT),
)
# A comma within a number stays; the second rule sees what the first one used up (A,B,C).
_COMMAS: tuple[Rule, ...] = (
    Pattern("([^{number}]),", r"\1 , ", needs=","),
    Pattern(",([^{number}])", r" , \1", needs=","),
    Pattern("([{number}]),{end}", r"\1 , ", needs=","),
)
_ENGLISH_APOSTROPHES: tuple[Rule, ...] = (
    Pattern("([^{alpha}])'([^{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([^{alpha}{number}])'([{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([{alpha}])'([^{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([{alpha}])'([{alpha}])", r"\1 '\2", needs="'"),
    Pattern("([{number}])'s", r"\1 's", needs="'s"),
)
_FRENCH_APOSTROPHES: tuple[Rule, ...] = (
    Pattern("([^{alpha}])'([^{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([^{alpha}])'([{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([{alpha}])'([^{alpha}])", r"\1 ' \2", needs="'"),
    Pattern("([{alpha}])'([{alpha}])", r"\1' \2", needs="'"),
)
_OTHER_APOSTROPHES: tuple[Rule, ...] = (Literal("'", " ' "),)
_APOSTROPHES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {"en": _ENGLISH_APOSTROPHES, "fr": _FRENCH_APOSTROPHES, "it": _FRENCH_APOSTROPHES}
)

#: The languages with rules of their own.
LANGUAGES = tuple(
    dict.fromkeys(code for table in (_QUOTE_ORDER, _DIGIT_GROUPING, LANGUAGE_SPELLING, _APOSTROPHES) for code in table)
)

#: What follows the full stops: a last one before an apostrophe comes off, and the runs of dots come back.
AFTER_PERIODS: tuple[Rule, ...] = (
    Squeeze(),
    Pattern(r"\.' ?{end}", " . ' ", needs=".'"),
    Literal(DOT, "."),
)


def normalization(language: str) -> tuple[Rule, ...]:
    """Returns the rules that make punctuation uniform, up to the removal of non-printing characters.

    Args:
        language: language code, such as ``"de"``.
    """
    return (
        *UNICODE_PUNCTUATION,
        *_BRACKETS_AND_SPACES,
        *_QUOTES_AND_DASHES,
        *_NO_BREAK_SPACES,
        *_QUOTE_ORDER.get(language, ()),
        *_DIGIT_GROUPING.get(language, _GROUPS_WITH_POINT),
    )


def separation(language: str) -> tuple[Rule, ...]:
    """Returns the rules that set words and punctuation apart, up to the decision about full stops.

    Args:
        language: language code, such as ``"de"``.
    """
    return (*_SPECIAL_CHARACTERS, *_DOTS, *_COMMAS, *_APOSTROPHES.get(language, _OTHER_APOSTROPHES))
