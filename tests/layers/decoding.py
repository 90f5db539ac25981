"""Encoders as decoders, in one call or bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfxlm.layers import (
    CacheStep,
    Encoded,
    KeyValueCache,
    Memory,
    TransformerEncoder,
    attention_bias,
    choose_rows,
    make_cache,
)

DIM, HEAD_DIM, LAYERS = 16, 8, 2


def make_encoder(seed: int = 0, num_heads: int | list[int] = 2, **options: Any) -> TransformerEncoder:
    """Makes a small encoder with random weights, biases and normalisations too."""
    options = {"inner_dim": 20, "activation": "gelu", "head_dim": HEAD_DIM} | options
    encoder = TransformerEncoder(LAYERS, DIM, num_heads, **options)
    encoder.build()
    rng = np.random.default_rng(seed)
    for weight in encoder.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    return encoder


def whole(
    encoder: TransformerEncoder, x: Any, mask: Any, causal: bool = True, remove_padding: bool = False, **options: Any
) -> tuple[Any, Encoded]:
    """Encodes (batch, length, dim) in one call; returns the states (batch, length, dim) and everything."""
    rows = choose_rows(mask, remove_padding=remove_padding)
    encoded = encoder(rows.pack(x), rows=rows, bias=attention_bias(mask, causal=causal), **options)
    return rows.reveal(encoded.x), encoded


def empty_cache(encoder: TransformerEncoder, batch: int, slots: int) -> KeyValueCache:
    heads = [block.attention.num_heads for block in encoder.blocks]
    return make_cache(batch, slots, heads, HEAD_DIM, encoder.compute_dtype)


def step(
    encoder: TransformerEncoder,
    x: Any,
    mask: Any,
    cache: KeyValueCache,
    memory: Memory | None = None,
    cache_position: Any = None,
    **options: Any,
) -> tuple[Any, KeyValueCache, Encoded]:
    """Encodes new tokens (batch, new, dim); returns their states, the next cache, and everything."""
    place = CacheStep(cache, mask, cache_position)
    rows = choose_rows(mask, remove_padding=False)
    bias = attention_bias(place.mask, causal=True, queries=place.positions)
    encoded = encoder(
        rows.pack(x), rows=rows, bias=bias, pasts=place.pasts, places=place.positions, memory=memory, **options
    )
    return rows.reveal(encoded.x), place.finish(encoded.pasts), encoded


def in_parts(
    encoder: TransformerEncoder,
    x: Any,
    mask: Any,
    parts: Sequence[int],
    cache: KeyValueCache,
    memories: Sequence[Memory | None] = (),
) -> tuple[Any, KeyValueCache]:
    """Encodes (batch, length, dim) in parts of the given sizes; `memories` are those of the first calls."""
    states, start = [], 0
    for index, size in enumerate(parts):
        part = slice(start, start + size)
        memory = memories[index] if index < len(memories) else None
        new, cache, _ = step(encoder, x[:, part], mask[:, part], cache, memory)
        states.append(new)
        start += size
    return ops.concatenate(states, axis=1), cache


def numbers(tensor: Any) -> np.ndarray:
    """Returns a tensor as float32."""
    return keras.ops.convert_to_numpy(ops.cast(tensor, "float32"))
