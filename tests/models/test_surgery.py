"""Changes of a model's vocabulary, embeddings and heads: what stays, what is new, and what no longer fits."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import check_same
from tests.models.cases import BY_NAME, LANGUAGE_MODELS, Case, the
from tests.models.families import ROBERTAS, XLM, Family
from tfxlm import TFXLMWithLMHeadModel
from tfxlm.errors import ConfigError, InputError
from tfxlm.models.loading import weights_by_path


def made(case: Case, **changes: Any) -> Any:
    """A model with two layers and without dropout."""
    return case.model(**{"num_hidden_layers": 2, **changes})


@pytest.fixture(params=LANGUAGE_MODELS, ids=str)
def lm(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(params=the("Model"), ids=str)
def body(request: pytest.FixtureRequest) -> Case:
    return request.param


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {path: weight.numpy() for path, weight in weights_by_path(model).items()}


def word_table(model: Any) -> np.ndarray:
    return model.get_input_embeddings().embeddings.numpy()


def round_trips(model: Any, folder: Path, inputs: Any) -> None:
    """Both ways of saving give the same answers."""
    expected = model(inputs)
    model.save_pretrained(folder / "checkpoint")
    check_same(type(model).from_pretrained(folder / "checkpoint", **model.options)(inputs), expected)
    model.save(folder / "model.keras")
    check_same(keras.saving.load_model(folder / "model.keras")(inputs), expected)


# The vocabulary


@pytest.mark.parametrize("size", [50, 30])
def test_rows_that_stay_are_the_same_bits(case: Case, size: int) -> None:
    model = made(case)
    before = arrays(model)
    order = list(before)
    table = model.resize_token_embeddings(size)
    assert table is model.get_input_embeddings() and table.input_dim == size
    assert model.config.vocab_size == model.base_model.config.vocab_size == size
    after = arrays(model)
    assert list(after) == order and [weight.path for weight in model.trainable_weights]
    kept = min(size, 37)
    changed = {f"{model.base_model_prefix}/embeddings/word/embeddings", f"{model.lm_head_name}/bias"} & set(after)
    for path, value in after.items():
        if path in changed:
            assert len(value) == size
            np.testing.assert_array_equal(value[:kept], before[path][:kept])
        else:
            np.testing.assert_array_equal(value, before[path])


def test_a_resized_model_is_a_model(case: Case, tmp_path: Path) -> None:
    model, inputs = made(case), case.inputs()
    before = model(inputs)
    model.resize_token_embeddings(60)
    after = model(inputs)
    if model.get_lm_head() is not None:
        assert after.logits.shape[-1] == 60
        after["logits"] = after.logits[..., :37]
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-6)
    inputs["input_ids"][..., 0] = 59
    round_trips(model, tmp_path, inputs)
    with pytest.raises(InputError, match=r"input_ids must be in \[0, vocab_size = 60\)"):
        model(inputs | {"input_ids": inputs["input_ids"] + 1})


def test_new_rows_are_initialised_as_the_configuration_says(lm: Case) -> None:
    changes = {"vocab_size": 8, "hidden_size": 64, lm.family.deviation: 0.3, lm.family.padding: 2}
    model = lm.cls(lm.config(**changes))
    model.resize_token_embeddings(508)
    new = word_table(model)[8:]
    assert 0.29 < new.std() < 0.31 and abs(new.mean()) < 0.01
    # Row 2 of a whole table would be zeros, for the padding token.
    assert not np.any(np.all(new == 0, axis=1))
    assert np.all(model.get_bias()["bias"].numpy()[8:] == 0)


def test_sizes(body: Case) -> None:
    model = made(body)
    table = model.get_input_embeddings()
    variable = table.embeddings
    assert model.resize_token_embeddings() is model.resize_token_embeddings(37) is table
    assert table.embeddings is variable
    model.resize_token_embeddings(pad_to_multiple_of=8)
    assert model.config.vocab_size == 40
    model.resize_token_embeddings(np.int64(41), pad_to_multiple_of=16)
    assert model.config.vocab_size == 48
    for size in (0, 5.5, True):
        with pytest.raises(InputError, match=f"new_num_tokens must be a positive integer, got {size}"):
            model.resize_token_embeddings(size)
    with pytest.raises(InputError, match="pad_to_multiple_of must be a positive integer, got -1"):
        model.resize_token_embeddings(50, pad_to_multiple_of=-1)
    assert model.config.vocab_size == 48


@pytest.mark.parametrize(("family", "field", "last"), [
    (XLM, "mask_index", 5), *((family, "pad_token_id", 1) for family in ROBERTAS),
], ids=str)  # fmt: skip
def test_special_tokens_are_not_cut_off(family: Family, field: str, last: int) -> None:
    model = made(BY_NAME[family.prefix + family.language_model])
    before = arrays(model)
    with pytest.raises(ConfigError, match=rf"{field} must be below vocab_size \({last}\), got {last}"):
        model.resize_token_embeddings(last)
    assert model.config.vocab_size == 37
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[path])
    model.resize_token_embeddings(last + 1)


def test_adaptive_softmax_keeps_its_words() -> None:
    model = TFXLMWithLMHeadModel(XLM.config.replace(asm=True, asm_cutoffs=[10, 20]))
    with pytest.raises(InputError, match="has an adaptive softmax, whose clusters hold the words it was made with"):
        model.resize_token_embeddings(50)
    assert model.get_output_embeddings() is None and model.get_bias() is None
    with pytest.raises(InputError, match="has no output layer with a bias"):
        model.set_bias({"bias": np.zeros(37)})


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_dtypes_stay(lm: Case, policy: str) -> None:
    model = made(lm, dtype=policy)
    dtypes = [weight.dtype for weight in model.weights]
    before = word_table(model)
    model.resize_token_embeddings(40)
    model.prune_heads({0: [0]})
    assert [weight.dtype for weight in model.weights] == dtypes
    np.testing.assert_array_equal(word_table(model)[:37], before)


# Heads


def masked_and_pruned(case: Case, heads: dict[int, list[int]]) -> tuple[Any, Any, Any]:
    model, inputs = made(case, num_attention_heads=4, num_hidden_layers=3), case.inputs()
    mask = np.ones((3, 4), np.float32)
    for layer, silent in heads.items():
        mask[layer, silent] = 0
    return model, inputs, model(inputs, head_mask=mask)


def test_pruned_heads_are_silent_heads(case: Case, tmp_path: Path) -> None:
    heads = {0: [1], 2: [0, 3]}
    model, inputs, expected = masked_and_pruned(case, heads)
    size = model.count_params()
    model.prune_heads(heads)
    # Three kernels lose columns and their biases, one loses rows: 4 x dim + 3 numbers for each of 3 x 4 columns.
    assert size - model.count_params() == 12 * (4 * 16 + 3)
    outputs = model(inputs, output_attentions=True)
    for name in expected:
        np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=2e-6)
    assert [weights.shape[1] for weights in outputs.attentions] == [3, 4, 2]
    assert model.config.pruned_heads == heads == model.base_model.config.pruned_heads
    round_trips(model, tmp_path, inputs)


def test_pruning_adds_up(body: Case) -> None:
    """Heads are counted as in the whole model, whatever was removed before."""
    model, inputs, expected = masked_and_pruned(body, {0: [0, 1, 3], 1: [2]})
    model.prune_heads({0: [1]})
    model.prune_heads({0: [1, 3], 1: [2]})
    model.prune_heads({0: {0}})
    assert model.config.pruned_heads == {0: [0, 1, 3], 1: [2]}
    np.testing.assert_allclose(model(inputs)[0], expected[0], rtol=0, atol=2e-6)
    before = [id(weight) for weight in model.weights]
    model.prune_heads({0: [1]})
    model.prune_heads({})
    assert [id(weight) for weight in model.weights] == before


def test_what_cannot_be_pruned(body: Case) -> None:
    model = made(body, num_attention_heads=4)
    before = arrays(model)
    for heads, found in (({5: [0]}, "{5: [0]}"), ({0: [4]}, "{0: [4]}"), ({1: [0, 1, 2, 3]}, "{1: [0, 1, 2, 3]}")):
        with pytest.raises(
            ConfigError, match=r"pruned_heads must be heads below (n_heads|num_attention_heads) \(4\)"
        ) as error:
            model.prune_heads(heads)
        assert found in str(error.value)
    assert model.config.pruned_heads == {}
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_pruned_and_resized_models_learn(lm: Case) -> None:
    model, inputs = made(lm), lm.inputs()
    model.prune_heads({0: [1]})
    model.resize_token_embeddings(40)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=lm.is_eager)
    before = arrays(model)
    losses = model.fit(inputs, inputs["input_ids"], epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    untouched = {path for path, value in arrays(model).items() if np.array_equal(value, before[path])}
    # In exact arithmetic the bias of keys changes nothing, and two languages may be all there are.
    assert not {path for path in untouched if "key/bias" not in path}


# Compiled models


@pytest.mark.parametrize("change", [lambda m: m.resize_token_embeddings(50), lambda m: m.prune_heads({0: [0]})])
def test_a_changed_model_must_be_compiled_again(change: Any, tmp_path: Path) -> None:
    case = BY_NAME["TFXLMWithLMHeadModel"]
    model, inputs = case.model(), case.inputs()
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer)
    model.fit(inputs, inputs["input_ids"], verbose=0)
    model.predict(inputs, verbose=0)
    with pytest.warns(UserWarning, match=r"new variables, which its optimizer does not know. Call compile\(\) again"):
        change(model)
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        model.fit(inputs, inputs["input_ids"], verbose=0)
    np.testing.assert_allclose(model.predict(inputs, verbose=0)["logits"], model(inputs).logits, atol=2e-5)
    round_trips(model, tmp_path, inputs)
    model.compile(optimizer)
    with pytest.raises(ValueError, match="only be called for the variables it was originally built with"):
        model.fit(inputs, inputs["input_ids"], verbose=0)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(inputs, inputs["input_ids"], verbose=0)


def test_nothing_keeps_the_old_table(tmp_path: Path) -> None:
    case = BY_NAME["TFXLMWithLMHeadModel"]
    model, inputs = case.model(), case.inputs()
    model.compile("adam")
    model.fit(inputs, inputs["input_ids"], verbose=0)
    before = weights_by_path(model)["transformer/embeddings/word/embeddings"]
    with pytest.warns(UserWarning):
        model.resize_token_embeddings(50)
    gc.collect()
    holders = [item for item in gc.get_referrers(before) if item is not vars() and not hasattr(item, "f_locals")]
    assert holders == []
    path = tf.train.Checkpoint(model).save(tmp_path / "checkpoint")
    assert not any(37 in shape for _, shape in tf.train.list_variables(path))


@pytest.mark.parametrize(
    ("change", "what"),
    [(lambda layer: layer.enable_lora(2), "has LoRA weights"), (lambda layer: layer.quantize("int8"), "is quantized")],
)
def test_quantized_layers_and_lora(lm: Case, change: Any, what: str) -> None:
    model = made(lm)
    config = model.config
    change(model.get_input_embeddings())
    change(model.base_model.encoder.blocks[1].attention.value)
    message = model.base_model_prefix + "/{} " + what + ", so it cannot be changed any more. Change the model first"
    with pytest.raises(InputError, match=message.format("embeddings/word")):
        model.resize_token_embeddings(50)
    with pytest.raises(InputError, match=message.format("embeddings/word")):
        model.set_input_embeddings(np.zeros((37, 16), np.float32))
    with pytest.raises(InputError, match=message.format("encoder/block_1/attention/value")):
        model.prune_heads({0: [0], 1: [0]})
    assert model.config == config
    model.prune_heads({0: [0]})


# Reading and writing


def test_embeddings_can_be_read_and_replaced(case: Case) -> None:
    model, inputs = made(case), case.inputs()
    variable = model.get_input_embeddings().embeddings
    values = np.random.default_rng(0).normal(size=(37, 16)).astype(np.float32)
    layer = keras.layers.Embedding(37, 16, weights=[values * 2])
    for value, expected in ((values, values), (layer, values * 2), (tf.Variable(values * 3), values * 3)):
        model.set_input_embeddings(value)
        np.testing.assert_array_equal(word_table(model), expected)
    assert model.get_input_embeddings().embeddings is variable
    other = made(case)
    other.set_input_embeddings(model.get_input_embeddings())
    check_same(other(inputs), model(inputs))
    with pytest.raises(InputError, match=r"word embeddings must have shape \(37, 16\), got \(38, 16\).*resize_token"):
        model.set_input_embeddings(np.zeros((38, 16)))


def test_output_layer_of_a_language_model(lm: Case) -> None:
    model, inputs = made(lm), lm.inputs()
    bias = getattr(model, model.lm_head_name).bias
    assert model.get_lm_head().bias is bias
    assert model.get_output_embeddings() is model.get_input_embeddings()
    before = model(inputs).logits
    (name,) = model.get_bias()
    assert name == "bias" and model.get_bias()[name] is bias
    model.set_bias({name: model.get_bias()[name] + 1.0})
    np.testing.assert_allclose(model(inputs).logits, before + 1, atol=1e-5)
    model.set_output_embeddings(np.zeros((37, 16), np.float32))
    assert np.all(word_table(model) == 0)
    with pytest.raises(InputError, match=r"bias must have shape \(37,\), got \(5,\)"):
        model.set_bias({"bias": np.zeros(5)})
    with pytest.raises(InputError, match="set_bias needs a mapping with bias, got weight"):
        model.set_bias({"weight": np.zeros(37)})


@pytest.mark.parametrize("case", the("ForSequenceClassification"), ids=str)
def test_models_without_an_output_layer(case: Case) -> None:
    model = made(case)
    assert model.get_lm_head() is model.get_output_embeddings() is model.get_bias() is None
    with pytest.raises(InputError, match="has no output layer that shares the word embeddings"):
        model.set_output_embeddings(np.zeros((37, 16)))
    with pytest.raises(InputError, match="has no output layer with a bias"):
        model.set_bias({})
    assert model.base_model is getattr(model, {XLM: "transformer"}.get(case.family, "roberta"))


def test_a_configuration_that_fits_may_be_assigned() -> None:
    case = BY_NAME["TFXLMForSequenceClassification"]
    model, inputs = made(case), case.inputs()
    model.config = model.config.replace(output_attentions=True, id2label={0: "a", 1: "b", 2: "c"})
    assert len(model(inputs).attentions) == 2 and model.config.label2id["c"] == 2
    model.config = model.config.replace(lang2id={"xx": 0, "yy": 1}, id2lang={0: "xx", 1: "yy"})
    with pytest.raises(InputError, match=r"\{'xx': 0, 'yy': 1\}"):
        model(inputs["input_ids"], langs=inputs["langs"] + 2)
    for change, name in (
        ({"n_layers": 1}, "n_layers"),
        ({"num_labels": 4}, "num_labels"),
        ({"causal": True}, "causal"),
    ):
        with pytest.raises(ConfigError, match=f"made from its XLMConfig, so {name} cannot change any more"):
            model.config = model.config.replace(**change)
    assert model.config.n_layers == 2


@pytest.mark.parametrize("family", ROBERTAS, ids=str)
def test_a_configuration_of_another_decoder(family: Family) -> None:
    model = made(BY_NAME[family.prefix + "Model"])
    for change in ({"is_decoder": True}, {"position_embedding_type": "relative_key"}, {"mask_from_padding": False}):
        with pytest.raises(ConfigError, match=f"so {next(iter(change))} cannot change any more"):
            model.config = model.config.replace(**change)
    model.config = model.config.replace(use_cache=False)
    assert model.config.use_cache is False


def test_variables_stay_on_every_replica() -> None:
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with strategy.scope():
        model = made(BY_NAME["TFXLMWithLMHeadModel"])
    model.resize_token_embeddings(40)
    value = model.get_input_embeddings().embeddings.value
    assert value.distribute_strategy is strategy
