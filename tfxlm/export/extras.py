"""What goes with a SavedModel: configuration, tokenizer, manifest and warm-up requests, under ``assets.extra``."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfxlm._version import __version__
from tfxlm.errors import InputError, LanguageError
from tfxlm.export.signatures import Signature
from tfxlm.files import write_json
from tfxlm.models import TFPreTrainedModel

# TensorFlow Serving reads its warm-up requests here, and ignores other files in the folder.
FOLDER = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"
MANIFEST_FILE = "manifest.json"


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


def write_warmup(folder: Path, name: str, signatures: Mapping[str, Signature]) -> None:
    """Writes one warm-up request for each signature, as TensorFlow Serving replays them when it loads the model."""
    (folder / FOLDER).mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FOLDER / WARMUP_FILE)) as writer:
        for signature_name, signature in signatures.items():
            predict = predict_pb2.PredictRequest()
            predict.model_spec.name = name
            predict.model_spec.signature_name = signature_name
            for key, array in signature.sample.items():
                predict.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=predict))
            writer.write(log.SerializeToString())


def write_manifest(
    folder: Path,
    model: TFPreTrainedModel,
    options: Mapping[str, int],
    request: Mapping[str, np.ndarray],
    answers: Mapping[str, np.ndarray],
) -> None:
    """Writes what the export is made of: versions, hashes of its files, and a golden request with its answers."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(
        folder / FOLDER / MANIFEST_FILE,
        {
            "tfxlm": __version__,
            "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")},
            "class": type(model).__name__,
            "dtype": model.dtype_policy.name,
            "answers": dict(options),
            "sha256": {path.relative_to(folder).as_posix(): _sha256(path) for path in files},
            "golden": {
                "inputs": {name: _as_text(array).tolist() for name, array in request.items()},
                # Only the small answers: the full outputs of a large model would be most of the file.
                "outputs": {name: array.tolist() for name, array in answers.items()},
            },
        },
    )


def _as_text(array: np.ndarray) -> np.ndarray:
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
