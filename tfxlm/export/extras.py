"""What goes with a SavedModel: configuration, tokenizer, manifest and warm-up requests, under ``assets.extra``."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from tfxlm._version import __version__
from tfxlm.errors import InputError, LanguageError
from tfxlm.export.examples import CLASSIFY, INPUTS, REGRESS
from tfxlm.export.inputs import Request
from tfxlm.export.signatures import PREDICT, Signature
from tfxlm.files import write_json
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.tasks import SequenceClassification, TokenClassification

# TensorFlow Serving reads its warm-up requests here, and ignores other files in the folder.
FOLDER = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"


def check_tokenizer(model: TFPreTrainedModel, tokenizer: Any) -> None:
    """Checks that a tokenizer can go with a model; None always can.

    Raises:
        InputError: when it cannot be saved, or has ids that the model does not have.
        LanguageError: when its languages are not the model's.
    """
    if tokenizer is None:
        return
    if not callable(getattr(tokenizer, "save_pretrained", None)):
        raise InputError(
            f"tokenizer must be a tokenizer with save_pretrained, or None; got {type(tokenizer).__name__}. Load one "
            "with XLMTokenizer.from_pretrained(...)."
        )
    vocab_size = model.config.vocab_size
    largest = max(getattr(tokenizer, "get_vocab", dict)().values(), default=-1)
    if largest >= vocab_size:
        raise InputError(
            f"The tokenizer has ids up to {largest}, but the model's vocab_size is {vocab_size}. Export the tokenizer "
            "that the model was trained with."
        )
    known, given = getattr(model.config, "lang2id", None), getattr(tokenizer, "lang2id", None)
    if known and given and dict(known) != dict(given):
        raise LanguageError(
            f"The tokenizer's languages are {dict(given)}, the model's are {dict(known)}. Export the tokenizer that "
            "the model was trained with."
        )


def write_config_and_tokenizer(folder: Path, model: TFPreTrainedModel, tokenizer: Any) -> None:
    """Writes ``config.json``, and the tokenizer's files when there is a tokenizer."""
    model.config.replace(architectures=[model.architecture]).save_pretrained(folder / FOLDER)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder / FOLDER / "tokenizer")


def write_labels(folder: Path, model: TFPreTrainedModel) -> None:
    """Writes ``labels.txt``, a label in each line in the order of their ids, for models that answer labels."""
    if isinstance(model, (SequenceClassification, TokenClassification)):
        names = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        (folder / FOLDER / LABELS_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def write_warmup(folder: Path, name: str, signatures: Mapping[str, Signature]) -> None:
    """Writes the requests that TensorFlow Serving replays when it loads the model, one for each signature and size."""
    (folder / FOLDER).mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FOLDER / WARMUP_FILE)) as writer:
        for signature_name, signature in signatures.items():
            for request in signature.samples:
                log = _LOGS[signature.method](request, model_pb2.ModelSpec(name=name, signature_name=signature_name))
                writer.write(log.SerializeToString())


def _predict_log(request: Request, model: model_pb2.ModelSpec) -> prediction_log_pb2.PredictionLog:
    predict = predict_pb2.PredictRequest(model_spec=model)
    for key, array in request.items():
        predict.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=predict))


def _examples_of(request: Request) -> input_pb2.Input:
    examples = map(tf.train.Example.FromString, request[INPUTS])
    return input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))


def _classify_log(request: Request, model: model_pb2.ModelSpec) -> prediction_log_pb2.PredictionLog:
    asked = classification_pb2.ClassificationRequest(model_spec=model, input=_examples_of(request))
    return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=asked))


def _regress_log(request: Request, model: model_pb2.ModelSpec) -> prediction_log_pb2.PredictionLog:
    asked = regression_pb2.RegressionRequest(model_spec=model, input=_examples_of(request))
    return prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=asked))


_LOGS: Mapping[str, Callable[..., prediction_log_pb2.PredictionLog]] = {
    PREDICT: _predict_log,
    CLASSIFY: _classify_log,
    REGRESS: _regress_log,
}


def write_manifest(
    folder: Path,
    model: TFPreTrainedModel,
    signatures: Mapping[str, Signature],
    answers: Mapping[str, np.ndarray],
    described: Mapping[str, Any],
) -> None:
    """Writes what the export is made of: versions, hashes of its files, and a golden request with its answers.

    Args:
        folder: of the export.
        model: the model.
        signatures: what is exported; the first one has the golden request.
        answers: to that request.
        described: what else there is to say.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    golden = next(iter(signatures.values())).sample
    write_json(
        folder / FOLDER / MANIFEST_FILE,
        {
            "tfxlm": __version__,
            "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "tensorflow-text")},
            "class": type(model).__name__,
            "dtype": model.dtype_policy.name,
            **described,
            "signatures": {name: signature.method for name, signature in signatures.items()},
            "sha256": {path.relative_to(folder).as_posix(): _sha256(path) for path in files},
            "golden": {
                "inputs": {name: _as_json(array) for name, array in golden.items()},
                # Only the small answers: the full outputs of a large model would be most of the file.
                "outputs": {name: array.tolist() for name, array in answers.items()},
            },
        },
    )


def _as_json(array: np.ndarray) -> Any:
    """Lists of numbers and texts; bytes that are no text as TensorFlow Serving's JSON has them."""
    return [_text(one) for one in array.tolist()] if array.dtype.kind == "S" else array.tolist()


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
