"""Serving signatures: the small answers of a model, and all of its outputs.

A model with language embeddings always takes `langs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.export import continuations
from tfxlm.export.answers import Asked, answer_of
from tfxlm.export.continuations import Generation
from tfxlm.export.inputs import ONE_TEXT, Tensors, checked, input_specs, real_positions, sample_inputs
from tfxlm.export.texts import SEED, Served, TextForm, forms_of
from tfxlm.models import ModelOutput, TFPreTrainedModel

# The signature that is called when a request names none.
DEFAULT = "serving_default"
# Small answers to ids, which is the default where there is no tokenizer for texts.
IDS = "ids"
# All outputs of the model, as it returns them.
FULL = "outputs"
# What a causal model makes of ids.
GENERATE_IDS = "generate_ids"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function to export.

    Args:
        graph: the function, traced.
        sample: a small request, arrays by input: int32, or bytes.
    """

    graph: Callable[..., Tensors]
    sample: Mapping[str, np.ndarray]


def make_signatures(
    model: TFPreTrainedModel,
    options: Mapping[str, int],
    texts: Served | None = None,
    generation: Generation | None = None,
) -> dict[str, Signature]:
    """Returns what to export by signature name: the small answers to texts and to ids, and all outputs.

    Args:
        model: the model.
        options: of its answers, from `tfxlm.export.answers.options_of`.
        texts: the model with its tokenizer in the graph, from `tfxlm.export.texts.served`; None without texts.
        generation: how the model generates from ids; None where it does not.

    Raises:
        ExportError: when the class of `model` cannot be exported, or its answers have no names.
    """
    found = _of_ids(model, options)
    if generation is not None:
        found[GENERATE_IDS] = _generating(model, generation)
    if texts is None:
        return {DEFAULT: found.pop(IDS), **found}
    of_texts = {name: _of_texts(texts, form) for name, form in forms_of(model).items()}
    first = next(iter(of_texts))
    return {DEFAULT: of_texts[first], **{name: one for name, one in of_texts.items() if name != first}, **found}


def _of_texts(texts: Served, form: TextForm) -> Signature:
    def text(**inputs: tf.Tensor) -> Tensors:
        return form.answer(texts, form.checked(inputs))

    graph = tf.function(text, autograph=False).get_concrete_function(**form.specs(texts))
    return Signature(graph, form.sample(texts))


def _of_ids(model: TFPreTrainedModel, options: Mapping[str, int]) -> dict[str, Signature]:
    answer = answer_of(model)
    langs = ("langs",) if getattr(model.config, "uses_lang_embeddings", False) else ()
    names = ("input_ids", "lengths", *langs, *answer.head_inputs)

    def run(inputs: Tensors) -> tuple[ModelOutput, tf.Tensor]:
        mask = real_positions(inputs)
        given = {name: inputs[name] for name in names if name != "lengths"}
        return model(given, attention_mask=tf.cast(mask, tf.int32), training=False, return_dict=True), mask

    def default(**inputs: tf.Tensor) -> Tensors:
        safe = checked(inputs, answer.text)
        outputs, mask = run(safe)
        return answer.make(Asked(model, outputs, safe, mask), **options)

    def full(**inputs: tf.Tensor) -> Tensors:
        return flat_outputs(run(checked(inputs, answer.text))[0])

    def traced(function: Callable[..., Tensors], taken: tuple[str, ...]) -> Signature:
        graph = tf.function(function, autograph=False).get_concrete_function(**input_specs(taken, answer.text))
        return Signature(graph, sample_inputs(taken, answer.text, model.config))

    return {IDS: traced(default, (*names, *answer.answer_inputs)), FULL: traced(full, names)}


def _generating(model: TFPreTrainedModel, generation: Generation) -> Signature:
    langs = ("langs",) if getattr(model.config, "uses_lang_embeddings", False) else ()
    names = ("input_ids", "lengths", *langs, *((SEED,) if generation.needs_seeds else ()))

    def run(**inputs: tf.Tensor) -> Tensors:
        return continuations.of_ids(generation, model, checked(inputs, ONE_TEXT))

    graph = tf.function(run, autograph=False).get_concrete_function(**input_specs(names, ONE_TEXT))
    return Signature(graph, sample_inputs(names, ONE_TEXT, model.config, generation.longest_prompt))


def flat_outputs(outputs: Any) -> Tensors:
    """Returns outputs as one flat dict: tuples become ``name_0``, ``name_1``, ..."""
    flat: Tensors = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, tuple) else {name: value}
    return flat
