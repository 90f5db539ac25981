"""The forms of TensorFlow Serving's Classify and Regress: texts as features of serialized `tf.Example`s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.export.inputs import Tensors
from tfxlm.export.served import Served
from tfxlm.export.texts import texts_or_pairs
from tfxlm.models.tasks import SequenceClassification

# What a signature says it is for.
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
# The input that both have.
INPUTS = "inputs"
# Features that an example may leave out.
_OPTIONAL = ("text_pair", "lang_pair")


def _features(served: Served) -> tuple[str, ...]:
    return ("text", "text_pair", *(("lang", "lang_pair") if served.tokenizer.languages.is_needed else ()))


def _answer(served: Served, serialized: tf.Tensor) -> Tensors:
    features = {
        name: tf.io.FixedLenFeature([], tf.string, default_value="" if name in _OPTIONAL else None)
        for name in _features(served)
    }
    return texts_or_pairs(served, tf.io.parse_example(serialized, features))


def classify(served: Served, inputs: tf.Tensor) -> Tensors:
    """Answers serialized examples, string (batch,).

    Returns:
        `classes`, string (batch, num_labels), and `scores`, float32 (batch, num_labels).
    """
    scores = _answer(served, inputs)["scores"]
    config = served.model.config
    names = tf.constant([str(config.id2label[index]) for index in range(scores.shape[-1])])
    return {"classes": tf.broadcast_to(names[None], tf.shape(scores)), "scores": scores}


def regress(served: Served, inputs: tf.Tensor) -> Tensors:
    """Answers serialized examples, string (batch,).

    Returns:
        `outputs`, float32 (batch,).
    """
    return {"outputs": _answer(served, inputs)["scores"][:, 0]}


def example_form(served: Served) -> tuple[str, str, Callable[[Served, tf.Tensor], Tensors]] | None:
    """Returns how a model is asked with examples: name, method, and what answers; None for models that are not."""
    if not isinstance(served.model, SequenceClassification):
        return None
    config = served.model.config
    is_regression = config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
    if not is_regression:
        return "classify", CLASSIFY, classify
    # The interface takes one number for each example.
    return ("regress", REGRESS, regress) if config.num_labels == 1 else None


def serialized(served: Served, request: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns a request for pairs of texts into one of examples; an empty second text is left out."""
    rows = zip(*(request[name] for name in _features(served)), strict=True)
    return {INPUTS: np.array([_example(dict(zip(_features(served), row, strict=True))) for row in rows])}


def _example(values: Mapping[str, Any]) -> bytes:
    # An empty text is a space: numpy takes zeros off the ends of bytes, and that is what an empty one would end with.
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(value) or b" "]))
        for name, value in values.items()
        if value or name not in _OPTIONAL
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
