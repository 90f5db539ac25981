"""Files of torch.save by what is in them: a state dict, or the checkpoint of one of the programs known here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from tfxlm.checkpoints.layouts import fair, fairseq
from tfxlm.checkpoints.mapped_files import Checksum, MappedFile
from tfxlm.checkpoints.origin import Contents, Found
from tfxlm.checkpoints.torch_files import flat_tensors, read_torch_object
from tfxlm.errors import CorruptFileError

# Each takes what a file holds and returns its tensors and what it says, or None when the file is not of its program.
LAYOUTS: tuple[Callable[[MappedFile, dict[Any, Any]], Found | None], ...] = (fair.read, fairseq.read)


class _Last:
    """The contents of the last file of another program, for a while.

    Its configuration, its tokenizer and its weights are read one after another, and its dictionary, of up to 200,000
    words, takes longer to read than its weights.

    Args:
        seconds: how long they are kept.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        # In one piece, because several threads may read files.
        self._kept: tuple[Hashable, Contents] | None = None
        self._timer: threading.Timer | None = None

    def keep(self, file: MappedFile, contents: Contents) -> Contents:
        """Keeps the contents until others are, or the time is over."""
        self._kept = (file.identity, contents)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._seconds, self._drop)
        self._timer.daemon = True
        self._timer.start()
        return contents

    def _drop(self) -> None:
        self._kept = None

    def inside(self, file: MappedFile) -> Contents | None:
        """Returns the contents again if the file is the very same, as what the map of it holds."""
        kept = self._kept
        if kept is None or kept[0] != file.identity:
            return None
        contents = kept[1]
        checksums: dict[Checksum, Checksum] = {}
        tensors = {name: entry.inside(file, checksums) for name, entry in contents.tensors.items()}
        return Contents(tensors, contents.file_format, contents.origin)


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
    try:
        return _read(file)
    except (RecursionError, MemoryError) as error:
        raise CorruptFileError(
            f"'{file.path}' holds objects that are nested too deeply or too large to be those of a checkpoint. Get the "
            "file again."
        ) from error


def _read(file: MappedFile) -> Contents:
    value, file_format = read_torch_object(file)
    if type(value) is dict:
        for read in LAYOUTS:
            if found := read(file, value):
                tensors, origin = found
                return _last.keep(file, Contents(tensors, file_format, origin))
    return Contents(flat_tensors(file, value), file_format)
