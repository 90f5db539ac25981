"""Writing safetensors, one tensor at a time."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfxlm.checkpoints.safetensors import DTYPES
from tfxlm.errors import InputError
from tfxlm.files import atomic_file, write_json

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([KMGT]?)(i?)B", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Of tensors in the file, in bytes: what computing on a memory map of it asks for. The library itself aligns to 8.
ALIGNMENT = 64


@dataclass(frozen=True)
class Lazy:
    """A tensor that is made when it is written.

    Attributes:
        name: name in the file.
        shape: shape in the file.
        dtype: a numpy dtype, or ``ml_dtypes.bfloat16``.
        get: returns the array, of exactly that shape and dtype; or its parts along the first axis, one after another.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    get: Callable[[], np.ndarray | Iterable[np.ndarray]]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_checkpoint(
    folder: str | Path,
    tensors: Iterable[Lazy],
    *,
    max_shard_size: str | int = "5GB",
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Writes ``model.safetensors``, or shards of it with an index, holding one tensor in memory at a time.

    Every tensor whose size is a multiple of 64 bytes starts at a multiple of 64 bytes in its file, so that a model can
    compute on a memory map of it (``from_pretrained(..., memory_map=True)``).

    All files are complete on the disk before the first takes its name; then those of an earlier save are removed.

    Args:
        folder: where to write; made if missing.
        tensors: the tensors; a shard takes them in this order.
        max_shard_size: largest size of the tensors in one file, in bytes or as ``"5GB"`` (powers of 1000) or ``"5GiB"``
            (of 1024). A larger single tensor gets a file of its own.
        metadata: strings for the header; ``{"format": "pt"}`` if None, which PyTorch readers ask for.

    Returns:
        The files written, the index last.

    Raises:
        InputError: a name occurs twice, a dtype has no place in the format, or an array is not as announced.
        OutputExistsError: `folder` is a file.
    """
    folder = Path(folder)
    shards = _split(_checked(tensors), parse_size(max_shard_size))
    metadata = {"format": "pt"} if metadata is None else dict(metadata)
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [WHOLE]
    with ExitStack() as stack:
        # Entered first, so that it takes its name last.
        index = stack.enter_context(atomic_file(folder / INDEX)) if len(shards) > 1 else None
        for name, shard in zip(names, shards, strict=True):
            path = stack.enter_context(atomic_file(folder / name))
            with path.open("wb") as file:
                _write_shard(file, shard, metadata)
        if index is not None:
            weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
            total = sum(tensor.nbytes for shard in shards for tensor in shard)
            write_json(index, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    written = [*names, INDEX] if len(shards) > 1 else names
    for path in sorted(folder.iterdir()):
        if path.name not in written and (path.name in (WHOLE, INDEX) or _SHARD.fullmatch(path.name)):
            path.unlink()
    return [folder / name for name in written]


def parse_size(size: str | int) -> int:
    """Turns ``"5GB"``, ``"500 MiB"`` or a number into bytes.

    Raises:
        InputError: `size` is not a positive size.
    """
    if type(size) is int and size > 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    count = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].upper()]) if match else 0
    if count < 1:
        raise InputError(f"max_shard_size should be a positive number of bytes or a size such as '5GB', got {size!r}.")
    return count


def _checked(tensors: Iterable[Lazy]) -> list[Lazy]:
    checked: dict[str, Lazy] = {}
    for tensor in tensors:
        if tensor.name in checked:
            raise InputError(f"Two tensors have the name '{tensor.name}'. Names in a checkpoint are unique.")
        if np.dtype(tensor.dtype) not in _NAMES:
            raise InputError(
                f"Tensor '{tensor.name}' has the dtype {tensor.dtype}, which cannot be saved. Supported are "
                f"{', '.join(str(dtype) for dtype in _NAMES)}."
            )
        checked[tensor.name] = tensor
    if not checked:
        raise InputError("There are no tensors to save.")
    return list(checked.values())


def _split(tensors: list[Lazy], limit: int) -> list[list[Lazy]]:
    shards: list[list[Lazy]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return shards


def _write_shard(file: BinaryIO, tensors: Sequence[Lazy], metadata: Mapping[str, str]) -> None:
    # The format allows no gaps: those that would shift others off a multiple come last. Of these, large elements first,
    # so that every tensor starts at a multiple of its element size.
    ordered = sorted(
        tensors,
        key=lambda tensor: (tensor.nbytes % ALIGNMENT != 0, -np.dtype(tensor.dtype).itemsize, tensor.name),
    )
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": _NAMES[np.dtype(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    # The format allows spaces at the end of the header, which begins after the 8 bytes of its length.
    data += b" " * (-(8 + len(data)) % ALIGNMENT)
    file.write(len(data).to_bytes(8, "little"))
    file.write(data)
    for tensor in ordered:
        for part in _parts(tensor):
            # As bytes, because bfloat16 arrays offer no buffer.
            file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _parts(tensor: Lazy) -> Iterator[np.ndarray]:
    """Yields the parts of a tensor, and checks that together they are what was announced."""
    made = tensor.get()
    if isinstance(made, np.ndarray):
        _check_announced(tensor, made.dtype, made.shape)
        yield made
        return
    rows, dtype, inner = 0, np.dtype(tensor.dtype), tensor.shape[1:]
    for part in made:
        rows += len(part)
        _check_announced(tensor, part.dtype, (tensor.shape[0], *part.shape[1:]))
        yield part
    _check_announced(tensor, dtype, (rows, *inner))


def _check_announced(tensor: Lazy, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if shape != tuple(tensor.shape) or dtype != np.dtype(tensor.dtype):
        raise InputError(
            f"Tensor '{tensor.name}' was announced as {tensor.dtype} {tuple(tensor.shape)}, but is {dtype} {shape}."
        )
