"""Warm-up requests of an export, replayed before a version answers, as TensorFlow Serving does.

The first run of a graph takes far longer than the others; no user should wait for it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfxlm.client.tensors import read_tensor
from tfxlm.serve.predict_json import DEFAULT_SIGNATURE

FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# TensorFlow Serving refuses files with more.
MAX_REQUESTS = 1000


def replay_warmup(folder: Path, predict: Callable[[str, Mapping[str, np.ndarray]], Any]) -> None:
    """Replays the predict requests of a version, if it has any.

    Args:
        folder: of the version.
        predict: answers a request, given the signature's name and the inputs.
    """
    if not (folder / FILE).is_file():
        return
    for record in tf.data.TFRecordDataset(str(folder / FILE)).take(MAX_REQUESTS).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if request.inputs:  # logs of other kinds have none
            inputs = {name: read_tensor(tensor, name) for name, tensor in request.inputs.items()}
            predict(request.model_spec.signature_name or DEFAULT_SIGNATURE, inputs)
