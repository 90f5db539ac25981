"""Cross-attention: against loops, and with keys and values of the memory kept in the cache."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.decoding import DIM, HEAD_DIM, LAYERS, empty_cache, in_parts, make_encoder, numbers, step, whole
from tfxlm.errors import InputError
from tfxlm.layers import (
    AllRows,
    CacheStep,
    KeyValueCache,
    MultiHeadAttention,
    RealRows,
    TransformerBlock,
    attention_bias,
    choose_rows,
    make_memory,
)

BATCH, LENGTH, MEMORY, SLOTS = 3, 6, 4, 9
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32)
STATES = RNG.normal(size=(BATCH, MEMORY, DIM)).astype(np.float32)
MASK = np.arange(LENGTH) < np.array([[LENGTH], [3], [5]])
RIGHT = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]], np.int32)
ALL = np.ones((BATCH, LENGTH), bool)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.kernel, np.float64) + np.asarray(layer.bias, np.float64)


def norm(layer: Any, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    return scaled * np.asarray(layer.gamma) + np.asarray(layer.beta)


def attend(
    layer: MultiHeadAttention, x: np.ndarray, memory: np.ndarray, real: np.ndarray, head_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Attention of each row and head on its own; `real` is (batch, memory_length)."""
    context = np.zeros((*x.shape[:2], layer.num_heads * layer.head_dim))
    weights = np.zeros((len(x), layer.num_heads, x.shape[1], memory.shape[1]))
    for row, head in np.ndindex(len(x), layer.num_heads):
        part, keep = slice(head * layer.head_dim, (head + 1) * layer.head_dim), np.flatnonzero(real[row])
        query = dense(layer.query, x[row])[:, part]
        key, value = (dense(it, memory[row][keep])[:, part] for it in (layer.key, layer.value))
        scores = np.exp(query @ key.T / math.sqrt(layer.head_dim))
        weights[row, head][:, keep] = scores / scores.sum(-1, keepdims=True) * head_mask[head]
        context[row][:, part] = weights[row, head][:, keep] @ value
    return dense(layer.output_dense, context), weights


@pytest.mark.parametrize("kind", ["post", "pre"])
@pytest.mark.parametrize("given", [None, RIGHT, RIGHT[:, ::-1]], ids=["all", "right", "left"])
@pytest.mark.parametrize("remove_padding", [False, True])
def test_block(kind: str, given: Any, remove_padding: bool) -> None:
    block = TransformerBlock(DIM, 2, 20, activation="relu", norm=kind, norm_epsilon=1e-3, cross_attention=True)
    block.build()
    for weight in block.weights:
        weight.assign(RNG.normal(size=weight.shape) * 0.4)
    head_mask, mask = np.array([1, 0.5], np.float32), tf.constant(MASK)
    rows, memory = choose_rows(mask, remove_padding=remove_padding), make_memory(STATES, given)
    assert type(memory.rows) is (AllRows if given is None else RealRows)
    output, weights, cross_weights, past = block(
        rows.pack(tf.constant(X)), rows=rows, bias=attention_bias(mask), memory=memory,
        head_mask=tf.reshape(tf.constant(head_mask), (1, -1, 1, 1)),
    )  # fmt: skip
    assert past is None and weights.shape == (BATCH, 2, LENGTH, LENGTH)

    def branch(x: np.ndarray, layer_norm: Any, function: Any) -> np.ndarray:
        return x + function(norm(layer_norm, x)) if kind == "pre" else norm(layer_norm, x + function(x))

    def cross(x: np.ndarray) -> np.ndarray:
        nonlocal expected_weights
        real = np.ones((BATCH, MEMORY)) if given is None else given
        output, expected_weights = attend(block.cross_attention, x, STATES, real, head_mask)
        return output

    expected_weights = np.zeros(())
    x = branch(X, block.attention_norm, lambda x: attend(block.attention, x, x, MASK, head_mask)[0])
    # Self-attention knows no memory, and padding may be anything: each sequence alone is compared.
    x = branch(x, block.cross_attention_norm, cross)
    feed_forward = block.feed_forward
    expected = branch(
        x,
        block.feed_forward_norm,
        lambda x: dense(feed_forward.output_dense, np.maximum(dense(feed_forward.intermediate, x), 0)),
    )
    np.testing.assert_allclose(rows.unpack(output).numpy()[MASK], expected[MASK], atol=3e-5)
    real = [np.moveaxis(np.asarray(it), 2, 1)[MASK] for it in (cross_weights, expected_weights)]
    np.testing.assert_allclose(*real, atol=5e-6)


