"""Serving signatures: the small answers of a model to texts, to examples and to ids, and all of its outputs.

A model with language embeddings always takes `langs`, or the codes that they are made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.export import continuations, examples
from tfxlm.export.answers import Answer, Asked, answer_of
from tfxlm.export.continuations import Generation
from tfxlm.export.examples import example_form
from tfxlm.export.forms import PAIRS, TextForm, forms_of
from tfxlm.export.inputs import ONE_TEXT, Request, Tensors, checked, input_specs, real_positions, sample_inputs
from tfxlm.export.options import Options, own
from tfxlm.export.running import Runner
from tfxlm.export.served import Served

# The signature that is called when a request names none.
DEFAULT = "serving_default"
# Small answers to ids, which is the default where there is no tokenizer for texts.
IDS = "ids"
# All outputs of the model, as it returns them.
FULL = "outputs"
# What a causal model makes of ids.
GENERATE_IDS = "generate_ids"

PREDICT = "tensorflow/serving/predict"

# What `export_model` may be told to export: names, or names of one's own with names, or with functions and requests.
Chosen = Sequence[str] | Mapping[str, str | tuple[Callable[..., Any], Request]]


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function to export.

    Args:
        graph: the function, traced.
        samples: small requests, arrays by input: numbers, or bytes. The first one is what the export is checked with;
            all of them warm it up, each with another size.
        method: what TensorFlow Serving may ask it for.
    """

    graph: Callable[..., Tensors]
    samples: Sequence[Request]
    method: str = PREDICT

    @property
    def sample(self) -> Request:
        """The request that the export is checked with."""
        return self.samples[0]


def make_signatures(
    run: Runner, options: Options, texts: Served | None = None, chosen: Chosen | None = None
) -> dict[str, Signature]:
    """Returns what to export by signature name: the default one first.

    Args:
        run: runs the model.
        options: of its answers, from `tfxlm.export.forms.options_of`.
        texts: the model with its tokenizer in the graph, from `tfxlm.export.forms.served`; None without texts.
        chosen: what to export, see `tfxlm.export.export_model`; None for all there is.

    Raises:
        ExportError: when the class of the model cannot be exported, or its answers have no names.
        InputError: when `chosen` names what there is not.
    """
    known = {**(_of_texts(run, texts) if texts else {}), **_of_ids(run, options)}
    if "generation" in options and (texts or options["generation"] is not None):
        known[GENERATE_IDS] = _maker(_generating, run, Generation.of(run.model, options["generation"]))
    return {name: make() for name, make in _chosen(known, chosen)}


def _chosen(
    known: Mapping[str, Callable[[], Signature]], chosen: Chosen | None
) -> Iterator[tuple[str, Callable[[], Signature]]]:
    first = next(iter(known))
    if chosen is None:
        chosen = {DEFAULT: first, **{name: name for name in known if name != first}}
    elif isinstance(chosen, str):
        raise InputError(f"signatures={chosen!r} should be a list of names, or a mapping. Pass [{chosen!r}].")
    elif not isinstance(chosen, Mapping):
        names = list(chosen)
        default = DEFAULT if DEFAULT in names else next(iter(names), None)
        chosen = {DEFAULT if name == default else name: name for name in names}
    if DEFAULT not in chosen:
        raise InputError(f"signatures has no {DEFAULT!r}, which is asked when a request names none. Name one for it.")
    for name, value in sorted(chosen.items(), key=lambda item: item[0] != DEFAULT):
        if isinstance(value, str):
            if value not in (DEFAULT, *known):
                raise InputError(
                    f"There is no signature {value!r} of this model and tokenizer. There are: {', '.join(known)}."
                )
            yield name, known[first if value == DEFAULT else value]
        else:
            yield name, _own_signature(name, value)


def _own_signature(name: str, given: Any) -> Callable[[], Signature]:
    if not isinstance(given, tuple) or len(given) != 2 or not hasattr(given[0], "get_concrete_function"):
        raise InputError(
            f"The signature {name!r} should be the name of one, or a tuple of a tf.function with an input_signature "
            "and a request (arrays by input) that the export is checked with."
        )
    function, request = given
    arrays = {key: np.asarray(value) for key, value in request.items()}
    encoded = {key: np.char.encode(a, "utf-8") if a.dtype.kind == "U" else a for key, a in arrays.items()}
    return lambda: Signature(function.get_concrete_function(), [encoded])


def _of_texts(run: Runner, texts: Served) -> dict[str, Callable[[], Signature]]:
    known = texts.tokenizer.without_places is None
    forms = {name: form for name, form in forms_of(run.model).items() if known or not form.needs_places}
    found = {name: _maker(_of_form, texts, form) for name, form in forms.items()}
    if (by_examples := example_form(texts)) is not None:
        name, method, answer = by_examples
        found[name] = _maker(_of_examples, texts, method, answer)
    return found


