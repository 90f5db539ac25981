"""What `help` shows of models: each argument of a call, and each field of the outputs, also those that others share.

In the source a class describes the arguments that are its own, and says whose the others are: "Those of `TFXLMModel`".
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Mapping

from tfxlm.docstrings import Docstring, Section, docstrings_of, in_order
from tfxlm.models.pretrained import TFPreTrainedModel

_OTHER = re.compile(r"Those of\s+`(\w+)`")
_NAMED = re.compile(r"`(\w+)`")
# What has an axis more in a class that chooses.
_MORE_AXES = re.compile(r"\(batch(?:,(?=\))|(, length))")
_BY_KEYWORD = "by keyword: "


def write_out(classes: Mapping[str, type]) -> None:
    """Completes the docstrings of the models among classes.

    Args:
        classes: by name; what docstrings refer to must be among them.
    """
    docs = {name: docstrings_of(cls)[0] for name, cls in classes.items()}
    written = {}
    for name, cls in classes.items():
        if issubclass(cls, TFPreTrainedModel) and "Call arguments" in docs[name].sections:
            written[name] = Docstring(docs[name].summary, {**docs[name].sections, **_sections(name, classes, docs)})
    for name, doc in written.items():
        classes[name].__doc__ = str(doc)


def _sections(name: str, classes: Mapping[str, type], docs: Mapping[str, Docstring]) -> dict[str, Section]:
    parameters = classes[name].signature.parameters  # type: ignore[attr-defined]
    described = _described(name, classes, docs)
    arguments = {
        argument: (_BY_KEYWORD if it.kind is it.KEYWORD_ONLY else "") + described[argument].removeprefix(_BY_KEYWORD)
        for argument, it in parameters.items()
    }
    returns = docs[name].sections["Returns"].lead
    output = _NAMED.match(returns)
    fields = docs[output[1]].sections["Args"] if output else Section()
    if "cache" not in parameters:
        fields = Section(entries={field: text for field, text in fields.entries.items() if field != "cache"})
    return {
        "Call arguments": dataclasses.replace(in_order(arguments, parameters), lead="In this order by position."),
        "Returns": Section("\n\n".join((returns, textwrap.indent(str(fields), " " * 4)))),
        "Source": next(doc.sections["Source"] for doc in docstrings_of(classes[name]) if "Source" in doc.sections),
    }


def _described(name: str, classes: Mapping[str, type], docs: Mapping[str, Docstring]) -> dict[str, str]:
    """Returns the descriptions of arguments that a class has, and those of the class that it refers to."""
    own = docs[name].sections["Call arguments"]
    other = _OTHER.match(own.lead)
    if other is None:
        return own.by_name
    theirs = _described(other[1], classes, docs)
    axes, fewer = (classes[cls].text_axes for cls in (name, other[1]))  # type: ignore[attr-defined]
    if axes != fewer:
        theirs = {argument: _MORE_AXES.sub(r"(batch, choices\1", text) for argument, text in theirs.items()}
    return {**theirs, **own.by_name}
