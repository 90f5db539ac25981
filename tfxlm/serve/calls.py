"""What a request asks of models, and how the answer is written: the same for REST, gRPC and warm-up requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, model_pb2, predict_pb2, regression_pb2

from tfxlm.client.casting import check_names
from tfxlm.client.tensors import declared_bytes, read_tensor, tensor_bytes, write_tensor
from tfxlm.client.transport import ModelRef
from tfxlm.errors import InputError
from tfxlm.serve.admission import Hold, hold_any
from tfxlm.serve.examples import (
    CLASSIFY,
    REGRESS,
    classification_result,
    example_inputs,
    example_rows,
    regression_result,
)

if TYPE_CHECKING:
    from tfxlm.serve.servable import Servable

DEFAULT_SIGNATURE = "serving_default"

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Call:
    """One call of a signature."""

    servable: Servable
    signature_name: str
    inputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Prepared:
    """A request that was read: the calls it needs, and what makes the answer of their outputs."""

    calls: Sequence[Call]
    finish: Callable[[Sequence[Outputs]], Any]


# Finds the version that a ModelSpec asks for.
Find = Callable[[Any], "Servable"]


def model_ref(spec: Any) -> ModelRef:
    """Reads which model a ModelSpec asks for.

    Raises:
        InputError: it names none.
    """
    if not spec.name:
        raise InputError("model_spec.name is empty; expected the name of a model.")
    return ModelRef(
        spec.name,
        spec.version.value if spec.HasField("version") else None,
        spec.version_label or None,
    )


def model_spec(servable: Servable, signature_name: str = "") -> model_pb2.ModelSpec:
    """Says which model and version answered."""
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def prepare_predict(
    find: Find, request: predict_pb2.PredictRequest, max_bytes: int | None = None, hold: Hold = hold_any
) -> Prepared:
    """Reads a PredictRequest; the answer is a PredictResponse.

    Args:
        find: finds the version.
        request: the message.
        max_bytes: the most bytes of all tensors; a small message may declare huge shapes.
        hold: is told how many bytes they take, or `max_bytes` where they are to be refused.

    Raises:
        InputError: inputs, signature or filter do not fit.
        ServingError: no such version.
    """
    servable = find(request.model_spec)
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    # Before anything is made of the tensors.
    check_names(signature_name, servable.signature(signature_name), set(request.inputs))
    size = sum(declared_bytes(proto, name) for name, proto in request.inputs.items())
    hold(size if max_bytes is None else min(size, max_bytes))
    left, inputs = max_bytes, {}
    for name in sorted(request.inputs):
        inputs[name] = read_tensor(request.inputs[name], name, left)
        left = None if left is None else left - tensor_bytes(inputs[name])
    wanted = servable.check(signature_name, inputs, request.output_filter)

    def finish(outputs: Sequence[Outputs]) -> predict_pb2.PredictResponse:
        response = predict_pb2.PredictResponse(model_spec=model_spec(servable, signature_name))
        for name in wanted:
            write_tensor(response.outputs[name], outputs[0][name], name)
        return response

    return Prepared([Call(servable, signature_name, inputs)], finish)


def _task(find: Find, spec: Any, method_name: str, rows: np.ndarray) -> Call:
    servable = find(spec)
    signature_name = spec.signature_name or DEFAULT_SIGNATURE
    return Call(servable, signature_name, example_inputs(servable, signature_name, method_name, rows))


def _prepare_examples(
    find: Find, request: Any, max_bytes: int | None, hold: Hold, method_name: str, answer: Any, result: Any
) -> Prepared:
    call = _task(find, request.model_spec, method_name, example_rows(request.input, max_bytes, hold))

    def finish(outputs: Sequence[Outputs]) -> Any:
        return answer(model_spec=model_spec(call.servable, call.signature_name), result=result(call, outputs[0]))

    return Prepared([call], finish)


def _classes(call: Call, outputs: Outputs) -> classification_pb2.ClassificationResult:
    return classification_result(f"{call.servable}, signature {call.signature_name!r}", call.inputs, outputs)


def _values(call: Call, outputs: Outputs) -> regression_pb2.RegressionResult:
    return regression_result(f"{call.servable}, signature {call.signature_name!r}", call.inputs, outputs)


def prepare_classify(find: Find, request: Any, max_bytes: int | None = None, hold: Hold = hold_any) -> Prepared:
    """Reads a ClassificationRequest; the answer is a ClassificationResponse.

    Raises:
        InputError: there are no examples, or the signature is not for them.
        ServingError: no such version.
    """
    return _prepare_examples(
        find, request, max_bytes, hold, CLASSIFY, classification_pb2.ClassificationResponse, _classes
    )


def prepare_regress(find: Find, request: Any, max_bytes: int | None = None, hold: Hold = hold_any) -> Prepared:
    """Reads a RegressionRequest; the answer is a RegressionResponse.

    Raises:
        InputError: there are no examples, or the signature is not for them.
        ServingError: no such version.
    """
    return _prepare_examples(find, request, max_bytes, hold, REGRESS, regression_pb2.RegressionResponse, _values)


_RESULTS: dict[str, tuple[str, Any]] = {
    CLASSIFY: ("classification_result", _classes),
    REGRESS: ("regression_result", _values),
}

# Each task is a call; a request could otherwise have millions.
MAX_TASKS = 64


def prepare_multi_inference(find: Find, request: Any, max_bytes: int | None = None, hold: Hold = hold_any) -> Prepared:
    """Reads a MultiInferenceRequest, several signatures of one model over the same examples.

    Raises:
        InputError: the tasks are none, too many, of several models, twice the same, or neither classify nor regress.
        ServingError: no such version.
    """
    tasks = request.tasks
    if not 1 <= len(tasks) <= MAX_TASKS:
        raise InputError(f"MultiInference takes from 1 to {MAX_TASKS} tasks, got {len(tasks)}.")
    if len({task.model_spec.name for task in tasks}) > 1:
        raise InputError("All tasks of a MultiInference request must ask the same model.")
    for task in tasks:
        if task.method_name not in _RESULTS:
            raise InputError(
                f"The method_name of a task must be {' or '.join(map(repr, _RESULTS))}, got {task.method_name!r}."
            )
    rows = example_rows(request.input, max_bytes, hold)
    calls = [_task(find, task.model_spec, task.method_name, rows) for task in tasks]
    asked = [(call.servable, call.signature_name) for call in calls]
    if len(set(asked)) < len(asked):
        raise InputError("Two tasks of a MultiInference request ask for the same signature; ask each once.")
    methods = [task.method_name for task in tasks]

    def finish(outputs: Sequence[Outputs]) -> inference_pb2.MultiInferenceResponse:
        response = inference_pb2.MultiInferenceResponse()
        for call, method_name, output in zip(calls, methods, outputs, strict=True):
            field, result = _RESULTS[method_name]
            entry = response.results.add(model_spec=model_spec(call.servable, call.signature_name))
            getattr(entry, field).CopyFrom(result(call, output))
        return response

    return Prepared(calls, finish)
