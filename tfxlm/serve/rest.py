"""TensorFlow Serving's REST interface, health for probes, and the figures for Prometheus.

Departures from the stock server, all towards clearer errors: a known path with the wrong method is 405, unknown inputs
are refused in column form too, and strings that are not UTF-8 are written as base64.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tfxlm.client.codes import HTTP_STATUS
from tfxlm.client.transport import ModelRef
from tfxlm.errors import ServingError
from tfxlm.serve.admission import Hold, time_limit
from tfxlm.serve.answering import Answering, code_of
from tfxlm.serve.bodies import TooLargeError, read_body
from tfxlm.serve.calls import Call, Prepared, prepare_classify, prepare_regress
from tfxlm.serve.examples_json import read_examples, write_classes, write_values
from tfxlm.serve.failures import serving_error
from tfxlm.serve.predict_json import read_request, write_answer
from tfxlm.serve.responses import metadata_response, status_response
from tfxlm.serve.servable import Servable

Endpoint = Callable[[Request], Awaitable[Response]]

# Reads the body of a request to a version.
# Makes calls of the body of a request, which may become at most so many bytes, and says how many it becomes.
Reader = Callable[[Servable, bytes, int, Hold], Prepared]

HEALTH, READINESS = "/healthz", "/readyz"

_PATHS = (
    "POST /v1/models/NAME[/versions/VERSION|/labels/LABEL]:predict, :classify and :regress, and GET of the same path, "
    f"alone for the status or with /metadata; GET {HEALTH} and {READINESS}"
)

# When to come again, for a client that was told that the server is busy.
_RETRY_AFTER = {"Retry-After": "1"}


class _NameConvertor(Convertor[str]):
    """A path segment without the colon that separates the verb."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _VersionConvertor(Convertor[int]):
    """A version number; longer ones than an int64 has digits name nothing."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("served_name", _NameConvertor())
register_url_convertor("served_version", _VersionConvertor())


def rest_app(answering: Answering, metrics_path: str | None) -> Starlette:
    """Builds the REST interface.

    Args:
        answering: answers what models have to answer.
        metrics_path: where the figures for Prometheus are, or None for nowhere.
    """
    models = answering.models

    async def status(request: Request) -> Response:
        return _json(200, _proto_json(status_response(models, _model_ref(request))))

    async def metadata(request: Request) -> Response:
        model_spec, signatures = metadata_response(models, _model_ref(request))
        # The stock server writes the map as the message that holds it, hence the name twice.
        nested = {"model_spec": _proto_dict(model_spec), "metadata": {"signature_def": _proto_dict(signatures)}}
        return _json(200, json.dumps(nested).encode())

    async def health(request: Request) -> Response:
        return _json(200, b'{"status": "alive"}')

    async def readiness(request: Request) -> Response:
        if models.is_ready:
            return _json(200, b'{"status": "ready"}')
        return _error(503, "Not every model has a version that answers.")

    async def metrics(request: Request) -> Response:
        return Response(answering.metrics.text(), media_type=answering.metrics.content_type)

    routes = [Route(HEALTH, health, methods=["GET"]), Route(READINESS, readiness, methods=["GET"])]
    if metrics_path is not None:
        routes.append(Route(metrics_path, metrics, methods=["GET"]))
    for choice in ("", "/versions/{version:served_version}", "/labels/{label:served_name}"):
        path = "/v1/models/{name:served_name}" + choice
        routes += [
            *(
                Route(f"{path}:{verb}", _guarded(partial(_answered, answering, verb, reader)), methods=["POST"])
                for verb, reader in _READERS.items()
            ),
            Route(path, _guarded(status), methods=["GET"]),
            Route(f"{path}/metadata", _guarded(metadata), methods=["GET"]),
        ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse_path})
    app.router.redirect_slashes = False
    return app


def _read_predict(servable: Servable, body: bytes, max_bytes: int, hold: Hold) -> Prepared:
    del max_bytes, hold  # JSON has as many values as it says
    signature_name, inputs, form = read_request(body, servable.signature)
    servable.check(signature_name, inputs)
    return Prepared([Call(servable, signature_name, inputs)], lambda outputs: write_answer(outputs[0], form))


def _read_examples(
    request_class: Any,
    prepare: Callable[..., Prepared],
    write: Callable[[Any], bytes],
    servable: Servable,
    body: bytes,
    max_bytes: int,
    hold: Hold,
) -> Prepared:
    request = request_class()
    read_examples(body, request)
    prepared = prepare(lambda _: servable, request, max_bytes, hold)
    return Prepared(prepared.calls, lambda outputs: write(prepared.finish(outputs)))


_READERS: dict[str, Reader] = {
    "predict": _read_predict,
    "classify": partial(_read_examples, classification_pb2.ClassificationRequest, prepare_classify, write_classes),
    "regress": partial(_read_examples, regression_pb2.RegressionRequest, prepare_regress, write_values),
}


async def _answered(answering: Answering, verb: str, reader: Reader, request: Request) -> Response:
    """Answers what a model has to answer."""
    model = _model_ref(request)
    limits, start = answering.limits, time.perf_counter()
    failure: BaseException | None = None

    def read(stack: ExitStack, body: bytes, hold: Hold) -> Prepared:
        return reader(stack.enter_context(answering.models.serving(model)), body, limits.max_request_bytes, hold)

    async def answer() -> bytes:
        with answering.gate.entered() as place:
            async with time_limit(limits.seconds):
                body = await read_body(request, limits.max_request_bytes, place.hold, answering.inflating.run)
            left = limits.seconds - (time.perf_counter() - start)
            return await _while_there(request, answering.answer(read, body, left, place.hold))

    try:
        return _json(200, await answer())
    except Exception as error:
        # What is too large has a status of its own in HTTP.
        failure = error if isinstance(error, TooLargeError) else serving_error(error)
        raise failure from error
    except asyncio.CancelledError as error:
        failure = error
        raise
    finally:
        known = model.name if model.name in answering.models.names else ""
        code = "INVALID_ARGUMENT" if isinstance(failure, TooLargeError) else code_of(failure)
        answering.metrics.count_request(known, verb.title(), "REST", code, time.perf_counter() - start)


async def _while_there(request: Request, work: Awaitable[bytes]) -> bytes:
    """Waits for an answer as long as there is somebody to have it.

    Raises:
        ServingError: the client has gone away (`CANCELLED`).
    """
    answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ServingError("The client went away before it had its answer.", "CANCELLED")
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Turns every exception of an endpoint into a JSON error."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except TooLargeError as error:
            # The connection stays open and uvicorn throws away what still comes: most clients read the answer only
            # after they have sent everything, and would lose it with the connection.
            return _error(413, str(error))
        except Exception as error:  # the last line of defence: one bad request must not take the server down
            failure = serving_error(error)
            busy = failure.code == "RESOURCE_EXHAUSTED"
            return _error(HTTP_STATUS[failure.code], str(failure), _RETRY_AFTER if busy else None)
        except asyncio.CancelledError:  # by uvicorn, when the time of a server that stops is over
            return _error(503, "The server is stopping, and the request was not answered in time.")

    return guarded


async def _refuse_path(request: Request, error: Exception) -> Response:
    """Answers requests that no route takes."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return _error(405, f"{request.method} is not possible on {path}; use {allowed}.", {"Allow": allowed})
    status = 400 if path.startswith("/v1/") else 404
    return _error(status, f"There is nothing at {request.method} {path}. Known are {_PATHS}.")


def _model_ref(request: Request) -> ModelRef:
    parameters = request.path_params
    return ModelRef(parameters["name"], parameters.get("version"), parameters.get("label"))


def _proto_dict(message: object) -> dict[str, object]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _proto_json(message: object) -> bytes:
    return json.dumps(_proto_dict(message)).encode()


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(status, json.dumps({"error": message}).encode(), headers)
