"""A program that runs decoders on JAX and writes their answers: ``python -m tests.layers.jax_program FILE.npz``.

It is a process of its own because Keras reads its backend when it is imported: ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import keras
import numpy as np
from keras import ops

from tests.layers.decoding import DIM, empty_cache, make_encoder, numbers, step, whole
from tfxlm.errors import InputError
from tfxlm.layers import RELATIVE_POSITIONS, attention_bias, choose_rows, make_memory

BATCH, LENGTH, MEMORY, SLOTS = 3, 6, 4, 9


def inputs() -> dict[str, Any]:
    """Returns tokens, their mask, and a memory with its mask."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32),
        "mask": np.arange(LENGTH) < np.array([[LENGTH], [3], [5]]),
        "states": rng.normal(size=(BATCH, MEMORY, DIM)).astype(np.float32),
        "memory_mask": np.arange(MEMORY) < np.array([[MEMORY], [1], [2]]),
    }


def answers(relative: str | None, norm: str, dtype: str) -> dict[str, np.ndarray]:
    """Returns the answers of a decoder: of all tokens, of chosen ones, and where JAX compiles, bit by bit."""
    encoder = make_encoder(
        norm=norm, relative_positions=relative, max_positions=SLOTS, cross_attention=True, num_heads=[2, 1], dtype=dtype
    )
    given = {name: ops.convert_to_tensor(value) for name, value in inputs().items()}
    x, mask = ops.cast(given["x"], encoder.compute_dtype), given["mask"]
    memory = make_memory(given["states"], given["memory_mask"])
    states, encoded = whole(encoder, x, mask, remove_padding=True, memory=memory, output_attentions=True)
    rows = choose_rows(mask, remove_padding=True)
    chosen = rows.choose(ops.convert_to_tensor([[5, 0], [2, 2], [1, 4]]))
    options = {"bias": attention_bias(mask, causal=True), "memory": memory}
    found = {
        "states": states,
        # Of real tokens: what padding attends to means nothing, and is another where it is left out.
        "cross": encoded.cross_attentions[1] * ops.cast(mask[:, None, :, None], encoder.compute_dtype),
        "chosen": chosen.reveal(encoder(rows.pack(x), rows=rows, chosen=chosen, **options).x),
    }
    if keras.backend.backend() == "jax":
        found["cached"] = compiled(encoder, x, given)
    return {name: numbers(value) for name, value in found.items()}


def compiled(encoder: Any, x: Any, given: dict[str, Any]) -> Any:
    """Returns the states of all tokens, from calls compiled by `jax.jit`."""

    @jax.jit
    def call(x: Any, mask: Any, cache: Any, states: Any, memory_mask: Any) -> Any:
        return step(encoder, x, mask, cache, make_memory(states, memory_mask))[:2]

    cache, parts = empty_cache(encoder, BATCH, SLOTS), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 6)):
        new, cache = call(x[:, part], given["mask"][:, part], cache, given["states"], given["memory_mask"])
        parts.append(new)
    return ops.concatenate(parts, axis=1)


def refusal() -> str:
    """Returns what a compiled call with too many tokens for relative positions says."""
    encoder = make_encoder(relative_positions="relative_key", max_positions=LENGTH - 1)
    try:
        jax.jit(lambda x: whole(encoder, x, ops.ones(x.shape[:2], "bool"))[0])(inputs()["x"])
    except InputError as error:
        return str(error)
    return ""


CASES = [(None, "post", "float32"), *((kind, "pre", "float32") for kind in RELATIVE_POSITIONS)]
CASES.append(("relative_key_query", "post", "mixed_bfloat16"))


def main() -> None:
    """Writes all."""
    found: dict[str, Any] = {"backend": keras.backend.backend(), "refusal": refusal()}
    for number, case in enumerate(CASES):
        found |= {f"{number} {name}": value for name, value in answers(*case).items()}
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
