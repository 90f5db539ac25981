"""The embedded server: TensorFlow Serving's REST and gRPC interface in a Python process.

For tests, notebooks and small installations; `serving/` shows how to run the stock server on the same exports.
"""

from tfxlm.errors import explain_missing

with explain_missing("The embedded server", "tfxlm[serve]"):
    from tfxlm.serve.batching_parameters import BatchingParameters, read_batching_parameters
    from tfxlm.serve.metrics import Monitoring, read_monitoring_config
    from tfxlm.serve.model_config import ServedModel, VersionPolicy, read_model_config
    from tfxlm.serve.server import Server
    from tfxlm.serve.ssl_config import SSLConfig, read_ssl_config

__all__ = [
    "BatchingParameters",
    "Monitoring",
    "SSLConfig",
    "ServedModel",
    "Server",
    "VersionPolicy",
    "read_batching_parameters",
    "read_model_config",
    "read_monitoring_config",
    "read_ssl_config",
]
