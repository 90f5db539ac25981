"""Classify, Regress and MultiInference, over gRPC with the official stubs and over REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.serve.conftest import Post
from tests.serve.test_models import write_warmup_logs
from tests.serve.tiny_models import TinyModel, write_methods
from tfxlm.errors import ExportError, InputError
from tfxlm.serve import Server
from tfxlm.serve.examples import example_rows
from tfxlm.serve.servable import Servable
from tfxlm.serve.warmup import replay_warmup


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(**features: Any) -> tf.train.Example:
    made = tf.train.Example()
    for name, value in features.items():
        field = {float: "float_list", int: "int64_list", bytes: "bytes_list"}[type(value)]
        getattr(made.features.feature[name], field).value.append(value)
    return made


EXAMPLES = input_pb2.Input(
    example_list=input_pb2.ExampleList(examples=[example(x=0.25, name=b"low"), example(x=0.5, times=3)])
)
CONTEXT = input_pb2.Input(
    example_list_with_context=input_pb2.ExampleListWithContext(
        examples=[example(x=0.25), example(x=0.5, name=b"own")], context=example(name=b"shared", times=2)
    )
)


def filled(request: Any, signature_name: str, given: Any = EXAMPLES) -> Any:
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = signature_name
    request.input.CopyFrom(given)
    return request


def classes(result: Any) -> list[list[tuple[str, float]]]:
    return [[(one.label, one.score) for one in row.classes] for row in result.classifications]


def test_classify(stub: Any) -> None:
    response = stub.Classify(filled(classification_pb2.ClassificationRequest(), "classes"), timeout=30)
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (10, "classes")
    assert classes(response.result) == [[("low", 0.25), ("other", 0.75)], [("none", 0.5), ("other", 0.5)]]
    response = stub.Classify(filled(classification_pb2.ClassificationRequest(), "classes", CONTEXT), timeout=30)
    assert [row[0][0] for row in classes(response.result)] == ["shared", "own"]


def test_a_context_is_not_copied_without_end() -> None:
    large = input_pb2.Input(
        example_list_with_context=input_pb2.ExampleListWithContext(
            examples=[tf.train.Example()] * 1000, context=example(name=b"x" * 1000)
        )
    )
    with pytest.raises(InputError, match=r"1000 examples with a copy each of the context's 10.. bytes take more than"):
        example_rows(large, 1_000_000)
    held: list[int] = []
    rows = example_rows(large, 1 << 21, held.append)
    assert len(rows) == 1000
    assert held[0] >= sum(map(len, rows))


def test_regress(stub: Any) -> None:
    response = stub.Regress(filled(regression_pb2.RegressionRequest(), "values"), timeout=30)
    assert [one.value for one in response.result.regressions] == [0.25, 1.5]
    response = stub.Regress(filled(regression_pb2.RegressionRequest(), "values", CONTEXT), timeout=30)
    assert [one.value for one in response.result.regressions] == [0.5, 1.0]


def multi(*tasks: tuple[str, str], model: str = "tiny") -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest(input=EXAMPLES)
    for signature_name, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, signature_name
    return request


def test_multi_inference(stub: Any) -> None:
    response = stub.MultiInference(multi(("values", "regress"), ("classes", "classify")), timeout=30)
    values, labels = response.results
    assert (values.model_spec.signature_name, labels.model_spec.signature_name) == ("values", "classes")
    assert [one.value for one in values.regression_result.regressions] == [0.25, 1.5]
    assert classes(labels.classification_result)[0] == [("low", 0.25), ("other", 0.75)]


def two_models() -> inference_pb2.MultiInferenceRequest:
    request = multi(("values", "regress"), ("classes", "classify"))
    request.tasks[1].model_spec.name = "other"
    return request


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        ("Classify", filled(classification_pb2.ClassificationRequest(), "no"), "INVALID_ARGUMENT", "no signature"),
        (
            "Classify",
            filled(classification_pb2.ClassificationRequest(), "values"),
            "INVALID_ARGUMENT",
            "Signature 'values' of Model 'tiny' version 10 has the method 'tensorflow/serving/regress'; expected "
            "'tensorflow/serving/classify'. Name another signature, or ask it with Predict.",
        ),
        ("Regress", filled(regression_pb2.RegressionRequest(), "half_plus_three"), "INVALID_ARGUMENT", "has the meth"),
        (
            "Classify",
            filled(classification_pb2.ClassificationRequest(), "upper"),
            "INVALID_ARGUMENT",
            "but not its inputs and outputs: expected 'inputs' and 'classes' or 'scores'; got 'text', 'upper'",
        ),
        (
            "Regress",
            filled(regression_pb2.RegressionRequest(), "values", input_pb2.Input()),
            "INVALID_ARGUMENT",
            "The request has no examples; expected at least one",
        ),
        (
            "Regress",
            filled(regression_pb2.RegressionRequest(), "wide"),
            "FAILED_PRECONDITION",
            "signature 'wide' answered 2 examples with an output of shape (2, 2); expected (examples,)",
        ),
        (
            "Classify",
            filled(classification_pb2.ClassificationRequest(), "flat"),
            "FAILED_PRECONDITION",
            "with an output of shape (2,); expected (examples, classes)",
        ),
        ("MultiInference", multi(), "INVALID_ARGUMENT", "takes from 1 to 64 tasks, got 0"),
        ("MultiInference", multi(*[("values", "regress")] * 65), "INVALID_ARGUMENT", "from 1 to 64 tasks, got 65"),
        ("MultiInference", two_models(), "INVALID_ARGUMENT", "All tasks of a MultiInference request must ask the same"),
        ("MultiInference", multi(("upper", "predict")), "INVALID_ARGUMENT", "The method_name of a task must be 'tens"),
        (
            "MultiInference",
            multi(("values", "regress"), ("values", "regress")),
            "INVALID_ARGUMENT",
            "Two tasks of a MultiInference request ask for the same signature; ask each once",
        ),
        ("MultiInference", multi(("values", "regress"), model="other"), "NOT_FOUND", "'other' is not served"),
    ],
)  # fmt: skip
def test_what_is_refused(stub: Any, method: str, request_: Any, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, timeout=30)
    assert caught.value.code().name == code
    assert message in caught.value.details()


def test_a_feature_of_another_kind_is_the_clients_fault(stub: Any, post: Post) -> None:
    given = input_pb2.Input(example_list=input_pb2.ExampleList(examples=[example(x=b"text")]))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Regress(filled(regression_pb2.RegressionRequest(), "values", given), timeout=30)
    assert caught.value.code().name == "INVALID_ARGUMENT"
    assert "Data types don't match" in caught.value.details()


CLASSES_PATH, VALUES_PATH = "/v1/models/tiny:classify", "/v1/models/tiny/versions/10:regress"


def test_rest(post: Post) -> None:
    body: dict[str, Any] = {"signature_name": "classes", "examples": [{"x": 0.25, "name": "low"}, {"x": [0.5]}]}
    expected = [[["low", 0.25], ["other", 0.75]], [["none", 0.5], ["other", 0.5]]]
    assert post(body, CLASSES_PATH) == (200, {"results": expected})
    body = {"signature_name": "values", "context": {"times": 2}, "examples": [{"x": 0.25}, {"x": 0.5, "times": True}]}
    assert post(body, VALUES_PATH) == (200, {"results": [0.5, 0.5]})
    body = {"signature_name": "classes", "examples": [{"x": 1.0, "name": {"b64": "w7w="}}, {"name": []}]}
    assert [row[0] for row in post(body, CLASSES_PATH)[1]["results"]] == [["ü", 1.0], ["none", 0.0]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "A request for classes or values needs 'examples', a list with one object per example; got none."),
        ({"examples": []}, "got a list of 0"),
        ({"examples": {"x": 1.0}}, "got an object"),
        ({"examples": [[1.0]]}, "'examples', number 0: expected an object with the features, got a list of 1."),
        ({"examples": [{"x": 1.0}], "context": 3}, "'context': expected an object with the features, got the number 3"),
        ({"examples": [{}, {"x": None}]}, "'examples', number 1, feature 'x': expected whole numbers, decimal num"),
        ({"examples": [{"x": [1.0, 2]}]}, "and all of one kind; got the number 2."),
        ({"examples": [{"x": [[1.0]]}]}, "all of one kind; got a list of 1."),
        ({"examples": [{"x": 2**63}]}, "a whole number from -9223372036854775808 to 9223372036854775807 (int64)"),
        ({"examples": [{"x": 1e39}]}, "expected a number in the range of float32, got the number 1e+39"),
        ({"examples": [{"x": {"b64": "?"}}]}, "expected valid base64"),
        ({"examples": [{"x": {"c": 1}}]}, 'expected a string or {"b64": "<base64>"}, got an object'),
        ({"examples": [{"x": "\ud800"}]}, "expected valid Unicode text"),
        ({"examples": [{"\ud800": 1}]}, "the feature name '\\ud800' is not valid Unicode text."),
        ({"signature_name": "\ud800", "examples": [{}]}, "'signature_name' holds characters that no name has."),
        ({"signature_name": 3, "examples": [{}]}, "'signature_name' must be a string, got the number 3"),
        ({"examples": [{}]}, "Signature 'serving_default' of Model 'tiny' version 10 has the method"),
    ],
)  # fmt: skip
def test_rest_bodies_that_are_refused(post: Post, body: Any, message: str) -> None:
    status, answer = post(body, CLASSES_PATH)
    assert status == 400
    assert message in answer["error"]


def test_warmup_requests_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyModel()
    folder = tmp_path / "1"
    tf.saved_model.save(model, str(folder), signatures={"classes": model.classes, "values": model.values})
    write_methods(folder / "saved_model.pb", {"classes": "classify", "values": "regress"})
    logs = [
        prediction_log_pb2.PredictionLog(
            classify_log={"request": filled(classification_pb2.ClassificationRequest(), "classes")}
        ),
        prediction_log_pb2.PredictionLog(regress_log={"request": filled(regression_pb2.RegressionRequest(), "values")}),
        prediction_log_pb2.PredictionLog(multi_inference_log={"request": multi(("values", "regress"))}),
    ]
    write_warmup_logs(folder, *logs)
    asked, predict = [], Servable.predict

    def noted(servable: Servable, signature: str, inputs: dict[str, Any]) -> Any:
        asked.append(signature)
        return predict(servable, signature, inputs)

    monkeypatch.setattr(Servable, "predict", noted)
    Servable("tiny", 1, folder).load(replay_warmup)
    assert asked == ["classes", "values", "values"]
    (folder / "assets.extra" / "tf_serving_warmup_requests").unlink()
    write_warmup_logs(folder, prediction_log_pb2.PredictionLog(regress_log={"request": {"input": EXAMPLES}}))
    with pytest.raises(ExportError, match="no signature 'serving_default'"):
        Servable("tiny", 1, folder).load(replay_warmup)
