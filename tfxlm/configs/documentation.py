"""What `help` and editors show of configurations: every field, with its default."""

from __future__ import annotations

import dataclasses
import inspect

from tfxlm.configs.base import PreTrainedConfig
from tfxlm.docstrings import Docstring, docstrings_of, in_order, inherited


def write_out(*config_classes: type[PreTrainedConfig]) -> None:
    """Completes the docstrings and signatures of configuration classes with the fields of those above them."""
    signatures = {config_class: _signature(config_class) for config_class in config_classes}
    docs = {config_class: docstrings_of(config_class) for config_class in config_classes}
    for config_class, (own, *above) in docs.items():
        config_class.__signature__ = inspect.Signature(signatures[config_class])  # type: ignore[attr-defined]
        raises = next((doc.sections["Raises"] for doc in (own, *above) if "Raises" in doc.sections), None)
        if raises is None:  # with python -OO there are no docstrings but what dataclasses make up
            continue
        described = inherited((own, *above), "Args")
        names = [f"**{it.name}" if it.kind is it.VAR_KEYWORD else it.name for it in signatures[config_class]]
        sections = {**own.sections, "Args": in_order(described, names), "Raises": raises}
        config_class.__doc__ = str(Docstring(own.summary, sections))


def _signature(config_class: type[PreTrainedConfig]) -> list[inspect.Parameter]:
    fields = [field for field in dataclasses.fields(config_class) if field.init]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        *(
            inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_default(field))
            for field in fields
            if not field.kw_only
        ),
        inspect.Parameter("num_labels", keyword, default=None),
        *(inspect.Parameter(field.name, keyword, default=_default(field)) for field in fields if field.kw_only),
        inspect.Parameter("extra", inspect.Parameter.VAR_KEYWORD),
    ]


def _default(field: dataclasses.Field[object]) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
