"""The gRPC interface, asked with the official stubs."""

import re
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serve.conftest import CLASSIFY
from tfxlm.serve import Server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def predictions(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(signature_name: str = "", **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = signature_name
    for name, value in inputs.items():
        if not isinstance(value, tensor_pb2.TensorProto):
            value = tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(value)
    return request


def classify_request(**changes: Any) -> predict_pb2.PredictRequest:
    return predict_request(**{**{name: np.array(v, np.int32) for name, v in CLASSIFY.items()}, **changes})


def refusal(call: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value


def test_predict(predictions: Any) -> None:
    response = predictions.Predict(classify_request(), timeout=30)
    assert response.model_spec.name == "tiny"
    assert response.model_spec.version.value == 10
    assert response.model_spec.signature_name == "serving_default"
    scores = tf.make_ndarray(response.outputs["scores"])
    assert scores.dtype == np.float32
    assert scores.shape == (2, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
    assert [label.decode() for label in tf.make_ndarray(response.outputs["label"])] == ["yes", "peut-être"]


def test_version_and_signature(predictions: Any) -> None:
    request = predict_request("half_plus_three", x=[1.0, 2.0, 5.0])
    request.model_spec.version.value = 10
    outputs = predictions.Predict(request, timeout=30).outputs
    np.testing.assert_array_equal(tf.make_ndarray(outputs["y"]), np.array([3.5, 4.0, 5.5], np.float32))


def test_output_filter(predictions: Any) -> None:
    request = classify_request()
    request.output_filter.append("label")
    assert list(predictions.Predict(request, timeout=30).outputs) == ["label"]


def test_strings_and_scalars(predictions: Any) -> None:
    outputs = predictions.Predict(predict_request("binary", raw=[b"\xff\x00", "ü".encode()]), timeout=30).outputs
    assert list(outputs["same_bytes"].string_val) == [b"\xff\x00", "ü".encode()]
    outputs = predictions.Predict(predict_request("scalars", x=np.float32(2.0)), timeout=30).outputs
    assert tf.make_ndarray(outputs["double"]) == np.float32(4.0)
    assert tf.make_ndarray(outputs["double"]).shape == ()


def proto(dtype: int, shape: list[int], **fields: Any) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype, **fields)
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


INT32, FLOAT, STRING = types_pb2.DT_INT32, types_pb2.DT_FLOAT, types_pb2.DT_STRING


def test_a_short_list_of_values_repeats_the_last_one(predictions: Any) -> None:
    request = predict_request("half_plus_three", x=proto(FLOAT, [4], float_val=[1.0, 2.0]))
    outputs = predictions.Predict(request, timeout=30).outputs
    assert tf.make_ndarray(outputs["y"]).tolist() == [3.5, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": proto(INT32, [3], int_val=[1, 2, 3, 4])}, r"declares shape \(3,\), 3 values, but holds 4"),
        ({"lengths": proto(INT32, [2])}, r"declares shape \(2,\), 2 values, but holds 0"),
        ({"lengths": proto(INT32, [2], tensor_content=b"abc")}, r"int32 of shape \(2,\), 8 bytes, but holds 3"),
        ({"lengths": proto(INT32, [10**12], int_val=[1])}, r"takes 4000000000000 bytes; at most 1999968 are accepted"),
        ({"lengths": proto(INT32, [2**62, 2**62], int_val=[1])}, r"at most 1999968 are accepted"),
        ({"lengths": proto(INT32, [-1], int_val=[1])}, r"does not say its shape"),
        ({"lengths": proto(INT32, [1] * 40, int_val=[1])}, r"declares 40 dimensions; at most 32"),
        ({"lengths": proto(types_pb2.DT_INT64, [2], int64_val=[1, 2])}, r"must be int32 .*; got int64 values"),
        ({"lengths": proto(STRING, [2], string_val=[b"1", b"2"])}, r"'lengths' must be int32 .*; got string values"),
        ({"lengths": proto(STRING, [2], tensor_content=b"\1\1ab")}, r"strings belong into string_val"),
        ({"lengths": proto(types_pb2.DT_COMPLEX64, [1])}, r"type DT_COMPLEX64 cannot be sent"),
        ({"lengths": proto(101, [1])}, r"type 101 cannot be sent"),
        ({"lengths": proto(INT32, [2, 1], int_val=[1, 2])}, r"int32 of shape \(any,\); got shape \(2, 1\)"),
        ({"extra": proto(INT32, [1], int_val=[1])}, r"unknown: 'extra'"),
        ({"input_ids": proto(INT32, [2, 2], int_val=[1, 99])}, r"input_ids must be below 10"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_what_they_say(predictions: Any, changes: dict[str, Any], message: str) -> None:
    error = refusal(predictions.Predict, classify_request(**changes))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert re.search(message, error.details()), error.details()
    predictions.Predict(classify_request(), timeout=30)


def test_small_messages_do_not_become_large_ones(predictions: Any) -> None:
    request = classify_request()
    for number in range(200):
        request.inputs[f"made up {number}"].CopyFrom(proto(types_pb2.DT_FLOAT, [1 << 24], float_val=[1.0]))
    error = refusal(predictions.Predict, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "unknown: 'made up 0'" in error.details()


def with_spec(request: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        if name == "version":
            request.model_spec.version.value = value
        else:
            setattr(request.model_spec, name, value)
    return request


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", r"model_spec.name is empty"),
        ({"name": "other"}, "NOT_FOUND", r"Model 'other' is not served here"),
        ({"version": 9}, "NOT_FOUND", r"no version 9 here; served: 10"),
        ({"version_label": "stable"}, "INVALID_ARGUMENT", r"Version label 'stable' is unknown"),
        ({"signature_name": "nope"}, "INVALID_ARGUMENT", r"no signature 'nope'; it has 'binary'"),
    ],
)
def test_wrong_model_specs(predictions: Any, fields: dict[str, Any], code: str, message: str) -> None:
    error = refusal(predictions.Predict, with_spec(classify_request(), **fields))
    assert error.code().name == code
    assert re.search(message, error.details())


@pytest.mark.parametrize("names", [["nope"], ["label", "label"]])
def test_wrong_output_filter(predictions: Any, names: list[str]) -> None:
    request = classify_request()
    request.output_filter.extend(names)
    error = refusal(predictions.Predict, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert re.search(
        r"output_filter must name outputs of signature 'serving_default'.*'label', 'scores'", error.details()
    )


def test_damaged_message(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    error = refusal(call, b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "The message is not a PredictRequest."


def test_message_beyond_the_limit(predictions: Any) -> None:
    error = refusal(predictions.Predict, predict_request("half_plus_three", x=np.zeros(600_000, np.float32)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_methods_that_do_not_exist(channel: grpc.Channel) -> None:
    error = refusal(channel.unary_unary("/tensorflow.serving.PredictionService/Foretell"), b"")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["PredictionService/GetModelMetadata", "ModelService/GetModelStatus"])
def test_a_question_that_is_too_long(channel: grpc.Channel, method: str) -> None:
    error = refusal(channel.unary_unary(f"/tensorflow.serving.{method}"), b"x" * 100_000)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Request has at most 65536 bytes here" in error.details()


def health(channel: grpc.Channel, service: bytes = b"") -> bytes:
    request = b"\n" + bytes([len(service)]) + service if service else b""
    return channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=30)


def test_health(channel: grpc.Channel) -> None:
    # The bytes of HealthCheckResponse {status: SERVING}.
    assert health(channel) == health(channel, b"tensorflow.serving.PredictionService") == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as caught:
        health(channel, b"other")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "There is no service 'other' here."


def test_metadata(predictions: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    response = predictions.GetModelMetadata(request, timeout=30)
    assert response.model_spec.version.value == 10
    definitions = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(definitions)
    inputs = definitions.signature_def["serving_default"].inputs
    assert {name: inputs[name].dtype for name in inputs} == dict.fromkeys(("input_ids", "lengths", "langs"), INT32)
    assert definitions.signature_def["upper"].outputs["upper"].dtype == STRING


@pytest.mark.parametrize("fields", [[], ["nope"], ["signature_def", "nope"]])
def test_metadata_knows_one_field(predictions: Any, fields: list[str]) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "tiny"
    error = refusal(predictions.GetModelMetadata, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "metadata_field must be ['signature_def']" in error.details()


def test_status(models: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "tiny"
    (entry,) = models.GetModelStatus(request, timeout=30).model_version_status
    assert entry.version == 10
    assert entry.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert entry.status.error_code == 0
    request.model_spec.name = "other"
    assert refusal(models.GetModelStatus, request).code() == grpc.StatusCode.NOT_FOUND
