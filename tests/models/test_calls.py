"""The battery for every class, and the contract of a call, which the families share."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import check_model, perturb, random_inputs, unused_rules
from tests.models.families import FAMILIES, ROBERTAS, SWEEP, XLM, Family
from tfxlm.errors import ArgumentError, ConfigError, InputError

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True, "n_langs": 1, "lang2id": {}, "id2lang": {}, "gelu_activation": False,
               "summary_type": "last"},
    "sinusoidal": {"sinusoidal_embeddings": True, "use_lang_emb": False, "summary_type": "mean",
                   "summary_use_proj": False},
}  # fmt: skip
OF_ROBERTAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decoder": {"is_decoder": True, "add_cross_attention": True, "hidden_act": "relu", "type_vocab_size": 1},
    "relative_key": {"position_embedding_type": "relative_key", "hidden_act": "silu"},
    "relative_key_query": {"position_embedding_type": "relative_key_query", "is_decoder": True, "pad_token_id": 3},
}
# The tasks to try each with: variants with relative positions differ in the body alone, and others look at no encoder.
OF_BODIES = {
    "decoder": ("Model", "ForCausalLM", "ForMaskedLM"),
    "relative_key": ("Model",),
    "relative_key_query": ("Model", "ForMaskedLM"),
}

BATTERY = [
    pytest.param(family, task, changes, id=f"{family}{task}-{name}")
    for family in FAMILIES
    for name, changes in (VARIANTS if family is XLM else OF_ROBERTAS).items()
    for task in family.tasks
    if SWEEP or task in OF_BODIES.get(name, family.tasks)
]


@pytest.mark.parametrize(("family", "task", "changes"), BATTERY)
def test_battery(family: Family, task: str, changes: dict[str, Any], tmp_path: Path) -> None:
    check_model(family.cls(task), family.config_of(task, num_hidden_layers=1, **changes), tmp_path)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_rule_of_a_name_map_is_useless(family: Family) -> None:
    variants = [{}] if family is XLM else [{}, OF_ROBERTAS["decoder"], OF_ROBERTAS["relative_key"]]
    models = [
        family.cls(task)(family.config_of(task, num_hidden_layers=1, **changes))
        for changes in variants
        for task in family.tasks
    ]
    if family is XLM:
        models.append(family.cls("WithLMHeadModel")(XLM.config.replace(asm=True, asm_cutoffs=[10, 20])))
    assert unused_rules(models) == []


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def model(family: Family) -> Any:
    """The one without a head."""
    return perturb(family.cls("Model")(family.config))


@pytest.fixture(scope="module")
def lm(family: Family) -> Any:
    return perturb(family.cls(family.language_model)(family.config))


@pytest.fixture(scope="module")
def inputs(family: Family) -> dict[str, np.ndarray]:
    return random_inputs(family.config)


def test_forms_of_a_call(model: Any, inputs: dict[str, np.ndarray]) -> None:
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    more = {name: value for name, value in rest.items() if name != "attention_mask"}
    in_order = [inputs.get(name) for name in model.positional_arguments]
    expected = model(inputs).last_hidden_state
    tensors = {name: tf.constant(value, tf.int64) for name, value in inputs.items()}
    lists = {name: value.tolist() for name, value in inputs.items()}
    calls = [
        model(*in_order),
        model(ids, mask, **more),
        model(ids, **rest),
        model(**inputs),
        model(in_order),
        model(tuple(in_order)),
        model({"input_ids": ids}, **rest),
        model(inputs | {"position_ids": None}),
        model(tensors),
        model(lists),
        model(ids, None, lengths=mask.sum(1), **more),
        model(ids, **more),
        model(inputs, training=False),
    ]
    for outputs in calls:
        np.testing.assert_allclose(outputs.last_hidden_state, expected, atol=1e-6)
    for dtype in ("int8", "uint8", "int16", "int32", "int64"):
        outputs = model({name: value.astype(dtype) for name, value in inputs.items()})
        np.testing.assert_array_equal(outputs[0], expected)
    for kind in (bool, np.float32):
        np.testing.assert_array_equal(model(ids, mask.astype(kind), **more)[0], expected)


def test_flags_in_the_dict(model: Any, inputs: dict[str, np.ndarray]) -> None:
    names = list(model(inputs))
    outputs = model(inputs | {"output_hidden_states": True, "output_attentions": True})
    assert list(outputs) == [*names, "hidden_states", "attentions"]
    assert len(outputs.hidden_states) == 3 and len(outputs.attentions) == 2
    assert outputs.attentions[0].shape == (3, 2, 6, 6)
    as_tuple = model(inputs | {"return_dict": False}, output_hidden_states=True)
    assert type(as_tuple) is tuple and len(as_tuple) == len(names) + 1
    # Attentions keep the padding, so the kernels that run are others.
    np.testing.assert_allclose(as_tuple[0], outputs[0], atol=1e-5)
    np.testing.assert_allclose(as_tuple[-1][-1], outputs.hidden_states[-1], atol=1e-5)


def test_configured_outputs(family: Family, inputs: dict[str, np.ndarray]) -> None:
    model = family.cls("Model")(family.config.replace(output_hidden_states=True, output_attentions=True))
    names = list(model(inputs))
    assert {"hidden_states", "attentions"} < set(names)
    model.config = model.config.replace(return_dict=False)
    assert len(model(inputs)) == len(names)
    assert list(model(inputs, return_dict=True, output_attentions=False)) == names[:-1]


def test_outputs_object(model: Any, inputs: dict[str, np.ndarray]) -> None:
    outputs = model(inputs)
    assert outputs.hidden_states is None and "hidden_states" not in outputs
    assert outputs[0] is outputs["last_hidden_state"] and outputs[:] == outputs.to_tuple()
    assert len(outputs) == len(outputs.to_tuple()) and outputs[-1] is outputs.to_tuple()[-1]
    message = rf"{type(outputs).__name__} has no output 'logits'\. It has: last_hidden_state"
    with pytest.raises(AttributeError, match=message):
        outputs.logits  # noqa: B018
    with pytest.raises(KeyError):
        outputs["logits"]


def test_what_is_set_on_an_outputs_object_is_its_output(model: Any, inputs: dict[str, np.ndarray]) -> None:
    outputs = model(inputs)
    outputs.last_hidden_state = changed = outputs.last_hidden_state * 2
    outputs.attentions = ("one",)
    outputs.mine = 5  # no output: an attribute like any other
    assert outputs[0] is outputs["last_hidden_state"] is outputs.last_hidden_state is changed
    assert list(outputs)[-1] == "attentions" and outputs[-1] == outputs.attentions == ("one",) and outputs.mine == 5
    outputs.attentions = None
    assert outputs.attentions is None and "attentions" not in outputs


def test_pruned_heads(family: Family, inputs: dict[str, np.ndarray]) -> None:
    model = family.cls("Model")(family.config.replace(pruned_heads={0: [1]}))
    assert [weights.shape[1] for weights in model(inputs, output_attentions=True).attentions] == [1, 2]
    with pytest.raises(InputError, match=r"A model with pruned_heads takes no head_mask: .* Leave head_mask out"):
        model(inputs, head_mask=np.ones(2))


def test_one_token_gives_no_warning(family: Family, lm: Any) -> None:
    classifier = family.cls("ForSequenceClassification")(family.config)
    one = np.array([[4]])
    langs = {"langs": one * 0} if family is XLM else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classifier(one, **langs).logits.shape == (1, 3)
        assert lm(one, **langs).logits.shape == (1, 1, 37)


@pytest.mark.parametrize("dtype", ["foo", "int32", 7, "string"])
def test_dtypes_that_a_model_cannot_have(family: Family, dtype: Any) -> None:
    with pytest.raises(ConfigError, match=rf"dtype must be a floating point dtype or a Keras .*got {dtype!r}"):
        family.cls("Model")(family.config, dtype=dtype)


def test_inputs_embeds(family: Family, model: Any, inputs: dict[str, np.ndarray]) -> None:
    """Their positions are those of words that are no padding, wherever they are in a row."""
    table = np.asarray(model.get_input_embeddings().embeddings)
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    outputs = model(inputs_embeds=table[inputs["input_ids"]], **rest)
    real = inputs["attention_mask"] == 1
    np.testing.assert_allclose(np.asarray(outputs[0])[real], np.asarray(model(inputs)[0])[real], atol=1e-6)


def test_unknown_doubled_and_missing_arguments(model: Any, inputs: dict[str, np.ndarray]) -> None:
    ids, names = inputs["input_ids"], model.positional_arguments
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with pytest.raises(ArgumentError, match=r"does not take 'special_tokens_mask'. It takes: input_ids, .*Remove"):
        model(inputs | {"special_tokens_mask": ids})
    with pytest.raises(ArgumentError, match=r"Given twice, in the first argument and by name: attention_mask. Give"):
        model(inputs, attention_mask=inputs["attention_mask"])
    with pytest.raises(ArgumentError, match="Given twice, by position and by name: input_ids"):
        model(ids, input_ids=ids)
    count = len(names)
    for call in ([ids] * (count + 1),), [ids] * (count + 1):
        with pytest.raises(ArgumentError, match=rf"takes {count} inputs by position \({names[0]}, .*got {count + 1}"):
            model(*call)
    with pytest.raises(InputError, match=r"Give input_ids or inputs_embeds\."):
        model(**rest)
    with pytest.raises(InputError, match="Give input_ids or inputs_embeds, not both"):
        model(inputs_embeds=np.zeros((3, 6, 16), np.float32), **inputs)
    with pytest.raises(TypeError, match=r"does not take 'lang'\. It takes: input_ids, attention_mask, "):
        model(ids, lang=ids)


@pytest.mark.filterwarnings("ignore:.*has no langs")
def test_rows_of_numbers_are_one_tensor(model: Any, inputs: dict[str, np.ndarray]) -> None:
    inputs = {name: value for name, value in inputs.items() if name != "attention_mask"}
    lists = {name: value.tolist() for name, value in inputs.items()}
    ids, more = lists["input_ids"], {name: value for name, value in lists.items() if name != "input_ids"}
    expected = model(inputs)[0]
    in_order = [lists.get(name) for name in model.positional_arguments[:3]]
    calls = [model(*in_order), model(in_order), model(**lists), model(lists), model(tuple(map(tuple, ids)), **more)]
    for outputs in calls:
        np.testing.assert_array_equal(outputs[0], expected)
    with pytest.raises(InputError, match=r"input_ids must have shape \(batch, length\), got \(2,\)"):
        model([4, 5])
    with pytest.raises(InputError, match=r"input_ids must be integers in rows of one length: .*Pad them: tokenizer\("):
        model([[4, 5], [6]])


def test_padding_may_hold_any_id_where_the_mask_says_so(model: Any, inputs: dict[str, np.ndarray]) -> None:
    ids = np.where(inputs["attention_mask"], inputs["input_ids"], 0)
    np.testing.assert_array_equal(model(inputs | {"input_ids": ids})[0], model(inputs)[0])


def test_language_model_is_tied(lm: Any, inputs: dict[str, np.ndarray]) -> None:
    outputs = lm(inputs, output_hidden_states=True)
    table = np.asarray(lm.get_input_embeddings().embeddings)
    transform = getattr(lm, "lm_transform", np.asarray)
    expected = np.asarray(transform(outputs.hidden_states[-1])) @ table.T + np.asarray(lm.get_bias()["bias"])
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-4)
    assert sum(37 in weight.shape for weight in lm.weights) == 2


def test_chosen_positions(lm: Any, inputs: dict[str, np.ndarray]) -> None:
    full = lm(inputs).logits.numpy()
    positions = np.array([[0, 5], [2, 1], [3, 3]])
    chosen = lm(inputs | {"masked_positions": positions}).logits
    np.testing.assert_allclose(chosen, np.take_along_axis(full, positions[..., None], 1), atol=1e-5)
    for one in (1, np.int64(1)):
        np.testing.assert_allclose(lm(inputs, logits_to_keep=one).logits, full[:, -1:], atol=1e-5)
    with pytest.raises(InputError, match=r"masked_positions must have 3 rows, as the batch has, got 1"):
        lm(inputs, masked_positions=positions[:1])
    with pytest.raises(InputError, match=r"masked_positions must be positions within the sequence\. Found"):
        lm(inputs, masked_positions=positions + 2**32)
    with pytest.raises(InputError, match=r"labels must be in \[0, vocab_size = 37\), or -100 .*from 2147483647"):
        lm(inputs, labels=np.full((3, 6), 2**32, np.uint64))
    with pytest.raises(InputError, match=r"labels must have shape \(3, 2\).* got \(3, 6\)"):
        lm(inputs, masked_positions=positions, labels=inputs["input_ids"])


def test_labels_give_a_loss(family: Family, inputs: dict[str, np.ndarray]) -> None:
    classifier = perturb(family.cls("ForSequenceClassification")(family.config))
    labels = np.array([0, 2, 1])
    outputs = classifier(inputs, labels=labels)
    assert list(outputs) == ["loss", "logits"] and outputs[0].shape == ()
    logits = outputs.logits.numpy().astype(np.float64)
    picked = np.exp(logits[range(3), labels]) / np.exp(logits).sum(-1)
    np.testing.assert_allclose(outputs.loss, -np.log(picked).mean(), rtol=1e-5)


def test_functional_use(model: Any, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    given = {name: keras.Input((None,), dtype="int32", name=name) for name in inputs}
    scores = keras.layers.Dense(2, name="scores")(model(given).last_hidden_state[:, 0])
    around = keras.Model(given, scores)
    expected = around.layers[-1](model(inputs).last_hidden_state[:, 0])
    np.testing.assert_allclose(around(inputs), expected, atol=1e-6)
    np.testing.assert_allclose(around.predict(inputs, verbose=0), expected, atol=1e-5)
    around.save(tmp_path / "functional.keras")
    again = keras.saving.load_model(tmp_path / "functional.keras")
    np.testing.assert_allclose(again(inputs), expected, atol=1e-6)


def test_as_part_of_another_model(family: Family, model: Any, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    class Wrapped(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = perturb(family.cls("Model")(model.config))

        def call(self, x: Any) -> Any:
            return self.encoder(x).last_hidden_state[:, 0]

    wrapped = Wrapped()
    expected = wrapped(inputs)
    wrapped.encoder.save_pretrained(tmp_path)
    np.testing.assert_array_equal(type(model).from_pretrained(tmp_path)(inputs)[0][:, 0], expected)


def test_dummy_inputs_and_numbers_of_parameters(family: Family, model: Any) -> None:
    inputs, shape = model.dummy_inputs, (3, 5) if family is XLM else (1, 2)
    assert set(inputs) == {"input_ids", "attention_mask", "langs" if family is XLM else "token_type_ids"}
    assert model(inputs).last_hidden_state.shape == (*shape, 16)
    chooser = family.cls("ForMultipleChoice")(family.config)
    assert chooser(chooser.dummy_inputs).logits.shape == ((2, 2) if family is XLM else (1, 2))
    tables = sum(int(np.prod(table.embeddings.shape)) for table in model.base_model.embeddings.tables.values())
    assert model.num_parameters() - model.num_parameters(exclude_embeddings=True) == tables
    assert model.num_parameters() == sum(int(np.prod(weight.shape)) for weight in model.weights)


@pytest.mark.parametrize("task", ["Model", "ForSequenceClassification", "ForQuestionAnswering"])
def test_tables_of_examples(family: Family, task: str) -> None:
    """Columns that a class does not take are left out, and it learns from the rest."""
    model = family.cls(task)(family.config_of(task))
    table = random_inputs(family.config, lengths=(4, 4, 4))
    table |= {"text": np.array(["a", "b", "c"]), "label": np.array([0, 2, 1])}
    table |= {"start_positions": np.array([1, 0, 3]), "end_positions": np.array([2, 0, 3])}
    batch = next(iter(model.prepare_tf_dataset(table, batch_size=2, shuffle=False)))
    x, y = batch if isinstance(batch, tuple) else (batch, None)
    assert set(x) == set(random_inputs(family.config)) and len(x["input_ids"]) == 2
    if task == "ForSequenceClassification":
        np.testing.assert_array_equal(y, [0, 2])
    elif task == "ForQuestionAnswering":
        assert set(y) >= {"start_positions", "end_positions"}
    model(x)


@pytest.mark.parametrize("family", ROBERTAS, ids=str)
@pytest.mark.parametrize("task", ["ForMaskedLM", "ForCausalLM", "ForQuestionAnswering"])
def test_configurations_that_a_class_cannot_do(family: Family, task: str) -> None:
    cls = family.cls(task)
    if task == "ForQuestionAnswering":
        with pytest.raises(ConfigError, match="scores starts and ends, so num_labels must be 2; got 3"):
            cls(family.config)
    else:
        message = f"a kernel of its own, which {cls.__name__} does not have. Use a config with tie_word_embeddings=True"
        with pytest.raises(ConfigError, match=message):
            cls(family.config_of(task, tie_word_embeddings=False))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_shapes_of_choices(family: Family) -> None:
    """Messages speak of the shapes that were given; positions may be those of one text, for all."""
    model = perturb(family.cls("ForMultipleChoice")(family.config))
    inputs = random_inputs(family.config, lengths=(6, 2, 3, 6, 4, 5), choices=2)
    for name, shape in (("attention_mask", (3, 1, 5)), ("attention_mask", (3, 2, 5)), ("position_ids", (1, 1, 5))):
        message = rf"{name} must have shape \(batch, choices, length\), here \(3, 2, 6\), as the words have, got "
        with pytest.raises(InputError, match=message + re.escape(f"{shape}.")):
            model(inputs | {name: np.ones(shape, np.int32)})
    with pytest.raises(InputError, match=r"lengths must have shape \(batch, choices\), here \(3, 2\), .* got \(3, 3\)"):
        model(inputs | {"lengths": np.ones((3, 3), np.int32)})
    positions = np.random.default_rng(0).integers(3, 20, (3, 2, 6))
    for part in (positions[:1, :1], positions[:1], positions[:, :1]):
        expected = model(inputs | {"position_ids": np.broadcast_to(part, (3, 2, 6))}).logits
        np.testing.assert_array_equal(model(inputs | {"position_ids": part}).logits, expected)
