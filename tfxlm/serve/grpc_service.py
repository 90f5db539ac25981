"""TensorFlow Serving's gRPC interface: Predict, GetModelMetadata, GetModelStatus."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from tfxlm.client.tensors import read_tensor, write_tensor
from tfxlm.client.transport import ModelRef
from tfxlm.errors import InputError
from tfxlm.serve.failures import serving_error
from tfxlm.serve.models import ModelManager
from tfxlm.serve.predict_json import DEFAULT_SIGNATURE
from tfxlm.serve.responses import metadata_response, model_spec, status_response
from tfxlm.serve.workers import WorkerPool

SIGNATURE_DEF = "signature_def"

Handler = Callable[[ModelManager, Any, int], Any]
Runner = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


def grpc_handlers(
    models: ModelManager, workers: WorkerPool, max_request_bytes: int
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Builds the handlers of both services.

    Args:
        models: the models to answer for.
        workers: where graphs run.
        max_request_bytes: largest tensor to make from a message; a small one may declare a huge shape.
    """

    def method(request_class: Any, handler: Handler, run: Runner) -> grpc.RpcMethodHandler:
        def answer(message: bytes) -> bytes:
            try:
                request = request_class.FromString(message)
            except DecodeError:
                raise InputError(f"The message is not a {request_class.DESCRIPTOR.name}.") from None
            return handler(models, request, max_request_bytes).SerializeToString()

        # No deserializer: a damaged message then gets INVALID_ARGUMENT like any other bad request.
        return grpc.unary_unary_rpc_method_handler(_guarded(answer, run))

    return (
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": method(predict_pb2.PredictRequest, _predict, workers.run),
                "GetModelMetadata": method(
                    get_model_metadata_pb2.GetModelMetadataRequest, _get_model_metadata, _at_once
                ),
            },
        ),
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService",
            {"GetModelStatus": method(get_model_status_pb2.GetModelStatusRequest, _get_model_status, _at_once)},
        ),
    )


async def _at_once(answer: Callable[[bytes], bytes], message: bytes) -> bytes:
    """Answers on the event loop: a busy server still says that it is there."""
    return answer(message)


def _guarded(
    answer: Callable[[bytes], bytes], run: Runner
) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
    """Turns every exception of a handler into a status."""

    async def guarded(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return await run(answer, message)
        except Exception as error:  # the last line of defence: one bad request must not take the server down
            failure = serving_error(error)
        return await context.abort(grpc.StatusCode[failure.code], str(failure))

    return guarded


def _model_ref(spec: Any) -> ModelRef:
    if not spec.name:
        raise InputError("model_spec.name is empty; expected the name of a model.")
    return ModelRef(
        spec.name,
        spec.version.value if spec.HasField("version") else None,
        spec.version_label or None,
    )


def _predict(models: ModelManager, request: Any, max_request_bytes: int) -> Any:
    with models.serving(_model_ref(request.model_spec)) as servable:
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        servable.signature(signature_name)
        inputs = {name: read_tensor(request.inputs[name], name, max_request_bytes) for name in sorted(request.inputs)}
        outputs = servable.predict(signature_name, inputs, request.output_filter)
    response = predict_pb2.PredictResponse(model_spec=model_spec(servable, signature_name))
    for name, array in outputs.items():
        write_tensor(response.outputs[name], array, name)
    return response


def _get_model_metadata(models: ModelManager, request: Any, max_request_bytes: int) -> Any:
    del max_request_bytes
    if list(request.metadata_field) != [SIGNATURE_DEF]:
        raise InputError(
            f"metadata_field must be [{SIGNATURE_DEF!r}], got {list(request.metadata_field)}; nothing else is known."
        )
    spec, signatures = metadata_response(models, _model_ref(request.model_spec))
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def _get_model_status(models: ModelManager, request: Any, max_request_bytes: int) -> Any:
    del max_request_bytes
    return status_response(models, _model_ref(request.model_spec))
