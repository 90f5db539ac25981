"""What is particular to XLM-RoBERTa and XLM-RoBERTa-XL: pooling, positions, padding, labels there, and bad input."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import check_same, perturb, random_inputs
from tests.models.cases import BY_NAME, cross_entropy
from tests.models.families import ROBERTAS, Family
from tfxlm.errors import ArgumentError, InputError
from tfxlm.layers import Dense
from tfxlm.models.loading import weights_by_path


@pytest.fixture(scope="module", params=ROBERTAS, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def model(family: Family) -> Any:
    """The one without a head."""
    return perturb(family.cls("Model")(family.config))


@pytest.fixture(scope="module")
def inputs(family: Family) -> dict[str, np.ndarray]:
    return random_inputs(family.config)


def states(model: Any, *args: Any, **kwargs: Any) -> np.ndarray:
    return np.asarray(model(*args, **kwargs).last_hidden_state)


# The pooling layer

POOLER = ["roberta.pooler.dense.bias", "roberta.pooler.dense.weight"]


def test_the_pooling_layer(model: Any, inputs: dict[str, np.ndarray]) -> None:
    outputs = model(inputs)
    kernel, bias = (np.asarray(weight) for weight in model.base_model.pooler.summary.weights)
    expected = np.tanh(np.asarray(outputs.last_hidden_state)[:, 0] @ kernel + bias)
    np.testing.assert_allclose(outputs.pooler_output, expected, atol=1e-6)


def test_no_pooling_layer(family: Family, model: Any, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    cls = type(model)
    model.save_pretrained(tmp_path)
    plain, report = cls.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    assert sorted(name.removeprefix("roberta.") for name in report["unexpected_keys"]) == [
        "pooler.dense.bias",
        "pooler.dense.weight",
    ]
    assert list(plain(inputs)) == ["last_hidden_state"] and plain(inputs).pooler_output is None
    np.testing.assert_array_equal(plain(inputs)[0], model(inputs)[0])
    assert not any("pooler" in path for path in weights_by_path(plain))
    assert plain.get_config()["add_pooling_layer"] is False
    assert list(cls.from_config(plain.get_config())(inputs)) == ["last_hidden_state"]
    plain.save(tmp_path / "plain.keras")
    check_same(keras.saving.load_model(tmp_path / "plain.keras")(inputs), plain(inputs))
    plain.save_pretrained(tmp_path / "plain")
    with_new, report = cls.from_pretrained(tmp_path / "plain", output_loading_info=True)
    assert sorted(name.removeprefix("roberta.") for name in report["missing_keys"]) == [
        "pooler.dense.bias",
        "pooler.dense.weight",
    ]
    assert with_new(inputs).pooler_output.shape == (3, 16)
    assert cls(family.config, False).base_model.pooler is None


def test_options_that_a_class_does_not_take(family: Family) -> None:
    cls, other = family.cls("Model"), family.cls("ForMaskedLM")
    message = rf"{cls.__name__} does not take pooling\. It takes: config, add_pooling_layer, dtype, name"
    with pytest.raises(ArgumentError, match=message):
        cls(family.config, pooling=True)
    with pytest.raises(ArgumentError, match=r"does not take add_pooling_layer\. It takes: config, dtype, name"):
        other(family.config, add_pooling_layer=False)
    with pytest.raises(ArgumentError, match="Given twice, by position and by name: add_pooling_layer"):
        cls(family.config, False, add_pooling_layer=True)


def test_flags(family: Family, model: Any) -> None:
    cls = type(model)
    for options in ({"add_pooling_layer": "no"}, {"add_pooling_layer": 0}):
        with pytest.raises(InputError, match=r"add_pooling_layer must be True or False, got ('no'|0)\."):
            cls(family.config, **options)
    with pytest.raises(InputError, match="add_pooling_layer must be True or False"):
        cls(family.config, "no")
    assert cls(family.config, np.bool_(False)).get_config()["add_pooling_layer"] is False
    for name in ("use_cache", "output_attentions", "output_hidden_states", "return_dict", "training"):
        with pytest.raises(InputError, match=f"{name} must be True or False, got 'no'"):
            model(ONES, **{name: "no"})
        with pytest.raises(InputError, match=f"{name} must be True or False, got 0"):
            model({"input_ids": ONES, name: 0})
    assert "attentions" in model(ONES, output_attentions=np.bool_(True))
    assert "attentions" not in model(ONES, output_attentions=np.bool_(False))


# Checkpoints of one task in models of another


def parts(names: Any) -> set[str]:
    """The parts of a model that weights belong to."""
    known = ("pooler", "lm_head", "lm_transform", "classifier", "sequence_summary", "out_proj", "crossattention")
    return {part for part in known for name in names if part in name}


def test_checkpoints_of_other_tasks(family: Family, tmp_path: Path) -> None:
    """What they have serves, what they lack starts afresh, and both are said."""
    lm = BY_NAME[family.prefix + "ForMaskedLM"].model()
    lm.save_pretrained(tmp_path / "lm")
    for task, changes, missing, unexpected in (
        ("Model", {}, {"pooler"}, {"lm_head"}),
        ("ForCausalLM", {"is_decoder": True}, set(), set()),
        ("ForCausalLM", {"is_decoder": True, "add_cross_attention": True}, {"crossattention"}, set()),
        ("ForMultipleChoice", {}, {"pooler", "classifier"}, {"lm_head"}),
        ("ForTokenClassification", {}, {"classifier"}, {"lm_head"}),
        ("ForSequenceClassification", {}, {"classifier", "out_proj"}, {"lm_head"}),
    ):
        model, report = family.cls(task).from_pretrained(tmp_path / "lm", output_loading_info=True, **changes)
        assert parts(report["missing_keys"]) == missing and parts(report["unexpected_keys"]) == unexpected, task
        for path, weight in weights_by_path(lm.base_model).items():
            np.testing.assert_array_equal(weights_by_path(model.base_model)[path], weight, err_msg=path)


@pytest.mark.parametrize(("dtype", "variables"), [("bfloat16", "bfloat16"), ("mixed_bfloat16", "float32")])
def test_checkpoints_in_other_precisions(family: Family, dtype: str, variables: str, tmp_path: Path) -> None:
    model = BY_NAME[family.prefix + "ForMaskedLM"].model()
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    again = type(model).from_pretrained(tmp_path, dtype=dtype)
    assert {weight.dtype for weight in again.weights} == {variables} and again.compute_dtype == "bfloat16"
    for left, right in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(left, right.numpy().astype(left.numpy().dtype))
    logits = [np.asarray(it(random_inputs(model.config)).logits, np.float32)[:, 0] for it in (again, model)]
    np.testing.assert_allclose(*logits, atol=0.1, rtol=0.1)


# Positions and padding


def test_where_positions_come_from(family: Family, model: Any, inputs: dict[str, np.ndarray]) -> None:
    """They count words from the one after the padding token's id on; embeddings are all words."""
    pad = family.config.pad_index
    ids = np.array([[4, pad, 5, 6, pad]])
    expected = states(model, ids, position_ids=np.array([[pad + 1, pad, pad + 2, pad + 3, pad]]))
    np.testing.assert_array_equal(states(model, ids), expected)
    mask = np.ones_like(ids)
    np.testing.assert_array_equal(
        states(model, ids, mask), states(model, ids, mask, position_ids=np.array([[2, 1, 3, 4, 1]]))
    )
    words = np.asarray(model.get_input_embeddings().embeddings)[ids]
    as_places = states(model, ids, mask, position_ids=np.arange(5)[None] + pad + 1)
    np.testing.assert_allclose(states(model, inputs_embeds=words), as_places, atol=1e-6)
    moved = states(model, inputs | {"position_ids": np.full((3, 6), 9)})
    assert np.abs(moved - states(model, inputs))[0].max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"is_decoder": True}, {"position_embedding_type": "relative_key"}], ids=str)
