"""The JSON of predict requests and answers: row form (`instances`) and column form (`inputs`)."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from tfxlm.client.casting import check_names
from tfxlm.client.json_tensors import BINARY_SUFFIX, describe_json, from_json, is_base64_object, to_json
from tfxlm.client.metadata import Signature
from tfxlm.errors import InputError
from tfxlm.serve.calls import DEFAULT_SIGNATURE

Form = Literal["instances", "inputs"]

# Those of 1024 rows of 512 tokens, with three inputs, are a million and a half.
MAX_VALUES = 8_000_000


def read_request(body: bytes, find_signature: Callable[[str], Signature]) -> tuple[str, dict[str, np.ndarray], Form]:
    """Reads the body of a predict request.

    Args:
        body: UTF-8 JSON; `NaN`, `Infinity` and `-Infinity` are numbers.
        find_signature: signature name -> its inputs and outputs.

    Returns:
        Signature name, one array per input, and the form the request has and the answer must have.

    Raises:
        InputError: says what is wrong, down to the row and position.
    """
    request = parse_object(body)
    signature_name = read_signature_name(request)
    signature = find_signature(signature_name)
    forms = [form for form in ("instances", "inputs") if form in request]
    if len(forms) != 1:
        raise InputError(
            "A predict request needs either 'instances' (a list with one entry per row) or 'inputs' (one value per "
            f"input); got {'both' if forms else 'neither'}."
        )
    if "instances" in request:
        columns = _read_rows(request["instances"], signature_name, signature)
        form: Form = "instances"
    else:
        columns = _read_columns(request["inputs"], signature_name, signature)
        form = "inputs"
    check_names(signature_name, signature, set(columns))
    arrays = {name: from_json(value, signature.inputs[name], name) for name, value in columns.items()}
    return signature_name, arrays, form


def read_signature_name(request: dict[str, Any]) -> str:
    """Returns the name of the signature that a request asks for.

    Raises:
        InputError: it is no text.
    """
    signature_name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature_name, str):
        raise InputError(f"'signature_name' must be a string, got {describe_json(signature_name)}.")
    if not signature_name.isprintable():
        raise InputError("'signature_name' holds characters that no name has.")
    return signature_name or DEFAULT_SIGNATURE


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses the body of a request, an object.

    Raises:
        InputError: it is none, is nested too deeply, or has more values than a request needs.
    """
    # An empty list takes three bytes here and sixty in memory: a body within its limit could fill the machine's.
    values = sum(map(body.count, (b",", b"[", b"{")))
    if values > MAX_VALUES:
        raise InputError(f"The request body has more than {MAX_VALUES} values. Send fewer rows per request.")
    try:
        request = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"The request body is not UTF-8: {error}.") from None
    except RecursionError:
        raise InputError("The request body is nested too deeply.") from None
    except ValueError as error:  # JSONDecodeError, and Python's limit on the digits of an integer
        raise InputError(f"The request body is not JSON: {error}.") from None
    if not isinstance(request, dict):
        raise InputError(f"The request body must be a JSON object, got {describe_json(request)}.")
    return request


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64_object(value)


def _only_input(signature_name: str, signature: Signature, key: str) -> str:
    """Returns the name of the only input, which a request may leave out."""
    if len(signature.inputs) != 1:
        raise InputError(
            f"{key!r} holds plain values, but signature {signature_name!r} has {len(signature.inputs)} inputs; "
            f"expected objects with {', '.join(map(repr, signature.inputs))}."
        )
    return next(iter(signature.inputs))


def _read_rows(rows: Any, signature_name: str, signature: Signature) -> dict[str, Any]:
    """Turns rows into columns; every row has the same inputs."""
    if not isinstance(rows, list):
        raise InputError(f"'instances' must be a list with one entry per row, got {describe_json(rows)}.")
    if not rows:
        raise InputError("'instances' is empty; expected at least one row.")
    as_objects = _is_object(rows[0])
    for number, row in enumerate(rows):
        if _is_object(row) != as_objects:
            raise InputError(
                f"'instances', row {number}: rows must be all objects or all plain values; row 0 is "
                f"{describe_json(rows[0])}, this one {describe_json(row)}."
            )
        if as_objects:
            try:
                check_names(signature_name, signature, set(row))
            except InputError as error:
                raise InputError(f"'instances', row {number}: {error}") from None
    if not as_objects:
        return {_only_input(signature_name, signature, "instances"): rows}
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _read_columns(inputs: Any, signature_name: str, signature: Signature) -> dict[str, Any]:
    if _is_object(inputs):
        return dict(inputs)
    return {_only_input(signature_name, signature, "inputs"): inputs}


def write_answer(outputs: Mapping[str, np.ndarray], form: Form) -> bytes:
    """Writes the answer to a predict request; a single output stands without its name.

    Args:
        outputs: one array per output.
        form: the form of the request.

    Raises:
        InputError: in row form, outputs without a first dimension or with different ones.
    """
    values = {name: to_json(array, binary=name.endswith(BINARY_SUFFIX)) for name, array in outputs.items()}
    if form == "inputs":
        return _dump("outputs", next(iter(values.values())) if len(values) == 1 else values)
    sizes = {name: len(array) if array.ndim else None for name, array in outputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise InputError(
            f"The outputs have no rows in common, so they cannot be written in row form; rows per output: {sizes}. "
            "Send 'inputs' instead of 'instances'."
        )
    if len(values) == 1:
        return _dump("predictions", next(iter(values.values())))
    return _dump("predictions", [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)])


def _dump(key: str, value: Any) -> bytes:
    return json.dumps({key: value}, ensure_ascii=False).encode("utf-8")
