"""XLM-RoBERTa and XLM-RoBERTa-XL as decoders: caches, cross-attention, and the loss of the next token."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb, random_inputs
from tests.models.cases import cross_entropy
from tests.models.families import ROBERTAS, Family
from tfxlm import KeyValueCache
from tfxlm.errors import InputError


@pytest.fixture(scope="module", params=ROBERTAS, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def config(family: Family) -> Any:
    """Of a decoder with cross-attention."""
    return family.config_of(
        "ForCausalLM", use_cache=True, add_cross_attention=True, **dict.fromkeys(family.dropout, 0.0)
    )


@pytest.fixture(scope="module")
def decoder(family: Family, config: Any) -> Any:
    return perturb(family.cls("ForCausalLM")(config))


@pytest.fixture(scope="module")
def inputs(config: Any) -> dict[str, np.ndarray]:
    return random_inputs(config)


def part(inputs: dict[str, np.ndarray], start: int, end: int | None = None, encoder: bool = True) -> Any:
    """The same texts, cut; with or without what the encoder made."""
    cut = {name: value[:, start:end] for name, value in inputs.items() if not name.startswith("encoder_")}
    return cut | ({name: value for name, value in inputs.items() if name.startswith("encoder_")} if encoder else {})


def test_causal_decoders_do_not_look_ahead(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    changed = {name: value.copy() for name, value in inputs.items()}
    changed["input_ids"][0, 4] = 9 + (inputs["input_ids"][0, 4] == 9)
    before, after = (np.asarray(decoder(x).logits)[0] for x in (inputs, changed))
    np.testing.assert_array_equal(before[:4], after[:4])
    assert np.abs(before[4:] - after[4:]).min(-1).max() > 0


@pytest.mark.parametrize("use_cache", [True, False, None])
def test_whether_a_call_returns_a_cache(decoder: Any, inputs: dict[str, np.ndarray], use_cache: bool | None) -> None:
    plain = decoder(inputs, use_cache=False)
    outputs = decoder(inputs, use_cache=use_cache)
    # The configuration's default is to return one.
    assert ("past_key_values" in outputs) == (use_cache is not False) and outputs.logits.shape == plain.logits.shape
    real = inputs["attention_mask"] == 1
    np.testing.assert_allclose(outputs.logits[real], plain.logits[real], atol=2e-5)
    if use_cache:
        assert isinstance(outputs.past_key_values, KeyValueCache) and outputs.past_key_values.max_length == 20
    given = decoder(inputs, past_key_values=decoder.make_cache(3, 8), use_cache=use_cache)
    assert ("past_key_values" in given) == (use_cache is not False)


def test_what_the_configuration_says_of_the_cache_counts_outside_graphs_and_training(
    family: Family, config: Any, decoder: Any, inputs: dict[str, np.ndarray]
) -> None:
    traced = tf.function(lambda x: list(decoder(x)))
    assert traced(inputs) == ["logits"]
    assert "past_key_values" not in decoder(inputs, training=True)
    without = family.cls("ForCausalLM")(config.replace(use_cache=False))
    assert "past_key_values" not in without(inputs) and "past_key_values" in without(inputs, use_cache=True)
    without.config = without.config.replace(use_cache=True)
    without.compile(run_eagerly=True)
    assert list(without.predict(inputs, batch_size=2, verbose=0)) == ["logits"]


def test_positions_count_the_same_words_with_a_cache(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    """Whatever the mask hides: other ids at padding, holes, and padding tokens that count as real."""
    pad = decoder.config.pad_index
    ids = np.array([[5, 6, 7, 8, 9, 10], [5, pad, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10]])
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]])
    encoder = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    expected = np.asarray(decoder(ids, mask, **encoder).logits)
    for end in (2, 4):
        for given in (mask, mask[:, end:]):
            first = decoder(ids[:, :end], mask[:, :end], **encoder)
            rest = decoder(ids[:, end:], given, past_key_values=first.past_key_values)
            real = mask[:, end:] == 1
            np.testing.assert_allclose(np.asarray(rest.logits)[real], expected[:, end:][real], atol=2e-5)


def test_a_mask_of_all_tokens_counts_for_those_in_the_cache_too(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    ids, mask = np.array([[5, 6, 7, 8]] * 3), np.array([[0, 1, 1, 1]] * 3)
    encoder = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    unmasked = decoder(ids[:, :1], **encoder).past_key_values
    expected = np.asarray(decoder(ids, mask, **encoder).logits)[:, 1:]
    np.testing.assert_allclose(decoder(ids[:, 1:], mask, past_key_values=unmasked).logits, expected, atol=2e-5)


def test_going_back_with_a_mask_of_all_tokens(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    """As wide as the tokens up to the new ones, wherever the cache ends."""
    ids, mask = np.array([[5, 6, 7, 8, 9]] * 3), np.array([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    encoder = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    past = decoder(ids, mask, **encoder).past_key_values
    changed = np.concatenate([ids[:, :3], ids[:, 3:] + 4], axis=1)
    expected = np.asarray(decoder(changed, mask, **encoder).logits)[:, 3:]
    for position in (3, np.array([3, 4])):
        found = decoder(changed[:, 3:], mask, past_key_values=past, cache_position=position)
        np.testing.assert_allclose(found.logits, expected, atol=2e-5)
        assert int(found.past_key_values.length) == 5
    with pytest.raises(InputError, match=r"the 2 new tokens, or as these and the 3 in the cache together; got .*3, 7"):
        decoder(changed[:, 3:], np.ones((3, 7)), past_key_values=past, cache_position=3)
    with pytest.raises(InputError, match="cache_position must be an integer, the slot of the first new token"):
        decoder(changed[:, 3:], mask, past_key_values=past, cache_position=np.ones((1, 2), int))


def test_a_mask_over_slots_that_were_skipped(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    """Nothing is there, whatever the mask says."""
    encoder = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    past = decoder(np.array([[5, 6]] * 3), **encoder).past_key_values
    rest = np.array([[8, 9]] * 3)
    expected = decoder(rest, past_key_values=past).logits
    found = decoder(rest, np.ones((3, 6)), past_key_values=past, cache_position=4).logits
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("width", [None, 6])
@pytest.mark.parametrize("new", [None, 4])
def test_masks_of_all_tokens_in_graphs(
    decoder: Any, inputs: dict[str, np.ndarray], width: int | None, new: int | None
) -> None:
    """Their width may be known only when the graph runs; then it is checked."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    encoder = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    expected, real = np.asarray(decoder(ids, mask, **encoder).logits)[:, 2:], mask[:, 2:] == 1
    past = decoder(ids[:, :2], mask[:, :2], **encoder).past_key_values
    specs = [tf.TensorSpec([None, new], tf.int32), tf.TensorSpec([None, width], tf.int32)]
    step = tf.function(
        lambda ids, mask, past: decoder(ids, mask, past_key_values=past).logits,
        input_signature=[*specs, tf.nest.map_structure(tf.TensorSpec.from_tensor, past)],
    )
    for given in (mask,) if width else (mask, mask[:, 2:]):
        found = step(ids[:, 2:], given, past)
        np.testing.assert_allclose(np.asarray(found)[real], expected[real], atol=2e-5)
    longer = decoder(ids[:, 2:3], past_key_values=past).past_key_values
    with pytest.raises(tf.errors.InvalidArgumentError, match="attention_mask must be as wide as the"):
        step(ids[:, 2:], mask, longer)
    if width is None:
        for wrong in (mask[:, :5], mask[:, :3], np.ones((3, 9), np.int32)):
            with pytest.raises(tf.errors.InvalidArgumentError, match="attention_mask must be as wide as the"):
                step(ids[:, 2:], wrong, past)


