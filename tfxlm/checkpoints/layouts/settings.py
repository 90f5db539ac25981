"""What the programs' files have in common: tensors among other things, and settings in several forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.arrays import TensorEntry
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.pickle_values import VALUE, Record
from tfxlm.checkpoints.torch_files import check_tensors
from tfxlm.errors import UnsupportedFileError

# What data parallel training in PyTorch puts in front of every name.
_WRAPPER = "module."
# How many instances may be in one another, each the only thing that the other holds.
_MOST_WRAPPED = 4
_SCALARS = (str, int, float, bool)


def tensors_of(file: MappedFile, content: Mapping[Any, Any], key: str) -> dict[str, TensorEntry]:
    """Returns the state dict under a key, without the prefix of data parallel training.

    Raises:
        UnsupportedFileError: there is something else.
    """
    state = content[key]
    entries = state.items() if type(state) is dict else ()
    if not entries or not all(type(name) is str and type(entry) is TensorEntry for name, entry in entries):
        raise UnsupportedFileError(
            f"'{file.path}' should hold a state dict under '{key}', a mapping from names to tensors, but holds "
            f"{_described(state)}. Save the model's `state_dict()` there."
        )
    wrapped = all(name.startswith(_WRAPPER) for name, _ in entries)
    tensors = {name.removeprefix(_WRAPPER) if wrapped else name: entry for name, entry in entries}
    check_tensors(file, tensors)
    return tensors


def settings_of(value: Any) -> dict[str, Any]:
    """Returns settings by name, stored as a dict, an argparse.Namespace, a DictConfig or a dataclass; others have none.

    Their values are those of the file, which may be anything: see `chosen`.
    """
    found = _unwrapped(value)
    return {name: _unwrapped(item) for name, item in found.items() if type(name) is str} if type(found) is dict else {}


def chosen(path: Path, settings: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings that a configuration takes over.

    Args:
        path: the file.
        settings: from `settings_of`.
        fields: names of settings by the configuration's name for them. A setting that is missing or None is left out.

    Raises:
        UnsupportedFileError: one is neither plain nor a list or dictionary of plain values. What is nested could take
            for ever to print or to compare.
    """
    found: dict[str, Any] = {}
    for field, name in fields.items():
        value = settings.get(name)
        if value is None:
            continue
        if type(value) in (list, tuple):
            value = [_unwrapped(item) for item in value]
        elif type(value) is dict:
            value = {key: _unwrapped(item) for key, item in value.items()}
        items = value.values() if type(value) is dict else value if type(value) is list else (value,)
        odd = next((item for item in items if type(item) not in _SCALARS), None)
        if odd is not None:
            raise UnsupportedFileError(
                f"'{path}' has a {type(odd).__name__} in the setting '{name}', where numbers, texts, and lists and "
                "dictionaries of them are read. Save plain settings with the weights."
            )
        found[field] = value
    return found


def other_keys(content: Mapping[Any, Any], *known: str) -> tuple[str, ...]:
    """Returns the keys of a file that are not among those known, as text for people."""
    return tuple(f"{key}"[:60] for key in content if key not in known)


def count(names: Mapping[str, Any], before: str, after: str) -> int:
    """Counts the tensors whose name is a number between two texts; those of a model's layers."""
    numbers = {
        name[len(before) : len(name) - len(after)] for name in names if name.startswith(before) and name.endswith(after)
    }
    return sum(number.isdecimal() for number in numbers)


def rows_and_columns(path: Path, tensors: Mapping[str, TensorEntry], name: str) -> tuple[int, int]:
    """Returns the two sizes of a matrix.

    Raises:
        UnsupportedFileError: there is no matrix of that name.
    """
    shape = tensors[name].shape if name in tensors else None
    if shape is None or len(shape) != 2 or 0 in shape:
        found = (
            f"one of shape {shape}" if shape is not None else f"{len(tensors)} others, such as '{next(iter(tensors))}'"
        )
        raise UnsupportedFileError(
            f"'{path}' should hold a matrix '{name}', but holds {found}. It is not a model of this family."
        )
    return shape


def _unwrapped(value: Any) -> Any:
    """Returns what is in an instance of one of the classes that hold settings."""
    # Nodes and containers of omegaconf, members of enumerations in them, and a Namespace.
    for _ in range(_MOST_WRAPPED):
        if type(value) is not Record:
            break
        value = next((value.state[name] for name in (VALUE, "_content") if name in value.state), value.state)
    return value


def _described(value: Any) -> str:
    if type(value) is dict:
        odd = next((name for name, item in value.items() if type(item) is not TensorEntry), None)
        return "an empty dict" if odd is None else f"a dict with other things, such as {odd!r:.60}"
    return f"a {type(value).__name__}"
