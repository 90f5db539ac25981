"""Calls in REST form: requests are built and answers read by functions that do no input or output."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format

from tfxlm.client import messages
from tfxlm.client.calls import Call, Classify, GetMetadata, GetStatus, ModelRef, Predict, Regress, ScoredClass
from tfxlm.client.codes import code_of_http_status
from tfxlm.client.examples import examples_json
from tfxlm.client.json_tensors import from_json, is_base64_object, to_json
from tfxlm.client.metadata import ModelMetadata, Signature, TensorSpec, callable_signatures, version_statuses
from tfxlm.client.retries import read_retry_after
from tfxlm.errors import InputError, ServingError

RestFormat = Literal["columns", "rows"]

# Statuses of a server, or of a proxy before it, that may answer the same request a little later.
_TRANSIENT = (429, 502, 503)


@dataclass(frozen=True)
class Endpoint:
    """How one call travels.

    Args:
        suffix: what comes after the path that names the model.
        body: from a call, and the form of predict requests, to what is posted; None for what is got.
        read: from the call and its answer to what the call gives.
    """

    suffix: str
    body: Callable[[Any, RestFormat], dict[str, Any]] | None
    read: Callable[[Any, Mapping[str, Any]], Any]


def model_path(model: ModelRef) -> str:
    """Builds the path that names a model, with its version or label."""
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        path += f"/versions/{model.version}"
    elif model.label is not None:
        path += f"/labels/{quote(model.label, safe='')}"
    return path


def write_body(call: Call, form: RestFormat) -> bytes | None:
    """Writes the body of a request.

    Args:
        call: the call.
        form: of predict requests: `"columns"` for one list per input, `"rows"` for one object per row.

    Raises:
        InputError: in row form, inputs without a first dimension or with different ones.
    """
    endpoint = ENDPOINTS[type(call)]
    if endpoint.body is None:
        return None
    try:
        return json.dumps(endpoint.body(call, form), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The inputs hold text that is not valid Unicode: {error}.") from None


def _predict_body(call: Predict, form: RestFormat) -> dict[str, Any]:
    columns = {name: to_json(array) for name, array in call.inputs.items()}
    if form == "columns":
        return {"signature_name": call.signature_name, "inputs": columns}
    sizes = {name: len(array) if array.ndim else None for name, array in call.inputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise InputError(
            f"In row form every input needs the same number of rows; got {sizes}. Use the column form: "
            'Client(rest=..., rest_format="columns").'
        )
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signature_name": call.signature_name, "instances": rows}


def _examples_body(call: Classify | Regress, form: RestFormat) -> dict[str, Any]:
    del form
    return {"signature_name": call.signature_name, **examples_json(call.examples)}


def read_answer(status: int, body: bytes, retry_after: str | None, address: str) -> dict[str, Any]:
    """Reads the body of an answer.

    Args:
        status: HTTP status.
        body: what came.
        retry_after: the header of that name.
        address: of the server, for error messages.

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
        raise ServingError(
            message,
            code_of_http_status(status),
            is_transient=status in _TRANSIENT,
            retry_after=read_retry_after(retry_after),
        )
    if status != 200 or not isinstance(answer, dict):
        raise not_serving(address, f"HTTP status {status}, {body[:80]!r}")
    return answer


def read_result(call: Call, answer: Mapping[str, Any], address: str) -> Any:
    """Reads what a call gives.

    Raises:
        ServingError: the answer is not one to this call.
    """
    try:
        return ENDPOINTS[type(call)].read(call, answer)
    except (KeyError, TypeError, ValueError, json_format.ParseError) as error:
        raise not_serving(address, f"the answer to {type(call).__name__} cannot be read: {error!r}") from error


def not_serving(address: str, what: str) -> ServingError:
    """Builds the error of an answer that is something else."""
    return ServingError(f"The answer from {address} is not TensorFlow Serving's REST interface: {what}.", "UNKNOWN")


def _outputs(call: Predict, answer: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads arrays, strings as `bytes`, in either form; a single output comes without its name."""
    specs = call.signature.outputs
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


def _loose(spec: TensorSpec) -> TensorSpec:
    """Drops the shape: an empty list tells too little to hold it against the specification."""
    return TensorSpec(spec.dtype, None)


def _classes(call: Classify, answer: Mapping[str, Any]) -> list[tuple[ScoredClass, ...]]:
    del call
    return [tuple(ScoredClass(str(label), float(score)) for label, score in row) for row in answer["results"]]


def _values(call: Regress, answer: Mapping[str, Any]) -> np.ndarray:
    del call
    return np.array([float(value) for value in answer["results"]], np.float32)


def _metadata(call: GetMetadata, answer: Mapping[str, Any]) -> ModelMetadata:
    del call
    spec = _parsed(answer["model_spec"], messages.ModelSpec())
    definitions = _parsed(answer["metadata"]["signature_def"], messages.SignatureDefMap())
    signatures: Mapping[str, Signature] = callable_signatures(definitions.signature_def)
    return ModelMetadata(spec.name, spec.version.value, signatures)


def _parsed(answer: Any, message: Any) -> Any:
    return json_format.ParseDict(answer, message, ignore_unknown_fields=True)


# Calls that are not here have no REST form.
ENDPOINTS: Mapping[type[Call], Endpoint] = {
    Predict: Endpoint(":predict", _predict_body, _outputs),
    Classify: Endpoint(":classify", _examples_body, _classes),
    Regress: Endpoint(":regress", _examples_body, _values),
    GetMetadata: Endpoint("/metadata", None, _metadata),
    GetStatus: Endpoint(
        "", None, lambda call, answer: version_statuses(_parsed(answer, messages.GetModelStatusResponse()))
    ),
}
