"""The forms of TensorFlow Serving's REST interface, against JSON written by hand from its documentation."""

import gzip
import json
import math

import httpx
import pytest

from tests.serve.conftest import CLASSIFY, Post
from tfxlm.serve import Server

HALF = "half_plus_three"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # One named input, one named output: both names are left out.
        ({"signature_name": HALF, "instances": [1.0, 2.0, 5.0]}, {"predictions": [3.5, 4.0, 5.5]}),
        ({"signature_name": HALF, "inputs": [1.0, 2.0, 5.0]}, {"outputs": [3.5, 4.0, 5.5]}),
        # The names may be given all the same.
        ({"signature_name": HALF, "instances": [{"x": 1.0}, {"x": 2}]}, {"predictions": [3.5, 4.0]}),
        ({"signature_name": HALF, "inputs": {"x": [1.0]}}, {"outputs": [3.5]}),
        ({"signature_name": HALF, "inputs": []}, {"outputs": []}),
        # Exponents are numbers; whole numbers are taken for floats.
        ({"signature_name": HALF, "instances": [1e1, 20]}, {"predictions": [8.0, 13.0]}),
        # Strings, bytes as base64 in the request.
        ({"signature_name": "upper", "instances": ["foo", "bär"]}, {"predictions": ["FOO", "BäR"]}),
        ({"signature_name": "upper", "instances": [{"b64": "Zm9v"}]}, {"predictions": ["FOO"]}),
        ({"signature_name": "upper", "instances": [{"text": {"b64": "Zm9v"}}]}, {"predictions": ["FOO"]}),
        ({"signature_name": "upper", "inputs": [{"b64": "Zm8"}, "a"]}, {"outputs": ["FO", "A"]}),
        # Outputs with names ending in _bytes are base64, others text (base64 where they are not text).
        (
            {"signature_name": "binary", "instances": [{"b64": "Zm9v"}, {"b64": "/w=="}]},
            {
                "predictions": [
                    {"same_bytes": {"b64": "Zm9v"}, "same": "foo"},
                    {"same_bytes": {"b64": "/w=="}, "same": {"b64": "/w=="}},
                ]
            },
        ),
        (
            {"signature_name": "binary", "inputs": {"raw": ["foo"]}},
            {"outputs": {"same_bytes": [{"b64": "Zm9v"}], "same": ["foo"]}},
        ),
        # Rank 0 in column form: bare values.
        ({"signature_name": "scalars", "inputs": 2.0}, {"outputs": {"double": 4.0, "triple": 6.0}}),
        ({"signature_name": "one_scalar", "inputs": {"x": 2.0}}, {"outputs": 4.0}),
        # Rank 2; outputs of different lengths in column form.
        (
            {"signature_name": "uneven", "inputs": [[1, 2], [3, 4], [5, 6]]},
            {"outputs": {"total": [3.0, 7.0, 11.0], "columns": [9.0, 12.0]}},
        ),
        ({"signature_name": "uneven", "instances": [[1, 2], [3, 4]]}, {"predictions": [
            {"total": 3.0, "columns": 4.0}, {"total": 7.0, "columns": 6.0}]}),
    ],
)  # fmt: skip
def test_forms(post: Post, body: object, expected: object) -> None:
    assert post(body) == (200, expected)


def test_several_inputs_and_outputs_in_both_forms(post: Post) -> None:
    status, columns = post({"inputs": CLASSIFY})
    assert status == 200
    assert set(columns) == {"outputs"}
    assert set(columns["outputs"]) == {"scores", "label"}
    rows = [dict(zip(CLASSIFY, row, strict=True)) for row in zip(*CLASSIFY.values(), strict=True)]
    status, answer = post({"signature_name": "serving_default", "instances": rows})
    assert status == 200
    assert answer == {
        "predictions": [
            {"scores": scores, "label": label}
            for scores, label in zip(columns["outputs"]["scores"], columns["outputs"]["label"], strict=True)
        ]
    }


def test_an_empty_signature_name_is_the_default_one(post: Post) -> None:
    assert post({"signature_name": "", "inputs": CLASSIFY}) == post({"inputs": CLASSIFY})


def test_every_type_there_and_back(post: Post) -> None:
    row = {
        "flag": True,
        "tiny": -128,
        "byte": 255,
        "big": -(2**63),
        "unsigned": 2**32 - 1,
        "huge": 2**64 - 1,
        "half": 0.5,
        "brain": 1.5,
        "double": 0.1,
        "word": "Straße\u0000",
    }
    status, answer = post({"signature_name": "echo", "instances": [row]})
    assert (status, answer) == (200, {"predictions": [{f"same_{name}": value for name, value in row.items()}]})


def test_not_a_number_and_infinities_are_bare_words(server: Server) -> None:
    body = '{"signature_name": "half_plus_three", "instances": [NaN, Infinity, -Infinity]}'
    response = httpx.post(f"{server.rest_url}/v1/models/tiny:predict", content=body)
    assert response.text.replace(" ", "") == '{"predictions":[NaN,Infinity,-Infinity]}'
    assert math.isnan(json.loads(response.text)["predictions"][0])


def test_version_in_the_path(post: Post) -> None:
    body = {"signature_name": HALF, "instances": [1.0]}
    assert post(body, "/v1/models/tiny/versions/10:predict") == (200, {"predictions": [3.5]})


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_any_content_type_is_taken(post: Post, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert post({"signature_name": HALF, "instances": [1.0]}, headers=headers) == (200, {"predictions": [3.5]})


def test_gzip_and_byte_order_mark(post: Post) -> None:
    body = json.dumps({"signature_name": HALF, "instances": [1.0]}).encode("utf-8-sig")
    answer = post(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert answer == (200, {"predictions": [3.5]})


@pytest.mark.parametrize("version", ["", "/versions/10"])
def test_status(server: Server, version: str) -> None:
    response = httpx.get(f"{server.rest_url}/v1/models/tiny{version}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "model_version_status": [
            {"version": "10", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_metadata(server: Server) -> None:
    answer = httpx.get(f"{server.rest_url}/v1/models/tiny/metadata").json()
    assert answer["model_spec"] == {"name": "tiny", "version": "10", "signature_name": ""}
    assert set(answer["metadata"]) == {"signature_def"}
    definitions = answer["metadata"]["signature_def"]["signature_def"]
    dim = {"size": "-1", "name": ""}
    half = definitions[HALF]
    assert half["method_name"] == "tensorflow/serving/predict"
    assert half["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert half["inputs"]["x"]["tensor_shape"] == {"dim": [dim], "unknown_rank": False}
    assert half["inputs"]["x"]["name"] == "half_plus_three_x:0"
    assert definitions["serving_default"]["inputs"]["input_ids"]["tensor_shape"]["dim"] == [dim, dim]
    assert set(definitions["serving_default"]["outputs"]) == {"scores", "label"}
    assert httpx.get(f"{server.rest_url}/v1/models/tiny/versions/10/metadata").json() == answer