def make_decoder(**options: Any) -> Any:
    return make_encoder(cross_attention=True, **options)


def test_encoder_returns_both_kinds_of_weights() -> None:
    encoder, memory = make_decoder(num_heads=[2, 1]), make_memory(STATES, RIGHT)
    _, encoded = whole(encoder, X, tf.constant(MASK), memory=memory, output_attentions=True)
    assert [weights.shape[1:] for weights in encoded.attentions] == [(2, LENGTH, LENGTH), (1, LENGTH, LENGTH)]
    # Pruned heads are those of self-attention.
    assert [weights.shape for weights in encoded.cross_attentions] == [(BATCH, 2, LENGTH, MEMORY)] * LAYERS
    for weights in encoded.cross_attentions:
        assert np.all(weights.numpy()[1, ..., 1:] == 0)
        np.testing.assert_allclose(weights.numpy().sum(-1), 1, atol=1e-6)
    encoded = whole(encoder, X, tf.constant(MASK), memory=memory)[1]
    assert encoded.attentions is None and encoded.cross_attentions is None


def test_without_a_memory_it_is_left_out() -> None:
    decoder, encoder = make_decoder(), make_encoder()
    weights = [it for it in decoder.weights if "cross_attention" not in it.path]
    for ours, other in zip(weights, encoder.weights, strict=True):
        other.assign(ours)
    states, encoded = whole(decoder, X, tf.constant(MASK), output_attentions=True)
    np.testing.assert_array_equal(states, whole(encoder, X, tf.constant(MASK))[0])
    assert encoded.cross_attentions is None
    with pytest.raises(
        InputError, match=r"has a memory, but the encoder has no cross-attention .*cross_attention=True"
    ):
        whole(encoder, X, tf.constant(MASK), memory=make_memory(STATES))


OTHER = make_memory(STATES[::-1] * 3)
POSITIONS = pytest.mark.parametrize("relative", [None, "relative_key_query"])


@POSITIONS
@pytest.mark.parametrize("kind", ["post", "pre"])
@pytest.mark.parametrize("later", [None, make_memory(STATES, RIGHT), OTHER], ids=["none", "same", "ignored"])
def test_cached_is_uncached(kind: str, relative: str | None, later: Any) -> None:
    encoder = make_decoder(norm=kind, relative_positions=relative, max_positions=SLOTS, num_heads=[1, 2])
    memory = make_memory(STATES, RIGHT)
    expected, _ = whole(encoder, X, tf.constant(MASK), memory=memory)
    assert np.abs(expected - whole(encoder, X, tf.constant(MASK))[0]).max() > 0.1
    memories = [memory, later, later]
    states, cache = in_parts(encoder, X, tf.constant(MASK), (2, 1, 3), empty_cache(encoder, BATCH, SLOTS), memories)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    assert cache.has_memory and tuple(cache.cross_bias.shape) == (BATCH, 1, 1, MEMORY)
    assert [tuple(it.shape) for it in cache.cross_keys] == [(BATCH, 2, MEMORY, HEAD_DIM)] * LAYERS


