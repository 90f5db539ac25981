"""TensorFlow Serving's REST interface.

Departures from the stock server, all towards clearer errors: a known path with the wrong method is 405, unknown inputs
are refused in column form too, and strings that are not UTF-8 are written as base64.
"""

import json
from collections.abc import Awaitable, Callable

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tfxlm.client.codes import HTTP_STATUS
from tfxlm.client.transport import ModelRef
from tfxlm.serve.bodies import TooLargeError, read_body
from tfxlm.serve.failures import serving_error
from tfxlm.serve.models import ModelManager
from tfxlm.serve.predict_json import read_request, write_answer
from tfxlm.serve.responses import metadata_response, status_response
from tfxlm.serve.workers import WorkerPool

Endpoint = Callable[[Request], Awaitable[Response]]

_PATHS = (
    "POST /v1/models/NAME[/versions/VERSION|/labels/LABEL]:predict, and GET of the same path, alone for the status or "
    "with /metadata"
)


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


def rest_app(models: ModelManager, workers: WorkerPool, max_request_bytes: int) -> Starlette:
    """Builds the REST interface.

    Args:
        models: the models to answer for.
        workers: where graphs run.
        max_request_bytes: largest request body.
    """

    async def predict(request: Request) -> Response:
        model = _model_ref(request)
        body = await read_body(request, max_request_bytes)
        return _json(200, await workers.run(_predict, models, model, body))

    async def status(request: Request) -> Response:
        return _json(200, _proto_json(status_response(models, _model_ref(request))))

    async def metadata(request: Request) -> Response:
        model_spec, signatures = metadata_response(models, _model_ref(request))
        # The stock server writes the map as the message that holds it, hence the name twice.
        nested = {"model_spec": _proto_dict(model_spec), "metadata": {"signature_def": _proto_dict(signatures)}}
        return _json(200, json.dumps(nested).encode())

    routes = []
    for choice in ("", "/versions/{version:served_version}", "/labels/{label:served_name}"):
        path = "/v1/models/{name:served_name}" + choice
        routes += [
            Route(f"{path}:predict", _guarded(predict), methods=["POST"]),
            Route(path, _guarded(status), methods=["GET"]),
            Route(f"{path}/metadata", _guarded(metadata), methods=["GET"]),
        ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse_path})
    app.router.redirect_slashes = False
    return app


def _predict(models: ModelManager, model: ModelRef, body: bytes) -> bytes:
    """Answers a predict request; runs in a worker thread, since large bodies take time to read and write."""
    with models.serving(model) as servable:
        signature_name, inputs, form = read_request(body, servable.signature)
        outputs = servable.predict(signature_name, inputs)
    return write_answer(outputs, form)


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
            return _error(HTTP_STATUS[failure.code], str(failure))

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
