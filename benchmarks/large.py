"""XLM-RoBERTa-XL and -XXL: what it takes to open a checkpoint of such a size and to answer one sentence.

The checkpoint is made here, of random numbers, in a folder that is removed afterwards. It needs that much room on the
disk: 7 GB for XL and 21.5 GB for XXL, and this is why it only runs when it is named.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.measure import figures_of_fresh_process, memory_now, peak_memory
from benchmarks.table import Row

# What the released configurations differ in from the default one, which is XL's.
SHAPES: dict[str, dict[str, Any]] = {
    "xl": {},
    "xxl": {"hidden_size": 4096, "num_hidden_layers": 48, "intermediate_size": 16384},
}
PARTS = tuple(SHAPES)
# How a checkpoint is opened, by name in the table: the further arguments of `from_pretrained`.
WAYS: dict[str, dict[str, Any]] = {
    "one copy": {"dtype": "bfloat16"},
    "one copy, float32": {"dtype": "float32"},
    "memory map": {"dtype": "bfloat16", "memory_map": True},
}
# Those that a machine of 24 GiB has memory for.
WAYS_OF = {"xl": tuple(WAYS), "xxl": ("memory map",)}
DTYPE = np.dtype(ml_dtypes.bfloat16)
SHARD = "5GB"
# Megabytes that XL may take, all in all, and seconds that a memory map may take to open, whatever its size.
LIMITS = {"one copy": 8000, "one copy, float32": 15000, "memory map": 8000}
MOST_SECONDS = 1.0
# How far answers may be from those of the first way: logits in bfloat16.
TOLERANCE = 0.03
PART_BYTES = 1 << 26
SHIFTS = 997
# Masked is the third word.
SENTENCE = np.array([[0, 35378, 250001, 8999, 10, 53450, 47, 3293, 111, 70, 10821, 5, 2]], np.int32)
MASKED = np.array([[2]], np.int32)


@cache
def numbers(scale: float, mean: float) -> np.ndarray:
    """Returns as many normally distributed numbers as a part has at most, and some more to begin elsewhere."""
    random = np.random.default_rng(0)
    drawn = random.standard_normal(PART_BYTES // DTYPE.itemsize + SHIFTS, dtype=np.float32)
    return (drawn * scale + mean).astype(DTYPE)


def parts(shape: tuple[int, ...], scale: float, mean: float) -> Iterator[np.ndarray]:
    """Yields the rows of a tensor of random numbers, some megabytes at a time.

    The same numbers come back in other places, as drawing new ones would take longer than writing them.
    """
    width = int(np.prod(shape[1:], dtype=np.int64))
    rows = PART_BYTES // (width * DTYPE.itemsize)
    random = np.random.default_rng(0)
    for start in range(0, shape[0], rows):
        count = min(rows, shape[0] - start)
        first = random.integers(SHIFTS)
        yield numbers(scale, mean)[first : first + count * width].reshape(count, *shape[1:])


def write(folder: Path, shape: str) -> float:
    """Writes a checkpoint with the names and in the layout of PyTorch's classes; returns its size in MB."""
    from tfxlm import TFXLMRobertaXLForMaskedLM, XLMRobertaXLConfig
    from tfxlm.backend import deferred_variables
    from tfxlm.checkpoints import Lazy, write_checkpoint
    from tfxlm.models.loading import weights_by_path

    config = XLMRobertaXLConfig(**SHAPES[shape], dtype=DTYPE.name)
    config.save_pretrained(folder)
    tensors = []
    # For its names and shapes: it has no numbers.
    with deferred_variables():
        model = TFXLMRobertaXLForMaskedLM(config)
    for path, weight in weights_by_path(model).items():
        match = model.name_map.match_variable(path)
        sizes = match.transform.shape(tuple(weight.shape))
        mean = 1.0 if path.endswith("gamma") else 0.0
        tensors.append(Lazy(match.tensor, sizes, DTYPE, partial(parts, sizes, config.initializer_range, mean)))
    files = write_checkpoint(folder, tensors, max_shard_size=SHARD)
    forget(files)
    return 1e-6 * sum(tensor.nbytes for tensor in tensors)


def forget(files: list[Path]) -> None:
    """Has the system drop what it has in memory of files, so that they are read from the disk again."""
    for path in files:
        with path.open("rb") as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(way: str, folder: str) -> None:
    """The fresh process: prints seconds (to load, of the first and of a further answer) and peaks of memory in MB.

    The logits of its answer are left in the folder, for others to compare theirs with.
    """
    from tfxlm import TFXLMRobertaXLForMaskedLM

    start = memory_now()
    seconds = [time.perf_counter()]
    with peak_memory() as peak:
        model = TFXLMRobertaXLForMaskedLM.from_pretrained(folder, **WAYS[way])
        seconds.append(time.perf_counter())
        whole = model(input_ids=SENTENCE).logits
        answer = np.asarray(whole)[:, MASKED[0, 0]].astype(np.float32)
        seconds.append(time.perf_counter())
        chosen = np.asarray(model(input_ids=SENTENCE, masked_positions=MASKED).logits)[:, 0].astype(np.float32)
        seconds.append(time.perf_counter())
    if not (np.isfinite(answer).all() and np.abs(answer - chosen).max() < 0.05 * np.abs(answer).max()):
        raise ArithmeticError("The logits of one position are not those of all.")
    np.save(Path(folder, f"{way}.npy"), answer)
    memory = (start.rss + peak.rss, start.anonymous + peak.anonymous, start.mapped + peak.mapped)
    print(*np.diff(seconds), *memory)


def check_same(answer: np.ndarray, other: np.ndarray) -> None:
    """Raises `ArithmeticError` unless two ways of opening a checkpoint answer alike."""
    difference = np.abs(answer - other).max() / np.abs(answer).max()
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"Two ways of opening the checkpoint answer differently: by {difference:.2g}.")


def rows_of(part: str, folder: str | None = None) -> list[Row]:
    """Measures a shape once.

    Args:
        part: "xl" or "xxl".
        folder: where to make the checkpoint; the system's folder for temporary files by default.
    """
    rows, shape = [], part
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        size = write(Path(scratch), shape)
        for way in WAYS_OF[shape]:
            work = f"{shape.upper()} in bfloat16, {size / 1000:.1f} GB"
            forget(sorted(Path(scratch).glob("*.safetensors")))
            load, first, further, *memory = figures_of_fresh_process("benchmarks.large", way, scratch)
            check_same(np.load(Path(scratch, f"{WAYS_OF[shape][0]}.npy")), np.load(Path(scratch, f"{way}.npy")))
            for what, value in (("open", load), ("first sentence", first), ("further sentence", further)):
                if what == "open" and way == "memory map":
                    rows.append(Row(f"{work}: {what}", way, value, value / MOST_SECONDS, "x 1 s", 1.0))
                else:
                    rows.append(Row(f"{work}: {what}", way, value, 1e3 * value / size, "s per GB"))
            for what, value in zip(("resident", "anonymous", "mapped"), memory, strict=True):
                bound = LIMITS[way] / size if shape == "xl" and what != "mapped" else None
                rows.append(Row(f"{work}: peak {what} memory", way, value, value / size, "x the file", bound, "MB"))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