def test_left_padding_changes_nothing(family: Family, changes: dict[str, Any]) -> None:
    model = perturb(family.cls("Model")(family.config.replace(**changes)))
    ids = np.array([[4, 5, 6]])
    left = np.pad(ids, ((0, 0), (3, 0)), constant_values=family.config.pad_index)
    mask = np.array([[0, 0, 0, 1, 1, 1]])
    expected = model(ids)
    for outputs in (model(left), model(left, mask)):
        np.testing.assert_allclose(outputs.last_hidden_state[:, 3:], expected.last_hidden_state, atol=1e-5)
        np.testing.assert_allclose(outputs.pooler_output, expected.pooler_output, atol=1e-5)


def test_padding_ids_without_a_mask(family: Family, inputs: dict[str, np.ndarray]) -> None:
    """They are no tokens; as an option all are, as in the reference."""
    ids = inputs["input_ids"]
    model = perturb(family.cls("Model")(family.config))
    np.testing.assert_array_equal(states(model, ids), states(model, ids, inputs["attention_mask"]))
    all_real = perturb(family.cls("Model")(family.config.replace(mask_from_padding=False)))
    np.testing.assert_allclose(states(all_real, ids), states(model, ids, np.ones_like(ids)), atol=1e-6)
    np.testing.assert_array_equal(
        states(all_real, ids, lengths=np.array([6, 3, 4])), states(model, ids, inputs["attention_mask"])
    )


