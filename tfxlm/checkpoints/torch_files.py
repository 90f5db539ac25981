"""Files of `torch.save`, read without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfxlm.checkpoints import torch_legacy, torch_zip
from tfxlm.checkpoints.arrays import TensorEntry, is_text
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.torch_values import UnsupportedKindError
from tfxlm.errors import CorruptFileError, UnsupportedFileError

# Formats for people, whether one begins like a file, and what reads the object in it.
FORMATS: Mapping[str, tuple[Callable[[bytes], bool], Callable[[MappedFile], Any]]] = {
    "torch.save, zip": (torch_zip.is_zip, torch_zip.read_zip),
    "torch.save before version 1.6": (torch_legacy.is_legacy, torch_legacy.read_legacy),
}
# How much larger than their file all tensors together may be: tied ones may stand in it once under several names.
_MOST_REPEATED = 4
# A tape archive, in which torch saved before version 0.1.10, has this at a later place.
_TAPE, _TAPE_AT = b"ustar", 257


def read_torch_object(file: MappedFile) -> tuple[Any, str]:
    """Reads what a file of torch.save holds, but for the numbers of its tensors.

    Args:
        file: the mapped file.

    Returns:
        The object: plain values, tuples, lists, sets and dicts of them, a `TensorEntry` for each tensor, and a `Record`
        for each instance of one of the few classes that are known; and the format of the file.

    Raises:
        UnsafeFileError: the file tries to do more than hold tensors and settings.
        UnsupportedFileError: the file has another format.
        CorruptFileError: the file is truncated or contradicts itself.
    """
    head = file.map[:64]
    for file_format, (begins, reader) in FORMATS.items():
        if begins(head):
            try:
                return reader(file), file_format
            except UnsupportedKindError as error:
                raise UnsupportedFileError(
                    f"'{file.path}' holds {error}, which is not read here. Save plain tensors of numbers."
                ) from error
    if file.map[_TAPE_AT : _TAPE_AT + len(_TAPE)] == _TAPE:
        raise UnsupportedFileError(
            f"'{file.path}' is a tape archive, as torch saved before version 0.1.10. Save it again with a newer torch "
            "(`torch.save(torch.load(path), path)`, if you trust its source), or get the weights as safetensors."
        )
    raise CorruptFileError(
        f"'{file.path}' is not a file of torch.save: it begins with {head[:8]!r}. Download it again."
    )


def flat_tensors(file: MappedFile, value: Any) -> dict[str, TensorEntry]:
    """Returns the tensors of a state dict by name.

    Args:
        file: the file that holds it.
        value: what `read_torch_object` returned.

    Raises:
        UnsupportedFileError: it is something else.
        CorruptFileError: a tensor lies outside of the file.
    """
    if type(value) is not dict:
        raise UnsupportedFileError(
            f"'{file.path}' holds a {type(value).__name__} instead of a mapping from names to tensors. Save "
            "`module.state_dict()`."
        )
    others = [name for name, item in value.items() if type(name) is not str or type(item) is not TensorEntry]
    if others:
        keys = ", ".join(repr(key)[:60] for key in list(value)[:10]) + (", ..." if len(value) > 10 else "")
        raise UnsupportedFileError(
            f"'{file.path}' holds more than a flat mapping from names to tensors: {len(others)} of its {len(value)} "
            f"entries are something else (first: {others[0]!r:.60}; keys: {keys}). Save the state dict alone, e.g. "
            "torch.save(checkpoint['model'], path)."
        )
    check_tensors(file, value)
    return value


def check_tensors(file: MappedFile, tensors: Mapping[str, TensorEntry]) -> None:
    """Checks that tensors lie inside their file, and that together they are not more than it can hold.

    Raises:
        CorruptFileError: they do not, or are.
    """
    for name, entry in tensors.items():
        if not is_text(name):
            raise CorruptFileError(
                f"'{file.path}': tensor {name!r:.60} has a name that is not text. Download it again."
            )
        entry.check(f"tensor '{name}'")
    total = sum(entry.nbytes for entry in tensors.values())
    if total > _MOST_REPEATED * file.size:
        raise CorruptFileError(
            f"'{file.path}' of {file.size} bytes claims to hold tensors of {total} bytes: many of them are the same "
            "few. Save each tensor once."
        )
