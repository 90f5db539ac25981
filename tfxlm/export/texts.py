"""What served models make of raw texts, by task: the tokenizer stands in the graph, before the model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.export import continuations
from tfxlm.export.answers import Asked, answer_of
from tfxlm.export.continuations import Generation
from tfxlm.export.inputs import Tensors
from tfxlm.heads.decode import TOP_K, top_tokens
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.tasks import LanguageModeling, MultipleChoice, SequenceClassification, TokenClassification
from tfxlm.tokenizers.in_graph import GraphTokenizer, Inputs, graph_tokenizer, has_graph
from tfxlm.tokenizers.in_graph.masks import with_masks
from tfxlm.tokenizers.in_graph.rows import rows_of_words

# The axes of what is sent: one text in each row, or several.
ONE, SEVERAL = (None,), (None, None)

# The input with a seed for each row.
SEED = "seed"

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
        generation: how the model generates, if it does.
    """

    model: TFPreTrainedModel
    tokenizer: GraphTokenizer
    source: Any
    options: Mapping[str, int]
    generation: Generation | None = None

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
    words = given["words"]
    # What stands behind a row's words fills it up.
    words = tf.where(tf.sequence_mask(given["num_words"], tf.shape(words)[1]), words, "")
    inputs, places, found = rows_of_words(served.tokenizer, words, given.get("lang"))
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
    return served.answer(served.outputs(inputs, count), inputs, num_choices=given["num_choices"])


def _filled_masks(served: Served, given: Tensors) -> Tensors:
    inputs, places, found = with_masks(served.tokenizer, served.source, given["text"], given.get("lang"))
    logits = served.outputs(inputs, masked_positions=places)["logits"]  # (batch, masks, vocab_size)
    ids, scores = top_tokens(logits, found, k=served.options.get("top_k", TOP_K))
    names = _names_of_tokens(served.source, logits.shape[-1])
    return {"tokens": tf.where(ids < 0, "", tf.gather(names, tf.maximum(ids, 0))), "ids": ids, "scores": scores}


def _names_of_tokens(tokenizer: Any, size: int) -> tf.Tensor:
    """Returns the text of each id, string (size,); empty for ids that the tokenizer does not have."""
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    names = {index: tokenizer.convert_tokens_to_string([token]).strip() for index, token in tokens.items()}
    return tf.constant([names.get(index, "").encode(errors="replace") for index in range(size)])


@dataclasses.dataclass(frozen=True)
class TextForm:
    """A way to ask a model with texts.

    Args:
        axes: of each text that is sent; language codes come to them where the tokenizer needs some.
        answer: from what is sent to small answers.
        counts: the input that says how many texts of a row are real. A server that batches requests fills rows up with
            copies of a text.
        has_masks: whether texts have masks.
        generates: whether texts are gone on from, which takes a seed for each where tokens are drawn.
    """

    axes: Mapping[str, tuple[None, ...]]
    answer: Callable[[Served, Tensors], Tensors]
    counts: str | None = None
    has_masks: bool = False
    generates: bool = False

    def specs(self, served: Served) -> dict[str, tf.TensorSpec]:
        """Returns the specifications of the inputs by name."""
        tokenizer, generation = served.tokenizer, served.generation
        langs = [f"lang{name.removeprefix('text')}" for name in self.axes if name.startswith("text")] or ["lang"]
        axes = {**self.axes, **(dict.fromkeys(langs, ONE) if tokenizer.languages.is_needed else {})}
        specs = {name: tf.TensorSpec(shape, tf.string, name=name) for name, shape in axes.items()}
        numbers = [self.counts] if self.counts else []
        if self.generates and generation is not None and generation.needs_seeds:
            numbers.append(SEED)
        return specs | {name: tf.TensorSpec(ONE, tf.int32, name=name) for name in numbers}

    def checked(self, given: Tensors) -> Tensors:
        """Adds assertions to the graph: sizes are only known when a request comes, and would broadcast otherwise."""
        first = next(iter(self.axes))
        size = tf.shape(given[first])[0]
        holds = {
            f"{name} must have as many rows as {first}.": tf.shape(value)[0] == size for name, value in given.items()
        }
        if self.counts:
            (several,) = (name for name, axes in self.axes.items() if axes == SEVERAL)
            width, count = tf.shape(given[several])[1], given[self.counts]
            holds[f"{several} must have at least 1 in each row."] = width >= 1
            holds[f"{self.counts} must be at least 1 and at most the number of {several} in a row."] = tf.reduce_all(
                (count >= 1) & (count <= width)
            )
        checks = [tf.debugging.Assert(value, [message], summarize=1) for message, value in holds.items()]
        with tf.control_dependencies(checks):
            return {name: tf.identity(tensor) for name, tensor in given.items()}

    def sample(self, served: Served) -> dict[str, np.ndarray]:
        """Makes a small request: arrays of bytes, and of int32, by input."""
        tokenizer, mask = served.tokenizer, served.source.mask_token
        codes = tokenizer.languages.codes
        # These texts have spaces between their words in any language.
        langs = [code for code in codes if code not in tokenizer.languages.cut_before] or codes
        texts = {
            "text": [f"{text} {mask}" if self.has_masks else text for text in _SAMPLES],
            "text_pair": _SAMPLES[::-1],
            "words": [["Hello", "!", ""], ["No", ".", "7"], ["x", "", ""]],
            "choices": [["yes", "no", ""], ["one", "two", "three"], ["nothing", "", ""]],
            "lang": np.resize(langs, len(_SAMPLES)),
            "lang_pair": np.resize(langs[::-1], len(_SAMPLES)),
        }
        found = {name: np.char.encode(np.array(texts[name], str), "utf-8") for name in texts}
        found |= dict.fromkeys(("num_words", "num_choices", SEED), np.array([2, 3, 1], np.int32))
        return {name: found[name] for name in self.specs(served)}