def test_token_types(family: Family, model: Any, inputs: dict[str, np.ndarray]) -> None:
    rest = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    types = np.zeros((3, 6), int)
    np.testing.assert_array_equal(states(model, rest), states(model, rest, token_type_ids=types))
    types[:, 2] = 1
    assert np.abs(states(model, rest, token_type_ids=types) - states(model, rest)).max() > 1e-3


# Labels


@pytest.mark.parametrize("task", ["ForCausalLM", "ForMaskedLM", "ForTokenClassification"])
def test_labels_at_padding(family: Family, task: str) -> None:
    """They count as in the reference, in calls and in `fit`; those of XL's token classification do not."""
    case = BY_NAME[family.prefix + task]
    inputs = case.inputs()
    labels = np.where(inputs["attention_mask"], inputs["input_ids"], 3) % 3
    model = case.model()
    # With labels everywhere, all positions are computed.
    logits = np.asarray(model(inputs, labels=np.zeros((7, 6), int)).logits)
    assert np.abs(logits[1, 3:] - np.asarray(model(inputs).logits)[1, 3:]).max() > 1e-3
    counted = np.where(inputs["attention_mask"], labels, -100) if (
        family is ROBERTAS[1] and task == "ForTokenClassification") else labels  # fmt: skip
    expected = cross_entropy(*case.pairs(logits, counted))
    assert float(model(inputs, labels=labels).loss) == pytest.approx(expected, rel=1e-5)
    model.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=True)
    pairs = case.pairs(logits, counted)
    right = (pairs[0].argmax(-1) == pairs[1])[pairs[1] >= 0].mean()
    for data in ((inputs, labels), (inputs | {"labels": labels},)):
        result = model.evaluate(*data, batch_size=7, verbose=0, return_dict=True)
        assert result["loss"] == pytest.approx(expected, rel=1e-5)
        assert result["accuracy"] == pytest.approx(right)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss=loss, run_eagerly=True)
    assert model.evaluate(inputs, labels, batch_size=7, verbose=0) == pytest.approx(
        cross_entropy(logits, labels), rel=1e-5
    )


