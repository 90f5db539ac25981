"""TensorFlow Serving's messages as data: what `tfxlm.client.messages` makes classes of."""

from tfxlm.client.descriptors import Enums, Messages

_POLICY = "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy"

MESSAGES: Messages = {
    "tensorflow": {
        "TensorShapeProto": (
            (2, "dim", "repeated tensorflow.TensorShapeProto.Dim"),
            (3, "unknown_rank", "bool"),
        ),
        "TensorShapeProto.Dim": ((1, "size", "int64"), (2, "name", "string")),
        "TensorProto": (
            (1, "dtype", "enum tensorflow.DataType"),
            (2, "tensor_shape", "tensorflow.TensorShapeProto"),
            (3, "version_number", "int32"),
            (4, "tensor_content", "bytes"),
            (5, "float_val", "repeated float"),
            (6, "double_val", "repeated double"),
            (7, "int_val", "repeated int32"),
            (8, "string_val", "repeated bytes"),
            (10, "int64_val", "repeated int64"),
            (11, "bool_val", "repeated bool"),
            (13, "half_val", "repeated int32"),
            (16, "uint32_val", "repeated uint32"),
            (17, "uint64_val", "repeated uint64"),
        ),
        "TensorInfo": (
            (1, "name in encoding", "string"),
            (2, "dtype", "enum tensorflow.DataType"),
            (3, "tensor_shape", "tensorflow.TensorShapeProto"),
        ),
        "SignatureDef": (
            (1, "inputs", "map tensorflow.TensorInfo"),
            (2, "outputs", "map tensorflow.TensorInfo"),
            (3, "method_name", "string"),
            (4, "defaults", "map tensorflow.TensorProto"),
        ),
        "BytesList": ((1, "value", "repeated bytes"),),
        "FloatList": ((1, "value", "repeated float"),),
        "Int64List": ((1, "value", "repeated int64"),),
        "Feature": (
            (1, "bytes_list in kind", "tensorflow.BytesList"),
            (2, "float_list in kind", "tensorflow.FloatList"),
            (3, "int64_list in kind", "tensorflow.Int64List"),
        ),
        "Features": ((1, "feature", "map tensorflow.Feature"),),
        "Example": ((1, "features", "tensorflow.Features"),),
    },
    "tensorflow.error": {},
    "tensorflow.serving": {
        "ModelSpec": (
            (1, "name", "string"),
            (2, "version in version_choice", "google.protobuf.Int64Value"),
            (3, "signature_name", "string"),
            (4, "version_label in version_choice", "string"),
        ),
        "PredictRequest": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "inputs", "map tensorflow.TensorProto"),
            (3, "output_filter", "repeated string"),
        ),
        "PredictResponse": (
            (1, "outputs", "map tensorflow.TensorProto"),
            (2, "model_spec", "tensorflow.serving.ModelSpec"),
        ),
        "SignatureDefMap": ((1, "signature_def", "map tensorflow.SignatureDef"),),
        "GetModelMetadataRequest": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "metadata_field", "repeated string"),
        ),
        "GetModelMetadataResponse": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "metadata", "map google.protobuf.Any"),
        ),
        "StatusProto": ((1, "error_code", "enum tensorflow.error.Code"), (2, "error_message", "string")),
        "ModelVersionStatus": (
            (1, "version", "int64"),
            (2, "state", "enum tensorflow.serving.ModelVersionStatus.State"),
            (3, "status", "tensorflow.serving.StatusProto"),
        ),
        "GetModelStatusRequest": ((1, "model_spec", "tensorflow.serving.ModelSpec"),),
        "GetModelStatusResponse": ((1, "model_version_status", "repeated tensorflow.serving.ModelVersionStatus"),),
        "ExampleList": ((1, "examples", "repeated tensorflow.Example"),),
        "ExampleListWithContext": (
            (1, "examples", "repeated tensorflow.Example"),
            (2, "context", "tensorflow.Example"),
        ),
        "Input": (
            (1, "example_list in kind", "tensorflow.serving.ExampleList"),
            (2, "example_list_with_context in kind", "tensorflow.serving.ExampleListWithContext"),
        ),
        "Class": ((1, "label", "string"), (2, "score", "float")),
        "Classifications": ((1, "classes", "repeated tensorflow.serving.Class"),),
        "ClassificationResult": ((1, "classifications", "repeated tensorflow.serving.Classifications"),),
        "ClassificationRequest": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "input", "tensorflow.serving.Input"),
        ),
        "ClassificationResponse": (
            (1, "result", "tensorflow.serving.ClassificationResult"),
            (2, "model_spec", "tensorflow.serving.ModelSpec"),
        ),
        "Regression": ((1, "value", "float"),),
        "RegressionResult": ((1, "regressions", "repeated tensorflow.serving.Regression"),),
        "RegressionRequest": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "input", "tensorflow.serving.Input"),
        ),
        "RegressionResponse": (
            (1, "result", "tensorflow.serving.RegressionResult"),
            (2, "model_spec", "tensorflow.serving.ModelSpec"),
        ),
        "InferenceTask": ((1, "model_spec", "tensorflow.serving.ModelSpec"), (2, "method_name", "string")),
        "InferenceResult": (
            (1, "model_spec", "tensorflow.serving.ModelSpec"),
            (2, "classification_result in result", "tensorflow.serving.ClassificationResult"),
            (3, "regression_result in result", "tensorflow.serving.RegressionResult"),
        ),
        "MultiInferenceRequest": (
            (1, "tasks", "repeated tensorflow.serving.InferenceTask"),
            (2, "input", "tensorflow.serving.Input"),
        ),
        "MultiInferenceResponse": ((1, "results", "repeated tensorflow.serving.InferenceResult"),),
        "FileSystemStoragePathSourceConfig": (),
        "FileSystemStoragePathSourceConfig.ServableVersionPolicy": (
            (100, "latest in policy_choice", f"{_POLICY}.Latest"),
            (101, "all in policy_choice", f"{_POLICY}.All"),
            (102, "specific in policy_choice", f"{_POLICY}.Specific"),
        ),
        "FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest": ((1, "num_versions", "uint32"),),
        "FileSystemStoragePathSourceConfig.ServableVersionPolicy.All": (),
        "FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific": ((1, "versions", "repeated int64"),),
        "LogCollectorConfig": ((1, "type", "string"), (2, "filename_prefix", "string")),
        "SamplingConfig": ((1, "sampling_rate", "double"),),
        "LoggingConfig": (
            (1, "log_collector_config", "tensorflow.serving.LogCollectorConfig"),
            (2, "sampling_config", "tensorflow.serving.SamplingConfig"),
        ),
        "ModelConfig": (
            (1, "name", "string"),
            (2, "base_path", "string"),
            (4, "model_platform", "string"),
            (6, "logging_config", "tensorflow.serving.LoggingConfig"),
            (7, "model_version_policy", _POLICY),
            (8, "version_labels", "map int64"),
        ),
        "ModelConfigList": ((1, "config", "repeated tensorflow.serving.ModelConfig"),),
        "ModelServerConfig": ((1, "model_config_list in config", "tensorflow.serving.ModelConfigList"),),
        "ReloadConfigRequest": ((1, "config", "tensorflow.serving.ModelServerConfig"),),
        "ReloadConfigResponse": ((1, "status", "tensorflow.serving.StatusProto"),),
    },
}

# fmt: off
_DATA_TYPES = (
    "DT_INVALID", "DT_FLOAT", "DT_DOUBLE", "DT_INT32", "DT_UINT8", "DT_INT16", "DT_INT8", "DT_STRING", "DT_COMPLEX64",
    "DT_INT64", "DT_BOOL", "DT_QINT8", "DT_QUINT8", "DT_QINT32", "DT_BFLOAT16", "DT_QINT16", "DT_QUINT16", "DT_UINT16",
    "DT_COMPLEX128", "DT_HALF", "DT_RESOURCE", "DT_VARIANT", "DT_UINT32", "DT_UINT64",
)
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)
_STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
# fmt: on

ENUMS: Enums = {
    "tensorflow": {"DataType": {name: number for number, name in enumerate(_DATA_TYPES)}},
    "tensorflow.error": {"Code": {name: number for number, name in enumerate(_CODES)}},
    "tensorflow.serving": {"ModelVersionStatus.State": _STATES},
}
