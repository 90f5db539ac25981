"""One version of one model: a loaded SavedModel and its state."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from tfxlm.client.casting import check_names, find_signature
from tfxlm.client.metadata import Signature, VersionStatus, callable_signatures, describe_shape
from tfxlm.errors import ExportError, InputError, ServingError
from tfxlm.serve.gradients import without_gradients
from tfxlm.serve.graph_errors import clean_message, graph_error

SAVED_MODEL_FILE = "saved_model.pb"


class Servable:
    """A SavedModel that can be loaded, called and unloaded.

    Args:
        name: name it is served under.
        version: version number.
        path: folder that holds `saved_model.pb`.
    """

    def __init__(self, name: str, version: int, path: Path) -> None:
        self.name = name
        self.version = version
        self.path = path
        self.status = VersionStatus(version, "START")
        self.signature_defs: Mapping[str, Any] = {}
        self.unjoinable: set[str] = set()  # signatures that turned out not to answer row by row
        self._signatures: dict[str, Signature] = {}
        self._loaded: Any = None
        self._users = 0
        self._change = threading.Condition()

    def __str__(self) -> str:
        return f"Model {self.name!r} version {self.version}"

    def load(self, warm_up: Callable[[Servable], None]) -> None:
        """Reads the SavedModel, warms it up, and makes the version available.

        Args:
            warm_up: asks it what it is warmed up with.

        Raises:
            ExportError: the SavedModel is missing or corrupt, has no signature, or cannot answer its warm-up requests;
                the state is then `END`.
        """
        self.status = VersionStatus(self.version, "LOADING")
        try:
            self.signature_defs = _read_signature_defs(self.path / SAVED_MODEL_FILE)
            self._signatures = callable_signatures(self.signature_defs)
            bring_operations(self.path / SAVED_MODEL_FILE)
            with without_gradients():
                self._loaded = tf.saved_model.load(str(self.path))
            missing = sorted(set(self._signatures) - set(self._loaded.signatures))
            if missing or not self._signatures:
                raise ExportError(f"it has no signature that can be called (described but absent: {missing})")
            warm_up(self)
        # Whatever a damaged file makes the loader raise, the caller needs the folder and the way out.
        except Exception as error:
            reason = clean_message(str(error)).rstrip(".")
            self._loaded = None
            self.status = VersionStatus(self.version, "END", "DATA_LOSS", reason)
            raise ExportError(f"{self} in {self.path} cannot be loaded: {reason}. Export the model again.") from error
        self.status = VersionStatus(self.version, "AVAILABLE")

    def acquire(self) -> bool:
        """Keeps the version loaded until `release`; says whether it is available at all."""
        with self._change:
            available = self.status.state == "AVAILABLE"
            self._users += available
            return available

    def release(self) -> None:
        """Ends what `acquire` began."""
        with self._change:
            self._users -= 1
            self._change.notify_all()

    def unload(self, seconds: float | None = None) -> None:
        """Takes no more requests, waits until those in progress have their answers, and lets the SavedModel go.

        Args:
            seconds: how long to wait at most; what is in progress then keeps its own hold on the model. None for no
                limit.
        """
        with self._change:
            self.status = VersionStatus(self.version, "UNLOADING")
            self._change.wait_for(lambda: self._users == 0, seconds)
        self._loaded = None
        self._signatures, self.signature_defs = {}, {}
        self.status = VersionStatus(self.version, "END")

    def signature(self, signature_name: str) -> Signature:
        """Returns the inputs and outputs of a signature.

        Raises:
            InputError: there is none of that name.
        """
        return find_signature(self._signatures, signature_name)

    def method_name(self, signature_name: str) -> str:
        """Returns what a signature was exported for: `"tensorflow/serving/predict"`, `.../classify` or `.../regress`.

        Raises:
            InputError: there is none of that name.
        """
        self.signature(signature_name)
        return self.signature_defs[signature_name].method_name

    def check(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str] = ()
    ) -> list[str]:
        """Checks a call before it is made; returns the names of the outputs it asks for.

        Raises:
            InputError: inputs or filter do not fit the signature.
        """
        signature = self.signature(signature_name)
        _check_inputs(signature_name, signature, inputs)
        return _checked_filter(signature_name, signature, output_filter)

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            signature_name: signature to call.
            inputs: one array per input; strings as object arrays of `bytes`.
            output_filter: outputs to return; all by default.

        Returns:
            One array per output, by name; strings as object arrays of `bytes`.

        Raises:
            InputError: inputs or filter do not fit the signature.
            ServingError: the graph refused the input, or the version is not available.
        """
        loaded = self._loaded
        if loaded is None:
            raise ServingError(f"{self} is not available; its state is {self.status.state}.", "UNAVAILABLE")
        wanted = self.check(signature_name, inputs, output_filter)
        tensors = {
            name: tf.constant(array, dtype=tf.string if array.dtype == object else None)
            for name, array in inputs.items()
        }
        try:
            outputs = loaded.signatures[signature_name](**tensors)
        except tf.errors.OpError as error:
            raise graph_error(error, str(self)) from error
        return {name: _to_numpy(outputs[name]) for name in wanted}


def bring_operations(path: Path) -> None:
    """Imports TensorFlow Text where a SavedModel needs its operations, which TensorFlow Serving has."""
    if b"TFText>" in path.read_bytes():
        importlib.import_module("tensorflow_text")


def _read_signature_defs(path: Path) -> dict[str, Any]:
    """Reads the signatures as they stand in the file: what `GetModelMetadata` answers with."""
    if not path.is_file():
        raise ExportError(f"{path.name} is missing")
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ExportError(f"{path.name} is corrupt") from error
    for meta_graph in saved_model.meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return dict(meta_graph.signature_def)
    raise ExportError(f"{path.name} holds no graph with the tag {tf.saved_model.SERVING!r}")


def _to_numpy(tensor: tf.Tensor) -> np.ndarray:
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)


def _check_inputs(signature_name: str, signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuses inputs that do not fit before TensorFlow sees them: its own messages name graph nodes, not inputs."""
    check_names(signature_name, signature, set(inputs))
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if array.dtype != spec.dtype.numpy:
            given = "string" if array.dtype == object else array.dtype
            raise InputError(f"Input {name!r} must be {spec}; got {given} values.")
        if not spec.accepts(array.shape):
            raise InputError(f"Input {name!r} must be {spec}; got {describe_shape(array.shape)}.")


def _checked_filter(signature_name: str, signature: Signature, output_filter: Sequence[str]) -> list[str]:
    """Returns the outputs to compute an answer from."""
    unknown = sorted(set(output_filter) - set(signature.outputs))
    if unknown or len(set(output_filter)) != len(output_filter):
        raise InputError(
            f"output_filter must name outputs of signature {signature_name!r}, each once: "
            f"{', '.join(map(repr, signature.outputs))}; got {', '.join(map(repr, output_filter))}."
        )
    return list(output_filter or signature.outputs)