def test_the_memory_is_read_once() -> None:
    encoder, memory = make_decoder(), make_memory(STATES, RIGHT)
    expected, _ = whole(encoder, X, tf.constant(ALL), memory=memory, output_attentions=True)
    _, cache, _ = step(encoder, X[:, :4], tf.constant(ALL[:, :4]), empty_cache(encoder, BATCH, SLOTS), memory)
    for block in encoder.blocks:
        block.cross_attention.key.kernel.assign(np.zeros((DIM, DIM)))
        block.cross_attention.value.kernel.assign(np.zeros((DIM, DIM)))
    states, _, encoded = step(encoder, X[:, 4:], tf.constant(ALL[:, 4:]), cache, memory, output_attentions=True)
    np.testing.assert_allclose(states, expected[:, 4:], atol=1e-5)
    assert [weights.shape for weights in encoded.cross_attentions] == [(BATCH, 2, 2, MEMORY)] * LAYERS


def test_a_memory_may_come_later() -> None:
    encoder, memory = make_decoder(), make_memory(STATES)
    first, cache, _ = step(encoder, X[:, :2], tf.constant(ALL[:, :2]), empty_cache(encoder, BATCH, SLOTS))
    assert not cache.has_memory and list(cache) == ["layer_keys", "layer_values", "mask", "words", "length"]
    np.testing.assert_allclose(first, whole(encoder, X[:, :2], tf.constant(ALL[:, :2]))[0], atol=1e-5)
    _, cache, _ = step(encoder, X[:, 2:], tf.constant(ALL[:, 2:]), cache, memory)
    assert cache.has_memory and list(cache)[5:] == ["cross_keys", "cross_values", "cross_bias"]


@POSITIONS
@pytest.mark.parametrize("jit_compile", [False, True])
def test_as_argument_and_result_of_a_function(relative: str | None, jit_compile: bool) -> None:
    encoder = make_decoder(relative_positions=relative, max_positions=SLOTS)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def call(x: Any, cache: KeyValueCache, states: Any, mask: Any) -> Any:
        return step(encoder, x, tf.ones(x.shape[:2], bool), cache, make_memory(states, mask))[:2]

    cache, parts = empty_cache(encoder, BATCH, SLOTS), []
    for position in range(LENGTH):
        new, cache = call(X[:, position : position + 1], cache, STATES, RIGHT)
        parts.append(new)
    # Once for a cache without the memory, once for one with it.
    assert call.experimental_get_tracing_count() == 2 and type(cache) is KeyValueCache
    expected, _ = whole(encoder, X, tf.constant(ALL), memory=make_memory(STATES, RIGHT))
    np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=1e-5)


@pytest.mark.parametrize("while_loop", [tf.while_loop, keras.ops.while_loop])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_as_variable_of_a_loop(jit_compile: bool, while_loop: Any) -> None:
    encoder = make_decoder()

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(x: Any, states: Any) -> Any:
        empty = empty_cache(encoder, BATCH, SLOTS)
        first, cache, _ = step(encoder, x[:, :2], tf.ones((BATCH, 2), bool), empty, make_memory(states, RIGHT))

        def body(token: Any, cache: KeyValueCache, _: Any) -> Any:
            new = tf.slice(x, [0, token, 0], [BATCH, 1, DIM])
            state, cache, _ = step(encoder, new, tf.ones((BATCH, 1), bool), cache)
            return token + 1, cache, state

        return while_loop(lambda token, *_: token < LENGTH, body, (tf.constant(2), cache, first[:, :1]))

    _, cache, last = run(tf.constant(X), tf.constant(STATES))
    assert type(cache) is KeyValueCache and cache.has_memory and int(cache.length) == LENGTH
    expected, _ = whole(encoder, X, tf.constant(ALL), memory=make_memory(STATES, RIGHT))
    np.testing.assert_allclose(last[:, 0], expected[:, -1], atol=1e-5)


