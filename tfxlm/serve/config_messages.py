"""Messages that TensorFlow Serving has and `tensorflow-serving-api` has not, and those of gRPC's health check.

They live in a descriptor pool of their own, so that a package that brings the official ones does no harm.
"""

from typing import Any

from google.protobuf import message_factory

from tfxlm.client.descriptors import Messages, build_pool

_MESSAGES: Messages = {
    "tensorflow.serving": {
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
    },
    # What counts on the wire are the numbers, and an enumeration travels as an int32.
    "grpc.health.v1": {
        "HealthCheckRequest": ((1, "service", "string"),),
        "HealthCheckResponse": ((1, "status", "int32"),),
    },
}

_POOL = build_pool(_MESSAGES, {})

CLASSES: dict[str, Any] = {
    name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{package}.{name}"))
    for package, messages in _MESSAGES.items()
    for name in messages
}
"""Message class by name."""
