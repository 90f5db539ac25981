"""Which graph tokenizer belongs to which tokenizer."""

from __future__ import annotations

from typing import Any

from tfxlm.errors import InputError
from tfxlm.tokenizers.in_graph.base import GraphTokenizer
from tfxlm.tokenizers.in_graph.xlm import GraphXLMTokenizer
from tfxlm.tokenizers.in_graph.xlm_roberta import GraphXLMRobertaTokenizer
from tfxlm.tokenizers.xlm import XLMTokenizer
from tfxlm.tokenizers.xlm_roberta import XLMRobertaTokenizer

_CLASSES: dict[type, type[GraphTokenizer]] = {
    XLMTokenizer: GraphXLMTokenizer,
    XLMRobertaTokenizer: GraphXLMRobertaTokenizer,
}


def has_graph(tokenizer: Any) -> bool:
    """Says whether there is a form for graphs of a tokenizer."""
    return isinstance(tokenizer, tuple(_CLASSES))


def reason_without_places(tokenizer: Any) -> str | None:
    """Says why a graph cannot tell where pieces of a tokenizer stand in texts; None where it can."""
    return _class_for(tokenizer).reason_without_places(tokenizer)


def graph_tokenizer(tokenizer: Any, **options: Any) -> GraphTokenizer:
    """Returns a tokenizer as TensorFlow operations.

    Args:
        tokenizer: an `XLMTokenizer` or `XLMRobertaTokenizer`.
        **options: those of `GraphTokenizer`.

    Raises:
        InputError: there is no such form of it, or an option is wrong.
        LanguageError: a language is unknown.
    """
    return _class_for(tokenizer)(tokenizer, **options)


def _class_for(tokenizer: Any) -> type[GraphTokenizer]:
    found = next((graph for kind, graph in _CLASSES.items() if isinstance(tokenizer, kind)), None)
    if found is None:
        names = ", ".join(kind.__name__ for kind in _CLASSES)
        raise InputError(f"{type(tokenizer).__name__} has no form for graphs. There is one for {names}.")
    return found
