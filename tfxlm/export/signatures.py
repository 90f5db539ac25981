"""Serving signatures: which inputs a served model takes, and which answers it gives.

All take ids with `lengths` and build the mask in the graph: the server pads each tensor of a batch on its own, and
would pad a mask with ones. A model with language embeddings always takes `langs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxlm.errors import ExportError
from tfxlm.heads.decode import classification_scores, mean_embedding, top_tokens
from tfxlm.models import (
    ModelOutput,
    TFPreTrainedModel,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
)

Tensors = dict[str, tf.Tensor]

# The signature that is called when a request names none.
DEFAULT = "serving_default"
# All outputs of the model, as it returns them.
FULL = "outputs"

INPUTS = {
    "input_ids": tf.TensorSpec((None, None), tf.int32, name="input_ids"),
    "lengths": tf.TensorSpec((None,), tf.int32, name="lengths"),
    "langs": tf.TensorSpec((None, None), tf.int32, name="langs"),
}


def _classification(model: TFPreTrainedModel, outputs: ModelOutput, inputs: Tensors) -> Tensors:
    scores = classification_scores(outputs["logits"], model.config.problem_type)
    labels = tf.constant([model.config.id2label[index] for index in range(model.config.num_labels)])
    return {
        "label": tf.gather(labels, tf.argmax(scores, axis=-1)),
        "score": tf.reduce_max(scores, axis=-1),
        "scores": scores,
    }


def _top_tokens(model: TFPreTrainedModel, outputs: ModelOutput, inputs: Tensors) -> Tensors:
    ids, scores = top_tokens(outputs["logits"])
    return {"ids": ids, "scores": scores}


def _embedding(model: TFPreTrainedModel, outputs: ModelOutput, inputs: Tensors) -> Tensors:
    mask = tf.sequence_mask(inputs["lengths"], tf.shape(inputs["input_ids"])[1])
    return {"embedding": mean_embedding(outputs["last_hidden_state"], mask)}


# What the default signature answers, by class.
ANSWERS: dict[type[TFPreTrainedModel], Callable[[TFPreTrainedModel, ModelOutput, Tensors], Tensors]] = {
    TFXLMForSequenceClassification: _classification,
    TFXLMWithLMHeadModel: _top_tokens,
    TFXLMModel: _embedding,
}


def input_specs(model: TFPreTrainedModel) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of the model's signatures by name."""
    needs_langs = getattr(model.config, "uses_lang_embeddings", False)
    return {name: spec for name, spec in INPUTS.items() if name != "langs" or needs_langs}


def make_signatures(model: TFPreTrainedModel) -> dict[str, Callable[..., Tensors]]:
    """Returns the functions to export by signature name: the small answers, and all outputs.

    Raises:
        ExportError: when the class of `model` cannot be exported.
    """
    answer = next((answer for kind, answer in ANSWERS.items() if isinstance(model, kind)), None)
    if answer is None:
        known = ", ".join(kind.__name__ for kind in ANSWERS)
        raise ExportError(f"{type(model).__name__} has no serving signatures. Classes that have: {known}.")

    def run(inputs: Tensors) -> ModelOutput:
        _check_shapes(inputs)
        return model(dict(inputs), training=False, return_dict=True)

    def default(**inputs: tf.Tensor) -> Tensors:
        return answer(model, run(inputs), inputs)

    def full(**inputs: tf.Tensor) -> Tensors:
        return flat_outputs(run(inputs))

    return {DEFAULT: default, FULL: full}


def _check_shapes(inputs: Tensors) -> None:
    """Adds assertions to the graph: shapes are only known when a request comes, and would broadcast otherwise."""
    shape = tf.shape(inputs["input_ids"])
    expected = {"lengths": (shape[:1], "(batch,)"), "langs": (shape, "(batch, length)")}
    for name, (wanted, text) in expected.items():
        if name in inputs:
            message = f"{name} must have shape {text}, with the sizes that input_ids (batch, length) has."
            tf.debugging.assert_equal(tf.shape(inputs[name]), wanted, message=message)


def flat_outputs(outputs: Any) -> Tensors:
    """Returns outputs as one flat dict: tuples become ``name_0``, ``name_1``, ..."""
    flat: Tensors = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, tuple) else {name: value}
    return flat
