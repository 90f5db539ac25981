"""Which family a ``config.json`` is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# How the names of a family's classes begin, by its `model_type`.
FAMILIES: Mapping[str, str] = {"xlm": "XLM", "xlm-roberta": "XLMRoberta", "xlm-roberta-xl": "XLMRobertaXL"}

# What may follow: another family's name can begin in the same way (XLMProphetNetModel).
_CLASS = re.compile(rf"(?:TF)?({'|'.join(FAMILIES.values())})(?:Model|PreTrainedModel|WithLMHeadModel|For[A-Z]\w*)")


def family_of(values: Mapping[str, Any]) -> tuple[str | None, str]:
    """Finds the family that the content of a ``config.json`` describes.

    `architectures` counts before `model_type`: the stored configuration of XLM-RoBERTa-XXL has the `model_type` of
    XLM-RoBERTa, but names classes of XLM-RoBERTa-XL.

    Args:
        values: the content of the file.

    Returns:
        The `model_type` of the family, which need not be one of `FAMILIES`, or None when nothing names it; and what
        said so, for messages.
    """
    architectures = values.get("architectures")
    if isinstance(architectures, list | tuple):
        matches = [match for name in architectures if isinstance(name, str) and (match := _CLASS.fullmatch(name))]
        found = {match.group(1) for match in matches}
        if len(found) == 1:
            model_type = next(model_type for model_type, stem in FAMILIES.items() if stem in found)
            return model_type, f"architectures {list(architectures)}"
    stored = values.get("model_type")
    return stored, f"model_type {stored!r}" if stored is not None else "no model_type"
