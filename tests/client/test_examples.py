"""Classify, Regress, MultiInference and reload, against servers that speak with the official messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    regression_pb2,
)

from tests.client.stub_servers import HttpAnswer, HttpStub, grpc_stub
from tfxlm.client import Client, ScoredClass
from tfxlm.client.examples import fill_input, read_examples
from tfxlm.client.messages import Input
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import Server

ROWS = [{"text": "Hello", "weight": [0.5, -1.0], "count": 3}, {"text": "", "weight": 2.0, "count": [4, 5]}]
CONTEXT = {"user": "me"}
CONFIG = 'model_config_list { config { name: "intent" base_path: "/models/intent" model_platform: "tensorflow" } }'

asked: list[Any] = []


def _features(example: example_pb2.Example) -> dict[str, list[Any]]:
    found = {}
    for name, feature in example.features.feature.items():
        found[name] = list(getattr(feature, feature.WhichOneof("kind")).value)
    return found


def _examples(given: Any) -> list[dict[str, list[Any]]]:
    kind = getattr(given, given.WhichOneof("kind"))
    context = _features(kind.context) if given.WhichOneof("kind") == "example_list_with_context" else {}
    return [{**_features(example), **context} for example in kind.examples]


def _classifications(rows: list[dict[str, list[Any]]]) -> classification_pb2.ClassificationResult:
    classes = [{"classes": [{"label": row["text"][0].decode(), "score": sum(row["weight"])}, {}]} for row in rows]
    return json_format.ParseDict({"classifications": classes}, classification_pb2.ClassificationResult())


def _regressions(rows: list[dict[str, list[Any]]]) -> regression_pb2.RegressionResult:
    values = [{"value": sum(row["count"])} for row in rows]
    return json_format.ParseDict({"regressions": values}, regression_pb2.RegressionResult())


def _classify(request: Any, context: grpc.ServicerContext) -> Any:
    asked.append(request)
    return classification_pb2.ClassificationResponse(result=_classifications(_examples(request.input)))


def _regress(request: Any, context: grpc.ServicerContext) -> Any:
    asked.append(request)
    return regression_pb2.RegressionResponse(result=_regressions(_examples(request.input)))


def _multi(request: Any, context: grpc.ServicerContext) -> Any:
    asked.append(request)
    response, rows = inference_pb2.MultiInferenceResponse(), _examples(request.input)
    for task in request.tasks:
        result = response.results.add(model_spec=task.model_spec)
        if task.method_name == "tensorflow/serving/classify":
            result.classification_result.CopyFrom(_classifications(rows))
        elif task.method_name == "tensorflow/serving/regress":
            result.regression_result.CopyFrom(_regressions(rows))
    return response


def _reload(request: Any, context: grpc.ServicerContext) -> Any:
    asked.append(request)
    response = model_management_pb2.ReloadConfigResponse()
    if request.config.model_config_list.config[0].name == "bad":
        response.status.error_code = 3
        response.status.error_message = "no such folder"
    return response


PREDICTION, MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    methods = {
        f"{PREDICTION}/Classify": (classification_pb2.ClassificationRequest, _classify),
        f"{PREDICTION}/Regress": (regression_pb2.RegressionRequest, _regress),
        f"{PREDICTION}/MultiInference": (inference_pb2.MultiInferenceRequest, _multi),
        f"{MODEL}/HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest, _reload),
    }
    with grpc_stub(methods) as found:
        yield found


CLASSES = [
    (ScoredClass("Hello", -0.5), ScoredClass("", 0.0)),
    (ScoredClass("", 2.0), ScoredClass("", 0.0)),
]


def test_over_grpc(make: Any, address: str) -> None:
    with make(grpc=address) as client:
        assert client.classify("m", ROWS, context=CONTEXT, signature_name="classify", label="stable") == CLASSES
        spec = asked[-1].model_spec
        assert (spec.name, spec.signature_name, spec.version_label) == ("m", "classify", "stable")
        assert _examples(asked[-1].input)[1] == {"text": [b""], "weight": [2.0], "count": [4, 5], "user": [b"me"]}
        values = client.regress("m", ROWS, version=7)
        assert (values.tolist(), values.dtype, asked[-1].model_spec.version.value) == ([3, 9], np.float32, 7)
        found = client.multi_inference("m", {"a": "regress", "b": "classify"}, ROWS)
        assert found["a"].tolist() == [3, 9]
        assert found["b"] == CLASSES


def test_over_rest(make: Any) -> None:
    """The bodies are those of TensorFlow Serving's documentation."""

    def answer(path: str, body: Any) -> HttpAnswer:
        if path.endswith(":regress"):
            return 200, {}, {"results": [3.0, 9.0]}
        return 200, {}, {"results": [[["Hello", -0.5], ["", 0.0]], [["", 2.0], ["", 0]]]}

    with HttpStub(answer).running() as stub, make(rest=stub.url) as client:
        assert client.classify("m", ROWS, context=CONTEXT, signature_name="s", label="stable") == CLASSES
        assert client.regress("m", [{"raw": b"\xff", "no": []}], version=7).tolist() == [3, 9]
        (path, classify, _), (other_path, regress, _) = stub.requests
    assert (path, other_path) == ("/v1/models/m/labels/stable:classify", "/v1/models/m/versions/7:regress")
    assert classify == {
        "signature_name": "s",
        "context": {"user": ["me"]},
        "examples": [
            {"text": ["Hello"], "weight": [0.5, -1.0], "count": [3]},
            {"text": [""], "weight": [2.0], "count": [4, 5]},
        ],
    }
    assert regress == {"signature_name": "regress", "examples": [{"raw": [{"b64": "/w=="}], "no": []}]}


