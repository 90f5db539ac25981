"""Serving signatures: which inputs a served model takes, and which answers it gives.

All take ids with `lengths` and build the mask in the graph: the server pads each tensor of a batch on its own, and
would pad a mask with ones. A model with language embeddings always takes `langs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxlm.errors import ExportError
from tfxlm.heads.classification import problem_of
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
    config, width = model.config, outputs["logits"].shape[-1]
    if width != config.num_labels:
        raise ExportError(
            f"The head of this {type(model).__name__} gives {width} numbers for a text, but id2label names "
            f"{config.num_labels} labels, so its answers have no names. Export a model whose configuration has "
            "summary_use_proj=True and summary_proj_to_labels=True."
        )
    scores = classification_scores(outputs["logits"], config.problem_type)
    if problem_of(None, config.num_labels, config.problem_type) == "regression":
        return {"scores": scores}  # numbers, of which none is the best
    labels = tf.constant([config.id2label[index] for index in range(config.num_labels)])
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
        return model(_checked(inputs), training=False, return_dict=True)

    def default(**inputs: tf.Tensor) -> Tensors:
        return answer(model, run(inputs), inputs)

    def full(**inputs: tf.Tensor) -> Tensors:
        return flat_outputs(run(inputs))

    return {DEFAULT: default, FULL: full}


def _checked(inputs: Tensors) -> Tensors:
    """Adds assertions to the graph: sizes are only known when a request comes, and would broadcast otherwise.

    Returns:
        The inputs, for what may only run once the assertions hold.
    """
    shape, lengths = tf.shape(inputs["input_ids"]), inputs["lengths"]
    sizes = {"lengths": (shape[:1], "(batch,)"), "langs": (shape, "(batch, length)")}
    rules = [(shape[1] >= 1, "input_ids must have shape (batch, length) with a length of at least 1.")]
    rules += [
        (
            tf.reduce_all(tf.shape(inputs[name]) == size),
            f"{name} must have shape {text}, with the sizes that input_ids (batch, length) has.",
        )
        for name, (size, text) in sizes.items()
        if name in inputs
    ]
    # No row is without tokens, not even those that a server fills a batch up with: they are copies.
    real = tf.reduce_all((lengths >= 1) & (lengths <= shape[1]))
    rules.append((real, "lengths must be at least 1 and at most the length of input_ids."))
    checks: list[Any] = []
    for holds, message in rules:
        # One after the other, so that a request that breaks several rules always gets the same message.
        with tf.control_dependencies(checks):
            checks = [tf.debugging.Assert(holds, [message], summarize=1)]
    with tf.control_dependencies(checks):
        return {name: tf.identity(tensor) for name, tensor in inputs.items()}


def flat_outputs(outputs: Any) -> Tensors:
    """Returns outputs as one flat dict: tuples become ``name_0``, ``name_1``, ..."""
    flat: Tensors = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, tuple) else {name: value}
    return flat
