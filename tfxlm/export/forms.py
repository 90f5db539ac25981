"""The ways to ask models with raw texts, by task: inputs, checks and sample requests."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.export import continuations, options, texts
from tfxlm.export.answers import answer_of
from tfxlm.export.inputs import Request, Tensors
from tfxlm.export.questions import answer_question
from tfxlm.export.running import Runner
from tfxlm.export.served import Served
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.tasks import (
    BeamQuestionAnswering,
    LanguageModeling,
    MultipleChoice,
    SequenceClassification,
    SpanQuestionAnswering,
    TokenClassification,
)
from tfxlm.tokenizers.in_graph import GraphTokenizer, graph_tokenizer, has_graph, reason_without_places
from tfxlm.tokenizers.in_graph.base import CORE
from tfxlm.tokenizers.lengths import LONGEST_FIRST

# The axes of what is sent: one text in each row, or several.
ONE, SEVERAL = (None,), (None, None)

# Texts of warm-up requests and of the golden one: of several lengths, and with characters that are seldom.
_SAMPLES = ("Hello!", "The quick brown fox jumps over the lazy dog, isn't it? (No. 7)", "")
# What requests of any length are made of.
_WORD = "a"


@dataclasses.dataclass(frozen=True)
class TextForm:
    """A way to ask a model with texts.

    Args:
        axes: of each text that is sent; language codes come to them where the tokenizer needs some.
        answer: from what is sent to small answers.
        counts: the input that says how many texts of a row are real. A server that batches requests fills rows up with
            copies of a text.
        has_masks: whether texts have masks.
        needs_places: whether it must be known where pieces stand in a text.
        numbers: says for the options of the answers which numbers, int32 (batch,), are sent, too.
    """

    axes: Mapping[str, tuple[None, ...]]
    answer: Callable[[Served, Tensors], Tensors]
    counts: str | None = None
    has_masks: bool = False
    needs_places: bool = False
    numbers: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None

    def specs(self, tokenizer: GraphTokenizer, answers: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
        """Returns the specifications of the inputs by name, with some options of the answers."""
        langs = [f"lang{name.removeprefix('text')}" for name in self.axes if name.startswith("text")] or ["lang"]
        axes = {**self.axes, **(dict.fromkeys(langs, ONE) if tokenizer.languages.is_needed else {})}
        specs = {name: tf.TensorSpec(shape, tf.string, name=name) for name, shape in axes.items()}
        numbers = (*((self.counts,) if self.counts else ()), *(self.numbers(answers) if self.numbers else ()))
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

    def sample(self, tokenizer: GraphTokenizer, answers: Mapping[str, Any], mask: str | None) -> Request:
        """Makes a small request: arrays of bytes, and of int32, by input.

        Args:
            tokenizer: for its languages.
            answers: options of the answers.
            mask: the mask token.
        """
        words = [["Hello", "!", ""], ["No", ".", "7"], ["x", "", ""]]
        choices = [["yes", "no", ""], ["one", "two", "three"], ["nothing", "", ""]]
        return self._request(tokenizer, answers, mask, _SAMPLES, _SAMPLES[::-1], words, choices)

    def long_sample(self, tokenizer: GraphTokenizer, answers: Mapping[str, Any], source: Any, length: int) -> Request:
        """Makes a request whose rows have nearly as many tokens, and not more; arguments as of `sample`.

        Args:
            tokenizer: for its languages.
            source: the tokenizer in Python.
            length: tokens of a row.
        """
        rows = len(_SAMPLES)
        others = sum(name != self.counts for name in self.axes) - 1  # texts of one word each
        each = -(-len(source(f"{_WORD} " * 8, add_special_tokens=False)["input_ids"]) // 8)
        beside = source.framing.size(pair=others > 0) + others * each + self.has_masks
        words = [_WORD] * max((length - beside) // each, 1)
        texts = [" ".join(words)] * rows
        return self._request(
            tokenizer, answers, source.mask_token, texts, [_WORD] * rows, [words] * rows, [[_WORD]] * rows
        )

    def _request(
        self,
        tokenizer: GraphTokenizer,
        answers: Mapping[str, Any],
        mask: str | None,
        first: Sequence[str],
        second: Sequence[str],
        words: Sequence[Sequence[str]],
        choices: Sequence[Sequence[str]],
    ) -> Request:
        codes = tokenizer.languages.codes
        # These texts have spaces between their words in any language.
        langs = [code for code in codes if code not in tokenizer.languages.cut_before] or codes
        texts = {
            "text": [f"{text} {mask}" if self.has_masks else text for text in first],
            "text_pair": second,
            "question": second,
            "context": first,
            "words": words,
            "choices": choices,
            "lang": np.resize(langs, len(first)),
            "lang_pair": np.resize(langs[::-1], len(first)),
        }
        found: dict[str, np.ndarray] = {name: np.char.encode(np.array(texts[name], str), "utf-8") for name in texts}
        # What fills a row up is empty.
        found |= {
            f"num_{name}": np.maximum(np.char.str_len(found[name]).astype(bool).sum(axis=1), 1).astype(np.int32)
            for name in ("words", "choices")
        }
        found["seed"] = np.arange(len(first), dtype=np.int32)
        return {name: found[name] for name in self.specs(tokenizer, answers)}


TEXT = TextForm({"text": ONE}, texts.one_text)
PAIRS = TextForm({"text": ONE, "text_pair": ONE}, texts.pairs)
QUESTIONS = {"question": TextForm({"question": ONE, "context": ONE}, answer_question, needs_places=True)}

# By the base classes of `tfxlm.models.tasks`: signatures by name, the default one first.
FORMS: Mapping[type, Mapping[str, TextForm]] = {
    SequenceClassification: {"text": TEXT, "text_pair": PAIRS},
    TokenClassification: {
        "words": TextForm({"words": SEVERAL}, texts.words, counts="num_words"),
        "text": TextForm({"text": ONE}, texts.words_of_text, needs_places=True),
    },
    MultipleChoice: {"choices": TextForm({"text": ONE, "choices": SEVERAL}, texts.choices, counts="num_choices")},
    LanguageModeling: {"fill_mask": TextForm({"text": ONE}, texts.filled_masks, has_masks=True)},
    SpanQuestionAnswering: QUESTIONS,
    BeamQuestionAnswering: QUESTIONS,
}
CONTINUED = {"generate": TextForm({"text": ONE}, continuations.of_texts, numbers=continuations.numbers)}
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


def options_of(model: TFPreTrainedModel, given: Mapping[str, Any]) -> options.Options:
    """Returns the options of a model's answers, to ids and to texts.

    Args:
        model: the model.
        given: those that are not the defaults.

    Raises:
        ExportError: when its class is of no task.
        InputError: for one that its answers do not have, or a value that it cannot have.
    """
    known = options.defaults(answer_of(model).make)
    for form in forms_of(model).values():
        known |= options.defaults(form.answer)
    return options.checked(known, given, type(model).__name__)


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """How texts become ids.

    Args:
        lang: language code of all texts, or None to be told with each.
        max_length: most tokens of a row; None for what model and tokenizer take.
        truncation: which text of a pair is cut, as in a call of the tokenizer.
        byte_pairs: how words are cut into pieces, see `tfxlm.tokenizers.in_graph.GraphTokenizer`.
    """

    lang: str | None = None
    max_length: int | None = None
    truncation: str = LONGEST_FIRST
    byte_pairs: str = CORE

    def given(self) -> dict[str, Any]:
        """Returns those that are not the defaults."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(TextOptions, name)}


