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


@dataclass(frozen=True, slots=True)
class Pretraining:
    """How texts without labels become rows to learn from.

    Args:
        first: role of the token that opens a row.
        separator: role of the token that closes each sentence.
        pair: how a sentence and its translation are framed.
        restarts: whether positions restart for the translation.
        whole_sentences: whether rows hold whole sentences; otherwise they are cut where they are full.
    """

    first: str
    separator: str
    pair: Template
    restarts: bool
    whole_sentences: bool


#: XLM: a stream of sentences, cut into rows; the original opens and closes each sentence with ``</s>``.
XLM_PRETRAINING = Pretraining("sep_token", "sep_token", XLM_TRANSLATION, restarts=True, whole_sentences=False)

#: XLM-RoBERTa: whole sentences behind one ``<s>``.
XLM_ROBERTA_PRETRAINING = Pretraining("cls_token", "sep_token", XLM_ROBERTA, restarts=False, whole_sentences=True)
