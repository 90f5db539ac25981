"""Calls as gRPC messages: requests are built and answers read by functions that do no input or output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxlm.client import messages
from tfxlm.client.calls import (
    Call,
    Classify,
    GetMetadata,
    GetStatus,
    ModelRef,
    MultiInference,
    Predict,
    Regress,
    Reload,
    ScoredClass,
)
from tfxlm.client.examples import fill_input
from tfxlm.client.metadata import ModelMetadata, callable_signatures, code_name, version_statuses
from tfxlm.client.tensors import read_tensor, write_tensor
from tfxlm.errors import InputError, ServingError

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"


@dataclass(frozen=True)
class Method:
    """How one call travels.

    Args:
        path: of the method.
        request: from a call to its message.
        response_class: message class of the answer.
        read: from the answer's message to what the call gives.
    """

    path: str
    request: Callable[[Any], Any]
    response_class: Any
    read: Callable[[Any], Any]


def fill_model_spec(spec: Any, model: ModelRef, signature_name: str = "") -> None:
    """Writes a model reference into a `ModelSpec` message."""
    spec.name = model.name
    spec.signature_name = signature_name
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label


def _predict_request(call: Predict) -> Any:
    request = messages.PredictRequest()
    fill_model_spec(request.model_spec, call.model, call.signature_name)
    for name, array in call.inputs.items():
        write_tensor(request.inputs[name], array, name)
    return request


def _outputs(response: Any) -> dict[str, np.ndarray]:
    return {name: read_tensor(response.outputs[name], name) for name in sorted(response.outputs)}


def _examples_request(request_class: Any) -> Callable[[Any], Any]:
    def request(call: Classify | Regress) -> Any:
        message = request_class()
        fill_model_spec(message.model_spec, call.model, call.signature_name)
        fill_input(message.input, call.examples)
        return message

    return request


def _classes(result: Any) -> list[tuple[ScoredClass, ...]]:
    return [tuple(ScoredClass(one.label, one.score) for one in row.classes) for row in result.classifications]


def _values(result: Any) -> np.ndarray:
    return np.array([row.value for row in result.regressions], np.float32)


def _multi_request(call: MultiInference) -> Any:
    request = messages.MultiInferenceRequest()
    for signature_name, kind in call.tasks.items():
        task = request.tasks.add(method_name=call.METHODS[kind])
        fill_model_spec(task.model_spec, call.model, signature_name)
    fill_input(request.input, call.examples)
    return request


def _multi_results(response: Any) -> Mapping[str, Any]:
    return {
        result.model_spec.signature_name: _classes(result.classification_result)
        if result.HasField("classification_result")
        else _values(result.regression_result)
        for result in response.results
    }


def _metadata_request(call: GetMetadata) -> Any:
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    fill_model_spec(request.model_spec, call.model)
    return request


def _metadata(response: Any) -> ModelMetadata:
    definitions = messages.SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(definitions):
        raise InputError("the metadata hold no signatures")
    spec = response.model_spec
    return ModelMetadata(spec.name, spec.version.value, callable_signatures(definitions.signature_def))


def _status_request(call: GetStatus) -> Any:
    request = messages.GetModelStatusRequest()
    fill_model_spec(request.model_spec, call.model)
    return request


def _reload_request(call: Reload) -> Any:
    return messages.ReloadConfigRequest(config=call.config)


def _reloaded(response: Any) -> None:
    # The stock server can refuse a configuration in an answer that is a success to gRPC.
    if response.status.error_code:
        raise ServingError(response.status.error_message, code_name(response.status.error_code))


METHODS: Mapping[type[Call], Method] = {
    Predict: Method(_PREDICTION + "Predict", _predict_request, messages.PredictResponse, _outputs),
    Classify: Method(
        _PREDICTION + "Classify",
        _examples_request(messages.ClassificationRequest),
        messages.ClassificationResponse,
        lambda response: _classes(response.result),
    ),
    Regress: Method(
        _PREDICTION + "Regress",
        _examples_request(messages.RegressionRequest),
        messages.RegressionResponse,
        lambda response: _values(response.result),
    ),
    MultiInference: Method(
        _PREDICTION + "MultiInference", _multi_request, messages.MultiInferenceResponse, _multi_results
    ),
    GetMetadata: Method(
        _PREDICTION + "GetModelMetadata", _metadata_request, messages.GetModelMetadataResponse, _metadata
    ),
    GetStatus: Method(_MODEL + "GetModelStatus", _status_request, messages.GetModelStatusResponse, version_statuses),
    Reload: Method(_MODEL + "HandleReloadConfigRequest", _reload_request, messages.ReloadConfigResponse, _reloaded),
}
