"""Answers that REST and gRPC share, as TensorFlow Serving's messages."""

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from tfxlm.client.messages import ERROR_CODES, MODEL_STATES
from tfxlm.client.transport import ModelRef
from tfxlm.serve.calls import model_spec
from tfxlm.serve.models import ModelManager


def status_response(models: ModelManager, model: ModelRef) -> get_model_status_pb2.GetModelStatusResponse:
    """Describes the states of a model's versions.

    Raises:
        ServingError: there is no such model or version.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in models.statuses(model):
        entry = response.model_version_status.add(version=status.version, state=MODEL_STATES[status.state])
        entry.status.error_code = ERROR_CODES[status.error_code]
        entry.status.error_message = status.error_message
    return response


def metadata_response(
    models: ModelManager, model: ModelRef
) -> tuple[model_pb2.ModelSpec, get_model_metadata_pb2.SignatureDefMap]:
    """Describes the signatures of a model.

    Raises:
        ServingError: there is no such model or version.
    """
    with models.serving(model) as servable:  # which has no signatures once it is unloaded
        return model_spec(servable), get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
