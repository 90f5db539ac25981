"""Arrays of every dtype that checkpoints hold."""

from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def random_array(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Random bits of a dtype: NaNs, infinities and subnormal numbers among them."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    generator = np.random.default_rng(seed)
    if kind == np.bool_:
        return generator.integers(0, 2, shape).astype(kind)
    size = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer(generator.bytes(size), kind).reshape(shape)


def one_of_each() -> dict[str, np.ndarray]:
    """A tensor of each dtype, in odd shapes; one empty, one a number."""
    arrays = {f"layer.{dtype}": random_array((3, 5), dtype, seed) for seed, dtype in enumerate(DTYPES)}
    return {**arrays, "empty": np.zeros((0, 4), np.float32), "number": np.array(3.5, np.float32)}


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays agree in shape, dtype and every bit."""
    return left.shape == right.shape and left.dtype == right.dtype and left.tobytes() == right.tobytes()


def shifted(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Writes a file whose header has a length that aligns nothing to 64 bytes."""
    folder.mkdir(exist_ok=True)
    for extra in range(0, 64, 8):
        safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt", "x": "y" * extra})
        start = 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
        if start % 64:
            break
    assert start % 64
    return folder
