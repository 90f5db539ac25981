"""TensorFlow Serving's REST interface, from the client's side.

Requests are built and answers read by functions that do no input or output.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import httpx
import numpy as np
from google.protobuf import json_format

from tfxlm.client import messages
from tfxlm.client.codes import code_of_http_status
from tfxlm.client.json_tensors import from_json, is_base64_object, to_json
from tfxlm.client.metadata import (
    ModelMetadata,
    Signature,
    TensorSpec,
    VersionStatus,
    callable_signatures,
    version_statuses,
)
from tfxlm.client.transport import ModelRef, is_loopback, too_slow, unreachable
from tfxlm.errors import InputError, ServingError

RestFormat = Literal["columns", "rows"]


def model_path(model: ModelRef) -> str:
    """Builds the path that names a model, with its version or label."""
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        path += f"/versions/{model.version}"
    elif model.label is not None:
        path += f"/labels/{quote(model.label, safe='')}"
    return path


def predict_body(signature_name: str, inputs: Mapping[str, np.ndarray], form: RestFormat) -> bytes:
    """Writes the body of a predict request.

    Args:
        signature_name: signature to call.
        inputs: one array per input.
        form: `"columns"` for one list per input (`"inputs"`), `"rows"` for one object per row (`"instances"`).

    Raises:
        InputError: in row form, inputs without a first dimension or with different ones.
    """
    columns = {name: to_json(array) for name, array in inputs.items()}
    body: dict[str, Any] = {"signature_name": signature_name}
    if form == "columns":
        body["inputs"] = columns
    else:
        sizes = {name: len(array) if array.ndim else None for name, array in inputs.items()}
        if None in sizes.values() or len(set(sizes.values())) != 1:
            raise InputError(
                f"In row form every input needs the same number of rows; got {sizes}. Use the column form: "
                'Client(rest=..., rest_format="columns").'
            )
        body["instances"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    try:
        return json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The inputs hold text that is not valid Unicode: {error}.") from None


def read_answer(status: int, body: bytes, address: str) -> dict[str, Any]:
    """Reads the body of an answer.

    Raises:
        ServingError: the server answered with an error, or with something that is not TensorFlow Serving's.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if status >= 400:
        stated = isinstance(answer, dict) and isinstance(answer.get("error"), str)
        message = answer["error"] if stated else f"HTTP status {status}: {body[:200].decode('utf-8', 'replace')}"
        raise ServingError(message, code_of_http_status(status))
    if status != 200 or not isinstance(answer, dict):
        raise _not_serving(address, f"HTTP status {status}, {body[:80]!r}")
    return answer


def read_outputs(answer: Mapping[str, Any], signature: Signature, address: str) -> dict[str, np.ndarray]:
    """Reads the answer to a predict request, in either form.

    A model with a single output answers with the bare value, without its name.

    Returns:
        One array per output; strings as object arrays of `bytes`.

    Raises:
        ServingError: the answer does not fit the signature.
    """
    specs = signature.outputs
    try:
        if "outputs" in answer:
            outputs = answer["outputs"]
            if len(specs) == 1 and not (isinstance(outputs, dict) and not is_base64_object(outputs)):
                outputs = dict.fromkeys(specs, outputs)
        else:
            rows = answer["predictions"]
            if len(specs) == 1:
                outputs = dict.fromkeys(specs, rows)
            else:
                outputs = {name: [row[name] for row in rows] for name in specs}
        return {name: from_json(outputs[name], _loose(spec), name) for name, spec in specs.items()}
    except (KeyError, TypeError, InputError) as error:
        raise _not_serving(address, f"the outputs do not fit the signature: {error!r}") from error


def _loose(spec: TensorSpec) -> TensorSpec:
    """Drops the shape: an empty list tells too little to hold it against the specification."""
    return TensorSpec(spec.dtype, None)


def _not_serving(address: str, what: str) -> ServingError:
    return ServingError(f"The answer from {address} is not TensorFlow Serving's REST interface: {what}.", "UNKNOWN")


class RestTransport:
    """Talks to one server over HTTP.

    Args:
        url: base address, for example `"http://127.0.0.1:8501"`.
        form: `"columns"` or `"rows"`, how predict requests are written.

    Raises:
        InputError: the address is not an HTTP URL.
    """

    def __init__(self, url: str, form: RestFormat = "columns") -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InputError(f"rest must be a URL such as 'http://127.0.0.1:8501', got {url!r}: {error}.") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
            raise InputError(f"rest must be a URL such as 'http://127.0.0.1:8501', got {url!r}.")
        if form not in ("columns", "rows"):
            raise InputError(f"rest_format must be 'columns' or 'rows', got {form!r}.")
        self.address = url.rstrip("/")
        self._form = form
        self._http = httpx.Client(base_url=self.address, trust_env=not is_loopback(parsed.host))

    def predict(
        self,
        model: ModelRef,
        signature_name: str,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Sends inputs to a signature; see `Transport`."""
        body = predict_body(signature_name, inputs, self._form)
        answer = self._call("POST", f"{model_path(model)}:predict", timeout, body)
        return read_outputs(answer, signature, self.address)

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """Asks for the signatures of a model; see `Transport`."""
        answer = self._call("GET", f"{model_path(model)}/metadata", timeout)
        try:
            spec = self._parse(answer["model_spec"], messages.ModelSpec())
            definitions = self._parse(answer["metadata"]["signature_def"], messages.SignatureDefMap())
        except (KeyError, TypeError) as error:
            raise _not_serving(self.address, f"the metadata lack {error}") from error
        return ModelMetadata(spec.name, spec.version.value, callable_signatures(definitions.signature_def))

    def status(self, model: ModelRef, timeout: float) -> tuple[VersionStatus, ...]:
        """Asks for the states of a model's versions; see `Transport`."""
        answer = self._call("GET", model_path(model), timeout)
        return version_statuses(self._parse(answer, messages.GetModelStatusResponse()))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _parse(self, answer: Any, message: Any) -> Any:
        try:
            return json_format.ParseDict(answer, message, ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise _not_serving(self.address, str(error)) from error

    def _call(self, method: str, path: str, timeout: float, body: bytes | None = None) -> dict[str, Any]:
        """Makes one request; `timeout` covers it as a whole, which httpx alone does not."""
        deadline = time.monotonic() + timeout
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            with self._http.stream(method, path, content=body, headers=headers, timeout=timeout) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > deadline:
                        raise too_slow(self.address, timeout)
                return read_answer(response.status_code, bytes(content), self.address)
        except httpx.TimeoutException as error:
            raise too_slow(self.address, timeout) from error
        except httpx.HTTPError as error:
            raise unreachable(self.address, str(error) or type(error).__name__) from error