def served(run: Runner, tokenizer: Any, answers: Mapping[str, Any], asked: TextOptions) -> Served | None:
    """Puts a model's tokenizer into a graph; returns None where there is nothing to ask with texts.

    A tokenizer that has no graph goes with the export as files alone, with a warning.

    Args:
        run: runs the model.
        tokenizer: its tokenizer, or None.
        answers: options of its answers.
        asked: how texts become ids.

    Raises:
        InputError: options of texts are given where there are no texts, or `max_length` is not possible.
        LanguageError: the language is unknown.
    """
    reason = _reason_without_texts(run.model, tokenizer)
    if reason is None:
        lengths = run.sizes.lengths
        longest = min(run.model.config.max_sequence_length, tokenizer.model_max_length, *lengths[-1:])
        if asked.max_length is not None:
            if asked.max_length > longest:
                raise InputError(
                    f"max_length={asked.max_length} is more than rows may have, which is {longest}. Make it smaller."
                )
            longest = asked.max_length
        graph = graph_tokenizer(
            tokenizer,
            lang=asked.lang,
            max_length=longest,
            truncation=asked.truncation,
            byte_pairs=asked.byte_pairs,
            length_buckets=lengths or None,
        )
        return Served(run, graph, tokenizer, answers)
    for name, value in asked.given().items():
        raise InputError(f"{name}={value!r} is for texts, but {reason}. Leave it out.")
    if tokenizer is not None and forms_of(run.model):
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
    if all(form.needs_places for form in forms.values()) and (reason := reason_without_places(tokenizer)):
        return reason
    if tokenizer.mask_token is None and any(form.has_masks for form in forms.values()):
        return "the tokenizer has no mask token"
    return None
