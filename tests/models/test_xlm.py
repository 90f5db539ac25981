"""What is particular to the XLM classes, and bad input; see `test_calls` for what all families share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb, random_inputs
from tfxlm import (
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
    XLMConfig,
)
from tfxlm.configs import PreTrainedConfig
from tfxlm.errors import ConfigError, InputError


@pytest.fixture(scope="module")
def inputs(config: XLMConfig) -> dict[str, np.ndarray]:
    return random_inputs(config)


@pytest.mark.filterwarnings("ignore:.*has no langs")
def test_longer_than_the_positions(base: TFXLMModel) -> None:
    ids = np.full((1, 25), 4)
    assert base(ids, position_ids=np.arange(25)[None] % 20)[0].shape == (1, 25, 16)
    with pytest.raises(InputError, match=r"position_ids must be in \[0, max_position_embeddings.*Found .* 0 to 24"):
        base(ids, position_ids=np.arange(25)[None])


def test_left_padding_gives_the_same_class(config: XLMConfig) -> None:
    model = perturb(TFXLMForSequenceClassification(config))
    ids, positions = np.array([[4, 5, 6]]), np.array([[0, 1, 2]])
    left = np.pad(ids, ((0, 0), (3, 0)), constant_values=config.pad_index)
    places = np.pad(positions, ((0, 0), (3, 0)))
    expected = model(ids, langs=ids * 0).logits
    np.testing.assert_allclose(model(left, langs=left * 0, position_ids=places).logits, expected, atol=1e-5)


def test_token_types_are_looked_up_among_the_words(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    table = np.asarray(base.base_model.embeddings.tables["word"].embeddings)
    types = np.full_like(inputs["input_ids"], 9)
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    expected = base(inputs_embeds=table[inputs["input_ids"]] + table[9], **rest)
    np.testing.assert_allclose(base(inputs, token_type_ids=types)[0], expected[0], atol=1e-6)


ONES = np.ones((2, 4), np.int32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"input_ids": ONES * 37}, r"input_ids must be in \[0, vocab_size = 37\): .*Found values from 37 to 37"),
        ({"input_ids": -ONES}, r"input_ids must be in \[0, vocab_size = 37\).*from -1 to -1"),
        ({"input_ids": ONES, "langs": ONES * 2}, r"langs must be language ids in \[0, n_langs = 2\): {'de': 0"),
        ({"input_ids": ONES, "position_ids": ONES * 20}, r"position_ids must be in \[0, max_position_embeddings"),
        ({"input_ids": ONES, "lengths": np.array([4, 5])}, r"at most the .* length: in \[0, length\]\. .* 4 to 5"),
        ({"input_ids": ONES, "lengths": np.array([4, -1])}, r"lengths must be .* in \[0, length\]\. .* from -1 to 4"),
        ({"input_ids": ONES.astype(np.int64) * 2**33}, r"input_ids must be in \[0, vocab_size = 37\)"),
        ({"input_ids": ONES.astype(np.int64) * -(2**33)}, r"input_ids must be in .*Found values from -2147483648"),
        ({"input_ids": ONES.astype(np.uint64) << 40}, r"input_ids must be in .*from 2147483647 to 2147483647"),
        ({"input_ids": ONES, "langs": ONES.astype(np.uint32) << 31}, r"langs must be language ids in"),
        ({"input_ids": np.ones((2, 0), int)}, r"input_ids must have a length of at least 1, got shape \(2, 0\)"),
        ({"input_ids": "Hello"}, r"input_ids must be integers, got string of shape \(\)"),
        ({"input_ids": tf.ragged.constant([[4], [5, 6]])}, r"input_ids must be .*got a RaggedTensor.*\.to_tensor\(\)"),
        ({"input_ids": {4, 5}}, "input_ids must be integers in a tensor, array or list, got set"),
        ({"input_ids": ONES, "cache": None, "langs": [["en"] * 4] * 2}, "langs must be integers, got str"),
        ({"input_ids": tf.sparse.from_dense(ONES)}, r"input_ids must be a dense .*SparseTensor.*tf\.sparse\.to_dense"),
        ({"inputs_embeds": np.ones((2, 4, 16), int)}, r"inputs_embeds must be floating point numbers, got int"),
        ({"input_ids": ONES, "attention_mask": [["a"] * 4] * 2}, r"attention_mask must be numbers, got str"),
        ({"input_ids": ONES, "attention_mask": tf.fill((2, 4), "a")}, r"attention_mask must be numbers, got string of"),
        ({"input_ids": ONES, "head_mask": [None, None]}, r"head_mask must be numbers, got object of shape \(2,\)"),
        ({"input_ids": np.ones((2, 21), int)}, r"21 tokens is longer than max_position_embeddings = 20.*max_length=20"),
        ({"input_ids": np.ones(4, int)}, r"input_ids must have shape \(batch, length\), got \(4,\)"),
        ({"input_ids": ONES.astype(np.float32)}, r"input_ids must be integers, got float32 of shape \(2, 4\)"),
        ({"inputs_embeds": ONES.astype(np.float32)}, r"inputs_embeds must .*\(batch, length, 16\), got \(2, 4\)"),
        ({"inputs_embeds": np.zeros((2, 4, 8))}, r"inputs_embeds must .*\(batch, length, 16\), got \(2, 4, 8\)"),
        ({"input_ids": ONES, "attention_mask": ONES[:, :3]}, r"attention_mask must have .*\(2, 4\), .* got \(2, 3\)"),
        ({"input_ids": ONES, "langs": ONES[0]}, r"langs must have shape \(2, 4\), as input_ids has, got \(4,\)"),
        ({"input_ids": ONES, "lengths": ONES}, r"lengths must have shape \(2,\), as input_ids has, got \(2, 4\)"),
        ({"input_ids": ONES, "head_mask": np.ones(3)}, r"head_mask must have shape \(2,\) or \(2, 2\), got \(3,\)"),
        ({"input_ids": ONES, "cache": {}}, r"A cache needs a causal model: in this one \(config.causal is False\)"),
        ({"input_ids": ONES, "cache_position": 1}, "says where tokens go in a cache, but the call has no cache"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*has no langs")
def test_bad_values(base: TFXLMModel, call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        base(**call)


@pytest.mark.filterwarnings("ignore:.*has no langs")
def test_bad_values_inside_a_graph(base: TFXLMModel) -> None:
    graph = tf.function(
        lambda ids, langs: base(ids, langs=langs)[0], input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2
    )
    assert graph(ONES, ONES).shape == (2, 4, 16)
    for ids, langs, message in [
        (ONES * 40, ONES, "input_ids must be in"),
        (ONES, ONES * 3, "langs must be language ids in"),
        (np.ones((1, 21), np.int32), np.ones((1, 21), np.int32), "position_ids must be in .* truncate the text to 20"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            graph(ids, langs)


def test_missing_languages_warn_once(config: XLMConfig) -> None:
    model = TFXLMModel(config.replace(n_layers=1))
    with pytest.warns(UserWarning, match="TFXLMModel was trained with language embeddings, but the call has no langs"):
        model(ONES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(ONES)
        TFXLMModel(config.replace(n_layers=1, use_lang_emb=False))(ONES)


def test_languages_are_ignored_without_language_embeddings(config: XLMConfig) -> None:
    model = perturb(TFXLMModel(config.replace(n_layers=1, use_lang_emb=False)))
    np.testing.assert_array_equal(model(ONES, langs=ONES)[0], model(ONES)[0])
    assert not any("lang" in weight.path for weight in model.weights)


def test_causal_models_do_not_look_ahead(config: XLMConfig) -> None:
    model = perturb(TFXLMModel(config.replace(n_layers=2, causal=True, n_langs=1, lang2id={}, id2lang={})))
    ids = np.array([[4, 5, 6, 7, 8]])
    changed = ids.copy()
    changed[0, 3] = 9
    before, after = model(ids)[0][0], model(changed)[0][0]
    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.abs(before[3:] - after[3:]).min(-1).max() > 0
    # The padding mask counts inside causal attention too: left padding is not attended.
    left = model(np.array([[2, 2, 4, 5]]), position_ids=np.array([[0, 0, 0, 1]]))[0][0, 2:]
    np.testing.assert_allclose(left, model(np.array([[4, 5]]))[0][0], atol=1e-5)


@pytest.mark.parametrize("remove_padding", [True, False])
def test_rows_that_are_causal(language_model: TFXLMWithLMHeadModel, remove_padding: bool) -> None:
    """A row of a mixed batch answers as it does alone, in a model of its kind with the same weights."""
    causal = TFXLMWithLMHeadModel(language_model.config.replace(causal=True))
    causal.set_weights(language_model.get_weights())
    for model in (language_model, causal):
        model.base_model.remove_padding = remove_padding
    inputs = random_inputs(language_model.config, lengths=(6, 4, 5, 2))
    positions = np.array([[1, 5], [3, 0], [2, 4], [1, 1]])
    rows = np.array([True, False, True, False])
    for choice in ({}, {"masked_positions": positions}):
        mixed = np.asarray(language_model(inputs | choice, causal=rows).logits)
        kinds = [np.asarray(model(inputs | choice).logits) for model in (language_model, causal)]
        np.testing.assert_allclose(mixed, np.where(rows[:, None, None], kinds[1], kinds[0]), atol=1e-6)
        assert np.abs(kinds[0] - kinds[1])[rows].max() > 1e-2
        np.testing.assert_array_equal(causal(inputs | choice, causal=~rows).logits, kinds[1])
    language_model.base_model.remove_padding = True


def test_rows_that_are_causal_are_one_for_each_row(language_model: TFXLMWithLMHeadModel) -> None:
    with pytest.raises(InputError, match=r"causal must have shape \(3,\), as input_ids has, got \(1, 3\)"):
        language_model(np.ones((3, 2), int), langs=np.ones((3, 2), int), causal=np.ones((1, 3), bool))


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (TFXLMForQuestionAnsweringSimple, {"num_labels": 3}, "scores starts and ends, so num_labels must be 2; got 3"),
        (TFXLMWithLMHeadModel, {"tie_word_embeddings": False}, "a kernel of its own, which TFXLMWithLM"),
        (TFXLMForSequenceClassification, {"summary_activation": "geluu"}, r"summary_activation must be .*'geluu'"),
    ],
)  # fmt: skip
def test_configurations_that_a_class_cannot_do(cls: Any, changes: Any, message: str, config: XLMConfig) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(config.replace(**changes))


def test_configuration_of_another_family() -> None:
    with pytest.raises(ConfigError, match="TFXLMModel needs a XLMConfig, got PreTrainedConfig"):
        TFXLMModel(PreTrainedConfig())


def test_number_of_parameters(config: XLMConfig) -> None:
    model = TFXLMModel(config.replace(sinusoidal_embeddings=True))
    per_layer = 4 * (16 * 16 + 16) + 2 * 16 * 64 + 64 + 16 + 4 * 16
    assert model.num_parameters() == (37 + 20 + 2) * 16 + 2 * 16 + 2 * per_layer
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - 20 * 16
