"""From prompts to texts: the compiled functions that make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfxlm.backend import compiled, is_concrete, uniform_draws
from tfxlm.errors import InputError
from tfxlm.generation import (
    BeamSearch,
    Generated,
    GenerationOptions,
    Prompt,
    Sampling,
    Strategy,
    decoded,
    proceeding,
    streamed,
)
from tfxlm.heads.labels import fits
from tfxlm.models.outputs import TFGenerateOutput
from tfxlm.models.prompts import Prompts, Texts, ends_of, prompts_of, with_new_tokens
from tfxlm.models.text_lengths import TextLengths

# Prompts get a width that is a multiple of this, so that functions are compiled for few.
_MULTIPLE = 16
_LARGEST_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Run:
    """How texts are made, apart from what they are.

    Args:
        seed: integer, for draws; None for another one each time.
        streamer: gets the tokens as they come; or None.
        jit_compile: whether to compile with XLA.
        hf_compat: whether the model reads as in `transformers`.

    Raises:
        InputError: when the streamer is none.
    """

    seed: Any = None
    streamer: Any = None
    jit_compile: bool = False
    hf_compat: bool = False

    def __post_init__(self) -> None:
        for name in ("put", "end") if self.streamer is not None else ():
            if not callable(getattr(self.streamer, name, None)):
                raise InputError(
                    f"streamer must have the methods put and end, as a TextStreamer of transformers; "
                    f"{type(self.streamer).__name__} has no {name}."
                )


@dataclasses.dataclass(frozen=True)
class Continuation:
    """A function that makes texts of prompts.

    Args:
        options: how tokens are chosen.
        most: the most new tokens.
        hf_compat: whether the model reads as in `transformers`.
    """

    options: GenerationOptions
    most: int
    hf_compat: bool = False

    @property
    def strategy(self) -> Strategy:
        """How tokens are chosen."""
        return (BeamSearch if self.options.num_beams > 1 else Sampling)(self.options, self.most)

    def draws(self, prompts: Prompts, seed: Any) -> Any:
        """Returns the draws of all tokens, float32 (texts, most new tokens); None where nothing is drawn."""
        if not self.options.do_sample:
            return None
        rows, copies = ops.shape(prompts.ids)[0], self.options.num_return_sequences
        if len(seed.shape) == 0:
            return uniform_draws((rows * copies, self.most), seed)
        if not fits(tuple(seed.shape), (prompts.ids.shape[0],)):
            raise InputError(f"seed must be one integer, or one for each of the {rows} rows, got {seed.shape[0]}.")
        # Tokens before copies: where another row of the batch goes on for longer, the first tokens' draws stay.
        of_rows = ops.map(lambda one: ops.convert_to_tensor(uniform_draws((self.most, copies), one)), seed)
        return ops.reshape(ops.transpose(of_rows, (0, 2, 1)), (-1, self.most))

    def begin(
        self, model: Any, prompts: Prompts, limits: Any, minimums: Any, draws: Any, more: Mapping[str, Any]
    ) -> tuple[Prompt, Any, Any]:
        """Reads the prompts; returns what a strategy begins with. Arguments as of `run`."""
        logits, state = model.reading(self.most, self.hf_compat).begin(prompts, more)
        return Prompt(prompts.ids, limits, minimums, draws), logits, state

    def run(
        self, model: Any, prompts: Prompts, limits: Any, minimums: Any, draws: Any, more: Mapping[str, Any]
    ) -> Generated:
        """Makes the texts, inside a graph or outside.

        Args:
            model: the model.
            prompts: what to go on from.
            limits, minimums: int32 (batch,), the most and the fewest new tokens.
            draws: from `draws`.
            more: see `tfxlm.models.decoding.Reading`.
        """
        begun = self.begin(model, prompts, limits, minimums, draws, more)
        return decoded(self.strategy, *begun, model.reading(self.most, self.hf_compat))

    def stream(self, model: Any, streamer: Any, *given: Any) -> Generated:
        """As `run`, one compiled step at a time, outside of graphs.

        Args:
            model: the model.
            streamer: gets the new tokens of each step, an int32 array (texts,).
            *given: what `run` takes.
        """
        strategy, steps = self.strategy, model.reading(self.most, self.hf_compat)

        def begin(*arguments: Any) -> Any:
            return strategy.begin(*self.begin(model, *arguments), steps)

        functions = model.generation_functions
        first = functions.get(model, (self, "begin"), begin)(*given)
        proceed = functions.get(model, (self, "proceed"), proceeding(strategy, steps))
        for variables in streamed(strategy, first, proceed):
            streamer.put(ops.convert_to_numpy(variables.tokens))
        return strategy.finish(variables)


class CompiledFunctions:
    """The functions of a model that were compiled, for as long as it has the same variables.

    A plain object, which Keras does not look into when it saves the model.
    """

    def __init__(self) -> None:
        self._variables: list[Any] = []
        self._functions: dict[Any, Callable[..., Any]] = {}

    def get(self, model: Any, key: Any, function: Callable[..., Any], jit_compile: bool = False) -> Callable[..., Any]:
        """Returns a function, compiled now or before.

        Args:
            model: whose variables it uses.
            key: what it depends on beside these and its arguments.
            function: the function.
            jit_compile: whether to use XLA.
        """
        variables = model.variables
        if list(map(id, variables)) != list(map(id, self._variables)):
            # Quantized, with LoRA, or with another vocabulary, it computes something else.
            self._variables, self._functions = list(variables), {}
        key = (key, jit_compile)
        if key not in self._functions:
            self._functions[key] = compiled(function, jit_compile=jit_compile)
        return self._functions[key]


def generated(model: Any, texts: Texts, options: GenerationOptions, lengths: TextLengths, run: Run) -> Generated:
    """Goes on from texts; arguments as their classes say.

    Raises:
        InputError: when a prompt is empty or too long, or something is asked for that cannot be where it is asked.
    """
    is_known = is_concrete(texts.ids)
    prompts = prompts_of(texts)
    limits, minimums = lengths.limits(prompts.counts)
    most = int(ops.max(limits)) if is_known else lengths.most
    if is_known and not model.reading(1, run.hf_compat).reads_rows:
        longest = int(ops.max(prompts.counts))
        prompts = prompts.of_width(min(-(-longest // _MULTIPLE) * _MULTIPLE, max(longest, lengths.longest - most)))
    continuation = Continuation(options, most, run.hf_compat)
    # Drawn before anything is compiled: XLA would draw others.
    draws = continuation.draws(prompts, _seed_of(options, run.seed, is_known))
    given = (prompts, limits, minimums, draws, texts.more)
    if run.streamer is not None:
        _check_streaming(options, is_known)
        run.streamer.put(ops.convert_to_numpy(texts.ids))
        made = continuation.stream(model, run.streamer, *given)
        run.streamer.end()
        return made
    function = partial(continuation.run, model)
    if not is_known and not run.jit_compile:
        return function(*given)
    return model.generation_functions.get(model, continuation, function, run.jit_compile)(*given)


def continued(model: Any, texts: Texts, options: GenerationOptions, lengths: TextLengths, run: Run) -> TFGenerateOutput:
    """Goes on from texts, and puts what is new behind them; see `generated`."""
    if model.reading(1, run.hf_compat).reads_rows:
        texts = texts._replace(mask=ops.ones_like(texts.mask), langs=None)
    return _output(texts, generated(model, texts, options, lengths, run), options, is_concrete(texts.ids))


def _check_streaming(options: GenerationOptions, is_known: bool) -> None:
    if options.num_beams > 1:
        raise InputError("Beam search knows its texts only at the end: leave streamer out, or give num_beams=1.")
    if not is_known:
        raise InputError("Inside a graph nobody can watch: leave streamer out, or call generate outside.")


def _seed_of(options: GenerationOptions, seed: Any, is_known: bool) -> Any:
    if seed is None and options.do_sample and not is_known:
        raise InputError("Inside a graph the draws would be the same in each call: give a seed, such as an input.")
    if seed is None:
        seed = np.random.randint(_LARGEST_SEED)
    value = ops.convert_to_tensor(seed)
    if len(value.shape) > 1 or not keras.backend.is_int_dtype(keras.backend.standardize_dtype(value.dtype)):
        raise InputError(f"seed must be one integer, or one for each row, got {seed!r:.80}.")
    return ops.cast(value, "int32")


def _output(texts: Texts, made: Generated, options: GenerationOptions, is_known: bool) -> TFGenerateOutput:
    """Returns what was made; outside of graphs, without what is behind the end of all texts."""
    has_beams = options.num_beams > 1
    if is_known:
        longest, steps = int(ops.max(made.lengths)), int(made.steps)
        made = made._replace(
            tokens=made.tokens[:, :longest],
            scores=made.scores[:steps] if options.output_scores else (),
            rows=made.rows[:, :longest] if has_beams else (),
        )
    sequences = with_new_tokens(texts.ids, texts.mask, made.tokens, options.pad_token_id)
    if is_known:
        sequences = sequences[:, : int(ops.max(ends_of(texts.mask))) + longest]
    return TFGenerateOutput(
        sequences=sequences,
        sequences_scores=made.text_scores if has_beams else None,
        scores=made.scores if options.output_scores else None,
        beam_indices=made.rows if has_beams else None,
    )
