"""TensorFlow Serving's protocol and a client for it, without TensorFlow."""

from tfxlm.client.client import Client
from tfxlm.client.dtypes import DType
from tfxlm.client.metadata import ModelMetadata, Signature, TensorSpec, VersionStatus
from tfxlm.errors import ServingError

__all__ = ["Client", "DType", "ModelMetadata", "ServingError", "Signature", "TensorSpec", "VersionStatus"]
