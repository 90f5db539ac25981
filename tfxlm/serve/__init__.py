"""The embedded server: TensorFlow Serving's REST and gRPC interface in a Python process.

For tests, notebooks and small installations; `serving/` shows how to run the stock server on the same exports.
"""

from tfxlm.errors import explain_missing

with explain_missing("The embedded server", "tfxlm[serve]"):
    from tfxlm.serve.model_config import ServedModel, VersionPolicy, read_model_config
    from tfxlm.serve.server import Server

__all__ = ["ServedModel", "Server", "VersionPolicy", "read_model_config"]
