"""Servers that are absent, silent or something else, and calls that cannot be sent."""

import http.server
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from tfxlm.client import Client
from tfxlm.client.calls import ModelRef, Predict
from tfxlm.client.codes import HTTP_STATUS, code_of_http_status
from tfxlm.client.grpc_transport import GrpcTransport
from tfxlm.client.messages import ERROR_CODES
from tfxlm.client.metadata import Signature
from tfxlm.client.retries import Deadline
from tfxlm.errors import InputError, ServingError

TRANSPORTS = pytest.mark.parametrize("transport", ["rest", "grpc"])


def make(transport: str, address: str, **options: Any) -> Client:
    return Client(**{transport: f"http://{address}" if transport == "rest" else address}, **options)


@TRANSPORTS
def test_nobody_listens(transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    message = rf"The server at .*{address} could not be reached: .*Check that it runs and that host and port are right"
    with make(transport, address) as client:
        with pytest.raises(ServingError, match=message) as caught:
            client.predict("tiny", {})
        assert caught.value.code == "UNAVAILABLE"
        with pytest.raises(ServingError, match=r"Model 'tiny' was not available within 0.3 seconds; last") as caught:
            client.wait_until_available("tiny", timeout=0.3)
        assert caught.value.code == "DEADLINE_EXCEEDED"


@TRANSPORTS
def test_somebody_listens_and_says_nothing(transport: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        make(transport, f"127.0.0.1:{silent.getsockname()[1]}") as client,
        pytest.raises(ServingError, match=r"did not answer within 0.2 seconds. Pass a longer `timeout`") as caught,
    ):
        client.status("tiny", timeout=0.2)
    assert caught.value.code == "DEADLINE_EXCEEDED"


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers each path with something TensorFlow Serving would not say."""

    answers = {
        "/v1/models/page": (200, b"<html>"),
        "/v1/models/list": (200, b"[1]"),
        "/v1/models/moved": (302, b"{}"),
        "/v1/models/broken": (502, b"<html>bad gateway"),
        "/v1/models/denied": (403, b'{"message": "who are you?"}'),
        "/v1/models/fields/metadata": (200, b'{"model_spec": {"name": "fields"}}'),
        "/v1/models/types/metadata": (200, b'{"model_spec": {"version": []}, "metadata": {"signature_def": {}}}'),
        "/v1/models/bare/metadata": (
            200,
            b'{"model_spec": {"name": "bare", "version": "1"}, "metadata": {"signature_def": {"signature_def": {'
            b'"serving_default": {"inputs": {}, "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {}}}}}}}}',
        ),
        "/v1/models/bare:predict": (200, b'{"outputs": {"z": 1}}'),
    }

    def do_GET(self) -> None:
        status, body = self.answers[self.path]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def odd() -> Iterator[Client]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever).start()
        with Client(rest=f"http://127.0.0.1:{server.server_port}/") as client:
            yield client
        server.shutdown()


@pytest.mark.parametrize(
    ("call", "model", "code", "message"),
    [
        ("status", "page", "UNKNOWN", r"is not TensorFlow Serving's REST interface: HTTP status 200, b'<html>'"),
        ("status", "list", "UNKNOWN", r"is not TensorFlow Serving's REST interface"),
        ("status", "moved", "UNKNOWN", r"HTTP status 302"),
        ("status", "broken", "UNAVAILABLE", r"HTTP status 502: <html>bad gateway"),
        ("status", "denied", "PERMISSION_DENIED", r"HTTP status 403: .*who are you"),
        ("metadata", "fields", "UNKNOWN", r"the answer to GetMetadata cannot be read: KeyError\('metadata'\)"),
        ("metadata", "types", "UNKNOWN", r"is not TensorFlow Serving's REST interface"),
    ],
)
def test_servers_that_are_something_else(odd: Client, call: str, model: str, code: str, message: str) -> None:
    with pytest.raises(ServingError, match=message) as caught:
        getattr(odd, call)(model)
    assert caught.value.code == code


@pytest.fixture
def odd_grpc() -> Iterator[str]:
    """Address of a server that answers over gRPC what TensorFlow Serving would not say."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.ABORTED, "")

    handlers = {"GetModelMetadata": lambda _, context: b"", "Predict": refuse}
    methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_grpc_server_that_is_something_else(odd_grpc: str) -> None:
    message = rf"^The answer from {odd_grpc} cannot be read: the metadata hold no signatures$"
    with Client(grpc=odd_grpc) as client, pytest.raises(ServingError, match=message) as caught:
        client.metadata("tiny")
    assert caught.value.code == "UNKNOWN"
    transport = GrpcTransport(odd_grpc)
    with pytest.raises(ServingError, match=r"^gRPC status ABORTED$") as caught:
        transport.send(Predict(ModelRef("tiny"), "serving_default", Signature({}, {}), {}), Deadline.after(10))
    assert caught.value.code == "ABORTED"
    transport.close()


def test_answers_that_do_not_fit_the_signature(odd: Client) -> None:
    with pytest.raises(ServingError, match=r"the answer to Predict cannot be read: KeyError") as caught:
        odd.predict("bare", {})
    assert caught.value.code == "UNKNOWN"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Client needs an address: rest='http://127.0.0.1:8501', grpc="),
        ({"rest": "127.0.0.1:8501"}, r"rest must be a URL such as 'http://127.0.0.1:8501', got '127"),
        ({"rest": "ftp://x"}, r"rest must be a URL such as"),
        ({"rest": 5}, r"rest must be a URL such as"),
        ({"rest": "http://x:99999"}, r"rest must be a URL such as"),
        ({"grpc": "127.0.0.1:99999"}, r"grpc must be host:port"),
        ({"grpc": "127.0.0.1"}, r"grpc must be host:port such as '127.0.0.1:8500', got '127.0.0.1'"),
        ({"grpc": "http://127.0.0.1:8500"}, r"grpc must be host:port"),
        ({"rest": "http://x", "rest_format": "row"}, r"rest_format must be 'columns' or 'rows', got 'row'"),
        ({"rest": "http://x", "timeout": 0}, r"timeout must be a number of seconds above 0, got 0"),
    ],
)
def test_wrong_addresses_and_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Client(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, r"model must be the name under which a model is served, got ''"),
        ({"version": -1}, r"version must be a whole number of 0 or more, got -1"),
        ({"version": "1"}, r"version must be a whole number of 0 or more, got '1'"),
        ({"version": 1, "label": "stable"}, r"Give a version or a label, not both; got version=1, label='stable'"),
        ({"timeout": -1}, r"timeout must be a number of seconds above 0, got -1"),
    ],
)
def test_wrong_calls(options: dict[str, Any], message: str) -> None:
    with Client(rest="http://127.0.0.1:1") as client, pytest.raises(InputError, match=message):
        client.predict(**{"model": "tiny", "inputs": {}, **options})


@TRANSPORTS
def test_a_closed_client_says_so(transport: str) -> None:
    client = make(transport, "127.0.0.1:1")
    client.close()
    with pytest.raises(ServingError, match="The client is closed; make a new one") as caught:
        client.status("tiny")
    assert caught.value.code == "FAILED_PRECONDITION"


def test_every_code_has_a_status_that_reads_back_as_a_code_of_that_status() -> None:
    assert set(HTTP_STATUS) == set(ERROR_CODES) - {"OK"}
    for code, status in HTTP_STATUS.items():
        assert HTTP_STATUS[code_of_http_status(status)] == status, code
    assert code_of_http_status(413) == "RESOURCE_EXHAUSTED"
    assert code_of_http_status(418) == "INVALID_ARGUMENT"
    assert code_of_http_status(599) == "UNKNOWN"
