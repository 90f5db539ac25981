"""Whatever comes in, an answer goes out, and the next good request is answered."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.conftest import CLASSIFY
from tfxlm.client import messages
from tfxlm.serve import Server

_SIGNATURES = ["serving_default", "upper", "half_plus_three", "scalars", "uneven", "binary", "echo", "", "nope"]
_NAMES = st.sampled_from(["input_ids", "lengths", "langs", "x", "text", "raw", "pairs", "b64", "word"])
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just({"b64": "Zm9v"}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)
_REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(_SIGNATURES) | _VALUES,
        "instances": _VALUES,
        "inputs": _VALUES | st.dictionaries(_NAMES, _VALUES, max_size=4),
    },
)
_BODIES = _REQUESTS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)

_quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.rest_url) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as opened:
        yield opened


def _still_answers(http: httpx.Client) -> None:
    assert http.post("/v1/models/tiny:predict", json={"inputs": CLASSIFY}).status_code == 200


@_quick
@given(body=_BODIES)
def test_rest_bodies(http: httpx.Client, body: bytes) -> None:
    response = http.post("/v1/models/tiny:predict", content=body)
    answer = json.loads(response.text)
    if response.status_code == 200:
        assert set(answer) <= {"predictions", "outputs"}
    else:
        assert response.status_code == 400
        assert set(answer) == {"error"}
        assert "Traceback" not in answer["error"]
    _still_answers(http)


_EXAMPLES = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["classes", "values", "wide", "flat", "upper"]) | _VALUES,
        "examples": st.lists(st.dictionaries(st.sampled_from(["x", "name", "times"]), _VALUES), max_size=3) | _VALUES,
        "context": st.dictionaries(st.sampled_from(["x", "name", "times"]), _VALUES, max_size=3) | _VALUES,
    },
)


@_quick
@given(body=_EXAMPLES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), verb=st.booleans())
def test_rest_examples(http: httpx.Client, body: bytes, verb: bool) -> None:
    response = http.post(f"/v1/models/tiny:{'classify' if verb else 'regress'}", content=body)
    answer = json.loads(response.text)
    assert (response.status_code, set(answer)) in ((200, {"results"}), (400, {"error"}))
    assert "Traceback" not in str(answer)
    _still_answers(http)


@_quick
@given(
    head=st.sampled_from(["POST", "GET", "PUT", "\x00"]),
    length=st.sampled_from(["", "0", "3", "-1", "x", "1, 2", "99999999999999999999", "7\r\nContent-Length: 8"]),
    encoding=st.sampled_from(["", "chunked", "gzip", "gzip, chunked", "nope"]),
    body=st.binary(max_size=30) | st.sampled_from([b"3\r\n{}\n\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n"]),
)
def test_bytes_on_the_rest_port(
    server: Server, http: httpx.Client, head: str, length: str, encoding: str, body: bytes
) -> None:
    host, port = server.rest_url.removeprefix("http://").split(":")
    headers = f"{head} /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    headers += f"Content-Length: {length}\r\n" if length else ""
    headers += f"Transfer-Encoding: {encoding}\r\n" if encoding else ""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(headers.encode() + b"\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert not connection.recv(1000).startswith(b"HTTP/1.1 5")
    _still_answers(http)


_TENSORS = st.builds(
    lambda dtype, shape, values: messages.TensorProto(
        dtype=dtype,
        tensor_shape=messages.TensorShapeProto(dim=[{"size": size} for size in shape]),
        **values,
    ),
    st.integers(0, 24) | st.sampled_from([1, 3, 7]),
    st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "tensor_content": st.binary(max_size=16),
            "int_val": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
            "float_val": st.lists(st.floats(width=32), max_size=4),
            "half_val": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
            "string_val": st.lists(st.binary(max_size=4), max_size=4),
        },
    ),
)


@_quick
@given(
    signature_name=st.sampled_from(_SIGNATURES),
    tensors=st.dictionaries(_NAMES, _TENSORS, max_size=3),
    tail=st.just(b"") | st.binary(max_size=8),
)
def test_grpc_messages(
    http: httpx.Client, channel: grpc.Channel, signature_name: str, tensors: dict[str, Any], tail: bytes
) -> None:
    request = messages.PredictRequest()
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = signature_name
    for name, tensor in tensors.items():
        request.inputs[name].CopyFrom(tensor)
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    try:
        messages.PredictResponse.FromString(call(request.SerializeToString() + tail, timeout=30))
    except grpc.RpcError as error:
        assert error.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")
        assert "Traceback" not in error.details()
    _still_answers(http)


@_quick
@given(
    method=st.sampled_from(
        [
            *(f"PredictionService/{name}" for name in ("Predict", "Classify", "Regress", "MultiInference")),
            *("PredictionService/GetModelMetadata", "ModelService/GetModelStatus"),
            "ModelService/HandleReloadConfigRequest",
        ]
    ),
    message=st.binary(max_size=80),
)
def test_grpc_bytes(http: httpx.Client, channel: grpc.Channel, method: str, message: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/tensorflow.serving.{method}")(message, timeout=30)
    assert caught.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED")
    _still_answers(http)
