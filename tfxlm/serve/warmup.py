"""Warm-up requests of an export, replayed before a version answers, as TensorFlow Serving does.

The first run of a graph takes far longer than the others; no user should wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfxlm.serve.calls import Prepared, prepare_classify, prepare_multi_inference, prepare_predict, prepare_regress

if TYPE_CHECKING:
    from tfxlm.serve.servable import Servable

FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# TensorFlow Serving refuses files with more.
MAX_REQUESTS = 1000

# What a log holds -> what reads it. Logs of other kinds are passed over.
_KINDS = {
    "predict_log": prepare_predict,
    "classify_log": prepare_classify,
    "regress_log": prepare_regress,
    "multi_inference_log": prepare_multi_inference,
}


def replay_warmup(servable: Servable) -> None:
    """Replays the requests that a version brings, if it has any.

    Args:
        servable: the version, which may not be available to others yet.
    """
    if not (servable.path / FILE).is_file():
        return
    for record in tf.data.TFRecordDataset(str(servable.path / FILE)).take(MAX_REQUESTS).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind in _KINDS:
            prepared: Prepared = _KINDS[kind](lambda _: servable, getattr(log, kind).request)
            for call in prepared.calls:
                servable.predict(call.signature_name, call.inputs)
