"""Files of torch.save by what is in them: a state dict, or the checkpoint of one of the programs known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfxlm.checkpoints.arrays import MappedFile
from tfxlm.checkpoints.layouts import fair, fairseq
from tfxlm.checkpoints.origin import Contents, Found
from tfxlm.checkpoints.torch_files import flat_tensors, read_torch_object

# Each takes what a file holds and returns its tensors and what it says, or None when the file is not of its program.
LAYOUTS: tuple[Callable[[MappedFile, dict[Any, Any]], Found | None], ...] = (fair.read, fairseq.read)


def read_torch_contents(file: MappedFile) -> Contents:
    """Reads what a file of torch.save holds, but for the numbers of its tensors.

    Raises:
        UnsafeFileError: the file tries to do more than hold tensors.
        UnsupportedFileError: its format or layout is not one that is read here.
        CorruptFileError: the file is truncated or contradicts itself.
    """
    value, file_format = read_torch_object(file)
    if type(value) is dict:
        for read in LAYOUTS:
            if found := read(file, value):
                tensors, origin = found
                return Contents(tensors, file_format, origin)
    return Contents(flat_tensors(file, value), file_format)
