"""Causal models with a key/value cache: cached calls equal the call with all tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb, random_inputs
from tfxlm import KeyValueCache, TFXLMModel, TFXLMWithLMHeadModel, XLMConfig
from tfxlm.errors import InputError

LENGTH = 6


@pytest.fixture(scope="module")
def causal(config: XLMConfig) -> XLMConfig:
    return config.replace(causal=True)


@pytest.fixture(scope="module", params=[TFXLMModel, TFXLMWithLMHeadModel])
def model(request: pytest.FixtureRequest, causal: XLMConfig) -> Any:
    return perturb(request.param(causal))


@pytest.fixture(scope="module")
def inputs(causal: XLMConfig) -> dict[str, np.ndarray]:
    return random_inputs(causal, lengths=(LENGTH, 3, 4))


def in_parts(model: Any, inputs: dict[str, np.ndarray], ends: tuple[int, ...], **options: Any) -> np.ndarray:
    cache, start, parts = model.make_cache(3, LENGTH + 2), 0, []
    for end in ends:
        outputs = model({name: value[:, start:end] for name, value in inputs.items()}, cache=cache, **options)
        parts.append(np.asarray(outputs[0]))
        assert isinstance(outputs.cache, KeyValueCache) and int(outputs.cache.length) == end
        cache, start = outputs.cache, end
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("ends", [(6,), (1, 2, 3, 4, 5, 6), (4, 6), (2, 5, 6)])
def test_cached_calls_equal_one_call(model: Any, inputs: dict[str, np.ndarray], ends: tuple[int, ...]) -> None:
    expected, real = np.asarray(model(inputs)[0]), inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(in_parts(model, inputs, ends)[real], expected[real], atol=2e-5)


def test_cached_calls_in_tuples_and_graphs(model: Any, inputs: dict[str, np.ndarray]) -> None:
    real = inputs["attention_mask"].astype(bool)
    outputs = model(inputs, cache=model.make_cache(3, LENGTH), return_dict=False)
    assert len(outputs) == 2 and isinstance(outputs[1], KeyValueCache)
    expected = np.asarray(model(inputs)[0])
    for jit_compile in (False, True):
        step = tf.function(lambda batch, cache: model(batch, cache=cache), jit_compile=jit_compile)
        cache, parts = model.make_cache(3, LENGTH), []
        for position in range(LENGTH):
            batch = {name: tf.constant(value[:, position : position + 1]) for name, value in inputs.items()}
            outputs = step(batch, cache)
            cache, _ = outputs.cache, parts.append(outputs[0])
        np.testing.assert_allclose(np.concatenate(parts, 1)[real], expected[real], atol=2e-5)


def test_going_back(model: Any, inputs: dict[str, np.ndarray]) -> None:
    expected, real = np.asarray(model(inputs)[0]), inputs["attention_mask"].astype(bool)
    first = {name: value[:, :4] for name, value in inputs.items()}
    rest = {name: value[:, 2:] for name, value in inputs.items()}
    cache = model(first, cache=model.make_cache(3, LENGTH)).cache
    for outputs in (model(rest, cache=cache, cache_position=2), model(rest, cache=cache.truncated(2))):
        np.testing.assert_allclose(np.asarray(outputs[0])[real[:, 2:]], expected[:, 2:][real[:, 2:]], atol=2e-5)
        assert int(outputs.cache.length) == LENGTH


def test_rows_change_places(model: Any, inputs: dict[str, np.ndarray]) -> None:
    rows, real = [2, 0, 0], inputs["attention_mask"].astype(bool)
    expected = np.asarray(model(inputs)[0])[rows, 4:]
    cache = model({name: value[:, :4] for name, value in inputs.items()}, cache=model.make_cache(3)).cache
    last = model({name: value[rows, 4:] for name, value in inputs.items()}, cache=cache.take(rows))[0]
    np.testing.assert_allclose(np.asarray(last)[real[rows, 4:]], expected[real[rows, 4:]], atol=2e-5)


def test_bad_caches(model: Any, inputs: dict[str, np.ndarray], base: TFXLMModel, causal: XLMConfig) -> None:
    with pytest.raises(InputError, match="6 new tokens from slot 0 on do not fit into the 4 slots of the cache"):
        model(inputs, cache=model.make_cache(3, 4))
    with pytest.raises(InputError, match="The cache has 2 rows, but the call has 3"):
        model(inputs, cache=model.make_cache(2))
    with pytest.raises(InputError, match="The cache is one of another model"):
        model(inputs, cache=TFXLMModel(causal.replace(n_layers=1)).make_cache(3))
    with pytest.raises(InputError, match="cache must be a KeyValueCache, got dict"):
        model(inputs, cache={"slen": 0})
    with pytest.raises(InputError, match=r"A cache needs a causal model.*Load a causal checkpoint with causal=True"):
        base(inputs, cache=base.make_cache(3))
    cache = model(inputs, cache=model.make_cache(3, 30)).cache
    for _ in range(2):
        cache = model(inputs, cache=cache).cache
    with pytest.raises(InputError, match=r"position_ids must be in \[0, max_position_embeddings = 20\)"):
        model(inputs, cache=cache)


def test_an_adaptive_softmax_learns_and_caches(config: XLMConfig, inputs: dict[str, np.ndarray], tmp_path: Any) -> None:
    config = config.replace(asm=True, asm_cutoffs=[10, 20], causal=True, dropout=0.0, attention_dropout=0.0)
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
