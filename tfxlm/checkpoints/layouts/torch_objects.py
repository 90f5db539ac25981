"""Files of torch.save by what is in them: a state dict, or the checkpoint of one of the programs known here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from tfxlm.checkpoints.layouts import fair, fairseq
from tfxlm.checkpoints.mapped_files import Checksum, MappedFile
from tfxlm.checkpoints.origin import Contents, Found
from tfxlm.checkpoints.torch_files import flat_tensors, read_torch_object

# Each takes what a file holds and returns its tensors and what it says, or None when the file is not of its program.
LAYOUTS: tuple[Callable[[MappedFile, dict[Any, Any]], Found | None], ...] = (fair.read, fairseq.read)


class _Last:
    """The contents of the last file of another program.

    Its configuration, its tokenizer and its weights are read one after another, and its dictionary, of up to 200,000
    words, takes longer to read than its weights.
    """

    def __init__(self) -> None:
        self._identity: Hashable = None
        self._contents: Contents | None = None

    def keep(self, file: MappedFile, contents: Contents) -> Contents:
        """Keeps the contents until others are."""
        self._identity, self._contents = file.identity, contents
        return contents

    def inside(self, file: MappedFile) -> Contents | None:
        """Returns the contents again if the file is the very same, as what the map of it holds."""
        kept = self._contents
        if kept is None or self._identity != file.identity:
            return None
        checksums: dict[Checksum, Checksum] = {}
        tensors = {name: entry.inside(file, checksums) for name, entry in kept.tensors.items()}
        return Contents(tensors, kept.file_format, kept.origin)


_last = _Last()


def read_torch_contents(file: MappedFile) -> Contents:
    """Reads what a file of torch.save holds, but for the numbers of its tensors.

    Raises:
        UnsafeFileError: the file tries to do more than hold tensors.
        UnsupportedFileError: its format or layout is not one that is read here.
        CorruptFileError: the file is truncated or contradicts itself.
    """
    if known := _last.inside(file):
        return known
    value, file_format = read_torch_object(file)
    if type(value) is dict:
        for read in LAYOUTS:
            if found := read(file, value):
                tensors, origin = found
                return _last.keep(file, Contents(tensors, file_format, origin))
    return Contents(flat_tensors(file, value), file_format)