def test_calls_longer_than_the_longest_text(family: Family) -> None:
    """Padding has no position, so it may make a call longer than there are positions, with a cache as without."""
    model = perturb(family.cls("Model")(family.config_of("Model", is_decoder=True)))
    ids = np.array([[5] * 18 + [model.config.pad_index] * 4])
    expected = model(ids, use_cache=False)
    outputs = model(ids)
    assert outputs.past_key_values.max_length == 22
    np.testing.assert_allclose(outputs[0][:, :18], expected[0][:, :18], atol=2e-5)
    relative = family.cls("Model")(family.config_of("Model", is_decoder=True, position_embedding_type="relative_key"))
    with pytest.raises(InputError, match="A sequence of 23 tokens is longer than max_position_embeddings = 22"):
        relative(np.full((1, 23), 5))


def test_caches_that_nobody_asked_for_grow(family: Family) -> None:
    """They are made for a call and some more tokens, not for as many as there are positions."""
    config = family.config_of("ForCausalLM", use_cache=True, max_position_embeddings=502)
    model = perturb(family.cls("ForCausalLM")(config))
    ids = np.random.default_rng(0).integers(4, 37, (2, 200))
    expected = np.asarray(model(ids, use_cache=False).logits)
    cache, start, sizes = None, 0, []
    for end in (100, 150, 195, 200):
        outputs = model(ids[:, start:end], np.ones((2, end)), past_key_values=cache)
        np.testing.assert_allclose(outputs.logits, expected[:, start:end], atol=5e-5)
        cache, start = outputs.past_key_values, end
        sizes.append(cache.max_length)
    assert sizes == [192, 192, 320, 320]
    assert model(np.full((1, 490), 5)).past_key_values.max_length == 500
    again = model(ids[:, 120:], past_key_values=cache.truncated(120).take([0, 1]))
    np.testing.assert_allclose(again.logits, expected[:, 120:], atol=5e-5)
    # A cache that was asked for has the slots that it was asked for.
    with pytest.raises(InputError, match="100 new tokens from slot 0 on do not fit into the 64 slots"):
        model(ids[:, :100], past_key_values=model.make_cache(2, 64))
    graph = tf.function(lambda ids: model(ids, use_cache=True).past_key_values)
    assert graph(tf.constant(ids[:, :5])).max_length == 500


