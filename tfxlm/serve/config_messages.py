"""Messages that TensorFlow Serving has and `tensorflow-serving-api` has not, and those of gRPC's health check.

They live in a descriptor pool of their own, so that a package that brings the official ones does no harm.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, wrappers_pb2

# Name of the message -> its fields: number, name, type.
_MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "SSLConfig": (
        (1, "server_key", "string"),
        (2, "server_cert", "string"),
        (3, "custom_ca", "string"),
        (4, "client_verify", "bool"),
    ),
    "PrometheusConfig": ((1, "enable", "bool"), (2, "path", "string")),
    "MonitoringConfig": ((1, "prometheus_config", "tensorflow.serving.PrometheusConfig"),),
    "BatchingParameters": (
        (1, "max_batch_size", "google.protobuf.Int64Value"),
        (2, "batch_timeout_micros", "google.protobuf.Int64Value"),
        (3, "max_enqueued_batches", "google.protobuf.Int64Value"),
        (4, "num_batch_threads", "google.protobuf.Int64Value"),
        (5, "thread_pool_name", "google.protobuf.StringValue"),
        (6, "allowed_batch_sizes", "repeated int64"),
        (7, "pad_variable_length_inputs", "bool"),
    ),
    # Of grpc.health.v1; what counts on the wire are the numbers, and an enumeration travels as an int32.
    "HealthCheckRequest": ((1, "service", "string"),),
    "HealthCheckResponse": ((1, "status", "int32"),),
}


def _field(number: int, name: str, kind: str) -> dict[str, Any]:
    repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
    described = {"typeName": f".{kind}"} if "." in kind else {"type": f"TYPE_{kind.upper()}"}
    return {"number": number, "name": name, "label": f"LABEL_{'REPEATED' if repeated else 'OPTIONAL'}", **described}


def _classes() -> dict[str, Any]:
    file = {
        "name": "tfxlm/serve/config.proto",
        "package": "tensorflow.serving",
        "syntax": "proto3",
        "dependency": [wrappers_pb2.DESCRIPTOR.name],
        "messageType": [
            {"name": name, "field": [_field(*field) for field in fields]} for name, fields in _MESSAGES.items()
        ],
    }
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()).SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in _MESSAGES
    }


CLASSES = _classes()
"""Message class by name."""
