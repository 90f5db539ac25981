"""The XLM classes: the battery, the call contract, and bad input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import check_model, perturb, random_inputs
from tfxlm import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
    XLMConfig,
)
from tfxlm.configs import PreTrainedConfig
from tfxlm.errors import ArgumentError, ConfigError, InputError

CLASSES = (
    TFXLMModel,
    TFXLMWithLMHeadModel,
    TFXLMForSequenceClassification,
    TFXLMForMultipleChoice,
    TFXLMForTokenClassification,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForQuestionAnswering,
)


@pytest.mark.parametrize("changes", [
    {},
    {"causal": True, "n_langs": 1, "lang2id": {}, "id2lang": {}, "gelu_activation": False, "summary_type": "last"},
    {"sinusoidal_embeddings": True, "use_lang_emb": False, "summary_type": "mean", "summary_use_proj": False},
], ids=["plain", "causal", "sinusoidal"])  # fmt: skip
@pytest.mark.parametrize("cls", CLASSES)
def test_battery(cls: Any, config: XLMConfig, changes: dict[str, Any], tmp_path: Path) -> None:
    if cls is TFXLMForQuestionAnsweringSimple:
        changes = changes | {"num_labels": 2}
    check_model(cls, config.replace(n_layers=1, **changes), tmp_path)


@pytest.fixture(scope="module")
def inputs(config: XLMConfig) -> dict[str, np.ndarray]:
    return random_inputs(config)


def test_forms_of_a_call(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    ids, mask, langs = inputs["input_ids"], inputs["attention_mask"], inputs["langs"]
    expected = base(inputs).last_hidden_state
    tensors = {name: tf.constant(value, tf.int64) for name, value in inputs.items()}
    lists = {name: value.tolist() for name, value in inputs.items()}
    calls = [
        base(ids, mask, langs),
        base(ids, attention_mask=mask, langs=langs),
        base(input_ids=ids, attention_mask=mask, langs=langs),
        base([ids, mask, langs]),
        base((ids, mask, langs)),
        base({"input_ids": ids}, attention_mask=mask, langs=langs),
        base(inputs | {"position_ids": None}),
        base(tensors),
        base(lists),
        base(ids, None, langs, lengths=mask.sum(1)),
        base(ids, langs=langs),
        base(inputs, training=False),
    ]
    for outputs in calls:
        np.testing.assert_allclose(outputs.last_hidden_state, expected, atol=1e-6)
    for dtype in ("int8", "uint8", "int16", "int32", "int64"):
        outputs = base({name: value.astype(dtype) for name, value in inputs.items()})
        np.testing.assert_array_equal(outputs[0], expected)
    for kind in (bool, np.float32):
        np.testing.assert_array_equal(base(ids, mask.astype(kind), langs)[0], expected)


def test_flags_in_the_dict(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    outputs = base(inputs | {"output_hidden_states": True, "output_attentions": True})
    assert list(outputs) == ["last_hidden_state", "hidden_states", "attentions"]
    assert len(outputs.hidden_states) == 3 and len(outputs.attentions) == 2
    assert outputs.attentions[0].shape == (3, 2, 6, 6)
    as_tuple = base(inputs | {"return_dict": False}, output_hidden_states=True)
    assert type(as_tuple) is tuple and len(as_tuple) == 2
    # Attentions keep the padding, so the kernels that run are others.
    np.testing.assert_allclose(as_tuple[0], outputs[0], atol=1e-5)
    np.testing.assert_allclose(as_tuple[1][-1], outputs.hidden_states[-1], atol=1e-5)


def test_configured_outputs(config: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMModel(config.replace(output_hidden_states=True, output_attentions=True, return_dict=False))
    assert len(model(inputs)) == 3
    assert list(model(inputs, return_dict=True, output_attentions=False)) == ["last_hidden_state", "hidden_states"]


def test_outputs_object(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    outputs = base(inputs)
    assert outputs.hidden_states is None and "hidden_states" not in outputs and len(outputs) == 1
    assert outputs[0] is outputs[-1] is outputs["last_hidden_state"] and outputs[:] == outputs.to_tuple()
    with pytest.raises(AttributeError, match=r"TFBaseModelOutput has no output 'logits'\. It has: last_hidden_state"):
        outputs.logits  # noqa: B018
    with pytest.raises(KeyError):
        outputs["logits"]


@pytest.mark.filterwarnings("ignore:.*has no langs")
def test_longer_than_the_positions(base: TFXLMModel) -> None:
    ids = np.full((1, 25), 4)
    assert base(ids, position_ids=np.arange(25)[None] % 20)[0].shape == (1, 25, 16)
    with pytest.raises(InputError, match=r"position_ids must be in \[0, max_position_embeddings.*Found .* 0 to 24"):
        base(ids, position_ids=np.arange(25)[None])


def test_pruned_heads(config: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMModel(config.replace(pruned_heads={0: [1]}))
    assert [weights.shape[1] for weights in model(inputs, output_attentions=True).attentions] == [1, 2]
    with pytest.raises(InputError, match=r"A model with pruned_heads takes no head_mask: .* Leave head_mask out"):
        model(inputs, head_mask=np.ones(2))


def test_one_token_gives_no_warning(classifier: Any, language_model: Any) -> None:
    one = np.array([[4]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classifier(one, langs=one * 0).logits.shape == (1, 3)
        assert language_model(one, langs=one * 0).logits.shape == (1, 1, 37)


def test_left_padding_gives_the_same_class(config: XLMConfig) -> None:
    model = perturb(TFXLMForSequenceClassification(config))
    ids, positions = np.array([[4, 5, 6]]), np.array([[0, 1, 2]])
    left = np.pad(ids, ((0, 0), (3, 0)), constant_values=config.pad_index)
    places = np.pad(positions, ((0, 0), (3, 0)))
    expected = model(ids, langs=ids * 0).logits
    np.testing.assert_allclose(model(left, langs=left * 0, position_ids=places).logits, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["foo", "int32", 7, "string"])
def test_dtypes_that_a_model_cannot_have(config: XLMConfig, dtype: Any) -> None:
    with pytest.raises(ConfigError, match=rf"dtype must be a floating point dtype or a Keras .*got {dtype!r}"):
        TFXLMModel(config, dtype=dtype)


def test_inputs_embeds(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    table = np.asarray(base.transformer.embeddings.tables["word"].embeddings)
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    outputs = base(inputs_embeds=table[inputs["input_ids"]], **rest)
    np.testing.assert_allclose(outputs[0], base(inputs)[0], atol=1e-6)


def test_token_types_are_looked_up_among_the_words(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    table = np.asarray(base.transformer.embeddings.tables["word"].embeddings)
    types = np.full_like(inputs["input_ids"], 9)
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    expected = base(inputs_embeds=table[inputs["input_ids"]] + table[9], **rest)
    np.testing.assert_allclose(base(inputs, token_type_ids=types)[0], expected[0], atol=1e-6)


def test_unknown_doubled_and_missing_arguments(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    ids = inputs["input_ids"]
    with pytest.raises(ArgumentError, match=r"does not take 'special_tokens_mask'. It takes: input_ids, .*Remove"):
        base(inputs | {"special_tokens_mask": ids})
    with pytest.raises(ArgumentError, match=r"Given twice, in the first argument and by name: langs. Give each once"):
        base(inputs, langs=inputs["langs"])
    with pytest.raises(ArgumentError, match="Given twice, by position and by name: input_ids"):
        base(ids, input_ids=ids)
    for call in ([ids] * 14,), [ids] * 14:
        with pytest.raises(ArgumentError, match=r"takes 13 inputs by position \(input_ids, attention_mask, .*got 14"):
            base(*call)
    with pytest.raises(InputError, match=r"Give input_ids or inputs_embeds\."):
        base(attention_mask=inputs["attention_mask"], langs=inputs["langs"])
    with pytest.raises(InputError, match="Give input_ids or inputs_embeds, not both"):
        base(input_ids=ids, inputs_embeds=np.zeros((3, 6, 16), np.float32), langs=inputs["langs"])
    with pytest.raises(TypeError, match=r"does not take 'lang'\. It takes: input_ids, attention_mask, langs"):
        base(ids, lang=inputs["langs"])


def test_rows_of_numbers_are_one_tensor(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    ids, langs = inputs["input_ids"].tolist(), inputs["langs"].tolist()
    expected = base(inputs["input_ids"], langs=inputs["langs"])[0]
    calls = [base(ids, None, langs), base(input_ids=ids, langs=langs), base([ids, None, langs]),
             base({"input_ids": ids, "langs": langs}), base(tuple(map(tuple, ids)), langs=langs)]  # fmt: skip
    for outputs in calls:
        np.testing.assert_array_equal(outputs[0], expected)
    with pytest.raises(InputError, match=r"input_ids must have shape \(batch, length\), got \(2,\)"):
        base([4, 5])
    with pytest.raises(InputError, match=r"input_ids must be integers in rows of one length: .*Pad them: tokenizer\("):
        base([[4, 5], [6]])


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


def test_padding_may_hold_any_id_where_the_mask_says_so(base: TFXLMModel, inputs: dict[str, np.ndarray]) -> None:
    ids = np.where(inputs["attention_mask"], inputs["input_ids"], 0)
    np.testing.assert_array_equal(base(inputs | {"input_ids": ids})[0], base(inputs)[0])


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


def test_language_model_is_tied(language_model: TFXLMWithLMHeadModel, inputs: dict[str, np.ndarray]) -> None:
    outputs = language_model(inputs, output_hidden_states=True)
    table = np.asarray(language_model.transformer.embeddings.tables["word"].embeddings)
    expected = outputs.hidden_states[-1].numpy() @ table.T + np.asarray(language_model.pred_layer.bias)
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-4)
    assert sum(37 in weight.shape for weight in language_model.weights) == 2


def test_chosen_positions(language_model: TFXLMWithLMHeadModel, inputs: dict[str, np.ndarray]) -> None:
    full = language_model(inputs).logits.numpy()
    positions = np.array([[0, 5], [2, 1], [3, 3]])
    chosen = language_model(inputs | {"masked_positions": positions}).logits
    np.testing.assert_allclose(chosen, np.take_along_axis(full, positions[..., None], 1), atol=1e-5)
    for one in (1, np.int64(1)):
        np.testing.assert_allclose(language_model(inputs, logits_to_keep=one).logits, full[:, -1:], atol=1e-5)
    with pytest.raises(InputError, match=r"masked_positions must have 3 rows, as the batch has, got 1"):
        language_model(inputs, masked_positions=positions[:1])
    with pytest.raises(InputError, match=r"masked_positions must be positions within the sequence\. Found"):
        language_model(inputs, masked_positions=positions + 2**32)
    with pytest.raises(InputError, match=r"labels must be in \[0, vocab_size = 37\), or -100 .*from 2147483647"):
        language_model(inputs, labels=np.full((3, 6), 2**32, np.uint64))
    with pytest.raises(InputError, match=r"labels must have shape \(3, 2\).* got \(3, 6\)"):
        language_model(inputs, masked_positions=positions, labels=inputs["input_ids"])


def test_labels_give_a_loss(classifier: TFXLMForSequenceClassification, inputs: dict[str, np.ndarray]) -> None:
    labels = np.array([0, 2, 1])
    outputs = classifier(inputs, labels=labels)
    assert list(outputs) == ["loss", "logits"] and outputs[0].shape == ()
    logits = outputs.logits.numpy().astype(np.float64)
    picked = np.exp(logits[range(3), labels]) / np.exp(logits).sum(-1)
    np.testing.assert_allclose(outputs.loss, -np.log(picked).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (TFXLMForQuestionAnsweringSimple, {"num_labels": 3}, "scores starts and ends, so num_labels must be 2; got 3"),
        (TFXLMWithLMHeadModel, {"tie_word_embeddings": False}, "a kernel of its own, which XLM does not have"),
        (TFXLMForSequenceClassification, {"summary_activation": "geluu"}, r"summary_activation must be .*'geluu'"),
    ],
)  # fmt: skip
def test_configurations_that_a_class_cannot_do(cls: Any, changes: Any, message: str, config: XLMConfig) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(config.replace(**changes))


def test_configuration_of_another_family() -> None:
    with pytest.raises(ConfigError, match="TFXLMModel needs a XLMConfig, got PreTrainedConfig"):
        TFXLMModel(PreTrainedConfig())


def test_functional_use(base: TFXLMModel, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    given = {name: keras.Input((None,), dtype="int32", name=name) for name in inputs}
    scores = keras.layers.Dense(2, name="scores")(base(given).last_hidden_state[:, 0])
    model = keras.Model(given, scores)
    expected = model.layers[-1](base(inputs).last_hidden_state[:, 0])
    np.testing.assert_allclose(model(inputs), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, atol=1e-5)
    model.save(tmp_path / "functional.keras")
    again = keras.saving.load_model(tmp_path / "functional.keras")
    np.testing.assert_allclose(again(inputs), expected, atol=1e-6)


def test_as_part_of_another_model(base: TFXLMModel, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    class Wrapped(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = perturb(TFXLMModel(base.config))

        def call(self, x: Any) -> Any:
            return self.encoder(x).last_hidden_state[:, 0]

    wrapped = Wrapped()
    expected = wrapped(inputs)
    wrapped.encoder.save_pretrained(tmp_path)
    np.testing.assert_array_equal(TFXLMModel.from_pretrained(tmp_path)(inputs)[0][:, 0], expected)


def test_number_of_parameters(config: XLMConfig) -> None:
    model = TFXLMModel(config.replace(sinusoidal_embeddings=True))
    per_layer = 4 * (16 * 16 + 16) + 2 * 16 * 64 + 64 + 16 + 4 * 16
    assert model.num_parameters() == (37 + 20 + 2) * 16 + 2 * 16 + 2 * per_layer
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - 20 * 16
