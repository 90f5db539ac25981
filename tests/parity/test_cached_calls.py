"""Causal models that are given a text in parts, with a cache, against the PyTorch classes given all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from tests.parity.reference import CASES, SWEEP, Case, cases, close, run_reference

# Those that answer at each position, in the configurations that are causal.
AT_POSITIONS = ["XLMModel", "XLMWithLMHeadModel", "XLMWithAdaptiveSoftmax", "XLMForTokenClassification"]
CAUSAL = range(1, CASES, 2)
# What the new tokens are given with, beside their ids.
GIVEN: list[tuple[str, ...]] = [
    (),
    ("langs",),
    ("langs", "attention_mask"),
    ("position_ids", "token_type_ids"),
]
WANTED = {"output_hidden_states": True, "output_attentions": True}

pytestmark = pytest.mark.filterwarnings("ignore:.*has no langs")


def draw(case: Case) -> tuple[dict[str, Any], np.ndarray]:
    """Draws a padded batch with all that stands at positions, and the real ones."""
    ids, lengths = case.ids()
    real = np.arange(ids.shape[1]) < lengths[:, None]
    return {
        "input_ids": ids,
        "langs": case.grid(ids, case.config.n_langs),
        "position_ids": case.grid(ids, case.config.max_position_embeddings),
        "token_type_ids": case.grid(ids, case.config.vocab_size),
        "attention_mask": real.astype(np.int64),
    }, real


def splits(case: Case, length: int) -> list[list[int]]:
    """The ends of the parts: several tokens at a time, and either one or all; in the sweep both."""
    cuts = case.rng.choice(np.arange(1, length), int(case.rng.integers(1, 4)), replace=False)
    others = [list(range(1, length + 1)), [length]]
    return [[*sorted(cuts.tolist()), length], *(others if SWEEP else [others[int(case.rng.integers(2))]])]


def until(inputs: dict[str, Any], end: int, start: int = 0) -> dict[str, Any]:
    return {name: value[:, start:end] for name, value in inputs.items()}


@cases(AT_POSITIONS, CAUSAL)
def test_cached_calls(case: Case) -> None:
    for names in case.sampled(GIVEN, every=4 if case.kind.labels else 2):
        drawn, real = draw(case)
        check_cached_calls(case, {name: drawn[name] for name in ("input_ids", *names)}, real)


def check_cached_calls(case: Case, inputs: dict[str, Any], real: np.ndarray) -> None:
    """Gives inputs in parts, by several splits, and compares each part with the reference's answer to all."""
    head_mask = {"head_mask": case.rng.random((case.config.n_layers, case.config.n_heads)).astype(np.float32)}
    reference = run_reference(case, inputs | head_mask | WANTED)
    batch, length = real.shape
    for ends in splits(case, length):
        cache, start = case.model.make_cache(batch, length + 2), 0
        for end in ends:
            ours = case.model(until(inputs, end, start) | head_mask | WANTED, cache=cache)
            assert set(ours) == {*reference, "cache"}
            what, here = f"{[*inputs]} until {ends} from {start}", real[:, start:end]
            main = next(name for name in ours if name in ("last_hidden_state", "logits"))
            close(ours[main], reference[main][:, start:end], here, f"{what}: {main}")
            for left, right in zip(ours.hidden_states, reference["hidden_states"], strict=True):
                close(left, right[:, start:end], here, f"{what}: hidden_states")
            for left, right in zip(ours.attentions, reference["attentions"], strict=True):
                weights = np.moveaxis(np.asarray(left), 1, 2)  # (batch, query, heads, slots)
                close(weights[..., :length], right.movedim(1, 2)[:, start:end], here, f"{what}: attentions")
                assert not weights[..., length:].any()
            cache, start = ours.cache, end


@cases(AT_POSITIONS, CAUSAL)
def test_the_cache_of_the_reference(case: Case) -> None:
    # It takes the past again with the new tokens; ours takes the new ones only.
    drawn, real = draw(case)
    inputs = {name: drawn[name] for name in ("input_ids", "langs", "attention_mask")}
    batch, length = real.shape
    for ends in splits(case, length):
        theirs = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        cache, start = case.model.make_cache(batch), 0
        for end in ends:
            reference = run_reference(case, until(inputs, end) | {"cache": theirs, "output_hidden_states": True})
            ours = case.model(until(inputs, end, start), cache=cache, output_hidden_states=True)
            for left, right in zip(ours.hidden_states, reference["hidden_states"], strict=True):
                close(left, right, real[:, start:end], f"{ends} from {start}")
            close(ours[0], next(iter(reference.values())), real[:, start:end], f"{ends} from {start}")
            cache, start = ours.cache, end
