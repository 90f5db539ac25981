"""TensorFlow Serving's protocol and a client for it, without TensorFlow."""

from tfxlm.errors import ServingError, explain_missing

with explain_missing("The client", "tfxlm"):
    from tfxlm.client.client import Client
    from tfxlm.client.dtypes import DType
    from tfxlm.client.metadata import ModelMetadata, Signature, TensorSpec, VersionStatus

__all__ = ["Client", "DType", "ModelMetadata", "ServingError", "Signature", "TensorSpec", "VersionStatus"]