def test_sizes_that_a_graph_does_not_know() -> None:
    encoder = make_decoder()
    spec = [tf.TensorSpec((None, None, DIM)), tf.TensorSpec((None, None, DIM)), tf.TensorSpec((None, None), tf.int32)]

    @tf.function(input_signature=spec, autograph=False)
    def call(x: Any, states: Any, mask: Any) -> Any:
        return whole(encoder, x, tf.ones(tf.shape(x)[:2], bool), True, True, memory=make_memory(states, mask))[0]

    expected, _ = whole(encoder, X, tf.constant(ALL), memory=make_memory(STATES, RIGHT))
    np.testing.assert_allclose(call(X, STATES, RIGHT), expected, atol=1e-5)


def test_going_back_and_taking_rows_keep_the_memory() -> None:
    encoder, memory, order = make_decoder(), make_memory(STATES, RIGHT), [2, 0, 0]
    _, cache, _ = step(encoder, X, tf.constant(ALL), empty_cache(encoder, BATCH, SLOTS), memory)
    expected = whole(encoder, X, tf.constant(ALL), memory=memory)[0].numpy()
    taken = cache.truncated(2).take(order)
    assert type(taken) is KeyValueCache and int(taken.length) == 2
    again, _, _ = step(encoder, X[order, 2:], tf.constant(ALL[:, 2:]), taken)
    np.testing.assert_allclose(again, expected[order, 2:], atol=1e-5)


@pytest.mark.parametrize("kind", ["post", "pre"])
def test_chosen_positions_are_those_of_all(kind: str) -> None:
    encoder, mask = make_decoder(norm=kind, final_norm=kind == "pre"), tf.constant(MASK)
    positions, results = tf.constant([[5, 0, 5], [0, 2, 1], [4, 1, 2]]), []
    for ask in (False, True):  # Asked for all states, the encoder leaves nothing out.
        with tf.GradientTape() as tape:
            states = tf.constant(STATES)
            tape.watch(states)
            rows = choose_rows(mask, remove_padding=True)
            chosen, memory = rows.choose(positions), make_memory(states, RIGHT)
            options = {"bias": attention_bias(mask), "chosen": chosen, "output_hidden_states": ask, "memory": memory}
            answer = chosen.reveal(encoder(rows.pack(tf.constant(X)), rows=rows, **options).x)
            loss = tf.reduce_sum(answer**2)
        results.append([answer, *tape.gradient(loss, [states, *[it.value for it in encoder.trainable_weights]])])
    for ours, full in zip(*results, strict=True):
        np.testing.assert_allclose(ours, full, atol=1e-4)


