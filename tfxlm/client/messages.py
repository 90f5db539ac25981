"""TensorFlow Serving's protocol buffers, without TensorFlow.

The official classes (`tensorflow_serving.apis`) import the whole of TensorFlow. The classes here have the same full
names and field numbers, hence the same bytes on the wire, but live in a descriptor pool of their own, so that both
kinds can be used in one process. Fields that a client has no use for are left out; protobuf keeps their bytes.
"""

from typing import Any

from google.protobuf import message_factory

from tfxlm.client.descriptors import build_pool
from tfxlm.client.schema import ENUMS, MESSAGES

POOL = build_pool(MESSAGES, ENUMS)
"""The private pool; protobuf's text format looks types up in it."""


def _message_class(full_name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


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
Example = _message_class("tensorflow.Example")
Feature = _message_class("tensorflow.Feature")
Input = _message_class("tensorflow.serving.Input")
ClassificationRequest = _message_class("tensorflow.serving.ClassificationRequest")
ClassificationResponse = _message_class("tensorflow.serving.ClassificationResponse")
ClassificationResult = _message_class("tensorflow.serving.ClassificationResult")
RegressionRequest = _message_class("tensorflow.serving.RegressionRequest")
RegressionResponse = _message_class("tensorflow.serving.RegressionResponse")
RegressionResult = _message_class("tensorflow.serving.RegressionResult")
InferenceTask = _message_class("tensorflow.serving.InferenceTask")
InferenceResult = _message_class("tensorflow.serving.InferenceResult")
MultiInferenceRequest = _message_class("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse = _message_class("tensorflow.serving.MultiInferenceResponse")
ModelConfig = _message_class("tensorflow.serving.ModelConfig")
ModelServerConfig = _message_class("tensorflow.serving.ModelServerConfig")
ReloadConfigRequest = _message_class("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message_class("tensorflow.serving.ReloadConfigResponse")

DATA_TYPES = ENUMS["tensorflow"]["DataType"]
"""Names of TensorFlow's data types -> their numbers on the wire."""

ERROR_CODES = ENUMS["tensorflow.error"]["Code"]
"""Names of the canonical status codes -> their numbers on the wire."""

MODEL_STATES = ENUMS["tensorflow.serving"]["ModelVersionStatus.State"]
"""Names of the states a model version can be in -> their numbers on the wire."""
