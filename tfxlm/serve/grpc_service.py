"""TensorFlow Serving's gRPC interface, and gRPC's own health check."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tfxlm.errors import ConfigError, InputError, ServingError
from tfxlm.serve.admission import Hold
from tfxlm.serve.answering import Answering, code_of
from tfxlm.serve.calls import (
    Prepared,
    model_ref,
    prepare_classify,
    prepare_multi_inference,
    prepare_predict,
    prepare_regress,
)
from tfxlm.serve.config_messages import CLASSES
from tfxlm.serve.failures import serving_error
from tfxlm.serve.health import Watching, check_health
from tfxlm.serve.model_config import models_of
from tfxlm.serve.models import ModelManager
from tfxlm.serve.responses import metadata_response, status_response
from tfxlm.serve.text_files import MAX_BYTES
from tfxlm.serve.workers import WorkerPool

SIGNATURE_DEF = "signature_def"

# What asks about models is small; it is read on the event loop, where a large message would hold all others up.
_MAX_QUESTION_BYTES = 64 * 1024

# What it returns is the answer; one that writes several itself returns nothing.
Method = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes | None]]

# What makes the handler of a method: of those that answer several times, and of all others.
_HANDLERS, _HANDLER = {"Watch": grpc.unary_stream_rpc_method_handler}, grpc.unary_unary_rpc_method_handler

# Method -> the message it takes, and what reads it.
_WORK: dict[str, tuple[Any, Callable[..., Prepared]]] = {
    "Predict": (predict_pb2.PredictRequest, prepare_predict),
    "Classify": (classification_pb2.ClassificationRequest, prepare_classify),
    "Regress": (regression_pb2.RegressionRequest, prepare_regress),
    "MultiInference": (inference_pb2.MultiInferenceRequest, prepare_multi_inference),
}


def grpc_handlers(
    answering: Answering, reloading: WorkerPool, stop: asyncio.Event
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Builds the handlers of all services.

    Args:
        answering: answers what models have to answer.
        reloading: where new model configurations are followed, which takes as long as models take to load.
        stop: is set when the server stops: calls that would go on without end do then.
    """
    models = answering.models
    services: dict[str, dict[str, Method]] = {
        "tensorflow.serving.PredictionService": {
            **{name: partial(_answered, answering, name) for name in _WORK},
            "GetModelMetadata": _asked(get_model_metadata_pb2.GetModelMetadataRequest, models, _get_model_metadata),
        },
        "tensorflow.serving.ModelService": {
            "GetModelStatus": _asked(get_model_status_pb2.GetModelStatusRequest, models, _get_model_status),
            "HandleReloadConfigRequest": partial(_reloaded, models, reloading),
        },
        "grpc.health.v1.Health": {
            "Check": _asked(CLASSES["HealthCheckRequest"], models, check_health),
            "Watch": partial(_watched, Watching(models, stop)),
        },
    }
    # No deserializer: a damaged message then gets INVALID_ARGUMENT like any other bad request.
    return tuple(
        grpc.method_handlers_generic_handler(
            service, {name: _HANDLERS.get(name, _HANDLER)(_guarded(method)) for name, method in methods.items()}
        )
        for service, methods in services.items()
    )


def _parsed(request_class: Any, message: bytes) -> Any:
    try:
        return request_class.FromString(message)
    except DecodeError:
        raise InputError(f"The message is not a {request_class.DESCRIPTOR.name}.") from None


def _guarded(method: Method) -> Method:
    """Turns every exception of a method into a status."""

    async def guarded(message: bytes, context: grpc.aio.ServicerContext) -> bytes | None:
        try:
            return await method(message, context)
        except Exception as error:  # the last line of defence: one bad request must not take the server down
            failure = serving_error(error)
        return await context.abort(grpc.StatusCode[failure.code], str(failure))

    return guarded


async def _answered(answering: Answering, name: str, message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Answers what a model has to answer."""
    request_class, prepare = _WORK[name]
    asked: list[str] = []  # the model's name, once a model of that name was found
    failure: BaseException | None = None

    def read(stack: ExitStack, body: bytes, hold: Hold) -> Prepared:
        def find(spec: Any) -> Any:
            servable = stack.enter_context(answering.models.serving(model_ref(spec)))
            asked.append(servable.name)
            return servable

        prepared = prepare(find, _parsed(request_class, body), answering.limits.max_request_bytes, hold)
        return Prepared(prepared.calls, lambda outputs: prepared.finish(outputs).SerializeToString())

    start, left = time.perf_counter(), context.time_remaining()
    seconds = answering.limits.seconds if left is None else min(left, answering.limits.seconds)
    try:
        with answering.gate.entered() as place:
            place.hold(len(message))
            return await answering.answer(read, message, seconds, place.hold)
    except Exception as error:
        failure = serving_error(error)
        raise failure from error
    except asyncio.CancelledError as error:
        failure = error
        raise
    finally:
        taken = time.perf_counter() - start
        answering.metrics.count_request("".join(asked[:1]), name, "GRPC", code_of(failure), taken)


def _asked(request_class: Any, models: ModelManager, answer: Callable[[ModelManager, Any], Any]) -> Method:
    """Answers a question about models on the event loop: a busy server still says that it is there."""

    async def method(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return answer(models, _parsed_question(request_class, message)).SerializeToString()

    return method


def _parsed_question(request_class: Any, message: bytes) -> Any:
    if len(message) > _MAX_QUESTION_BYTES:
        raise InputError(f"A {request_class.DESCRIPTOR.name} has at most {_MAX_QUESTION_BYTES} bytes here.")
    return _parsed(request_class, message)


def _get_model_metadata(models: ModelManager, request: Any) -> Any:
    if list(request.metadata_field) != [SIGNATURE_DEF]:
        raise InputError(
            f"metadata_field must be [{SIGNATURE_DEF!r}], got {list(request.metadata_field)}; nothing else is known."
        )
    spec, signatures = metadata_response(models, model_ref(request.model_spec))
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def _get_model_status(models: ModelManager, request: Any) -> Any:
    return status_response(models, model_ref(request.model_spec))


async def _watched(watching: Watching, message: bytes, context: grpc.aio.ServicerContext) -> None:
    """Tells a client of a service's health until one of both goes."""
    request = _parsed_question(CLASSES["HealthCheckRequest"], message)
    await watching.watch(request.service, lambda response: context.write(response.SerializeToString()))


async def _reloaded(
    models: ModelManager, reloading: WorkerPool, message: bytes, context: grpc.aio.ServicerContext
) -> bytes:
    """Follows a new model configuration; answers once it is followed."""
    if len(message) > MAX_BYTES:
        raise InputError(f"A ReloadConfigRequest has at most {MAX_BYTES} bytes here.")
    request = _parsed(model_management_pb2.ReloadConfigRequest, message)
    try:
        wanted = models_of(request.config, "The model configuration of the request")
    except ConfigError as error:
        raise InputError(str(error)) from None
    problems = await reloading.run(models.refresh, wanted)
    if problems:
        raise ServingError(" ".join(problems), "FAILED_PRECONDITION")
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    return response.SerializeToString()