def _maker(function: Callable[..., Signature], *arguments: Any) -> Callable[[], Signature]:
    return lambda: function(*arguments)


def _of_form(texts: Served, form: TextForm) -> Signature:
    def text(**inputs: tf.Tensor) -> Tensors:
        return form.answer(texts, form.checked(inputs), **texts.own(form.answer))

    graph = tf.function(text, autograph=False).get_concrete_function(**form.specs(texts.tokenizer, texts.options))
    return Signature(graph, list(_samples_of_texts(texts, form)))


def _of_examples(texts: Served, method: str, answer: Callable[[Served, tf.Tensor], Tensors]) -> Signature:
    graph = tf.function(lambda inputs: answer(texts, inputs), autograph=False).get_concrete_function(
        inputs=tf.TensorSpec([None], tf.string, name=examples.INPUTS)
    )
    requests = [examples.serialized(texts, request) for request in _samples_of_texts(texts, PAIRS)]
    return Signature(graph, requests, method)


def _samples_of_texts(texts: Served, form: TextForm) -> Iterator[Request]:
    """Yields a small request, and one for each size that the model is run in."""

    yield form.sample(texts.tokenizer, texts.options, texts.source.mask_token)
    sizes = texts.run.sizes
    for length in sizes.lengths:
        yield from _resized(form.long_sample(texts.tokenizer, texts.options, texts.source, length), sizes.batches)


def _resized(request: Request, batches: Sequence[int]) -> Iterator[Request]:
    """Yields a request with each number of rows; as it is where there are none."""
    if not batches:
        yield request
    for rows in batches:
        yield {name: array[np.resize(np.arange(len(array)), rows)] for name, array in request.items()}


def _of_ids(run: Runner, options: Options) -> dict[str, Callable[[], Signature]]:
    answer = answer_of(run.model)
    langs = ("langs",) if getattr(run.model.config, "uses_lang_embeddings", False) else ()
    names = ("input_ids", "lengths", *langs, *answer.head_inputs)

    def outputs_of(safe: Tensors) -> tuple[dict[str, Any], Tensors, tf.Tensor]:
        inputs = run.padded(safe)
        mask = real_positions(inputs)
        given = {name: inputs[name] for name in names if name != "lengths"}
        return run({**given, "attention_mask": tf.cast(mask, tf.int32)}), inputs, mask

    def default(**inputs: tf.Tensor) -> Tensors:
        outputs, padded, mask = outputs_of(checked(inputs, answer.text))
        return answer.make(Asked(run.model, outputs, padded, mask), **own(answer.make, options))

    def full(**inputs: tf.Tensor) -> Tensors:
        return flat_outputs(outputs_of(checked(inputs, answer.text))[0])

    return {
        IDS: _maker(_traced, run, answer, default, (*names, *answer.answer_inputs)),
        FULL: _maker(_traced, run, answer, full, names),
    }


def _traced(run: Runner, answer: Answer, function: Callable[..., Tensors], taken: tuple[str, ...]) -> Signature:
    graph = tf.function(function, autograph=False).get_concrete_function(**input_specs(taken, answer.text))
    samples: list[Request] = [sample_inputs(taken, answer.text, run.model.config)]
    for length in run.sizes.lengths:
        samples += _resized(sample_inputs(taken, answer.text, run.model.config, length), run.sizes.batches)
    return Signature(graph, samples)


def _generating(run: Runner, generation: Generation) -> Signature:
    langs = ("langs",) if getattr(run.model.config, "uses_lang_embeddings", False) else ()
    names = ("input_ids", "lengths", *langs, *generation.numbers)

    def generate(**inputs: tf.Tensor) -> Tensors:
        return continuations.of_ids(generation, run, checked(inputs, ONE_TEXT))

    graph = tf.function(generate, autograph=False).get_concrete_function(**input_specs(names, ONE_TEXT))
    longest = generation.longest_prompt
    samples: list[Request] = [sample_inputs(names, ONE_TEXT, run.model.config, min(8, longest))]
    for length in run.sizes.lengths:
        samples += _resized(sample_inputs(names, ONE_TEXT, run.model.config, min(length, longest)), run.sizes.batches)
    return Signature(graph, samples)


def flat_outputs(outputs: Any) -> Tensors:
    """Returns outputs as one flat dict: tuples become ``name_0``, ``name_1``, ..."""
    flat: Tensors = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, tuple) else {name: value}
    return flat
