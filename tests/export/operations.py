"""Writes the names of the operations that TensorFlow's C library can run on the CPU, without Python TensorFlow.

Usage: ``python operations.py NAMES.txt``. These are what TensorFlow Serving is linked with: the core operations, and
those of SentencePiece. Python's own, such as `PyFunc`, have no kernels here.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from tests.export.c_api import Buffer, load_library, load_text_operations


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Reads the fields of a serialized message that have a length."""
    found, position = [], 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        tag = varint()
        if tag & 7 == 2:
            size = varint()
            found.append((tag >> 3, message[position : position + size]))
            position += size
        else:
            varint()
    return found


def main(path: str) -> None:
    load_text_operations()
    library = load_library()
    library.TF_GetAllRegisteredKernels.restype = ctypes.c_void_p
    status = ctypes.c_void_p(library.TF_NewStatus())
    kernels = ctypes.cast(library.TF_GetAllRegisteredKernels(status), ctypes.POINTER(Buffer)).contents
    names = set()
    # KernelList has kernels as field 1; of each, field 1 is the operation and field 2 the device.
    for _, kernel in fields(ctypes.string_at(kernels.data, kernels.length)):
        of_kernel = dict(reversed(fields(kernel)))
        if of_kernel[2] in (b"CPU", b"DEFAULT"):  # the latter are for any device
            names.add(of_kernel[1].decode())
    Path(path).write_text("\n".join(sorted(names)), encoding="utf-8")
    assert "tensorflow" not in sys.modules, "Python TensorFlow was imported"


if __name__ == "__main__":
    main(*sys.argv[1:])
