"""TensorFlow Serving's protocol buffers, without TensorFlow.

The official classes (`tensorflow_serving.apis`) import the whole of TensorFlow. The classes here have the same full
names and field numbers, hence the same bytes on the wire, but live in a descriptor pool of their own, so that both
kinds can be used in one process. Fields that a client has no use for are left out; protobuf keeps their bytes.
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FieldType = descriptor_pb2.FieldDescriptorProto

# Each field: (number, name, type). A type is a scalar, a full name, "repeated TYPE" or "map TYPE" (string keys).
# Enum types are marked with "enum "; "in ONEOF" after the name puts a field into that group.
_MESSAGES: dict[str, dict[str, tuple[tuple[int, str, str], ...]]] = {
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

_ENUMS: dict[str, dict[str, dict[str, int]]] = {
    "tensorflow": {"DataType": {name: number for number, name in enumerate(_DATA_TYPES)}},
    "tensorflow.error": {"Code": {name: number for number, name in enumerate(_CODES)}},
    "tensorflow.serving": {"ModelVersionStatus.State": _STATES},
}


def _add_field(message: descriptor_pb2.DescriptorProto, full_name: str, number: int, name: str, type_name: str) -> None:
    """Adds one field of the tables above to a message descriptor."""
    name, _, oneof = name.partition(" in ")
    field = message.field.add(name=name, number=number, label=_FieldType.LABEL_OPTIONAL)
    kind, _, rest = type_name.partition(" ")
    if kind == "map":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "", 1, "key", "string")
        _add_field(entry, "", 2, "value", rest)
        type_name = f"repeated {full_name}.{entry.name}"
        kind, _, rest = type_name.partition(" ")
    if kind == "repeated":
        field.label = _FieldType.LABEL_REPEATED
        type_name = rest
    if kind == "enum":
        field.type = _FieldType.TYPE_ENUM
        field.type_name = "." + rest
    elif "." in type_name:
        field.type = _FieldType.TYPE_MESSAGE
        field.type_name = "." + type_name
    else:
        field.type = _FieldType.Type.Value("TYPE_" + type_name.upper())
    if oneof:
        known = [group.name for group in message.oneof_decl]
        if oneof not in known:
            message.oneof_decl.add(name=oneof)
            known.append(oneof)
        field.oneof_index = known.index(oneof)


def _describe(package: str, dependencies: list[str]) -> descriptor_pb2.FileDescriptorProto:
    """Builds the file descriptor of one package; a dotted name is a type nested in the one before the dot."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"tfxlm/client/{package}.proto", package=package, syntax="proto3", dependency=dependencies
    )
    messages: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in _MESSAGES[package].items():
        outer, _, inner = name.rpartition(".")
        message = messages[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=name)
        messages[name] = message
        for number, field_name, type_name in fields:
            _add_field(message, f"{package}.{name}", number, field_name, type_name)
    for name, values in _ENUMS[package].items():
        outer, _, inner = name.rpartition(".")
        enum = messages[outer].enum_type.add(name=inner) if outer else file.enum_type.add(name=name)
        for value_name, value_number in values.items():
            enum.value.add(name=value_name, number=value_number)
    return file


def _build_pool() -> descriptor_pool.DescriptorPool:
    """Fills the private pool: protobuf's own well-known types first, then one file per package."""
    pool = descriptor_pool.DescriptorPool()
    names = []
    for well_known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
        names.append(well_known.DESCRIPTOR.name)
    for package in _MESSAGES:
        file = _describe(package, list(names))
        pool.AddSerializedFile(file.SerializeToString())
        names.append(file.name)
    return pool


_POOL = _build_pool()


def _message_class(full_name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))


TensorShapeProto = _message_class("tensorflow.TensorShapeProto")
TensorProto = _message_class("tensorflow.TensorProto")
TensorInfo = _message_class("tensorflow.TensorInfo")
SignatureDef = _message_class("tensorflow.SignatureDef")
ModelSpec = _message_class("tensorflow.serving.ModelSpec")
PredictRequest = _message_class("tensorflow.serving.PredictRequest")
PredictResponse = _message_class("tensorflow.serving.PredictResponse")
SignatureDefMap = _message_class("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = _message_class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message_class("tensorflow.serving.GetModelMetadataResponse")
StatusProto = _message_class("tensorflow.serving.StatusProto")
ModelVersionStatus = _message_class("tensorflow.serving.ModelVersionStatus")
GetModelStatusRequest = _message_class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message_class("tensorflow.serving.GetModelStatusResponse")

DATA_TYPES = _ENUMS["tensorflow"]["DataType"]
"""Names of TensorFlow's data types -> their numbers on the wire."""

ERROR_CODES = _ENUMS["tensorflow.error"]["Code"]
"""Names of the canonical status codes -> their numbers on the wire."""

MODEL_STATES = _ENUMS["tensorflow.serving"]["ModelVersionStatus.State"]
"""Names of the states a model version can be in -> their numbers on the wire."""