def test_answers_of_questions_see_every_position(family: Family) -> None:
    """Scores at padding are part of the loss, as in the reference, also where labels are given apart."""
    case = BY_NAME[family.prefix + "ForQuestionAnswering"]
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)
    outputs = model(inputs | {"start_positions": np.zeros(7, int), "end_positions": np.zeros(7, int)})
    assert np.abs(np.asarray(outputs.start_logits)[1, 3:] - np.asarray(model(inputs).start_logits)[1, 3:]).max() > 1e-3
    arrays = {name: np.asarray(outputs[name]) for name in ("start_logits", "end_logits")}
    expected = case.loss(arrays, labels)
    assert float(model(inputs | labels).loss) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(inputs, labels, batch_size=7, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", ["ForCausalLM", "ForMaskedLM", "ForTokenClassification"])
def test_weights_of_tokens(family: Family, task: str) -> None:
    """A weight goes where its label goes."""
    case = BY_NAME[family.prefix + task]
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), weighted_metrics=["accuracy"], run_eagerly=True)
    weight = np.random.default_rng(0).random((7, 6)).astype(np.float32)
    logits, ids, each = case.pairs(case.outputs(model)["logits"], labels["labels"], weight)
    counts = ids >= 0
    logits = logits.astype(np.float64)
    losses = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.where(counts, ids, 0)[..., None], -1)[..., 0]
    )
    result = model.evaluate(inputs, labels["labels"], sample_weight=weight, batch_size=7, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx((losses * each)[counts].sum() / counts.sum(), rel=1e-5)
    hits = (logits.argmax(-1) == ids)[counts]
    assert result["accuracy"] == pytest.approx((hits * each[counts]).sum() / each[counts].sum(), rel=1e-5)


@pytest.mark.parametrize("task", ["ForCausalLM", "ForMaskedLM", "ForTokenClassification"])
@pytest.mark.parametrize("shape", [(2, 1), (1, 4), (2,), (2, 3), (2, 4, 3), ()], ids=str)
def test_labels_that_are_not_one_for_each_token(family: Family, task: str, shape: tuple[int, ...]) -> None:
    model = BY_NAME[family.prefix + task].model()
    labels, mask = np.ones(shape, int), np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    message = r"labels must have shape \(2, 4\), one for each position with logits, got " + re.escape(f"{shape}")
    for given in ({"attention_mask": mask}, {"lengths": mask.sum(1)}, {}):
        with pytest.raises(InputError, match=message):
            model(ONES, labels=labels, **given)
    if shape[:1] == (2,):
        model.compile("sgd")
        with pytest.raises(InputError, match=r"labels must have shape \(.*, 4\), one for each position"):
            model.fit({"input_ids": ONES, "attention_mask": mask}, labels, verbose=0)


def test_labels_whose_shape_a_graph_does_not_know(family: Family) -> None:
    model = BY_NAME[family.prefix + "ForTokenClassification"].model()
    specs = [tf.TensorSpec([None, None], tf.int32)] * 3
    graph = tf.function(
        lambda ids, mask, labels: model(ids, attention_mask=mask, labels=labels).loss, input_signature=specs
    )
    labels, mask = np.array([[1, 2, 0, 1], [0, 1, -100, -100]], np.int32), np.array([[1] * 4, [1, 1, 0, 0]], np.int32)
    assert float(graph(ONES, mask, labels)) == pytest.approx(float(model(ONES, mask, labels=labels).loss), rel=1e-5)
    for wrong in (labels[:, :1], labels[:1], labels[:, :3]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels must have shape"):
            graph(ONES, mask, wrong)


# What changes of layers reach


def test_lora_and_quantization_reach_every_dense_layer(family: Family) -> None:
    config = family.config_of("ForCausalLM", num_hidden_layers=1, add_cross_attention=True)
    model, adapted = (perturb(family.cls("ForCausalLM")(config)) for _ in range(2))
    inputs = random_inputs(config)
    before = np.asarray(model(inputs).logits)
    model.quantize("int8")
    dense = {layer.path for layer in model._flatten_layers() if isinstance(layer, Dense)}
    modes = {layer.path: layer.quantization_mode for layer in model._flatten_layers() if isinstance(layer, Dense)}
    assert set(modes.values()) == {"int8"}
    for part in ("cross_attention/query", "cross_attention/output", "lm_transform/dense", "feed_forward/output"):
        assert any(part in path for path in dense), part
    after = np.asarray(model(inputs).logits)
    real = inputs["attention_mask"] == 1
    assert np.corrcoef(before[real].ravel(), after[real].ravel())[0, 1] > 0.999
    adapted.enable_lora(2)
    with_lora = {weight.path for weight in adapted.trainable_weights if "lora_" in weight.name}
    assert sum("cross_attention/query" in path for path in with_lora) == 2 and len(with_lora) == 8
    adapted.lm_transform.dense.enable_lora(2)
    np.testing.assert_allclose(np.asarray(adapted(inputs).logits)[real], before[real], atol=1e-5)


# Bad input


ONES = np.ones((2, 4), np.int32) * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"input_ids": ONES * 8}, r"input_ids must be in \[0, vocab_size = 37\): .*Found values from 40 to 40"),
        ({"input_ids": ONES, "token_type_ids": ONES}, r"token_type_ids must be in \[0, type_vocab_size = 2\).* 5 to 5"),
        ({"input_ids": ONES, "position_ids": ONES * 5}, r"position_ids must be in \[0, max_position_embeddings = 22\): "
         "truncate the text to 20 tokens"),
        ({"input_ids": np.full((2, 21), 5)}, r"max_position_embeddings = 22\): truncate the text to 20 tokens"),
        ({"inputs_embeds": np.zeros((2, 21, 16), np.float32)}, "truncate the text to 20 tokens.* from 2 to 22"),
        ({"input_ids": np.full((2, 23), 5)}, r"23 tokens is longer than .* = 22\. .*max_length=20"),
        ({"input_ids": ONES, "token_type_ids": ONES[:, :3]}, r"token_type_ids must have shape \(2, 4\), as input_ids"),
        ({"input_ids": ONES, "encoder_hidden_states": np.zeros((2, 3, 16), np.float32)}, "states are for a "
         r"model with cross-attention, which this one .*is_decoder=True, add_cross_attention=True"),
        ({"input_ids": ONES, "encoder_attention_mask": ONES}, "is that of encoder_hidden_states: give both, or none"),
        ({"input_ids": ONES, "past_key_values": {}}, r"A cache needs a causal model: .*config\.is_decoder is False"),
        ({"input_ids": ONES, "cache_position": 1}, "says where tokens go in a cache, but the call has no cache"),
        ({"input_ids": ONES, "head_mask": np.ones(3)}, r"head_mask must have shape \(2,\) or \(2, 2\), got \(3,\)"),
    ],
)  # fmt: skip
def test_bad_values(model: Any, call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**call)


