"""What served models make of raw texts, by task: the tokenizer stands in the graph, before the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.export.answers import Asked, answer_of
from tfxlm.export.inputs import Tensors
from tfxlm.heads.decode import TOP_K, top_tokens
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.tasks import LanguageModeling, MultipleChoice, SequenceClassification, TokenClassification
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.in_graph import GraphTokenizer, Inputs, graph_tokenizer
from tfxlm.tokenizers.in_graph.masks import with_masks
from tfxlm.tokenizers.in_graph.rows import rows_of_words

# The axes of what is sent: one text in each row, or several.
ONE, SEVERAL = (None,), (None, None)

# Texts of warm-up requests and of the golden one: of several lengths, and with characters that are seldom.
_SAMPLES = ("Hello!", "The quick brown fox jumps over the lazy dog, isn't it? (No. 7)", "")


@dataclasses.dataclass(frozen=True)
class Served:
    """A model with its tokenizer in a graph.

    Args:
        model: the model.
        tokenizer: its tokenizer, in the graph.
        source: its tokenizer in Python.
        options: of the answers, see `tfxlm.export.answers.options_of`.
    """

    model: TFPreTrainedModel
    tokenizer: GraphTokenizer
    source: Any
    options: Mapping[str, int]

    def outputs(self, inputs: Inputs, choices: tf.Tensor | None = None, **more: tf.Tensor) -> Any:
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
        return self.model(given | more, training=False, return_dict=True)

    def answer(self, outputs: Any, inputs: Inputs, **more: tf.Tensor) -> Tensors:
        """Makes the small answers of the model's task."""
        mask = tf.sequence_mask(inputs.lengths, tf.shape(inputs.input_ids)[1])
        return answer_of(self.model).make(Asked(self.model, outputs, more, mask), **self.options)


def _one_text(served: Served, given: Tensors) -> Tensors:
    inputs = served.tokenizer(given["text"], lang=given.get("lang"))
    return served.answer(served.outputs(inputs), inputs)


def _pairs(served: Served, given: Tensors) -> Tensors:
    inputs = served.tokenizer(given["text"], given["text_pair"], given.get("lang"), given.get("lang_pair"))
    return served.answer(served.outputs(inputs), inputs)


def _words(served: Served, given: Tensors) -> Tensors:
    inputs, places, found = rows_of_words(served.tokenizer, given["words"], given.get("lang"))
    answer = served.answer(served.outputs(inputs), inputs)
    # A word has the label of its first piece.
    of_words = {name: tf.gather(value, places, batch_dims=1) for name, value in answer.items()}
    return {name: tf.where(found, value, tf.zeros_like(value)) for name, value in of_words.items()}


def _choices(served: Served, given: Tensors) -> Tensors:
    choices = given["choices"]
    count = tf.shape(choices)[1]
    lang = given.get("lang")
    prompts, langs = (None if one is None else tf.repeat(one, count) for one in (given["text"], lang))
    inputs = served.tokenizer(prompts, tf.reshape(choices, [-1]), langs)
    # Empty choices at the end fill a row up.
    real = tf.reduce_max(tf.where(choices != "", tf.range(count) + 1, 1), axis=1)
    return served.answer(served.outputs(inputs, count), inputs, num_choices=real)


def _filled_masks(served: Served, given: Tensors) -> Tensors:
    inputs, places, found = with_masks(served.tokenizer, served.source, given["text"], given.get("lang"))
    logits = served.outputs(inputs, masked_positions=places)["logits"]  # (batch, masks, vocab_size)
    ids, scores = top_tokens(logits, found, k=served.options.get("top_k", TOP_K))
    names = _names_of_tokens(served.source, logits.shape[-1])
    return {"tokens": tf.where(ids < 0, "", tf.gather(names, tf.maximum(ids, 0))), "ids": ids, "scores": scores}