def test_the_embedded_server(either: Any) -> None:
    rows = [{"x": 0.25, "name": b"low"}, {"x": 0.5, "times": 3}]
    assert either.regress("tiny", rows, signature_name="values").tolist() == [0.25, 1.5]
    first, second = either.classify("tiny", rows, signature_name="classes")
    assert [one.label for one in first] == ["low", "other"]
    assert sum(one.score for one in second) == 1.0
    with pytest.raises(ServingError, match=r"has the method 'tensorflow/serving/regress'") as caught:
        either.classify("tiny", rows, signature_name="values")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_several_signatures_of_the_embedded_server(make: Any, server: Server) -> None:
    rows = [{"x": 0.25}, {"x": 0.5, "times": 3}]
    with make(grpc=server.grpc_address) as client:
        found = client.multi_inference("tiny", {"values": "regress", "classes": "classify"}, rows)
        assert found["values"].tolist() == client.regress("tiny", rows, signature_name="values").tolist()
        assert found["classes"] == client.classify("tiny", rows, signature_name="classes")


def test_a_configuration_as_text_and_as_a_file(make: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(CONFIG, encoding="utf-8")
    with make(grpc=address) as client:
        for config in (CONFIG, tmp_path / "models.config"):
            client.reload_config(config)
            (model,) = asked[-1].config.model_config_list.config
            assert (model.name, model.base_path, model.model_platform) == ("intent", "/models/intent", "tensorflow")
        with pytest.raises(ServingError, match=r"^no such folder$") as caught:
            client.reload_config(CONFIG.replace('"intent"', '"bad"'))
        assert caught.value.code == "INVALID_ARGUMENT"
        with pytest.raises(InputError, match=r"config is not a model configuration in text form: .*Path\('mod"):
            client.reload_config("models.config")


def test_what_rest_does_not_have() -> None:
    with Client(rest="http://127.0.0.1:1") as client:
        message = r"TensorFlow Serving has no {} over REST\. Give the client a gRPC address too: Client\(grpc="
        with pytest.raises(InputError, match=message.format("MultiInference")):
            client.multi_inference("m", {"a": "regress"}, [])
        with pytest.raises(InputError, match=message.format("Reload")):
            client.reload_config(CONFIG)
        with pytest.raises(InputError, match=r"tasks must map names of signatures to 'classify' or 'regress', got \{"):
            client.multi_inference("m", {"a": "predict"}, [])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("ü", "bytes_list", ["ü".encode()]),
        (b"\x00", "bytes_list", [b"\x00"]),
        (["a\0", b"b\0"], "bytes_list", [b"a\0", b"b\0"]),
        (np.array(["a", "b"]), "bytes_list", [b"a", b"b"]),
        (True, "int64_list", [1]),
        (np.int32(7), "int64_list", [7]),
        ([2**63 - 1, -(2**63)], "int64_list", [2**63 - 1, -(2**63)]),
        (0.5, "float_list", [0.5]),
        ([1, 0.5], "float_list", [1.0, 0.5]),
        (np.array([1.5, np.inf], np.float16), "float_list", [1.5, float("inf")]),
        ([], "int64_list", []),
    ],
)
def test_values_become_one_of_three_lists(value: Any, kind: str, expected: list[Any]) -> None:
    message = Input()
    fill_input(message, read_examples([{"x": value}], None))
    (example,) = message.example_list.examples
    feature = example_pb2.Example.FromString(example.SerializeToString()).features.feature["x"]
    assert (feature.WhichOneof("kind"), list(getattr(feature, kind).value)) == (kind, expected)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ("text", r"examples must be a list with a mapping for each row.*got str"),
        ({"x": 1}, r"examples must be a list with a mapping for each row.*got dict"),
        ([["x"]], r"examples\[0\] must map names of features to values, got list"),
        ([{}, {1: 2}], r"examples\[1\] must map names of features to values"),
        ([{"x": None}], r"examples\[0\]\['x'\] must hold text, bytes, whole numbers or floats; got None"),
        ([{"x": [[1], [2]]}], r"examples\[0\]\['x'\] must be one value or a flat list of them"),
        ([{"x": ["a", 1]}], r"expected text or bytes at position 1, got int"),
        ([{"x": 1e300}], r"holds a number outside the range of float32"),
        ([{"x": 2**63}], r"9223372036854775808 is outside the range of int64"),
        ([{"x": 2**64}], r"must hold text, bytes, whole numbers or floats"),
    ],
)
def test_rows_that_no_example_can_hold(examples: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_examples(examples, None)
