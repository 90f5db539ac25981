"""TensorFlow Serving's protocol and a client for it, without TensorFlow."""

from tfxlm.errors import ServingError, explain_missing

with explain_missing("The client", "tfxlm"):
    from tfxlm.client.calls import ScoredClass
    from tfxlm.client.client import AsyncClient, Client
    from tfxlm.client.dtypes import DType
    from tfxlm.client.metadata import ModelMetadata, Signature, TensorSpec, VersionStatus
    from tfxlm.client.retries import Retry
    from tfxlm.client.text_requests import TextRequest
    from tfxlm.client.text_results import Answer, Choice, FilledMask, Generated, Labelled, LabelledWord, Span
    from tfxlm.client.transport import Tls

__all__ = [
    "Answer",
    "AsyncClient",
    "Choice",
    "Client",
    "DType",
    "FilledMask",
    "Generated",
    "Labelled",
    "LabelledWord",
    "ModelMetadata",
    "Retry",
    "ScoredClass",
    "ServingError",
    "Signature",
    "Span",
    "TensorSpec",
    "TextRequest",
    "Tls",
    "VersionStatus",
]