def _names_of_tokens(tokenizer: Any, size: int) -> tf.Tensor:
    """Returns the text of each id, string (size,); empty for ids that the tokenizer does not have."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    names = [tokenizer.convert_tokens_to_string([token]).strip() for token in tokens]
    return tf.constant(names + [""] * (size - len(names)))


@dataclasses.dataclass(frozen=True)
class TextForm:
    """A way to ask a model with texts.

    Args:
        axes: of each input, all strings; language codes come to them where the tokenizer needs some.
        answer: from what is sent to small answers.
    """

    axes: Mapping[str, tuple[None, ...]]
    answer: Callable[[Served, Tensors], Tensors]

    def specs(self, tokenizer: GraphTokenizer) -> dict[str, tf.TensorSpec]:
        """Returns the specifications of the inputs by name."""
        langs = {f"lang{name.removeprefix('text')}": ONE for name in self.axes if name.startswith("text")} or {
            "lang": ONE
        }
        axes = {**self.axes, **(langs if tokenizer.languages.is_needed else {})}
        return {name: tf.TensorSpec(shape, tf.string, name=name) for name, shape in axes.items()}

    def sample(self, tokenizer: GraphTokenizer, mask: str) -> dict[str, np.ndarray]:
        """Makes a small request, arrays of bytes by input.

        Args:
            tokenizer: for its languages.
            mask: the mask token, for what fills masks.
        """
        codes = [code for code in tokenizer.languages.codes if code not in tokenizer.languages.cut_before]
        texts = {
            "text": [f"{text} {mask}".strip() for text in _SAMPLES],
            "text_pair": _SAMPLES[::-1],
            "words": [["Hello", "!", ""], ["No", ".", "7"], ["x", "", ""]],
            "choices": [["yes", "no", ""], ["one", "two", "three"], ["nothing", "", ""]],
            "lang": np.resize(codes, len(_SAMPLES)),
            "lang_pair": np.resize(codes[::-1], len(_SAMPLES)),
        }
        return {name: np.char.encode(np.array(texts[name], str), "utf-8") for name in self.specs(tokenizer)}


TEXT, PAIRS = TextForm({"text": ONE}, _one_text), TextForm({"text": ONE, "text_pair": ONE}, _pairs)

# By the base classes of `tfxlm.models.tasks`: signatures by name, the default one first.
FORMS: Mapping[type, Mapping[str, TextForm]] = {
    SequenceClassification: {"text": TEXT, "text_pair": PAIRS},
    TokenClassification: {"words": TextForm({"words": SEVERAL}, _words)},
    MultipleChoice: {"choices": TextForm({"text": ONE, "choices": SEVERAL}, _choices)},
    LanguageModeling: {"fill_mask": TextForm({"text": ONE}, _filled_masks)},
}
WITHOUT_HEAD: Mapping[str, TextForm] = {"text": TEXT}


def forms_of(model: TFPreTrainedModel) -> Mapping[str, TextForm]:
    """Returns how a model can be asked with texts; nothing for tasks that are only asked with ids."""
    if not model.has_head:
        return WITHOUT_HEAD
    found = next((kind for kind in type(model).__mro__ if kind in FORMS), None)
    # A model that only sees what comes before a mask does not fill it.
    return {} if found is None or (found is LanguageModeling and model.config.is_causal) else FORMS[found]


def served(model: TFPreTrainedModel, tokenizer: Any, options: Mapping[str, int], lang: str | None) -> Served | None:
    """Puts a model's tokenizer into a graph; returns None where there is nothing to ask with texts.

    Args:
        model: the model.
        tokenizer: its tokenizer, or None.
        options: of its answers.
        lang: language code of all texts, or None to be told with each.

    Raises:
        InputError, LanguageError: the tokenizer cannot be put into a graph as it is.
    """
    if not forms_of(model) or not isinstance(tokenizer, Tokenizer):
        return None
    longest = min(model.config.max_sequence_length, tokenizer.model_max_length)
    return Served(model, graph_tokenizer(tokenizer, lang=lang, max_length=longest), tokenizer, options)
