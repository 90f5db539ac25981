"""Generation: new tokens behind a few prompts, beside transformers in PyTorch as it generates with XLM's checkpoints.

The peer reads the whole text again for each token, with a mask behind it; its models are not causal, as released.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measure import median, peak_memory
from benchmarks.subjects import XLM, Arrays, Work, full_inputs
from benchmarks.table import Row

PROMPTS, NEW_TOKENS = 4, 64
LENGTHS = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
# Of our weights: reading them is most of the work, as each step has only a few rows.
DTYPES = ("float32", "bfloat16")
# The peer takes a minute and more for one text.
PEER_ROUNDS = 1
BOUND = 1 / 20


@dataclass(frozen=True)
class Strategy:
    """A way to generate.

    Args:
        title: in tables.
        options: as both libraries have them.
        width: tokens of each prompt.
        bound: the largest ratio allowed.
    """

    title: str
    options: dict[str, Any]
    width: int = 16
    bound: float | None = None


PARTS = {
    "greedy": Strategy("greedy", {}, bound=BOUND),
    "long prompts": Strategy("greedy", {}, width=64),
    "beams": Strategy("4 beams", {"num_beams": 4}),
}


def inputs_of_prompts(width: int) -> Arrays:
    """Returns prompts without padding, all in one language."""
    inputs = full_inputs(XLM, PROMPTS, width)
    return {**inputs, "langs": np.zeros_like(inputs["langs"])}


def our_generation(strategy: Strategy, dtype: str) -> Work:
    """Returns our generation, with a model that is causal."""
    import tfxlm

    model = XLM.model(tfxlm, XLM.language_model)(XLM.config_of(tfxlm, causal=True), dtype=dtype)
    inputs = inputs_of_prompts(strategy.width)
    return lambda: model.generate(inputs, **LENGTHS, **strategy.options).numpy()


def torch_generation(strategy: Strategy) -> Work:
    """Returns the generation of `transformers`."""
    import torch
    import transformers

    model = XLM.model(transformers, XLM.language_model, tf=False)(XLM.config_of(transformers)).eval()
    ids = torch.tensor(inputs_of_prompts(strategy.width)["input_ids"], dtype=torch.long)
    return lambda: model.generate(ids, do_sample=False, **LENGTHS, **strategy.options).numpy()


def timed(work: Work, width: int, rounds: int) -> tuple[list[float], list[float]]:
    """Returns the seconds of each call: by the clock, and of all cores."""
    walls, cores = [], []
    for _ in range(rounds):
        wall, core = time.perf_counter(), time.process_time()
        assert work().shape == (PROMPTS, width + NEW_TOKENS)
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return walls, cores


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one way to generate: ours before and after the peer, whose work takes much longer."""
    strategy = PARTS[part]
    ours, theirs = {dtype: our_generation(strategy, dtype) for dtype in DTYPES}, torch_generation(strategy)
    half = max(1, rounds // 2)
    before, after = {}, {}
    for dtype, work in ours.items():
        work()
        before[dtype] = timed(work, strategy.width, half)
    peer = timed(theirs, strategy.width, PEER_ROUNDS)
    for dtype, work in ours.items():
        after[dtype] = timed(work, strategy.width, half)
    title = f"{NEW_TOKENS} tokens x {PROMPTS} behind {strategy.width}, {XLM.title}, {strategy.title}"
    name = "x transformers PyTorch"
    rows = []
    for which, unit, bound in ((0, "s", strategy.bound), (1, "s of CPU", None)):
        reference = median(peer[which])
        rows.append(Row(title, "transformers PyTorch", reference, 1.0, name, unit=unit))
        for dtype in DTYPES:
            own = median(before[dtype][which] + after[dtype][which])
            rows.append(Row(title, f"tfxlm, {dtype}", own, own / reference, name, bound, unit))
    for dtype, work in ours.items():
        with peak_memory() as memory:
            work()
        rows.append(Row(title, f"tfxlm, {dtype}, memory beside the model", memory.anonymous, 1.0, "", unit="MB"))
    return rows
