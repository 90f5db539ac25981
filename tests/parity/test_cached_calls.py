"""Causal models that are given a text in parts, with a cache, against the PyTorch classes given all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import transformers

from tests.parity.classes import BODIES, KINDS, LANGUAGE_MODELS, named
from tests.parity.reference import CASES, ENCODER, QUIET, SWEEP, Case, cases, close, run_reference

# Those that answer at each position, in the configurations that are causal.
AT_POSITIONS = [
    *(name for name in (*BODIES, *LANGUAGE_MODELS) if name not in named("ForMaskedLM")),
    "XLMForTokenClassification",
]
CAUSAL = range(1, CASES, 2)
WANTED = {"output_hidden_states": True, "output_attentions": True}

pytestmark = QUIET


def splits(case: Case, length: int) -> list[list[int]]:
    """The ends of the parts: several tokens at a time, and either one or all; in the sweep both."""
    cuts = case.rng.choice(np.arange(1, length), int(case.rng.integers(1, 4)), replace=False)
    others = [list(range(1, length + 1)), [length]]
    return [[*sorted(cuts.tolist()), length], *(others if SWEEP else [others[int(case.rng.integers(2))]])]


def until(inputs: dict[str, Any], end: int, start: int = 0) -> dict[str, Any]:
    """The part of the inputs that stands at these positions, and what does not stand at any."""
    return {name: value if name in (*ENCODER, "head_mask") else value[:, start:end] for name, value in inputs.items()}


def given(drawn: dict[str, Any], *names: str) -> dict[str, Any]:
    """Returns the ids, what has these names, and the encoder's states where there is one."""
    return {name: drawn[name] for name in ("input_ids", *names, *ENCODER) if name in drawn}


def drawn_with_holes(case: Case) -> tuple[dict[str, Any], np.ndarray]:
    """Draws all inputs; with holes in the mask, on which then answers at real positions depend."""
    drawn, real = case.drawn()
    if case.family.combines_masks:
        real = real & (case.rng.random(real.shape) < 0.8)
        real[:, 0] = True
        drawn["attention_mask"] = real.astype(np.int64)
    return drawn, real


@cases(AT_POSITIONS, CAUSAL)
def test_cached_calls(case: Case) -> None:
    for names in case.sampled(case.family.cached, every=2 if case.is_body else 4):
        drawn, real = drawn_with_holes(case)
        if not case.family.finds_padding and "attention_mask" not in names:
            real = np.ones_like(real)
        check_cached_calls(case, given(drawn, *names, "head_mask"), real)


@cases([name for name in BODIES if KINDS[name].family.combines_masks], range(1, CASES, 4))
def test_cached_calls_with_padding_on_the_left(case: Case) -> None:
    drawn, real = case.drawn()
    inputs = given(drawn, "attention_mask", "token_type_ids")
    flipped = {name: value if name in ENCODER else value[:, ::-1] for name, value in inputs.items()}
    check_cached_calls(case, flipped, real[:, ::-1])


def check_cached_calls(case: Case, inputs: dict[str, Any], real: np.ndarray) -> None:
    """Gives inputs in parts, by several splits, and compares each part with the reference's answer to all."""
    reference = run_reference(case, inputs | WANTED)
    batch, length = real.shape
    cache_name = case.family.cache_name
    for ends in splits(case, length):
        cache, start = case.model.make_cache(batch, length + 2), 0
        for end in ends:
            new = until(inputs, end, start)
            if start and case.index % 8 == 1:
                # The cache has what is made of them.
                new = {name: value for name, value in new.items() if name not in ENCODER}
            ours = case.model(new | WANTED, **{cache_name: cache})
            assert set(ours) == {*reference, cache_name}
            what, here = f"{[*inputs]} until {ends} from {start}", real[:, start:end]
            main = next(name for name in ours if name in ("last_hidden_state", "logits"))
            close(ours[main], reference[main][:, start:end], here, f"{what}: {main}")
            for left, right in zip(ours.hidden_states, reference["hidden_states"], strict=True):
                close(left, right[:, start:end], here, f"{what}: hidden_states")
            for name in {"attentions", "cross_attentions"}.intersection(reference):
                for left, right in zip(ours[name], reference[name], strict=True):
                    weights = np.moveaxis(np.asarray(left), 1, 2)  # (batch, query, heads, slots)
                    keys = right.shape[-1]
                    close(weights[..., :keys], right.movedim(1, 2)[:, start:end], here, f"{what}: {name}")
                    assert not weights[..., keys:].any()
            cache, start = ours[cache_name], end


@cases(AT_POSITIONS, CAUSAL)
def test_the_cache_of_the_reference(case: Case) -> None:
    drawn, real = drawn_with_holes(case)
    inputs = given(drawn, *case.family.cached[2])
    batch, length = real.shape
    cache_name = case.family.cache_name
    # With relative positions, the reference is right for one token at a time only.
    is_relative = getattr(case.config, "position_embedding_type", "absolute") != "absolute"
    for ends in [list(range(1, length + 1))] if is_relative else splits(case, length):
        theirs = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        # Where the reference makes a cache when asked to, ours does.
        asked: dict[str, Any] = {"use_cache": True}
        if case.family.repeats_past:
            asked = {cache_name: case.model.make_cache(batch)}
        start = 0
        for end in ends:
            new = until(inputs, end, start)
            # Some take earlier tokens again, all take their mask again. Ours take the new ones, and either mask.
            again = until(inputs, end, 0 if case.family.repeats_past else start)
            mask = {"attention_mask": inputs["attention_mask"][:, :end]}
            reference = run_reference(case, again | mask | {cache_name: theirs, "output_hidden_states": True})
            new |= {} if case.family.repeats_past else mask
            ours = case.model(new, **asked, output_hidden_states=True)
            for left, right in zip(ours.hidden_states, reference["hidden_states"], strict=True):
                close(left, right, real[:, start:end], f"{ends} from {start}")
            close(ours[0], next(iter(reference.values())), real[:, start:end], f"{ends} from {start}")
            asked, start = {cache_name: ours[cache_name]}, end
