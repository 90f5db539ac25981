"""Causal models with a key/value cache: cached calls equal the call with all tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb, random_inputs
from tests.models.families import SWEEP, XLM, XLM_ROBERTA, XLM_ROBERTA_XL, Family
from tfxlm import KeyValueCache, TFXLMWithLMHeadModel
from tfxlm.errors import InputError

LENGTH = 6


TRIED = [(XLM, "Model"), (XLM, "WithLMHeadModel"), (XLM_ROBERTA, "ForCausalLM"), (XLM_ROBERTA_XL, "Model")]
if SWEEP:
    TRIED += [(XLM_ROBERTA, "Model"), (XLM_ROBERTA_XL, "ForCausalLM")]


@pytest.fixture(scope="module", params=TRIED, ids=lambda tried: f"{tried[0]}{tried[1]}")
def tried(request: pytest.FixtureRequest) -> tuple[Family, str]:
    return request.param


@pytest.fixture(scope="module")
def family(tried: tuple[Family, str]) -> Family:
    return tried[0]


@pytest.fixture(scope="module")
def causal(family: Family) -> Any:
    return family.config.replace(**{family.causal: True})


@pytest.fixture(scope="module")
def model(tried: tuple[Family, str], causal: Any) -> Any:
    family, task = tried
    return perturb(family.cls(task)(causal))


@pytest.fixture(scope="module")
def inputs(causal: Any) -> dict[str, np.ndarray]:
    return random_inputs(causal, lengths=(LENGTH, 3, 4))


def with_cache(model: Any, inputs: dict[str, Any], cache: Any, **options: Any) -> tuple[Any, Any]:
    """Returns the main output and the next cache, whatever it is called."""
    outputs = model(inputs, **{model.backbone_class.cache_name: cache}, **options)
    return outputs[0], outputs[model.backbone_class.cache_name]


def in_parts(model: Any, inputs: dict[str, np.ndarray], ends: tuple[int, ...], **options: Any) -> np.ndarray:
    cache, start, parts = model.make_cache(3, LENGTH + 2), 0, []
    for end in ends:
        part = {name: value[:, start:end] for name, value in inputs.items()}
        output, cache = with_cache(model, part, cache, **options)
        parts.append(np.asarray(output))
        assert isinstance(cache, KeyValueCache) and int(cache.length) == end
        start = end
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("ends", [(6,), (1, 2, 3, 4, 5, 6), (4, 6), (2, 5, 6)])
def test_cached_calls_equal_one_call(model: Any, inputs: dict[str, np.ndarray], ends: tuple[int, ...]) -> None:
    expected, real = np.asarray(model(inputs)[0]), inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(in_parts(model, inputs, ends)[real], expected[real], atol=2e-5)


def test_cached_calls_in_tuples_and_graphs(model: Any, inputs: dict[str, np.ndarray]) -> None:
    real = inputs["attention_mask"].astype(bool)
    names = list(model(inputs, **{model.backbone_class.cache_name: model.make_cache(3, LENGTH)}))
    outputs = model(inputs, **{model.backbone_class.cache_name: model.make_cache(3, LENGTH)}, return_dict=False)
    assert len(outputs) == len(names) and isinstance(
        outputs[names.index(model.backbone_class.cache_name)], KeyValueCache
    )
    expected = np.asarray(model(inputs)[0])
    for jit_compile in (False, True):
        step = tf.function(lambda batch, cache: with_cache(model, batch, cache), jit_compile=jit_compile)
        cache, parts = model.make_cache(3, LENGTH), []
        for position in range(LENGTH):
            batch = {name: tf.constant(value[:, position : position + 1]) for name, value in inputs.items()}
            output, cache = step(batch, cache)
            parts.append(output)
        np.testing.assert_allclose(np.concatenate(parts, 1)[real], expected[real], atol=2e-5)


def test_graphs_go_on_from_a_cache_of_outside(model: Any, inputs: dict[str, np.ndarray]) -> None:
    """The graph knows the values in the cache, and not how many tokens there will be."""
    expected, real = np.asarray(model(inputs)[0]), inputs["attention_mask"].astype(bool)
    _, cache = with_cache(model, {name: value[:, :2] for name, value in inputs.items()}, model.make_cache(3, LENGTH))
    rest = {name: tf.constant(value[:, 2:]) for name, value in inputs.items()}
    signature = {name: tf.TensorSpec([None, None], value.dtype) for name, value in rest.items()}
    run = tf.function(lambda batch: with_cache(model, batch, cache)[0], input_signature=[signature])
    np.testing.assert_allclose(run(rest).numpy()[real[:, 2:]], expected[:, 2:][real[:, 2:]], atol=2e-5)


def test_graphs_need_not_know_the_slots_of_a_cache(model: Any, inputs: dict[str, np.ndarray]) -> None:
    expected, real = model(inputs, output_attentions=True), inputs["attention_mask"].astype(bool)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def run(slots: tf.Tensor) -> tuple[Any, Any]:
        cache = {model.backbone_class.cache_name: model.make_cache(3, slots)}
        outputs = model(inputs, **cache, output_attentions=True)
        return outputs[0], outputs["attentions"]

    output, attentions = run(tf.constant(LENGTH + 3))
    np.testing.assert_allclose(output.numpy()[real], np.asarray(expected[0])[real], atol=2e-5)
    for weights, all_slots in zip(expected["attentions"], attentions, strict=True):
        # Some make a cache of their own, with more slots.
        weights = np.asarray(weights)[..., :LENGTH]
        assert all_slots.shape == (*weights.shape[:3], LENGTH + 3)
        places = np.broadcast_to(real[:, None, :], weights.shape[:3])
        np.testing.assert_allclose(all_slots.numpy()[..., :LENGTH][places], weights[places], atol=2e-5)
        assert not all_slots.numpy()[..., LENGTH:].any()


def test_going_back(model: Any, inputs: dict[str, np.ndarray]) -> None:
    expected, real = np.asarray(model(inputs)[0]), inputs["attention_mask"].astype(bool)
    first = {name: value[:, :4] for name, value in inputs.items()}
    rest = {name: value[:, 2:] for name, value in inputs.items()}
    _, cache = with_cache(model, first, model.make_cache(3, LENGTH))
    for output, after in (
        with_cache(model, rest, cache, cache_position=2),
        with_cache(model, rest, cache.truncated(2)),
    ):
        np.testing.assert_allclose(np.asarray(output)[real[:, 2:]], expected[:, 2:][real[:, 2:]], atol=2e-5)
        assert int(after.length) == LENGTH


def test_rows_change_places(model: Any, inputs: dict[str, np.ndarray]) -> None:
    rows, real = [2, 0, 0], inputs["attention_mask"].astype(bool)
    expected = np.asarray(model(inputs)[0])[rows, 4:]
    _, cache = with_cache(model, {name: value[:, :4] for name, value in inputs.items()}, model.make_cache(3))
    last, _ = with_cache(model, {name: value[rows, 4:] for name, value in inputs.items()}, cache.take(rows))
    np.testing.assert_allclose(np.asarray(last)[real[rows, 4:]], expected[real[rows, 4:]], atol=2e-5)


def test_bad_caches(family: Family, model: Any, inputs: dict[str, np.ndarray], causal: Any) -> None:
    with pytest.raises(InputError, match="6 new tokens from slot 0 on do not fit into the 4 slots of the cache"):
        with_cache(model, inputs, model.make_cache(3, 4))
    with pytest.raises(InputError, match="The cache has 2 rows, but the call has 3"):
        with_cache(model, inputs, model.make_cache(2))
    with pytest.raises(InputError, match="The cache is one of another model"):
        with_cache(model, inputs, family.cls("Model")(causal.replace(num_hidden_layers=1)).make_cache(3))
    with pytest.raises(InputError, match=f"{family.cache} must be a KeyValueCache, got dict"):
        with_cache(model, inputs, {"slen": 0})
    other = family.cls("Model")(family.config)
    message = rf"A cache needs a causal model: .*config\.{family.causal} is False.*checkpoint with {family.causal}=True"
    with pytest.raises(InputError, match=message):
        with_cache(other, inputs, other.make_cache(3))
    with pytest.raises(InputError, match="cache_position says where tokens go in a cache, but the call has no cache"):
        other(inputs, cache_position=0)
    _, cache = with_cache(model, inputs, model.make_cache(3, 30))
    for _ in range(2):
        _, cache = with_cache(model, inputs, cache)
    positions = causal.max_position_embeddings
    with pytest.raises(InputError, match=rf"position_ids must be in \[0, max_position_embeddings = {positions}\)"):
        with_cache(model, inputs, cache)


def test_a_loop_in_one_graph_decodes_as_eager_calls_do(
    family: Family, model: Any, inputs: dict[str, np.ndarray]
) -> None:
    """Greedy decoding: `tf.while_loop` around a preallocated cache, as it is and compiled with XLA."""
    start = {name: tf.constant(value[:, :1], tf.int32) for name, value in inputs.items()}
    steps = 5

    def step(ids: Any, cache: Any) -> tuple[Any, Any]:
        output, cache = with_cache(model, start | {"input_ids": ids}, cache)
        # Any choice that depends on all that came before will do, so that bodies have one too.
        return tf.math.argmax(output, axis=-1, output_type=tf.int32) + model.config.pad_index + 1, cache

    ids, cache, expected = start["input_ids"], model.make_cache(3, steps), []
    for _ in range(steps):
        ids, cache = step(ids, cache)
        expected.append(ids.numpy()[:, 0])

    def decode() -> Any:
        def body(count: Any, ids: Any, cache: Any, written: Any) -> tuple[Any, ...]:
            ids, cache = step(ids, cache)
            return count + 1, ids, cache, tf.tensor_scatter_nd_update(written, [[count]], [ids[:, 0]])

        loop = (0, start["input_ids"], model.make_cache(3, steps), tf.zeros((steps, 3), tf.int32))
        return tf.while_loop(lambda count, *_: count < steps, body, loop)[-1]

    for jit_compile in (False, True):
        np.testing.assert_array_equal(tf.function(decode, jit_compile=jit_compile)(), expected)
    assert len({tuple(row) for row in expected}) > 1


def test_an_adaptive_softmax_learns_and_caches(tmp_path: Any) -> None:
    inputs = random_inputs(XLM.config, lengths=(LENGTH, 3, 4))
    config = XLM.config.replace(asm=True, asm_cutoffs=[10, 20], causal=True, dropout=0.0, attention_dropout=0.0)
    model = perturb(TFXLMWithLMHeadModel(config))
    log_probs = np.asarray(model(inputs).logits, np.float64)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)
    real = inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(in_parts(model, inputs, (2, 5, 6))[real], log_probs[real], atol=5e-5)

    labels = np.where(real, inputs["input_ids"], -100)
    each = -np.take_along_axis(log_probs, inputs["input_ids"][..., None], -1)[..., 0]
    expected = each[real].mean()
    outputs = model(inputs, labels=labels)
    assert float(outputs.loss) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(-np.asarray(outputs.label_log_probs)[real], each[real], rtol=1e-4)

    model.compile("sgd")
    assert model.evaluate(inputs, labels, verbose=0, batch_size=3) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(inputs | {"labels": labels}, verbose=0, batch_size=3) == pytest.approx(expected, rel=1e-5)
    weight = np.array([2.0, 0, 1])
    weighted = (each * real * weight[:, None]).sum() / real.sum()
    assert model.evaluate(inputs, labels, sample_weight=weight, verbose=0, batch_size=3) == pytest.approx(
        weighted, rel=1e-5
    )
    losses = model.fit(inputs, labels, epochs=8, verbose=0, batch_size=3).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    model.save_pretrained(tmp_path)
    again = TFXLMWithLMHeadModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(again(inputs).logits, model(inputs).logits)
