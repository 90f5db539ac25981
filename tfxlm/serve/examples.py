"""Classify and Regress: `tf.Example`s into a signature, classes or values out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tfxlm.errors import InputError, ServingError
from tfxlm.serve.admission import Hold, hold_any

if TYPE_CHECKING:
    from tfxlm.serve.servable import Servable

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

INPUT = "inputs"
CLASSES, SCORES = "classes", "scores"
VALUES = "outputs"

_OUTPUTS = {CLASSIFY: {CLASSES, SCORES}, REGRESS: {VALUES}}


def example_rows(examples: Any, max_bytes: int | None, hold: Hold = hold_any) -> np.ndarray:
    """Returns the serialized examples of an Input message.

    Args:
        examples: the message: examples, and perhaps the features they share.
        max_bytes: the most bytes of all rows; each gets a copy of what they share. None for any number.
        hold: is told how many bytes they take, before they are made.

    Raises:
        InputError: there are no examples, or they become too large.
    """
    kind = examples.WhichOneof("kind")
    given = getattr(examples, kind) if kind else None
    if given is None or not given.examples:
        raise InputError("The request has no examples; expected at least one.")
    # Bytes of messages one behind the other are those of both merged: an example's own features come last, and win.
    context = given.context.SerializeToString() if kind == "example_list_with_context" else b""
    size = len(context) * len(given.examples) + given.ByteSize()
    if max_bytes is not None and size > max_bytes:
        raise InputError(
            f"{len(given.examples)} examples with a copy each of the context's {len(context)} bytes take more than "
            f"{max_bytes} bytes. Send fewer examples, or a smaller context."
        )
    hold(size)
    rows = np.empty(len(given.examples), dtype=object)
    rows[:] = [context + example.SerializeToString() for example in given.examples]
    return rows


def example_inputs(
    servable: Servable, signature_name: str, method_name: str, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Makes the input of a signature of examples.

    Args:
        servable: the version.
        signature_name: its signature, exported for `method_name`.
        method_name: `CLASSIFY` or `REGRESS`.
        rows: the serialized examples.

    Raises:
        InputError: the signature was exported for something else.
    """
    signature = servable.signature(signature_name)
    found = servable.method_name(signature_name)
    if found != method_name:
        raise InputError(
            f"Signature {signature_name!r} of {servable} has the method {found!r}; expected {method_name!r}. Name "
            "another signature, or ask it with Predict."
        )
    if set(signature.inputs) != {INPUT} or not set(signature.outputs) <= _OUTPUTS[method_name]:
        raise InputError(
            f"Signature {signature_name!r} of {servable} has the method {method_name!r}, but not its inputs and "
            f"outputs: expected {INPUT!r} and {' or '.join(map(repr, sorted(_OUTPUTS[method_name])))}; got "
            f"{', '.join(map(repr, [*signature.inputs, *signature.outputs]))}."
        )
    inputs = {INPUT: rows}
    servable.check(signature_name, inputs)
    return inputs


def classification_result(who: str, inputs: Any, outputs: Any) -> classification_pb2.ClassificationResult:
    """Writes classes and scores, each (examples, classes), as a ClassificationResult.

    Raises:
        ServingError: the answer has other shapes.
    """
    rows = len(inputs[INPUT])
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for array in (classes, scores):
        if array is not None and (array.ndim != 2 or len(array) != rows):
            raise _misshapen(who, rows, "(examples, classes)", array)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise _misshapen(who, rows, f"the same shape as {SCORES!r}", classes)
    result = classification_pb2.ClassificationResult()
    width = next(array for array in (classes, scores) if array is not None).shape[1]
    labels = [[b""] * width] * rows if classes is None else classes.tolist()
    numbers = [[0.0] * width] * rows if scores is None else scores.tolist()
    for row_labels, row_numbers in zip(labels, numbers, strict=True):
        row = result.classifications.add()
        for label, number in zip(row_labels, row_numbers, strict=True):
            row.classes.add(label=label.decode("utf-8", errors="replace"), score=number)
    return result


def regression_result(who: str, inputs: Any, outputs: Any) -> regression_pb2.RegressionResult:
    """Writes values, (examples,) or (examples, 1), as a RegressionResult.

    Raises:
        ServingError: the answer has another shape.
    """
    rows, values = len(inputs[INPUT]), outputs[VALUES]
    if values.shape not in ((rows,), (rows, 1)):
        raise _misshapen(who, rows, "(examples,)", values)
    result = regression_pb2.RegressionResult()
    for value in values.reshape(rows).tolist():
        result.regressions.add(value=value)
    return result


def _misshapen(who: str, rows: int, expected: str, array: np.ndarray) -> ServingError:
    return ServingError(
        f"{who} answered {rows} examples with an output of shape {array.shape}; expected {expected}.",
        "FAILED_PRECONDITION",
    )