TEXT, PAIRS = TextForm({"text": ONE}, _one_text), TextForm({"text": ONE, "text_pair": ONE}, _pairs)

# By the base classes of `tfxlm.models.tasks`: signatures by name, the default one first.
FORMS: Mapping[type, Mapping[str, TextForm]] = {
    SequenceClassification: {"text": TEXT, "text_pair": PAIRS},
    TokenClassification: {"words": TextForm({"words": SEVERAL}, _words, counts="num_words")},
    MultipleChoice: {"choices": TextForm({"text": ONE, "choices": SEVERAL}, _choices, counts="num_choices")},
    LanguageModeling: {"fill_mask": TextForm({"text": ONE}, _filled_masks, has_masks=True)},
}
CONTINUED: Mapping[str, TextForm] = {"generate": TextForm({"text": ONE}, continuations.of_texts, generates=True)}
WITHOUT_HEAD: Mapping[str, TextForm] = {"text": TEXT}


def forms_of(model: TFPreTrainedModel) -> Mapping[str, TextForm]:
    """Returns how a model can be asked with texts; nothing for tasks that are only asked with ids."""
    if not model.has_head:
        return WITHOUT_HEAD
    found = next((kind for kind in type(model).__mro__ if kind in FORMS), None)
    if found is LanguageModeling and model.config.is_causal:
        # A model that only sees what comes before a mask does not fill it.
        return CONTINUED
    return {} if found is None else FORMS[found]


def served(
    model: TFPreTrainedModel,
    tokenizer: Any,
    options: Mapping[str, int],
    lang: str | None,
    generation: Generation | None = None,
) -> Served | None:
    """Puts a model's tokenizer into a graph; returns None where there is nothing to ask with texts.

    A tokenizer that has no graph goes with the export as files alone, with a warning.

    Args:
        model: the model.
        tokenizer: its tokenizer, or None.
        options: of its answers.
        lang: language code of all texts, or None to be told with each.
        generation: how the model generates, if it does.

    Raises:
        InputError: `lang` is given where there are no texts.
        LanguageError: it is unknown.
    """
    reason = _reason_without_texts(model, tokenizer)
    if reason is None:
        longest = min(model.config.max_sequence_length, tokenizer.model_max_length)
        graph = graph_tokenizer(tokenizer, lang=lang, max_length=longest)
        return Served(model, graph, tokenizer, options, generation)
    if lang is not None:
        raise InputError(f"lang={lang!r} is for texts, but {reason}. Leave it out.")
    if tokenizer is not None and forms_of(model):
        warnings.warn(f"The export takes ids only: {reason}.", stacklevel=3)
    return None


def _reason_without_texts(model: TFPreTrainedModel, tokenizer: Any) -> str | None:
    """Says why a model cannot be asked with texts; None where it can."""
    if tokenizer is None:
        return "there is no tokenizer"
    forms = forms_of(model)
    if not forms:
        return f"{type(model).__name__} is asked with ids"
    if not has_graph(tokenizer):
        return f"{type(tokenizer).__name__} has no form for graphs"
    if tokenizer.padding_side != "right":
        return "the tokenizer pads on the left"
    if tokenizer.cuts_at_random:
        return "the tokenizer cuts texts at random"
    if getattr(model.config, "uses_lang_embeddings", False) and not tokenizer.lang2id:
        return "the model has language embeddings, but the tokenizer knows no languages (lang2id)"
    if tokenizer.mask_token is None and any(form.has_masks for form in forms.values()):
        return "the tokenizer has no mask token"
    return None
