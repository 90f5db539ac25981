"""TensorFlow Serving's gRPC interface, from the client's side."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from tfxlm.client import messages
from tfxlm.client.metadata import ModelMetadata, Signature, VersionStatus, callable_signatures, version_statuses
from tfxlm.client.tensors import read_tensor, write_tensor
from tfxlm.client.transport import ModelRef, is_loopback, too_slow, unreachable
from tfxlm.errors import InputError, ServingError

_METHODS: dict[str, tuple[str, Any]] = {
    "Predict": ("/tensorflow.serving.PredictionService/Predict", messages.PredictResponse),
    "GetModelMetadata": (
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        messages.GetModelMetadataResponse,
    ),
    "GetModelStatus": ("/tensorflow.serving.ModelService/GetModelStatus", messages.GetModelStatusResponse),
}

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is starting should be found soon after it listens; the defaults wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def fill_model_spec(spec: Any, model: ModelRef, signature_name: str = "") -> None:
    """Writes a model reference into a `ModelSpec` message."""
    spec.name = model.name
    spec.signature_name = signature_name
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label


class GrpcTransport:
    """Talks to one server over gRPC, unencrypted.

    Args:
        address: host and port, for example `"127.0.0.1:8500"`.

    Raises:
        InputError: the address is not of the form host:port.
    """

    def __init__(self, address: str) -> None:
        host, _, port = str(address).rpartition(":")
        if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) or "/" in host:
            raise InputError(f"grpc must be host:port such as '127.0.0.1:8500', got {address!r}.")
        self.address = address
        options = [*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0 if is_loopback(host) else 1)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._calls = {
            name: self._channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response_class.FromString,
            )
            for name, (path, response_class) in _METHODS.items()
        }

    def predict(
        self,
        model: ModelRef,
        signature_name: str,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Sends inputs to a signature; see `Transport`. The answer describes itself, `signature` is not needed."""
        del signature
        request = messages.PredictRequest()
        fill_model_spec(request.model_spec, model, signature_name)
        for name, array in inputs.items():
            write_tensor(request.inputs[name], array, name)
        response = self._call("Predict", request, timeout)
        try:
            return {name: read_tensor(response.outputs[name], name) for name in sorted(response.outputs)}
        except InputError as error:
            raise ServingError(f"The answer from {self.address} cannot be read: {error}", "UNKNOWN") from error

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """Asks for the signatures of a model; see `Transport`."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        fill_model_spec(request.model_spec, model)
        response = self._call("GetModelMetadata", request, timeout)
        definitions = messages.SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(definitions):
            raise ServingError(f"The metadata from {self.address} hold no signatures.", "UNKNOWN")
        spec = response.model_spec
        return ModelMetadata(spec.name, spec.version.value, callable_signatures(definitions.signature_def))

    def status(self, model: ModelRef, timeout: float) -> tuple[VersionStatus, ...]:
        """Asks for the states of a model's versions; see `Transport`."""
        request = messages.GetModelStatusRequest()
        fill_model_spec(request.model_spec, model)
        return version_statuses(self._call("GetModelStatus", request, timeout))

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _call(self, method: str, request: Any, timeout: float) -> Any:
        try:
            return self._calls[method](request, timeout=timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED":
                raise too_slow(self.address, timeout) from error
            if code == "UNAVAILABLE":
                raise unreachable(self.address, details) from error
            raise ServingError(details or f"gRPC status {code}", code) from error
