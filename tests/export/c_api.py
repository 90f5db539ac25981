"""Runs a SavedModel through TensorFlow's C API: the loader that TensorFlow Serving uses, without Python TensorFlow.

Usage: ``python c_api.py FOLDER REQUEST.npz ANSWERS.npz ...``, for any number of models. The arrays of requests are
named ``signature/input``, those of answers ``signature/output``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tfxlm.client.messages import SignatureDefMap

# numpy dtype by TF_DataType.
DTYPES = {1: np.float32, 3: np.int32, 14: ml_dtypes.bfloat16, 19: np.float16}
STRING = 7
STRING_BYTES = 24  # of a TF_TString, which holds a short text or points to a long one


class Output(ctypes.Structure):
    """TF_Output: an operation and the index of one of its outputs."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


def load_library() -> ctypes.CDLL:
    folder = Path(next(iter(importlib.util.find_spec("tensorflow").submodule_search_locations)))
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    pointers = (
        "TF_NewStatus TF_NewGraph TF_NewSessionOptions TF_NewBuffer TF_LoadSessionFromSavedModel "
        "TF_GraphOperationByName TF_AllocateTensor TF_TensorData"
    )
    for name in pointers.split():
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_Message.restype = ctypes.c_char_p
    library.TF_Dim.restype = ctypes.c_int64
    library.TF_TensorByteSize.restype = ctypes.c_size_t
    library.TF_StringGetDataPointer.restype = ctypes.c_void_p
    library.TF_StringGetSize.restype = ctypes.c_size_t
    return library


def load_text_operations() -> None:
    """Loads the operations of SentencePiece, which TensorFlow Serving is linked with."""
    library = load_library()
    library.TF_LoadLibrary.restype = ctypes.c_void_p
    folder = Path(next(iter(importlib.util.find_spec("tensorflow_text").submodule_search_locations)))
    status = ctypes.c_void_p(library.TF_NewStatus())
    for path in sorted((folder / "python" / "ops").glob("_*sentencepiece_tokenizer.so")):
        library.TF_LoadLibrary(str(path).encode(), status)
        if library.TF_GetCode(status):
            raise RuntimeError(library.TF_Message(status).decode())


def signature_defs(meta_graph: bytes) -> dict[str, Any]:
    """Reads the signatures (field 5, a map) out of a serialized MetaGraphDef."""
    found, position = b"", 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = meta_graph[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(meta_graph):
        start, tag = position, varint()
        assert tag & 7 in (0, 2), f"unexpected wire type {tag & 7}"
        if tag & 7 == 0:
            varint()
            continue
        length = varint()
        position += length
        if tag >> 3 == 5:
            # The same entry under the map's number in SignatureDefMap, which is 1.
            found += bytes([(1 << 3) | 2]) + meta_graph[start + 1 : position]
    return dict(SignatureDefMap.FromString(found).signature_def)


class Session:
    """A loaded SavedModel."""

    def __init__(self, folder: str) -> None:
        self.tf = load_library()
        self.status = ctypes.c_void_p(self.tf.TF_NewStatus())
        self.graph = ctypes.c_void_p(self.tf.TF_NewGraph())
        meta_graph = ctypes.c_void_p(self.tf.TF_NewBuffer())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = ctypes.c_void_p(
            self.tf.TF_LoadSessionFromSavedModel(
                ctypes.c_void_p(self.tf.TF_NewSessionOptions()),
                None,
                folder.encode(),
                tags,
                1,
                self.graph,
                meta_graph,
                self.status,
            )
        )
        self.check()
        buffer = ctypes.cast(meta_graph, ctypes.POINTER(Buffer)).contents
        self.signatures = signature_defs(ctypes.string_at(buffer.data, buffer.length))

    def check(self) -> None:
        if self.tf.TF_GetCode(self.status):
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def output(self, tensor_name: str) -> Output:
        operation, _, index = tensor_name.partition(":")
        found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
        assert found, f"no operation {operation}"
        return Output(found, int(index or 0))

    def strings(self, array: np.ndarray) -> ctypes.c_void_p:
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = ctypes.c_size_t(array.size * STRING_BYTES)
        tensor = ctypes.c_void_p(self.tf.TF_AllocateTensor(STRING, dims, array.ndim, size))
        for index, text in enumerate(array.ravel().tolist()):
            place = ctypes.c_void_p(self.tf.TF_TensorData(tensor) + index * STRING_BYTES)
            self.tf.TF_StringInit(place)
            self.tf.TF_StringCopy(place, text, ctypes.c_size_t(len(text)))
        return tensor

    def tensor(self, array: np.ndarray) -> ctypes.c_void_p:
        if array.dtype.kind == "S":
            return self.strings(array)
        code = next(code for code, dtype in DTYPES.items() if array.dtype == dtype)
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = ctypes.c_void_p(self.tf.TF_AllocateTensor(code, dims, array.ndim, ctypes.c_size_t(array.nbytes)))
        ctypes.memmove(self.tf.TF_TensorData(tensor), np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return tensor

    def array(self, tensor: ctypes.c_void_p) -> np.ndarray:
        shape = [self.tf.TF_Dim(tensor, i) for i in range(self.tf.TF_NumDims(tensor))]
        data, size, kind = (
            self.tf.TF_TensorData(tensor),
            self.tf.TF_TensorByteSize(tensor),
            self.tf.TF_TensorType(tensor),
        )
        if kind == STRING:
            texts = [self.text(data + start).decode() for start in range(0, size, STRING_BYTES)]
            return np.array(texts).reshape(shape)
        return np.frombuffer(ctypes.string_at(data, size), DTYPES[kind]).reshape(shape)

    def text(self, address: int) -> bytes:
        string = ctypes.c_void_p(address)
        return ctypes.string_at(self.tf.TF_StringGetDataPointer(string), self.tf.TF_StringGetSize(string))

    def run(self, signature: str, request: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        definition = self.signatures[signature]
        inputs = {name: request[f"{signature}/{name}"] for name in definition.inputs}
        names = list(definition.outputs)
        fed = [self.output(definition.inputs[name].name) for name in inputs]
        wanted = [self.output(definition.outputs[name].name) for name in names]
        values = (ctypes.c_void_p * len(wanted))()
        self.tf.TF_SessionRun(
            self.session,
            None,
            (Output * len(fed))(*fed),
            (ctypes.c_void_p * len(fed))(*[self.tensor(array) for array in inputs.values()]),
            len(fed),
            (Output * len(wanted))(*wanted),
            values,
            len(wanted),
            None,
            0,
            None,
            self.status,
        )
        self.check()
        return {name: self.array(ctypes.c_void_p(value)) for name, value in zip(names, values, strict=True)}


def main(*files: str) -> None:
    for folder, request_file, answer_file in zip(*[iter(files)] * 3, strict=True):
        if b"Sentencepiece" in Path(folder, "saved_model.pb").read_bytes():
            load_text_operations()
        session = Session(folder)
        request = dict(np.load(request_file).items())
        signatures = [name for name in session.signatures if name != "__saved_model_init_op"]
        assert signatures
        found = {f"{name}/{key}": value for name in signatures for key, value in session.run(name, request).items()}
        # numpy's files hold no bfloat16.
        wide = {name: value.astype(np.float32) if value.dtype.kind in "fV" else value for name, value in found.items()}
        np.savez(answer_file, **wide)
    assert "tensorflow" not in sys.modules, "Python TensorFlow was imported"


if __name__ == "__main__":
    main(*sys.argv[1:])
