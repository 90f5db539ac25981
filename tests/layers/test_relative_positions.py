"""Relative positions, against loops over pairs of tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.decoding import DIM, HEAD_DIM, empty_cache, in_parts, make_encoder, numbers, step, whole
from tfxlm.errors import InputError
from tfxlm.layers import (
    RELATIVE_POSITIONS,
    AllRows,
    MultiHeadAttention,
    RelativePositions,
    attention_bias,
    choose_rows,
    distance_rows,
)

BATCH, LENGTH, LONGEST, SLOTS = 3, 7, 12, 10
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32)
MASK = np.arange(LENGTH) < np.array([[LENGTH], [3], [5]])
ALL = np.ones_like(MASK)
KINDS = pytest.mark.parametrize("kind", RELATIVE_POSITIONS)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.kernel, np.float64) + np.asarray(layer.bias, np.float64)


def attend(layer: MultiHeadAttention, x: np.ndarray, allowed: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Attention one pair of tokens at a time; `allowed` is (batch, query, key)."""
    table = np.asarray(layer.relative_positions.distance_embedding, np.float64)
    middle, size = len(table) // 2, layer.head_dim
    query, key, value = (
        dense(projection, x).reshape(*x.shape[:2], -1, size) for projection in (layer.query, layer.key, layer.value)
    )
    weights = np.zeros((len(x), layer.num_heads, x.shape[1], x.shape[1]))
    context = np.zeros_like(query)
    for row, head, i in np.ndindex(len(x), layer.num_heads, x.shape[1]):
        scores = np.full(x.shape[1], -np.inf)
        for j in np.flatnonzero(allowed[row, i]):
            q, k, distance = query[row, i, head], key[row, j, head], table[middle + i - j]
            scores[j] = q @ k + q @ distance + (k @ distance if kind == "relative_key_query" else 0)
        scores = np.exp((scores - scores.max()) / math.sqrt(size))
        weights[row, head, i] = scores / scores.sum()
        context[row, i, head] = weights[row, head, i] @ value[row, :, head]
    return dense(layer.output_dense, context.reshape(*x.shape[:2], -1)), weights


def make_attention(kind: str, **options: Any) -> MultiHeadAttention:
    layer = MultiHeadAttention(DIM, 2, head_dim=5, relative_positions=kind, max_positions=LONGEST, **options)
    layer.build()
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape) * 0.5)
    return layer


def distances(length: int = LENGTH) -> Any:
    return distance_rows(tf.range(length)[None], length, LONGEST)


@KINDS
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("remove_padding", [False, True])
def test_attention(kind: str, causal: bool, remove_padding: bool) -> None:
    layer, mask = make_attention(kind), tf.constant(MASK)
    rows = choose_rows(mask, remove_padding=remove_padding)
    output, weights, _ = layer(
        rows.pack(tf.constant(X)), rows=rows, bias=attention_bias(mask, causal=causal), distances=distances()
    )
    allowed = np.repeat(MASK[:, None], LENGTH, axis=1) & (np.tri(LENGTH, dtype=bool) | (not causal))
    expected, expected_weights = attend(layer, X, allowed, kind)
    np.testing.assert_allclose(rows.unpack(output).numpy()[MASK], expected[MASK], atol=2e-5)
    real = [np.moveaxis(np.asarray(it), 2, 1)[MASK] for it in (weights, expected_weights)]
    np.testing.assert_allclose(*real, atol=5e-6)


def test_table_and_distances() -> None:
    layer = RelativePositions("relative_key", 4, 6, initializer="ones")
    layer.build()
    assert [(weight.name, tuple(weight.shape)) for weight in layer.weights] == [("distance_embedding", (7, 6))]
    np.testing.assert_array_equal(layer.distance_embedding, np.ones((7, 6)))
    np.testing.assert_array_equal(
        distance_rows(tf.constant([[0, 3], [2, 1]]), 4, 4),
        [[[3, 2, 1, 0], [6, 5, 4, 3]], [[5, 4, 3, 2], [4, 3, 2, 1]]],
    )


