"""Docstrings of public names: all sections are there, every argument is described, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tfxlm
from tests.example_files import ROOT
from tests.models.families import FAMILIES
from tfxlm import AutoConfig, AutoTokenizer, BatchEncoding, KeyValueCache, ModelOutput, TFPreTrainedModel, TFXLMError
from tfxlm.docstrings import TITLES, Docstring
from tfxlm.models.auto import AutoModelClass
from tfxlm.tokenizers.base import Tokenizer

NAMES = sorted({*tfxlm.__all__, "Server"} - {"__version__"})
MODELS = [cls for family in FAMILIES for cls in family.classes]
BASES = {cls for model in MODELS for cls in model.__mro__} - {*MODELS}


def docstring(public: Any) -> Docstring:
    return Docstring.parse(public.__doc__)


def test_a_docstring_is_taken_apart_and_put_together() -> None:
    text = """Does something.

    It has: a colon.

    Args:
        a, b: one thing,
            in two lines.
        **rest: others.

    Returns:
        `Something`, with
        much more.

    Example:
        >>> value: int = 1

        >>> value
        1

    Source: A paper: its title.
    """
    doc = Docstring.parse(text)
    assert doc.summary == "Does something.\n\nIt has: a colon."
    assert doc.sections["Args"].by_name == {
        "a": "one thing,\n    in two lines.",
        "b": "one thing,\n    in two lines.",
        "**rest": "others.",
    }
    assert (doc.sections["Returns"].lead, doc.sections["Returns"].entries) == ("`Something`, with\nmuch more.", {})
    assert doc.sections["Example"].lead == ">>> value: int = 1\n\n>>> value\n1"
    assert doc.sections["Source"].lead == "A paper: its title."
    assert str(doc) == inspect.cleandoc(text) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the README, in a folder with the examples; an example imports what it needs."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(getattr(tfxlm, name).__doc__, {}, name, None, None)
    assert test.examples
    failures: list[str] = []
    doctest.DocTestRunner().run(test, out=failures.append)
    assert not failures, "".join(failures)


def sections_of(public: Any) -> list[str]:
    """The sections that a docstring needs."""
    if not inspect.isclass(public):
        return ["Args", "Returns", "Raises", "Example"]
    if issubclass(public, AutoModelClass | AutoConfig | AutoTokenizer | TFXLMError):
        return ["Example"]
    if issubclass(public, ModelOutput | BatchEncoding | KeyValueCache):
        return ["Args", "Example"]
    if issubclass(public, TFPreTrainedModel):
        return ["Example"] if public in BASES else list(TITLES)
    return ["Args", "Raises", "Example"] + ["Source"] * issubclass(public, Tokenizer)


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_their_sections(name: str) -> None:
    doc = docstring(getattr(tfxlm, name))
    assert doc.summary and doc.summary[0].isupper()
    assert set(sections_of(getattr(tfxlm, name))) <= set(doc.sections)


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_models_say_everything(cls: Any) -> None:
    doc = docstring(cls)
    assert tuple(doc.sections) == TITLES
    arguments = doc.sections["Call arguments"].by_name
    assert list(arguments) == list(cls.signature.parameters) == list(inspect.signature(cls.__call__).parameters)[1:]
    by_keyword = [name for name, it in cls.signature.parameters.items() if it.kind is it.KEYWORD_ONLY]
    assert [name for name, text in arguments.items() if text.startswith("by keyword: ")] == by_keyword
    assert set(doc.sections["Args"].by_name) == {"config", *cls.layer_options, "dtype"}
    assert cls.config_class.__name__ in doc.sections["Args"].entries["config"]
    shape = f"({', '.join(cls.text_axes)})"
    assert shape in arguments["input_ids"] and shape in arguments["attention_mask"]
    output = next(name for name in NAMES if doc.sections["Returns"].lead.startswith(f"`{name}`,"))
    for field in getattr(tfxlm, output).fields:
        assert (f"\n    {field}: " in doc.sections["Returns"].lead) == (field != "cache" or "cache" in arguments)


OUTPUTS = [name for name in NAMES if name.startswith("TF") and issubclass(getattr(tfxlm, name), ModelOutput)]


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_describe_every_field(name: str) -> None:
    assert tuple(docstring(getattr(tfxlm, name)).sections["Args"].by_name) == getattr(tfxlm, name).fields


CONFIGS = [name for name in NAMES if name.endswith("Config") and name != "AutoConfig"]


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_describe_every_field_and_its_default(name: str) -> None:
    config_class = getattr(tfxlm, name)
    signature = inspect.signature(config_class)
    described = docstring(config_class).sections["Args"].by_name
    assert list(described) == [
        f"**{it.name}" if it.kind is it.VAR_KEYWORD else it.name for it in signature.parameters.values()
    ]
    assert "Raises" in docstring(config_class).sections
    config = config_class()
    given = {name: it.default for name, it in signature.parameters.items() if it.default is not it.empty}
    del given["num_labels"], given["id2label"], given["label2id"]
    assert given == {name: getattr(config, name) for name in given}


# What `python -OO` makes of this package alone: it would compile all of TensorFlow, too.
WITHOUT_DOCSTRINGS = """
from importlib.machinery import SourceFileLoader

usual = SourceFileLoader.get_code

def get_code(loader, name):
    if name.partition(".")[0] != "tfxlm":
        return usual(loader, name)
    path = loader.get_filename(name)
    return compile(loader.get_data(path), path, "exec", dont_inherit=True, optimize=2)

SourceFileLoader.get_code = get_code

from tfxlm import TFXLMRobertaModel, XLMRobertaConfig

print(TFXLMRobertaModel.__doc__)
"""


def test_a_program_without_docstrings_starts() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_DOCSTRINGS], capture_output=True, text=True, env=environment, check=False
    )
    assert run.stdout == "None\n", run.stderr


def test_classes_that_choose_name_their_choice() -> None:
    choosing = [name for name in NAMES if name.startswith("TFAuto")]
    assert all(issubclass(getattr(tfxlm, name), AutoModelClass) for name in choosing) and len(choosing) == 9
    for name in choosing:
        chosen = getattr(tfxlm, name).model_classes.values()
        assert all(f"`{cls.__name__}`" in getattr(tfxlm, name).__doc__ for cls in chosen), name