def test_gradients_reach_the_real_states() -> None:
    """Padding of the memory may be anything, and learns nothing."""
    encoder, gradients = make_decoder(), []
    for filling in (0.0, 100.0):
        states = tf.constant(np.where(RIGHT[:, :, None] > 0, STATES, np.float32(filling)))
        # Compiled, the padding stays among the rows.
        for jit_compile in (False, True):

            @tf.function(jit_compile=jit_compile, autograph=False)
            def gradient(states: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(states)
                    answer, _ = whole(encoder, X, tf.constant(MASK), memory=make_memory(states, RIGHT))
                    loss = tf.reduce_sum(answer**2)
                return tape.gradient(loss, [states, *[it.value for it in encoder.trainable_weights]])

            gradients.append(gradient(states))
    real = np.abs(gradients[0][0].numpy()).max(-1) > 0
    np.testing.assert_array_equal(real, RIGHT > 0)
    for other in gradients[1:]:
        for ours, theirs in zip(gradients[0], other, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize(("dtype", "atol"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15), ("bfloat16", 0.15)])
def test_half_types(dtype: str, atol: float) -> None:
    """They stay near float32, in the cache too, and a memory of nothing but padding stays finite."""
    encoder, exact, half = make_decoder(dtype=dtype), make_decoder(), dtype.removeprefix("mixed_")
    mask = np.concatenate([RIGHT[:2], np.zeros((1, MEMORY), np.int32)])
    x, real, memory = tf.cast(X, half), tf.constant(ALL), make_memory(tf.cast(STATES, half), mask)
    with tf.GradientTape() as tape:
        states, encoded = whole(encoder, x, real, memory=memory, output_attentions=True)
        loss = tf.reduce_sum(tf.cast(states, "float32") ** 2)
    assert states.dtype == half and all(weights.dtype == half for weights in encoded.cross_attentions)
    np.testing.assert_allclose(numbers(states), whole(exact, X, real, memory=make_memory(STATES, mask))[0], atol=atol)
    assert all(np.all(numbers(weights)[1, ..., 1:] == 0) for weights in encoded.cross_attentions)
    for gradient in tape.gradient(loss, [it.value for it in encoder.trainable_weights]):
        assert np.all(np.isfinite(numbers(gradient)))
    parts, cache = in_parts(encoder, x, real, (4, 2), empty_cache(encoder, BATCH, SLOTS), [memory])
    assert cache.cross_keys[0].dtype == cache.cross_values[0].dtype == half and cache.cross_bias.dtype == "float32"
    np.testing.assert_allclose(numbers(parts), numbers(states), atol=atol)


def test_caches_of_other_models() -> None:
    encoder = make_decoder()
    _, cache, _ = step(encoder, X, tf.constant(ALL), empty_cache(encoder, BATCH, SLOTS), make_memory(STATES))
    cache.check(BATCH, [2, 2], HEAD_DIM, 2)
    empty_cache(encoder, BATCH, SLOTS).check(BATCH, [2, 2], HEAD_DIM, 2)
    message = (
        r"another model: .* \(heads, memory_length, head_dim\) = \[\(2, 4, 8\), \(2, 4, 8\)\] in cross_keys, expected "
    )
    with pytest.raises(InputError, match=message + r"\[\]\. Use the make_cache"):
        cache.check(BATCH, [2, 2], HEAD_DIM)
    with pytest.raises(InputError, match=message + r"\[\(4, 4, 8\), \(4, 4, 8\)\]"):
        cache.check(BATCH, [2, 2], HEAD_DIM, 4)
    with pytest.raises(
        InputError, match=r"\(heads, max_length, head_dim\) = .* in layer_keys, expected \[\(2, 9, 8\)\]"
    ):
        cache.check(BATCH, [2], HEAD_DIM, 2)


def test_counts_of_real_tokens_before() -> None:
    encoder = make_encoder()
    _, cache, _ = step(encoder, X, tf.constant(MASK), empty_cache(encoder, BATCH, SLOTS))
    for position, expected in ((None, [6, 3, 5]), (4, [4, 3, 4]), (0, [0, 0, 0])):
        place = CacheStep(cache, tf.ones((BATCH, 1), bool), position)
        np.testing.assert_array_equal(place.count_before, expected)


@pytest.mark.parametrize("norm_kind", ["post", "pre"])
def test_dropout_after_each_branch(norm_kind: str) -> None:
    """At rate 1 - 1e-7 what a dropout follows is as good as gone, and the rest is as without training."""
    options: dict[str, Any] = {"norm": norm_kind, "cross_attention": True, "dropout": 1 - 1e-7}
    memory, rows = make_memory(STATES), AllRows(tf.constant(ALL))
    x, silenced = tf.reshape(X, (-1, DIM)), {None: ["attention", "cross_attention", "feed_forward"]}
    silenced[0.0] = silenced[None][:2]
    for rate, names in silenced.items():
        block = TransformerBlock(DIM, 2, 20, activation="gelu", feed_forward_dropout=rate, **options)
        block.build()
        trained = block(x, rows=rows, memory=memory, training=True)[0]
        for name in names:
            output = getattr(block, name).output_dense
            output.kernel.assign(tf.zeros_like(output.kernel))
            output.bias.assign(tf.zeros_like(output.bias))
        np.testing.assert_allclose(trained, block(x, rows=rows, memory=memory)[0], atol=1e-5)
