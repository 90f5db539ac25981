"""The key/value cache: a causal model that is given its tokens bit by bit answers as if it had seen them at once."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfxlm.configs import XLMConfig
from tfxlm.errors import InputError
from tfxlm.layers import KeyValueCache, make_cache
from tfxlm.models.xlm import XLMBackbone

BATCH, LENGTH, SLOTS, HEADS, LAYERS = 3, 7, 12, 4, 2
RNG = np.random.default_rng(0)
IDS = RNG.integers(6, 50, (BATCH, LENGTH)).astype(np.int32)
PAD = 2


class Model(XLMBackbone):
    """A backbone whose outputs are attributes, and whose cache is called so."""

    def __call__(self, input_ids: Any = None, *, cache: Any = None, **arguments: Any) -> tuple[Any, Any]:
        outputs, mask = super().__call__(input_ids, past_key_values=cache, **arguments)
        return types.SimpleNamespace(**outputs, cache=outputs.get("past_key_values")), mask


@functools.cache
def backbone(dtype: str = "float32", causal: bool = True, pruned: bool = False) -> Model:
    """Makes a small model, every weight random."""
    config = XLMConfig(
        vocab_size=50, emb_dim=32, n_heads=HEADS, n_layers=LAYERS, n_langs=3, max_position_embeddings=20,
        causal=causal, pruned_heads={1: [0, 2]} if pruned else {},
    )  # fmt: skip
    model = Model(config, dtype=dtype)
    model.build()
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return model


def in_parts(model: Model, parts: Sequence[int], cache: Any = None, **inputs: Any) -> tuple[list[Any], Any]:
    """Feeds inputs (batch, length) in parts of the given sizes; returns the outputs of all calls and the cache."""
    whole = {name: inputs.pop(name) for name in ("head_mask", "output_attentions") if name in inputs}
    cache = model.make_cache(BATCH, SLOTS) if cache is None else cache
    outputs, start = [], 0
    for size in parts:
        part = {name: tf.constant(value[:, start : start + size]) for name, value in inputs.items()}
        outputs.append(model(**part, **whole, cache=cache, output_hidden_states=True)[0])
        cache, start = outputs[-1].cache, start + size
    return outputs, cache


def joined(outputs: Sequence[Any], index: int = -1) -> np.ndarray:
    return np.concatenate([output.hidden_states[index] for output in outputs], axis=1)


def inputs_named(names: Sequence[str]) -> dict[str, Any]:
    mask = (RNG.random((BATCH, LENGTH)) < 0.7).astype(np.int32)
    choices: dict[str, Any] = {
        "attention_mask": mask,
        "langs": RNG.integers(0, 3, (BATCH, LENGTH)).astype(np.int32),
        "position_ids": RNG.integers(0, 20, (BATCH, LENGTH)).astype(np.int32),
        "token_type_ids": RNG.integers(0, 50, (BATCH, LENGTH)).astype(np.int32),
        "head_mask": tf.constant([[1.0, 0.0, 0.5, 1.0], [0.0, 1.0, 1.0, 0.3]]),
    }
    return {name: choices[name] for name in names}


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.sets(st.integers(1, LENGTH - 1)),
    names=st.sets(st.sampled_from(["attention_mask", "langs", "position_ids", "token_type_ids", "head_mask"])),
)
def test_any_split_is_the_whole(cuts: set[int], names: set[str]) -> None:
    model, inputs = backbone(), inputs_named(sorted(names))
    parts = np.diff([0, *sorted(cuts), LENGTH]).tolist()
    expected, mask = model(tf.constant(IDS), **inputs, output_attentions=True, output_hidden_states=True)
    outputs, cache = in_parts(model, parts, input_ids=IDS, output_attentions=True, **inputs)
    for index in range(LAYERS + 1):
        np.testing.assert_allclose(joined(outputs, index), expected.hidden_states[index], atol=2e-6)
    np.testing.assert_allclose(outputs[-1].last_hidden_state, expected.last_hidden_state[:, -parts[-1] :], atol=2e-6)
    for layer in range(LAYERS):
        weights = np.concatenate([output.attentions[layer] for output in outputs], axis=2)
        assert weights.shape == (BATCH, HEADS, LENGTH, SLOTS) and np.all(weights[..., LENGTH:] == 0)
        # A query of padding may find nothing to attend to, and what it does then means nothing.
        real = np.moveaxis(weights[..., :LENGTH], 2, 1)[mask], np.moveaxis(expected.attentions[layer], 2, 1)[mask]
        np.testing.assert_allclose(*real, atol=2e-6)
    assert int(cache.length) == LENGTH
    np.testing.assert_array_equal(cache.mask, np.pad(mask, ((0, 0), (0, SLOTS - LENGTH))))


@pytest.mark.parametrize("kind", ["lengths", "pad", "embeds"])
def test_padding_of_a_prompt_stays_masked(kind: str) -> None:
    """Prompts of different lengths, padded on the right; then two more tokens for every row."""
    model, lengths = backbone(), np.array([5, 2, 4], np.int32)
    real = np.concatenate([np.arange(5) < lengths[:, None], np.ones((BATCH, 2), bool)], axis=1)
    ids = np.where(real, IDS, PAD)
    first: dict[str, Any] = {"input_ids": tf.constant(ids[:, :5])}
    if kind == "lengths":
        first = {"input_ids": tf.constant(IDS[:, :5]), "lengths": tf.constant(lengths)}
    elif kind == "embeds":
        words = tf.gather(model.embeddings.tables["word"].embeddings, ids[:, :5])
        first = {"inputs_embeds": words, "attention_mask": tf.constant(real[:, :5])}
    cache = model(**first, cache=model.make_cache(BATCH, SLOTS))[0].cache
    outputs, _ = in_parts(model, [1, 1], cache, input_ids=IDS[:, 5:])
    expected = model(tf.constant(IDS), attention_mask=tf.constant(real))[0].last_hidden_state
    np.testing.assert_allclose(joined(outputs), expected[:, 5:], atol=2e-6)


def test_pruned_layers_differ_in_heads() -> None:
    model = backbone(pruned=True)
    outputs, cache = in_parts(model, [3, 4], input_ids=IDS)
    assert [tuple(keys.shape) for keys in cache.layer_keys] == [(BATCH, 4, SLOTS, 8), (BATCH, 2, SLOTS, 8)]
    np.testing.assert_allclose(joined(outputs), model(tf.constant(IDS))[0].last_hidden_state, atol=2e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_types(dtype: str) -> None:
    model = backbone(dtype)
    outputs, cache = in_parts(model, [4, 1, 2], input_ids=IDS)
    kept = {tensor.dtype.name for tensor in (*cache.layer_keys, *cache.layer_values)}
    assert kept == {dtype.removeprefix("mixed_")}
    expected = tf.cast(model(tf.constant(IDS))[0].last_hidden_state, "float32")
    np.testing.assert_allclose(tf.cast(joined(outputs), "float32"), expected, atol=0.05 if "b" in dtype else 0.01)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_as_argument_and_result_of_a_function(jit_compile: bool) -> None:
    model = backbone()

    @tf.function(jit_compile=jit_compile)
    def step(ids: Any, cache: KeyValueCache) -> Any:
        output = model(ids, cache=cache)[0]
        return output.last_hidden_state, output.cache

    cache, states = model.make_cache(BATCH, SLOTS), []
    for token in range(LENGTH):
        state, cache = step(tf.constant(IDS[:, token : token + 1]), cache)
        states.append(state)
    assert type(cache) is KeyValueCache and int(cache.length) == LENGTH
    assert step.experimental_get_tracing_count() == 1
    expected = model(tf.constant(IDS))[0].last_hidden_state
    np.testing.assert_allclose(np.concatenate(states, axis=1), expected, atol=2e-6)


@pytest.mark.parametrize("while_loop", [tf.while_loop, ops.while_loop])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_as_variable_of_a_loop(jit_compile: bool, while_loop: Any) -> None:
    model = backbone()

    @tf.function(jit_compile=jit_compile)
    def run(ids: Any) -> Any:
        cache = model(ids[:, :3], cache=model.make_cache(BATCH, SLOTS))[0].cache

        def body(token: Any, cache: KeyValueCache, _: Any) -> Any:
            output = model(tf.slice(ids, [0, token], [BATCH, 1]), cache=cache)[0]
            return token + 1, output.cache, output.last_hidden_state

        start = (tf.constant(3), cache, tf.zeros((BATCH, 1, 32)))
        return while_loop(lambda token, *_: token < LENGTH, body, start)

    _, cache, last = run(tf.constant(IDS))
    assert type(cache) is KeyValueCache and int(cache.length) == LENGTH
    expected = model(tf.constant(IDS))[0].last_hidden_state
    np.testing.assert_allclose(last[:, 0], expected[:, -1], atol=2e-6)


def test_sizes_that_a_graph_does_not_know() -> None:
    model = backbone()
    empty = model.make_cache(BATCH, SLOTS)

    def any_batch(tensor: Any) -> tf.TensorSpec:
        return tf.TensorSpec((None, *tensor.shape[1:]) if tensor.shape.rank else (), tensor.dtype)

    spec = tf.nest.map_structure(any_batch, empty)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32), spec])
    def step(ids: Any, cache: KeyValueCache) -> Any:
        output = model(ids, cache=cache)[0]
        return output.last_hidden_state, output.cache

    first, cache = step(IDS[:, :5], empty)
    second, _ = step(IDS[:, 5:], cache)
    expected = model(tf.constant(IDS))[0].last_hidden_state
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), expected, atol=2e-6)


def test_gradients_go_through_the_cache() -> None:
    model = backbone()
    gradients = []
    for parts in ([LENGTH], [3, 4]):
        with tf.GradientTape() as tape:
            outputs, _ = in_parts(model, parts, input_ids=IDS)
            states = tf.concat([output.last_hidden_state for output in outputs], axis=1)
            loss = tf.reduce_sum(states**2 * tf.range(LENGTH, dtype=tf.float32)[:, None])
        gradients.append(tape.gradient(loss, model.encoder.trainable_weights))
    for whole, split in zip(*gradients, strict=True):
        np.testing.assert_allclose(split, whole, atol=1e-4 * (1 + np.abs(whole).max()))


def test_a_call_changes_no_cache() -> None:
    model = backbone()
    _, cache = in_parts(model, [3], input_ids=IDS)
    before = tf.nest.map_structure(np.array, cache)
    model(tf.constant(IDS), cache=cache, cache_position=1)
    tf.nest.map_structure(np.testing.assert_array_equal, cache, before)


def other_tokens() -> np.ndarray:
    return (IDS - 6 + 11) % 44 + 6


@pytest.mark.parametrize("way", ["truncated", "position", "positions", "older"])
def test_going_back(way: str) -> None:
    """What was read and taken back leaves no trace, not even when later tokens do not reach as far."""
    model = backbone()
    _, kept = in_parts(model, [3], input_ids=IDS)
    _, cache = in_parts(model, [4], kept, input_ids=other_tokens()[:, 3:])
    new = tf.constant(IDS[:, 3:5])
    given: dict[str, Any] = {
        "truncated": {"cache": cache.truncated(3)},
        "position": {"cache": cache, "cache_position": 3},
        "positions": {"cache": cache, "cache_position": np.array([3, 4])},
        "older": {"cache": kept},
    }[way]
    output = model(new, **given)[0]
    expected = model(tf.constant(IDS[:, :5]))[0].last_hidden_state[:, 3:]
    np.testing.assert_allclose(output.last_hidden_state, expected, atol=2e-6)
    assert int(output.cache.length) == 5 and not np.any(output.cache.mask[:, 5:])


def test_skipped_slots_are_padding() -> None:
    model = backbone()
    _, cache = in_parts(model, [LENGTH], input_ids=other_tokens())
    cache = model(tf.constant(IDS[:, :2]), cache=cache, cache_position=0)[0].cache
    output = model(tf.constant(IDS[:, 5:]), cache=cache, cache_position=tf.constant(5))[0]
    mask = np.ones((BATCH, LENGTH), np.int32)
    mask[:, 2:5] = 0
    expected = model(tf.constant(IDS), attention_mask=tf.constant(mask))[0].last_hidden_state
    np.testing.assert_allclose(output.last_hidden_state, expected[:, 5:], atol=2e-6)


def test_take_rows() -> None:
    model = backbone()
    _, cache = in_parts(model, [3], input_ids=IDS)
    order = [2, 2, 0, 1]
    output = model(tf.constant(IDS[order, 3:]), cache=cache.take(order))[0]
    expected = model(tf.constant(IDS[order]))[0].last_hidden_state[:, 3:]
    np.testing.assert_allclose(output.last_hidden_state, expected, atol=2e-6)


def test_form() -> None:
    cache = make_cache(2, 5, [3, 1], 4, "bfloat16")
    assert [tuple(it.shape) for it in (*cache.layer_keys, *cache.layer_values)] == [(2, 3, 5, 4), (2, 1, 5, 4)] * 2
    assert cache["layer_values"][1].dtype == tf.bfloat16 and cache.max_length == 5 and int(cache.length) == 0
    assert backbone().make_cache(2).max_length == 20
    for same in (copy.copy(cache), keras.tree.map_structure(lambda it: it, cache)):
        assert isinstance(same, KeyValueCache) and list(same) == [
            "layer_keys",
            "layer_values",
            "mask",
            "words",
            "length",
        ]
    with pytest.raises(AttributeError, match=r"KeyValueCache has no 'keyz'. It has: layer_keys, layer_values, mask,"):
        cache.keyz  # noqa: B018


def call_error(message: str, ids: Any = IDS, model: Model | None = None, **arguments: Any) -> None:
    with pytest.raises(InputError, match=message):
        (model or backbone())(tf.constant(ids), **arguments)


def test_refusals() -> None:
    model = backbone()
    _, cache = in_parts(model, [LENGTH], input_ids=IDS)
    call_error(r"A cache needs a causal model: .*config.causal is False.*causal=True, or", model=backbone(causal=False),
               cache=cache)  # fmt: skip
    call_error("cache must be a KeyValueCache, got dict. Make an empty one with make_cache", cache=dict(cache))
    call_error("cache_position says where tokens go in a cache, but the call has no cache", cache_position=0)
    call_error("The cache has 3 rows, but the call has 2. Make a cache for 2 rows, or", IDS[:2], cache=cache)
    call_error(
        r"another model: its layers have the shapes \(heads, max_length, head_dim\) = \[\(4, 12, 8\), \(4, 12, 8\)\] "
        r"in layer_keys, expected \[\(4, 12, 8\), \(2, 12, 8\)\]",
        model=backbone(pruned=True), cache=cache,
    )  # fmt: skip
    call_error("expected .* make_cache", cache=make_cache(BATCH, SLOTS, [HEADS], 8))
    with pytest.raises(InputError, match="max_length must be a positive integer, got 0"):
        model.make_cache(1, 0)
    with pytest.raises(InputError, match=r"at most the length it has. Found values from 8 to 8"):
        cache.truncated(8)
    with pytest.raises(InputError, match=r"must be rows of the cache. Found values from 0 to 3"):
        cache.take([0, 3])


def test_too_many_tokens() -> None:
    model = backbone()
    _, cache = in_parts(model, [LENGTH], input_ids=IDS)
    call_error("7 new tokens from slot 7 on do not fit into the 12 slots of the cache. Make a longer one", cache=cache)
    call_error("7 new tokens from slot 6 on do not fit", cache=cache, cache_position=6)
    call_error("7 new tokens from slot -1 on do not fit", cache=cache, cache_position=-1)
    for jit_compile in (False, True):
        call = tf.function(lambda ids, cache: model(ids, cache=cache)[1], jit_compile=jit_compile, autograph=False)
        with pytest.raises(InputError, match="13 new tokens from slot 0 on do not fit into the 12 slots"):
            call(tf.constant(np.repeat(IDS[:, :1], 13, axis=1)), cache)
    graph = tf.function(lambda ids, cache: model(ids, cache=cache)[0].last_hidden_state, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="The new tokens do not fit into the 12 slots"):
        graph(tf.constant(IDS), cache)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (1.5, r"cache_position must be an integer, .* or the slots \(7,\) of all of them, got float32 of shape \(\)"),
        ([3, 4], r"got int32 of shape \(2,\)"),
        ([[3]], r"got int32 of shape \(1, 1\)"),
        ([0, 1, 2, 3, 4, 6, 5], "cache_position must be consecutive slots. Found values from -1 to 1"),
    ],
)
def test_wrong_cache_position(position: Any, message: str) -> None:
    model = backbone()
    call_error(message, cache=model.make_cache(BATCH, SLOTS), cache_position=position)