def test_bad_values_inside_a_graph(model: Any) -> None:
    specs = [tf.TensorSpec([None, None], tf.int32)] * 2
    graph = tf.function(lambda ids, types: model(ids, token_type_ids=types)[0], input_signature=specs)
    for ids, types, message in [
        (ONES * 9, ONES * 0, "input_ids must be in"),
        (ONES, ONES, "token_type_ids must be in"),
        (
            np.full((1, 21), 5, np.int32),
            np.zeros((1, 21), np.int32),
            "truncate the text to 20 tokens",
        ),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            graph(ids, types)


def test_lengths_of_the_released_models(family: Family) -> None:
    changes = {"max_position_embeddings": 514, "num_hidden_layers": 1}
    model = family.cls("Model")(family.config.replace(**changes))
    assert model(np.full((1, 512), 5))[0].shape == (1, 512, 16)
    with pytest.raises(InputError, match=r"max_position_embeddings = 514\): truncate the text to 512 tokens"):
        model(np.full((1, 513), 5))
    # Padding has a position of its own.
    padded = np.pad(np.full((1, 512), 5), ((0, 0), (0, 2)), constant_values=family.config.pad_index)
    np.testing.assert_allclose(model(padded)[0][:, :512], model(padded[:, :512])[0], atol=1e-5)
    relative = family.cls("Model")(family.config.replace(position_embedding_type="relative_key_query"))
    assert relative(np.full((1, 22), 5))[0].shape == (1, 22, 16)
    with pytest.raises(InputError, match=r"23 tokens is longer than max_position_embeddings = 22\. Truncate"):
        relative(np.full((1, 23), 5))


def test_caches_are_as_long_as_relative_positions_reach(family: Family) -> None:
    changes = {"position_embedding_type": "relative_key", "is_decoder": True}
    model = family.cls("Model")(family.config.replace(**changes))
    assert model.make_cache(1).max_length == 22
    with pytest.raises(InputError, match="max_position_embeddings"):
        model.make_cache(1, 23)


def test_rows_of_padding_do_not_learn(family: Family) -> None:
    """Their gradient is zero in the reference too; labels at padding make others learn from them."""
    case = BY_NAME[family.prefix + "ForMaskedLM"]
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(1.0), run_eagerly=True)
    table = model.base_model.embeddings.tables["position"]
    before = table.embeddings.numpy()
    model.train_on_batch(inputs, labels["labels"])
    changed = np.any(table.embeddings.numpy() != before, axis=1)
    assert not changed[case.config().pad_index] and changed[2:7].all()


def test_tables_of_relative_positions_do_not_train_absolute_ones(family: Family) -> None:
    model = family.cls("Model")(family.config.replace(position_embedding_type="relative_key"))
    trainable = {weight.path for weight in model.trainable_weights}
    assert not any("embeddings/position" in path for path in trainable)
    assert sum("distance_embedding" in path for path in trainable) == 2
