"""Our messages against the official ones: same names, same numbers, same bytes."""

from typing import Any

import pytest
from google.protobuf import json_format
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from tfxlm.client import messages
from tfxlm.client.schema import MESSAGES

TENSOR = {
    "dtype": "DT_FLOAT",
    "tensor_shape": {"dim": [{"size": "2", "name": "batch"}, {"size": "-1"}], "unknown_rank": True},
    "version_number": 7,
    "tensor_content": "AAEC",
    "half_val": [1, -2],
    "float_val": [0.5, -1.5],
    "double_val": [0.1],
    "int_val": [1, -(2**31)],
    "string_val": ["AAE=", ""],
    "int64_val": [str(-(2**63))],
    "bool_val": [True, False],
    "uint32_val": [2**32 - 1],
    "uint64_val": [str(2**64 - 1)],
}
INFO = {"name": "x:0", "dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}}
DEFINITION = {
    "inputs": {"a": INFO, "b": INFO},
    "outputs": {"c": INFO},
    "method_name": "tensorflow/serving/predict",
    "defaults": {"a": TENSOR},
}
BY_VERSION = {"name": "m", "version": "9007199254740993", "signature_name": "s"}
BY_LABEL = {"name": "m", "version_label": "stable"}
STATUS = {"error_code": "DATA_LOSS", "error_message": "gone"}
VERSION_STATUS = {"version": "3", "state": "UNLOADING", "status": STATUS}
FEATURES = {
    "text": {"bytes_list": {"value": ["AAE=", ""]}},
    "scores": {"float_list": {"value": [0.5, -1.5]}},
    "ids": {"int64_list": {"value": ["-1", str(2**63 - 1)]}},
    "nothing": {},
}
EXAMPLE = {"features": {"feature": FEATURES}}
ROWS = {"example_list": {"examples": [EXAMPLE, {}]}}
ROWS_AND_CONTEXT = {"example_list_with_context": {"examples": [EXAMPLE], "context": EXAMPLE}}
CLASSES = {"classifications": [{"classes": [{"label": "yes", "score": 0.25}, {}]}, {}]}
VALUES = {"regressions": [{"value": 0.5}, {}]}
SERVED = {
    "name": "intent",
    "base_path": "/models/intent",
    "model_platform": "tensorflow",
    "logging_config": {
        "log_collector_config": {"type": "file", "filename_prefix": "log"},
        "sampling_config": {"sampling_rate": 0.25},
    },
    "model_version_policy": {"specific": {"versions": ["1", "2"]}},
    "version_labels": {"stable": "1", "canary": "2"},
}
CONFIG = {
    "model_config_list": {
        "config": [
            SERVED,
            {"model_version_policy": {"latest": {"num_versions": 2}}},
            {"model_version_policy": {"all": {}}},
        ]
    }
}

EXAMPLES = [
    (tensor_shape_pb2.TensorShapeProto, messages.TensorShapeProto, TENSOR["tensor_shape"]),
    (tensor_pb2.TensorProto, messages.TensorProto, TENSOR),
    (meta_graph_pb2.TensorInfo, messages.TensorInfo, INFO),
    (meta_graph_pb2.SignatureDef, messages.SignatureDef, DEFINITION),
    (model_pb2.ModelSpec, messages.ModelSpec, BY_VERSION),
    (model_pb2.ModelSpec, messages.ModelSpec, BY_LABEL),
    (
        predict_pb2.PredictRequest,
        messages.PredictRequest,
        {"model_spec": BY_VERSION, "inputs": {"x": TENSOR, "y": {}}, "output_filter": ["a", "b"]},
    ),
    (
        predict_pb2.PredictResponse,
        messages.PredictResponse,
        {"model_spec": BY_VERSION, "outputs": {"x": TENSOR}},
    ),
    (
        get_model_metadata_pb2.SignatureDefMap,
        messages.SignatureDefMap,
        {"signature_def": {"serving_default": DEFINITION}},
    ),
    (
        get_model_metadata_pb2.GetModelMetadataRequest,
        messages.GetModelMetadataRequest,
        {"model_spec": BY_LABEL, "metadata_field": ["signature_def"]},
    ),
    (status_pb2.StatusProto, messages.StatusProto, STATUS),
    (get_model_status_pb2.ModelVersionStatus, messages.ModelVersionStatus, VERSION_STATUS),
    (get_model_status_pb2.GetModelStatusRequest, messages.GetModelStatusRequest, {"model_spec": BY_VERSION}),
    (
        get_model_status_pb2.GetModelStatusResponse,
        messages.GetModelStatusResponse,
        {"model_version_status": [VERSION_STATUS, VERSION_STATUS]},
    ),
    (example_pb2.Example, messages.Example, EXAMPLE),
    *((feature_pb2.Feature, messages.Feature, feature) for feature in FEATURES.values() if feature),
    (input_pb2.Input, messages.Input, ROWS),
    (input_pb2.Input, messages.Input, ROWS_AND_CONTEXT),
    *(
        (official, own, {"model_spec": BY_LABEL, "input": ROWS})
        for official, own in (
            (classification_pb2.ClassificationRequest, messages.ClassificationRequest),
            (regression_pb2.RegressionRequest, messages.RegressionRequest),
        )
    ),
    (classification_pb2.ClassificationResult, messages.ClassificationResult, CLASSES),
    (
        classification_pb2.ClassificationResponse,
        messages.ClassificationResponse,
        {"model_spec": BY_VERSION, "result": CLASSES},
    ),
    (regression_pb2.RegressionResult, messages.RegressionResult, VALUES),
    (regression_pb2.RegressionResponse, messages.RegressionResponse, {"model_spec": BY_VERSION, "result": VALUES}),
    (
        inference_pb2.MultiInferenceRequest,
        messages.MultiInferenceRequest,
        {"tasks": [{"model_spec": BY_VERSION, "method_name": "tensorflow/serving/classify"}], "input": ROWS},
    ),
    (
        inference_pb2.MultiInferenceResponse,
        messages.MultiInferenceResponse,
        {"results": [{"model_spec": BY_LABEL, "classification_result": CLASSES}, {"regression_result": VALUES}]},
    ),
    (model_server_config_pb2.ModelConfig, messages.ModelConfig, SERVED),
    (model_server_config_pb2.ModelServerConfig, messages.ModelServerConfig, CONFIG),
    (model_management_pb2.ReloadConfigRequest, messages.ReloadConfigRequest, {"config": CONFIG}),
    (model_management_pb2.ReloadConfigResponse, messages.ReloadConfigResponse, {"status": STATUS}),
]


@pytest.mark.parametrize(
    ("official", "own", "example"),
    EXAMPLES,
    ids=[f"{i}-{own.DESCRIPTOR.name}" for i, (_, own, _) in enumerate(EXAMPLES)],
)
def test_the_same_bytes_both_ways(official: Any, own: Any, example: dict[str, Any]) -> None:
    theirs = json_format.ParseDict(example, official())
    ours = json_format.ParseDict(example, own())
    assert theirs.ByteSize() > 0
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    options = {"preserving_proto_field_name": True}
    assert json_format.MessageToDict(own.FromString(theirs.SerializeToString()), **options) == (
        json_format.MessageToDict(theirs, **options)
    )
    assert official.FromString(ours.SerializeToString()) == theirs


def test_every_field_is_the_official_one() -> None:
    """Of the messages above, and of those that they hold."""
    metadata = get_model_metadata_pb2.GetModelMetadataResponse, messages.GetModelMetadataResponse
    pairs = [(official.DESCRIPTOR, own.DESCRIPTOR) for official, own in (metadata, *(row[:2] for row in EXAMPLES))]
    seen = set()
    while pairs:
        theirs, ours = pairs.pop()
        if ours.full_name in seen:
            continue
        seen.add(ours.full_name)
        assert ours.full_name == theirs.full_name
        for field in ours.fields:
            official = theirs.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (
                official.number,
                official.type,
                official.is_repeated,
            )
            assert (field.containing_oneof is None) == (official.containing_oneof is None)
            if field.message_type is not None:
                pairs.append((official.message_type, field.message_type))
    tables = {f"{package}.{name}" for package, described in MESSAGES.items() for name in described}
    # No field holds it: its name is a part of others' names.
    assert tables - seen == {"tensorflow.serving.FileSystemStoragePathSourceConfig"}


def test_metadata_inside_any() -> None:
    definitions = json_format.ParseDict({"signature_def": {"s": DEFINITION}}, get_model_metadata_pb2.SignatureDefMap())
    theirs = get_model_metadata_pb2.GetModelMetadataResponse()
    theirs.model_spec.version.value = 5
    theirs.metadata["signature_def"].Pack(definitions)
    ours = messages.GetModelMetadataResponse.FromString(theirs.SerializeToString())
    assert ours.model_spec.version.value == 5
    unpacked = messages.SignatureDefMap()
    assert ours.metadata["signature_def"].Unpack(unpacked)
    assert unpacked.signature_def["s"].inputs["a"].dtype == types_pb2.DT_STRING
    back = messages.GetModelMetadataResponse()
    back.metadata["signature_def"].Pack(unpacked)
    received = get_model_metadata_pb2.SignatureDefMap()
    assert (
        get_model_metadata_pb2.GetModelMetadataResponse.FromString(back.SerializeToString())
        .metadata["signature_def"]
        .Unpack(received)
    )
    assert received == definitions


def test_fields_we_leave_out_are_passed_on() -> None:
    official = predict_pb2.PredictRequest(client_id=b"me")
    assert messages.PredictRequest.FromString(official.SerializeToString()).SerializeToString() == (
        official.SerializeToString()
    )


@pytest.mark.parametrize(
    ("own", "official"),
    [
        (messages.DATA_TYPES, types_pb2.DataType),
        (messages.ERROR_CODES, error_codes_pb2.Code),
        (messages.MODEL_STATES, get_model_status_pb2.ModelVersionStatus.State),
    ],
)
def test_enum_numbers(own: dict[str, int], official: Any) -> None:
    assert own.items() <= dict(official.items()).items()


def test_both_kinds_live_in_one_process() -> None:
    assert messages.PredictRequest.DESCRIPTOR.file.pool is not predict_pb2.PredictRequest.DESCRIPTOR.file.pool
    assert messages.PredictRequest.DESCRIPTOR is not predict_pb2.PredictRequest.DESCRIPTOR