@pytest.mark.parametrize("shape", [(3, 50), (3, 2), (3, 3), (3, 6)])
def test_a_mask_of_another_width_is_refused(
    decoder: Any, inputs: dict[str, np.ndarray], shape: tuple[int, ...]
) -> None:
    past = decoder(part(inputs, 0, 1)).past_key_values
    rest = part(inputs, 1, 5) | {"attention_mask": np.ones(shape)}
    with pytest.raises(InputError, match=r"attention_mask must be as wide as the 4 new tokens, or as these and the 1 "):
        decoder(rest, past_key_values=past)


def test_encoders_have_no_cache_to_return(family: Family, inputs: dict[str, np.ndarray]) -> None:
    model = family.cls("Model")(family.config)
    assert "past_key_values" not in model(part(inputs, 0, encoder=False), use_cache=True)


def test_decoding_in_parts(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    """The mask may be that of the new tokens or of all, and the encoder's states need to come only once."""
    expected, real = np.asarray(decoder(inputs).logits), inputs["attention_mask"] == 1
    for mask in ("new", "all"):
        for encoder in (True, False):
            first = decoder(part(inputs, 0, 2), use_cache=True)
            rest = part(inputs, 2, encoder=encoder)
            if mask == "all":
                rest["attention_mask"] = inputs["attention_mask"]
            outputs = decoder(rest, past_key_values=first.past_key_values)
            np.testing.assert_allclose(np.asarray(outputs.logits)[real[:, 2:]], expected[:, 2:][real[:, 2:]], atol=2e-5)
            assert int(outputs.past_key_values.length) == 6 and outputs.past_key_values.has_memory


def test_left_padded_prompts_decode_as_they_do_alone(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    encoder = {name: value[:1] for name, value in inputs.items() if name.startswith("encoder_")}
    ids, pad = np.array([[4, 5, 6, 7]]), decoder.config.pad_index
    expected = np.asarray(decoder(ids, **encoder).logits)
    left = np.pad(ids[:, :3], ((0, 0), (2, 0)), constant_values=pad)
    first = decoder(left, np.array([[0, 0, 1, 1, 1]]), use_cache=True, **encoder)
    np.testing.assert_allclose(first.logits[:, 2:], expected[:, :3], atol=2e-5)
    last = decoder(ids[:, 3:], past_key_values=first.past_key_values)
    np.testing.assert_allclose(last.logits, expected[:, 3:], atol=2e-5)


def test_cross_attention_counts_real_positions_alone(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    outputs = decoder(inputs, output_attentions=True)
    assert [weights.shape for weights in outputs.cross_attentions] == [(3, 2, 6, 5)] * 2
    assert np.all(np.asarray(outputs.cross_attentions[0])[:, :, 0].sum(-1).round(5) == 1)
    masked = inputs["encoder_attention_mask"] == 0
    changed = inputs | {"encoder_hidden_states": np.where(masked[..., None], 9.0, inputs["encoder_hidden_states"])}
    # Attentions keep the padding, so the kernels that run are others.
    np.testing.assert_allclose(decoder(changed).logits, decoder(inputs).logits, atol=1e-5)
    without = decoder(part(inputs, 0, encoder=False))
    assert np.abs(np.asarray(without.logits) - np.asarray(outputs.logits))[0].max() > 1e-3


def test_cross_attention_learns_in_fit(family: Family, config: Any, inputs: dict[str, np.ndarray]) -> None:
    model = perturb(family.cls("ForCausalLM")(config))
    labels = np.where(inputs["attention_mask"], inputs["input_ids"], -100)
    logits = np.asarray(model(inputs).logits)
    expected = cross_entropy(logits[:, :-1], labels[:, 1:])
    assert float(model(inputs, labels=labels).loss) == pytest.approx(expected, rel=1e-5)
    model.compile(keras.optimizers.Adam(0.01))
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(3)
    losses = model.fit(data, epochs=4, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(expected, rel=1e-5) and losses[-1] < losses[0]
    same = {weight.path for weight in model.trainable_weights if np.array_equal(weight, before[weight.path])}
    # In exact arithmetic the bias of keys changes nothing.
    assert not [path for path in same if "cross_attention" in path and "key/bias" not in path]
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    after = np.asarray(model(inputs).logits)
    inside = model.evaluate(inputs | {"labels": labels}, batch_size=3, verbose=0)
    assert inside == pytest.approx(cross_entropy(after[:, :-1], labels[:, 1:]), rel=1e-5)


def test_a_language_model_that_is_not_causal_warns(family: Family) -> None:
    with pytest.warns(UserWarning, match=r"ForCausalLM is not causal, so each .*Load it with is_decoder=True"):
        family.cls("ForCausalLM")(family.config)


def test_bad_memories(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    own = part(inputs, 0, encoder=False)
    states = inputs["encoder_hidden_states"]
    shapes = r"encoder_hidden_states must have shape \(batch, encoder length, hidden_size = 16\)"
    for wrong in (states[..., :8], states[:, 0], states[:2]):
        with pytest.raises(InputError, match=shapes):
            decoder(own, encoder_hidden_states=wrong)
    with pytest.raises(InputError, match=r"encoder_attention_mask must have shape \(3, 5\), as encoder_hidden"):
        decoder(own, encoder_hidden_states=states, encoder_attention_mask=np.ones((3, 4)))
    past = decoder(inputs).past_key_values
    next_ids = inputs["input_ids"][:, :1]
    for wrong in (states[..., :8], states[:, 0], states[:2]):
        with pytest.raises(InputError, match=shapes):
            decoder(next_ids, past_key_values=past, encoder_hidden_states=wrong)
    with pytest.raises(InputError, match=r"encoder_attention_mask must have shape \(3, 5\), as encoder_hidden"):
        decoder(next_ids, past_key_values=past, encoder_hidden_states=states, encoder_attention_mask=np.ones((3, 4)))
    with pytest.raises(InputError, match=r"of 4 positions are not those in the cache, which have 5\..* a new cache"):
        decoder(next_ids, past_key_values=past, encoder_hidden_states=states[:, :4])
    with pytest.raises(InputError, match="encoder_hidden_states must be floating point numbers, got int"):
        decoder(own, encoder_hidden_states=states.astype(int))
    with pytest.raises(InputError, match="labels are for the logits of all positions"):
        decoder(own, labels=inputs["input_ids"], logits_to_keep=2)


def test_a_loop_with_cross_attention_decodes_as_eager_calls_do(decoder: Any, inputs: dict[str, np.ndarray]) -> None:
    """Greedy decoding from prompts of two tokens, in one graph, as it is and compiled with XLA."""
    prompt = {name: tf.constant(value) for name, value in part(inputs, 0, 2).items()}
    prompt["token_type_ids"] = tf.zeros((3, 2), tf.int32)
    steps = 4

    def pick(logits: Any) -> Any:
        # No padding, so that every token counts.
        return tf.math.argmax(logits[:, -1, 2:], axis=-1, output_type=tf.int32)[:, None] + 2

    first = decoder(prompt, past_key_values=decoder.make_cache(3, 6))
    ids, cache = pick(first.logits), first.past_key_values
    expected = [ids.numpy()[:, 0]]
    for _ in range(steps - 1):
        outputs = decoder(ids, past_key_values=cache)
        ids, cache = pick(outputs.logits), outputs.past_key_values
        expected.append(ids.numpy()[:, 0])

    def decode() -> Any:
        def body(count: Any, ids: Any, cache: Any, written: Any) -> tuple[Any, ...]:
            outputs = decoder(ids, past_key_values=cache)
            ids = pick(outputs.logits)
            written = tf.tensor_scatter_nd_update(written, [[count]], [ids[:, 0]])
            return count + 1, ids, outputs.past_key_values, written

        first = decoder(prompt, past_key_values=decoder.make_cache(3, 6))
        ids = pick(first.logits)
        written = tf.tensor_scatter_nd_update(tf.zeros((steps, 3), tf.int32), [[0]], [ids[:, 0]])
        return tf.while_loop(lambda count, *_: count < steps, body, (1, ids, first.past_key_values, written))[-1]

    for jit_compile in (False, True):
        np.testing.assert_array_equal(tf.function(decode, jit_compile=jit_compile)(), expected)
