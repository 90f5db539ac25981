"""Requests that cannot be answered: status, and what the message says."""

import gzip
import json
import re
import socket
from typing import Any

import httpx
import pytest

from tests.serve.conftest import CLASSIFY, Post
from tfxlm.serve import Server

HALF = "half_plus_three"


def classify(**changes: Any) -> dict[str, Any]:
    return {"inputs": {name: value for name, value in {**CLASSIFY, **changes}.items() if value is not None}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", r"not JSON"),
        (b"{nope", r"not JSON: .*column 2"),
        (b"\xff\xfe{}", r"not UTF-8"),
        (b"[" * 100_000, r"nested too deeply"),
        (b"1" * 5000, r"not JSON"),
        ([1, 2], r"must be a JSON object, got a list of 2"),
        ({"signature_name": 3, "inputs": []}, r"'signature_name' must be a string, got the number 3"),
        (
            {"signature_name": "nope", "inputs": []},
            r"no signature 'nope'; it has 'binary', 'classes', 'echo', .*'serving_default', .*'upper'",
        ),
        ({"signature_name": "__saved_model_init_op", "inputs": []}, r"no signature '__saved_model_init_op'"),
        ({}, r"either 'instances' .* or 'inputs' .*; got neither"),
        ({"instances": [1], "inputs": [1]}, r"got both"),
        ({"instances": {"input_ids": [1]}}, r"'instances' must be a list .*, got an object"),
        ({"instances": []}, r"'instances' is empty"),
        ({"instances": [[1, 2]]}, r"'instances' holds plain values, but .* has 3 inputs; expected objects with 'input"),
        ({"inputs": [1]}, r"'inputs' holds plain values"),
        (
            {"signature_name": HALF, "instances": [{"x": 1.0}, 2.0]},
            r"row 1: rows must be all objects or all plain values; row 0 is an object, this one the number 2.0",
        ),
        (
            {"instances": [{"input_ids": [1], "lengths": 1, "langs": [0]}, {"input_ids": [1], "lengths": 1}]},
            r"'instances', row 1: .*missing: 'langs'",
        ),
        (
            classify(langs=None, attention_mask=[[1]]),
            r"\(missing: 'langs'; unknown: 'attention_mask'\)\. Expected 'input_ids' \(int32 of shape \(any, any\)\), "
            r".*; got 'attention_mask', 'input_ids', 'lengths'",
        ),
        (classify(input_ids=[[1, 2], [3]]), r"'input_ids', row 1 .*expected a list of 2 .* got a list of 1.*pad"),
        (classify(input_ids=[[1, 2], 3]), r"'input_ids', row 1 .*expected a list of 2 .* got the number 3"),
        (classify(input_ids=[1, 2]), r"'input_ids' must be int32 of shape \(any, any\); got shape \(2,\)"),
        (classify(lengths=[[2], [1]]), r"'lengths' must be int32 of shape \(any,\); got shape \(2, 1\)"),
        (classify(lengths=2), r"'lengths' must be .*; got shape \(\) \(a single value\)"),
        (classify(input_ids=[[1, 2], [3, 4.0]]), r"row 1 \(position \[1\]\[1\]\): expected .*got the number 4.0"),
        (classify(input_ids=[[1, 2], [3, "4"]]), r"row 1 .*expected a whole number .*got the string '4'"),
        (classify(input_ids=[[1, 2], [None, 4]]), r"row 1 .*got null"),
        (classify(input_ids=[[True, 2], [3, 4]]), r"row 0 .*got true"),
        (classify(input_ids=[[1, 2], [3, {}]]), r"row 1 .*got an object"),
        (classify(input_ids=[[1, 2], [3, 2**31]]), r"from -2147483648 to 2147483647 .*got the number 2147483648"),
        (classify(input_ids=[[1, 2], [3, 10**60]]), r"row 1 .*got a huge whole number"),
        (classify(input_ids=[[1, 2], [[3], 4]]), r"row 1 .*got a list of 1"),
        (b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}", r"holds plain values"),
        (
            b'{"signature_name": "upper", "inputs": ' + b"[" * 500 + b"]" * 500 + b"}",
            r"'text' must be string of shape \(any,\); got 500 levels of lists",
        ),
        ({"signature_name": HALF, "inputs": ["1"]}, r"'x', row 0 .*expected a number \(float32\), got the string '1'"),
        ({"signature_name": HALF, "inputs": [2**24 + 1]}, r"float32 holds exactly .*16777215.*got the number 16777217"),
        ({"signature_name": HALF, "inputs": [1e39]}, r"in the range of float32, got the number 1e\+39"),
        ({"signature_name": "uneven", "inputs": [[1, 2, 3]]}, r"of shape \(any, 2\); got shape \(1, 3\)"),
        ({"signature_name": "upper", "inputs": [7]}, r'expected a string or \{"b64": "<base64>"\}, got the number 7'),
        ({"signature_name": "upper", "inputs": [{"b64": "?"}]}, r"expected valid base64"),
        ({"signature_name": "upper", "inputs": [{"b64": "Zm9v", "x": 1}]}, r"expected a string"),
        ({"signature_name": "upper", "inputs": ["\ud800"]}, r"expected valid Unicode text"),
        ({"signature_name": "uneven", "instances": [[1, 2]] * 3}, r"no rows in common.*'columns': 2, 'total': 3"),
    ],
)  # fmt: skip
def test_bad_requests(post: Post, body: Any, message: str) -> None:
    status, answer = post(body)
    assert status == 400
    assert set(answer) == {"error"}
    assert re.search(message, answer["error"]), answer["error"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": [[1, 10], [3, 4]]}, r"input_ids must be below 10, the size of the vocabulary"),
        ({"input_ids": [[1, -1], [3, 4]]}, r"= -1 is not in \[0, 10\)"),
        ({"langs": [[0, 0], [1, 7]]}, r"= 7 is not in \[0, 2\)"),
        ({"lengths": [2, 1, 1]}, r"Incompatible shapes"),
    ],
)
def test_errors_of_the_graph_are_the_clients_without_a_trace(post: Post, changes: dict[str, Any], message: str) -> None:
    status, answer = post(classify(**changes))
    assert status == 400
    assert re.search(message, answer["error"])
    assert answer["error"].startswith("Model 'tiny' version 10 could not process the input: ")
    for noise in ("Graph execution error", "{{", "stack trace", "File ", "\n", "[Op:"):
        assert noise not in answer["error"]
    assert post(classify())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/other:predict", 404, r"Model 'other' is not served here; served are: 'tiny'"),
        ("GET", "/v1/models/other", 404, r"Model 'other' is not served"),
        ("GET", "/v1/models/other/metadata", 404, r"Model 'other' is not served"),
        ("POST", "/v1/models/tiny/versions/9:predict", 404, r"no version 9 here; served: 10"),
        ("GET", "/v1/models/tiny/versions/9", 404, r"no version 9 here"),
        ("GET", "/v1/models/tiny/labels/stable", 400, r"Version label 'stable' is unknown: model 'tiny' has none"),
        ("GET", "/v1/models/tiny:predict", 405, r"GET is not possible on /v1/models/tiny:predict; use POST"),
        ("POST", "/v1/models/tiny", 405, r"POST is not possible .*GET"),
        ("DELETE", "/v1/models/tiny/metadata", 405, r"DELETE is not possible"),
        ("GET", "/v1/models/tiny/versions/x", 400, r"nothing at GET /v1/models/tiny/versions/x. Known are POST"),
        ("GET", f"/v1/models/tiny/versions/{'9' * 6000}", 400, r"nothing at"),
        ("POST", "/v1/models/tiny:foretell", 400, r"nothing at"),
        ("GET", "/", 404, r"nothing at GET /"),
        ("GET", "/v1/models/..%2F..%2Fetc", 400, r"nothing at"),
        ("GET", "/v1/models/%F0%28", 404, r"is not served here"),
    ],
)
def test_paths_that_lead_nowhere(server: Server, method: str, path: str, status: int, message: str) -> None:
    response = httpx.request(method, server.rest_url + path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert re.search(message, response.json()["error"])


def test_a_body_that_says_it_is_huge_is_refused_before_it_is_sent(server: Server) -> None:
    host, port = server.rest_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"larger than 2000000 bytes" in answer


def test_a_body_that_turns_out_huge_is_refused_on_the_way(server: Server) -> None:
    pieces = (b" " * 65536 for _ in range(40))
    response = httpx.post(f"{server.rest_url}/v1/models/tiny:predict", content=pieces)
    assert response.status_code == 413
    assert "larger than 2000000 bytes" in response.json()["error"]


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(post: Post) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 2_000_000
    status, answer = post(bomb, headers={"Content-Encoding": "gzip"})
    assert status == 413
    assert "larger than 2000000 bytes" in answer["error"]


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"{}", "gzip", r"says it is gzip, but cannot be decompressed"),
        (gzip.compress(b"{}", mtime=0)[:-9], "gzip", r"says it is gzip, but it is cut off"),
        (b"{}", "br", r"encoded as 'br'; expected gzip or no Content-Encoding"),
    ],
)
def test_broken_compression(post: Post, body: bytes, encoding: str, message: str) -> None:
    status, answer = post(body, headers={"Content-Encoding": encoding})
    assert status == 400
    assert re.search(message, answer["error"])


def test_a_body_that_never_ends_leaves_the_server_alive(server: Server, post: Post) -> None:
    host, port = server.rest_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert post(classify())[0] == 200


def test_unforeseen_failures_are_logged_and_not_shown(
    server: Server, post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr("tfxlm.serve.servable.Servable.predict", fail)
        status, answer = post(classify())
    assert status == 500
    assert answer == {"error": "The server failed to answer this request; its log says why."}
    assert "secret detail" in caplog.text
    assert post(classify())[0] == 200


def test_error_bodies_are_json_even_with_odd_names(server: Server) -> None:
    body = json.dumps({"inputs": {'"\\\n\ud800': [1]}})
    response = httpx.post(f"{server.rest_url}/v1/models/tiny:predict", content=body)
    assert response.status_code == 400
    assert "unknown" in json.loads(response.text)["error"]
