"""A model with its tokenizer in a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfxlm.export.answers import Asked, answer_of
from tfxlm.export.inputs import Tensors
from tfxlm.export.options import Options, own
from tfxlm.export.running import Runner
from tfxlm.models import TFPreTrainedModel
from tfxlm.tokenizers.in_graph import GraphTokenizer, Inputs


@dataclasses.dataclass(frozen=True)
class Served:
    """A model with its tokenizer in a graph.

    Args:
        run: runs the model.
        tokenizer: its tokenizer, in the graph.
        source: its tokenizer in Python.
        options: of the answers, see `tfxlm.export.forms.options_of`.
    """

    run: Runner
    tokenizer: GraphTokenizer
    source: Any
    options: Mapping[str, Any]

    @property
    def model(self) -> TFPreTrainedModel:
        """The model."""
        return self.run.model

    def outputs(self, inputs: Inputs, choices: tf.Tensor | None = None, **more: tf.Tensor) -> dict[str, Any]:
        """Runs the model.

        Args:
            inputs: of the tokenizer.
            choices: int32 scalar: how many texts make a row; None for a model that takes one.
            **more: further arguments of the call.
        """
        mask = tf.sequence_mask(inputs.lengths, tf.shape(inputs.input_ids)[1], tf.int32)
        given = {"input_ids": inputs.input_ids, "attention_mask": mask}
        if inputs.langs is not None and getattr(self.model.config, "uses_lang_embeddings", False):
            given["langs"] = inputs.langs
        if choices is not None:
            length = tf.shape(mask)[1]
            given = {name: tf.reshape(value, tf.stack([-1, choices, length])) for name, value in given.items()}
        return self.run(given | more)

    def answer(self, outputs: Any, inputs: Inputs, **more: tf.Tensor) -> Tensors:
        """Makes the small answers of the model's task."""
        mask = tf.sequence_mask(inputs.lengths, tf.shape(inputs.input_ids)[1])
        make = answer_of(self.model).make
        return make(Asked(self.model, outputs, more, mask), **self.own(make))

    def own(self, function: Callable[..., Any]) -> Options:
        """Returns the options that a function takes."""
        return own(function, self.options)
