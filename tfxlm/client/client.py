"""The client: one interface over REST and gRPC."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from tfxlm.client.casting import cast_inputs
from tfxlm.client.grpc_transport import GrpcTransport
from tfxlm.client.metadata import ModelMetadata, Signature, VersionStatus
from tfxlm.client.rest import RestFormat, RestTransport
from tfxlm.client.transport import ModelRef, Transport, decode_text
from tfxlm.errors import InputError, ServingError

Result = TypeVar("Result")

_POLL_SECONDS = 0.1


class Client:
    """Asks a TensorFlow Serving server, or the embedded one, for predictions. Imports no TensorFlow.

    With both addresses, calls go over gRPC, and over REST when no gRPC server can be reached. A client can be used
    from several threads.

    Args:
        rest: base URL of the REST interface, for example `"http://127.0.0.1:8501"`.
        grpc: address of the gRPC interface, for example `"127.0.0.1:8500"`.
        timeout: seconds to wait for an answer, unless a call says otherwise.
        rest_format: how REST requests are written: `"columns"`, one list per input, or `"rows"`, one object per row.

    Raises:
        InputError: no address, or one that is none.

    Example:
        >>> from tfxlm import Client
        >>> client = Client(rest="http://127.0.0.1:8501", timeout=10.0)
        >>> client.predict("intent", {"input_ids": [[0, 14, 1]], "lengths": [3]})["scores"].shape  # doctest: +SKIP
        (1, 6)
        >>> client.close()
    """

    def __init__(
        self,
        rest: str | None = None,
        grpc: str | None = None,
        *,
        timeout: float = 60.0,
        rest_format: RestFormat = "columns",
    ) -> None:
        self._timeout = _checked_timeout(timeout)
        self._transports: list[Transport] = []
        if grpc is not None:
            self._transports.append(GrpcTransport(grpc))
        if rest is not None:
            self._transports.append(RestTransport(rest, rest_format))
        if not self._transports:
            raise InputError("Client needs an address: rest='http://127.0.0.1:8501', grpc='127.0.0.1:8500', or both.")
        self._metadata: dict[ModelRef, ModelMetadata] = {}
        self._closed = False

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a model.

        The signature's data types are asked for once per model; values are cast to them where nothing is lost, so
        the int64 ids of a tokenizer can be sent to an int32 input as they are.

        Args:
            model: name under which the model is served.
            inputs: one array-like per input of the signature: numbers, text or bytes of any shape.
            signature_name: signature to call.
            version: version to ask; the newest by default.
            label: version label to ask, instead of a version.
            timeout: seconds to wait for an answer.

        Returns:
            One array per output. Strings are object arrays of `str`; of `bytes` when the output's name ends with
            `_bytes` or they are not UTF-8.

        Raises:
            InputError: the inputs do not fit the signature.
            ServingError: the server answered with an error (its `code` is the canonical name) or was not reached.
        """
        ref = _model_ref(model, version, label)
        seconds = self._seconds(timeout)
        signature, arrays = self._prepare(ref, signature_name, inputs, seconds)
        outputs = self._ask(lambda transport: transport.predict(ref, signature_name, signature, arrays, seconds))
        return {name: decode_text(array, name) for name, array in outputs.items()}

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> ModelMetadata:
        """Asks for the signatures of a model.

        Args:
            model: name under which the model is served.
            version: version to ask about; the newest by default.
            label: version label to ask about, instead of a version.
            timeout: seconds to wait for an answer.

        Raises:
            ServingError: there is no such model, or the server was not reached.
        """
        ref = _model_ref(model, version, label)
        seconds = self._seconds(timeout)
        self._metadata[ref] = self._ask(lambda transport: transport.metadata(ref, seconds))
        return self._metadata[ref]

    def status(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """Asks for the states of a model's versions.

        Args:
            model: name under which the model is served.
            version: version to ask about; all by default.
            label: version label to ask about, instead of a version.
            timeout: seconds to wait for an answer.

        Raises:
            ServingError: there is no such model, or the server was not reached.
        """
        ref = _model_ref(model, version, label)
        seconds = self._seconds(timeout)
        return self._ask(lambda transport: transport.status(ref, seconds))

    def wait_until_available(self, model: str, timeout: float = 60.0, *, version: int | None = None) -> None:
        """Waits until a model can be asked.

        Args:
            model: name under which the model is, or will be, served.
            timeout: seconds to wait at most.
            version: version to wait for; any by default.

        Raises:
            ServingError: it was not available in time (code `DEADLINE_EXCEEDED`), or the request is refused.
        """
        deadline = time.monotonic() + _checked_timeout(timeout)
        while True:
            try:
                statuses = self.status(model, version=version, timeout=max(deadline - time.monotonic(), _POLL_SECONDS))
                if any(status.state == "AVAILABLE" for status in statuses):
                    return
                last = ", ".join(f"version {s.version} is {s.state} {s.error_message}".rstrip() for s in statuses)
            except ServingError as error:
                if error.code not in ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED"):
                    raise
                last = str(error)
            if time.monotonic() + _POLL_SECONDS > deadline:
                raise ServingError(
                    f"Model {model!r} was not available within {timeout:g} seconds; last answer: {last}",
                    "DEADLINE_EXCEEDED",
                )
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Closes the connections."""
        self._closed = True
        for transport in self._transports:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else _checked_timeout(timeout)

    def _prepare(
        self, ref: ModelRef, signature_name: str, inputs: Mapping[str, Any], seconds: float
    ) -> tuple[Signature, dict[str, np.ndarray]]:
        """Casts inputs to a signature, which is asked for again before anything is refused: the model may be newer."""
        if ref in self._metadata:
            try:
                return cast_inputs(self._metadata[ref], signature_name, inputs)
            except InputError:
                pass
        metadata = self.metadata(ref.name, version=ref.version, label=ref.label, timeout=seconds)
        return cast_inputs(metadata, signature_name, inputs)

    def _ask(self, call: Callable[[Transport], Result]) -> Result:
        """Calls the first transport that reaches a server."""
        if self._closed:
            raise ServingError("The client is closed; make a new one.", "FAILED_PRECONDITION")
        *others, last = self._transports
        for transport in others:
            try:
                return call(transport)
            except ServingError as error:
                if error.code != "UNAVAILABLE":
                    raise
        return call(last)


def _checked_timeout(timeout: float) -> float:
    if not isinstance(timeout, (int, float)) or not timeout > 0:
        raise InputError(f"timeout must be a number of seconds above 0, got {timeout!r}.")
    return float(timeout)


def _model_ref(model: str, version: int | None, label: str | None) -> ModelRef:
    if not isinstance(model, str) or not model:
        raise InputError(f"model must be the name under which a model is served, got {model!r}.")
    if version is not None and label is not None:
        raise InputError(f"Give a version or a label, not both; got version={version!r}, label={label!r}.")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**63):
        raise InputError(f"version must be a whole number of 0 or more, got {version!r}.")
    return ModelRef(model, version, label)
