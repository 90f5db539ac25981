"""How special tokens frame one text or a pair of texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FIRST_TEXT = "first_text"
SECOND_TEXT = "second_text"


@dataclass(frozen=True, slots=True)
class Template:
    """The parts of an input in order, each with the segment (0 or 1) that it belongs to.

    Args:
        single: parts for one text; a part is `FIRST_TEXT` or the role of a special token, such as ``"sep_token"``.
        pair: parts for two texts, `FIRST_TEXT` and `SECOND_TEXT`.
    """

    single: tuple[tuple[str, int], ...]
    pair: tuple[tuple[str, int], ...]


def _framed(first: str, separator: str, separators: int = 1, second: int = 1) -> Template:
    single = ((first, 0), (FIRST_TEXT, 0), (separator, 0))
    between = ((separator, 0),) * (separators - 1)
    return Template(single=single, pair=(*single, *between, (SECOND_TEXT, second), (separator, second)))


#: XLM: `transformers` opens with ``<s>``, which the model never saw; the original opens with ``</s>``.
XLM: Mapping[str, Template] = MappingProxyType(
    {"hf": _framed("bos_token", "sep_token"), "fair": _framed("sep_token", "sep_token")}
)

#: XLM, a sentence and its translation (TLM): the original frames each by itself.
XLM_TRANSLATION = Template(
    single=XLM["fair"].single,
    pair=(
        *(("sep_token", 0), (FIRST_TEXT, 0), ("sep_token", 0)),
        *(("sep_token", 1), (SECOND_TEXT, 1), ("sep_token", 1)),
    ),
)

#: XLM-RoBERTa: two separators between texts, and one segment for all.
XLM_ROBERTA = _framed("cls_token", "sep_token", separators=2, second=0)