@KINDS
def test_gradients(kind: str) -> None:
    """Against TensorFlow's for products with one-hot rows."""
    shape = (BATCH, 2, LENGTH, HEAD_DIM)
    query, key, upstream = (
        tf.constant(RNG.normal(size=it), tf.float32) for it in (shape, shape, (BATCH, 2, LENGTH, LENGTH))
    )
    layer = RelativePositions(kind, LONGEST, HEAD_DIM, initializer="normal")
    layer.build()
    table = layer.distance_embedding.value
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([query, key])
        ours = layer(query, key, distances())
        rows = tf.einsum("qkt,td->qkd", tf.one_hot(distances()[0], 2 * LONGEST - 1), table)
        theirs = tf.einsum("bhqd,qkd->bhqk", query, rows)
        if kind == "relative_key_query":
            theirs += tf.einsum("bhkd,qkd->bhqk", key, rows) / math.sqrt(HEAD_DIM)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    watched = [query, key, table] if kind == "relative_key_query" else [query, table]
    for mine, other in zip(*(tape.gradient(it, watched, upstream) for it in (ours, theirs)), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


@KINDS
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("parts", [(7,), (1,) * 7, (4, 3), (2, 1, 4)])
def test_cached_is_uncached(kind: str, norm: str, parts: tuple[int, ...]) -> None:
    """For any number of new tokens, with layers of different heads."""
    encoder = make_encoder(num_heads=[2, 1], norm=norm, relative_positions=kind, max_positions=LONGEST)
    expected, _ = whole(encoder, X, tf.constant(MASK))
    states, cache = in_parts(encoder, X, tf.constant(MASK), parts, empty_cache(encoder, BATCH, SLOTS))
    np.testing.assert_allclose(states, expected, atol=1e-5)
    # The distance matters: what comes after is not what it was with all distances alike.
    for block in encoder.blocks:
        block.attention.relative_positions.distance_embedding.assign(np.zeros((2 * LONGEST - 1, HEAD_DIM)))
    assert np.abs(whole(encoder, X, tf.constant(MASK))[0] - expected).max() > 0.01
    assert int(cache.length) == LENGTH


@KINDS
@pytest.mark.parametrize("jit_compile", [False, True])
def test_cached_in_a_graph(kind: str, jit_compile: bool) -> None:
    """There the cache's slots are all keys, filled or not."""
    encoder = make_encoder(relative_positions=kind, max_positions=SLOTS)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def call(x: Any, cache: Any) -> Any:
        return step(encoder, x, tf.ones(tf.shape(x)[:2], bool), cache)[:2]

    cache, states = empty_cache(encoder, BATCH, SLOTS), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        new, cache = call(X[:, part], cache)
        states.append(new)
    np.testing.assert_allclose(np.concatenate(states, 1), whole(encoder, X, tf.constant(ALL))[0], atol=1e-5)
    again, _, _ = step(encoder, X[:, 4:], tf.constant(ALL[:, 4:]), cache, cache_position=4)
    np.testing.assert_allclose(again, states[-1], atol=1e-5)


@KINDS
@pytest.mark.parametrize("causal", [False, True])
def test_sizes_that_a_graph_does_not_know(kind: str, causal: bool) -> None:
    encoder = make_encoder(relative_positions=kind, max_positions=LENGTH)
    spec = [tf.TensorSpec((None, None, DIM)), tf.TensorSpec((None, None), tf.bool)]
    call = tf.function(lambda x, mask: whole(encoder, x, mask, causal, True)[0], input_signature=spec, autograph=False)
    np.testing.assert_allclose(call(X, MASK), whole(encoder, X, tf.constant(MASK), causal)[0], atol=1e-5)
    longer = np.concatenate([X, X[:, :1]], axis=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most max_positions = 7 places"):
        call(longer, np.ones(longer.shape[:2], bool))


@KINDS
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("remove_padding", [False, True])
def test_chosen_positions_are_those_of_all(kind: str, causal: bool, remove_padding: bool) -> None:
    encoder = make_encoder(num_heads=[2, 1], relative_positions=kind, max_positions=LONGEST)
    positions, mask, results = tf.constant([[6, 0, 3, 6], [0, 2, 1, 0], [4, 4, 1, 2]]), tf.constant(MASK), []
    for ask in (False, True):  # Asked for all states, the encoder leaves nothing out.
        with tf.GradientTape() as tape:
            x = tf.constant(X)
            tape.watch(x)
            rows = choose_rows(mask, remove_padding=remove_padding)
            chosen = rows.choose(positions)
            options = {"bias": attention_bias(mask, causal=causal), "chosen": chosen, "output_hidden_states": ask}
            states = chosen.reveal(encoder(rows.pack(x), rows=rows, **options).x)
            loss = tf.reduce_sum(states**2)
        results.append([states, *tape.gradient(loss, [x, *[it.value for it in encoder.trainable_weights]])])
    for ours, full in zip(*results, strict=True):
        np.testing.assert_allclose(ours, full, atol=1e-4)
    expected = np.take_along_axis(whole(encoder, X, mask, causal)[0].numpy(), positions.numpy()[:, :, None], axis=1)
    np.testing.assert_allclose(results[0][0], expected, atol=1e-5)


@KINDS
@pytest.mark.parametrize(("dtype", "atol"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15), ("bfloat16", 0.15)])
def test_half_types(kind: str, dtype: str, atol: float) -> None:
    """They stay near float32, and rows that mask everything stay finite."""
    options: dict[str, Any] = {"relative_positions": kind, "max_positions": LONGEST}
    encoder, exact = make_encoder(dtype=dtype, **options), make_encoder(**options)
    mask = tf.constant(np.concatenate([MASK[:2], np.zeros((1, LENGTH), bool)]))
    with tf.GradientTape() as tape:
        states, encoded = whole(encoder, tf.cast(X, encoder.compute_dtype), mask, output_attentions=True)
        loss = tf.reduce_sum(tf.cast(states, "float32") ** 2)
    assert states.dtype == encoder.compute_dtype
    np.testing.assert_allclose(numbers(states), whole(exact, X, mask)[0], atol=atol)
    for weights in encoded.attentions:
        assert np.all(np.isfinite(numbers(weights))) and np.all(numbers(weights)[1][..., 3:] == 0)
    for gradient in tape.gradient(loss, [it.value for it in encoder.trainable_weights]):
        assert np.all(np.isfinite(numbers(gradient)))


def test_text_that_is_too_long() -> None:
    encoder = make_encoder(relative_positions="relative_key", max_positions=LENGTH)
    whole(encoder, X, tf.constant(ALL))
    longer = tf.constant(np.concatenate([X, X], axis=1))
    mask = tf.ones(longer.shape[:2], bool)
    message = "a text or a cache can have at most max_positions = 7 places, padding included: shorten it"
    with pytest.raises(InputError, match=message):
        whole(encoder, longer, mask)
    with pytest.raises(InputError, match=message):
        encoder(tf.reshape(longer, (-1, DIM)), rows=AllRows(mask))
    for jit_compile in (False, True):
        with pytest.raises(InputError, match=message):
            tf.function(lambda: whole(encoder, longer, mask)[0], jit_compile=jit_compile, autograph=False)()
        call = tf.function(lambda x, m, c: step(encoder, x, m, c)[0], jit_compile=jit_compile, autograph=False)
        with pytest.raises(InputError, match=message):
            call(X[:, :1], tf.constant(ALL[:, :1]), empty_cache(encoder, BATCH, LENGTH + 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absolute", 4), "must be one of relative_key, relative_key_query, or None, got 'absolute'"),
        (("relative_key", None), "Relative positions need max_positions, a positive integer, got None"),
        (("relative_key_query", 0), "Relative positions need max_positions, a positive integer, got 0"),
    ],
)
def test_refusals(arguments: tuple[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_encoder(relative_positions=arguments[0], max_positions=arguments[1])
