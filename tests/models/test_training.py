"""Keras training: own and compiled losses, every way to give labels, precision policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import perturb, random_inputs
from tests.models.cases import LANGUAGE_MODELS, Case, the
from tfxlm import TFXLMForSequenceClassification, TFXLMModel, XLMConfig
from tfxlm.errors import ArgumentError, InputError
from tfxlm.heads.decode import classification_scores

LENGTHS = (6, 3, 4, 2, 6, 5, 1)
LABELS = np.array([0, 2, 1, 1, 0, 2, 0])


# Integer types; those without a sign have no -100.
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.fixture(scope="module")
def small(config: XLMConfig) -> XLMConfig:
    return config.replace(n_layers=1, dropout=0.0, attention_dropout=0.0, summary_first_dropout=0.0)


@pytest.fixture(scope="module")
def inputs(small: XLMConfig) -> dict[str, np.ndarray]:
    return random_inputs(small, lengths=LENGTHS)


@pytest.fixture(scope="module")
def classifier(small: XLMConfig) -> TFXLMForSequenceClassification:
    """Compiled with its own loss and no learning, so that tests see the same weights."""
    model = perturb(TFXLMForSequenceClassification(small))
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    model.compile(keras.optimizers.SGD(0.0), metrics=metrics, run_eagerly=True)  # tracing costs seconds a test
    return model


def test_metrics_are_made_without_a_second_graph(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    """Those that are named are made in the first step, of what labels and outputs look like."""
    found = {}
    for eager in (True, False):
        model = perturb(TFXLMForSequenceClassification(small))
        calls: list[bool] = []
        own_loss = model.compute_loss
        model.compute_loss = lambda *args, calls=calls, own_loss=own_loss, **kwargs: (
            calls.append(tf.inside_function()) or own_loss(*args, **kwargs)
        )
        metrics = {"metrics": ["accuracy"], "weighted_metrics": ["sparse_categorical_crossentropy"]}
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=eager, **metrics)
        fitted = model.fit(inputs, LABELS, verbose=0, batch_size=7, epochs=2).history
        found[eager] = fitted | model.evaluate(inputs, LABELS, verbose=0, batch_size=7, return_dict=True)
        assert calls == ([False] * 3 if eager else [True] * 2)  # of a graph that learns, and one that does not
    assert found[True].keys() == found[False].keys() >= {"accuracy", "sparse_categorical_crossentropy"}
    for name, expected in found[True].items():
        np.testing.assert_allclose(found[False][name], expected, rtol=1e-5)


def test_no_labels(classifier: Any, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r'no labels to learn from\. Give them as y, in \(x, y\) batches, or as x\["'):
        classifier.fit(inputs, verbose=0)


def test_model_without_a_loss(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMModel(small)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    with pytest.raises(InputError, match=r"TFXLMModel has no loss of its own\. Give one to compile"):
        model.fit(inputs, LABELS, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), loss="mse", run_eagerly=True)
    target = np.zeros((7, 6, 16), np.float32)
    expected = np.mean(np.square(model(inputs).last_hidden_state))
    assert model.evaluate(inputs, target, verbose=0, batch_size=7) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_other_problems(small: XLMConfig, inputs: dict[str, np.ndarray], problem: str) -> None:
    model = perturb(TFXLMForSequenceClassification(small.replace(problem_type=problem)))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    targets = np.random.default_rng(0).integers(0, 2, (7, 3))
    logits = np.asarray(model(inputs).logits)
    each = (targets - logits) ** 2 if problem == "regression" else np.logaddexp(0, logits) - targets * logits
    assert model.evaluate(inputs, targets, verbose=0, batch_size=7) == pytest.approx(each.mean(), rel=1e-5)


def test_problem_type_is_kept_from_the_first_labels(
    small: XLMConfig, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    model = TFXLMForSequenceClassification(small)
    assert model.config.problem_type is None
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(inputs, np.random.default_rng(0).integers(0, 2, (7, 3)).astype(np.float32), verbose=0, batch_size=7)
    model.save_pretrained(tmp_path)
    assert XLMConfig.from_pretrained(tmp_path).problem_type == "multi_label_classification"
    scores = classification_scores(model(inputs).logits, model.config.problem_type)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.asarray(model(inputs).logits))), rtol=1e-5)
    with pytest.raises(InputError, match=r"For multi_label_classification with num_labels = 3, .*problem_type="):
        model(inputs, labels=LABELS)


def test_labels_that_do_not_fit_leave_the_configuration(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMForSequenceClassification(small)
    with pytest.raises(InputError, match=r"labels must have shape \(7,\) or \(7, 1\), got int32 of shape \(7, 3\)"):
        model(inputs, labels=np.zeros((7, 3), int))
    with pytest.raises(InputError, match="labels must be numbers, got str"):
        model(inputs, labels=np.array(["yes"] * 7))
    assert model.config.problem_type is None
    assert np.isfinite(model(inputs, labels=LABELS).loss)
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("case", the("ForSequenceClassification"), ids=str)
@pytest.mark.parametrize("remove_padding", [True, False])
def test_a_row_of_padding_poisons_nothing(case: Case, remove_padding: bool) -> None:
    model = case.model(dtype="mixed_float16")
    model.base_model.remove_padding = remove_padding
    x = random_inputs(model.config, lengths=(4, 0))
    with tf.GradientTape() as tape:
        outputs = model(x, labels=np.array([1, 0]), output_hidden_states=True)
    gradients = tape.gradient(outputs.loss, [weight.value for weight in model.trainable_weights])
    for tensor in (outputs.loss, outputs.logits, *outputs.hidden_states, *gradients):
        assert np.all(np.isfinite(np.asarray(tensor, np.float32)))


@pytest.mark.parametrize("case", LANGUAGE_MODELS, ids=str)
def test_language_model_learns_chosen_positions(case: Case) -> None:
    model, inputs = case.cls(case.config()), case.inputs()
    model.compile(keras.optimizers.Adam(1e-2))
    rng = np.random.default_rng(0)
    positions = rng.integers(0, 6, (7, 2))
    labels = np.where(rng.random((7, 2)) < 0.8, np.take_along_axis(inputs["input_ids"], positions, 1), -100)
    x = inputs | {"masked_positions": positions, "labels": labels}
    losses = model.fit(x, batch_size=7, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    weight = (labels != -100).astype(np.float32)
    logits = np.asarray(model(inputs | {"masked_positions": positions}).logits, np.float64)
    each = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
    expected = (each * weight).sum() / weight.sum()
    assert model.evaluate(x, batch_size=7, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_fixed_positions_do_not_train(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMForSequenceClassification(small.replace(sinusoidal_embeddings=True))
    position = model.base_model.embeddings.tables["position"]
    before = position.embeddings.numpy()
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1), run_eagerly=True)
    model.train_on_batch(inputs, LABELS)
    np.testing.assert_array_equal(position.embeddings, before)


@pytest.mark.parametrize("case", the("Model"), ids=str)
def test_graphs_are_the_choice_on_a_gpu(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA would compute padding, so it is for those who ask for it; Keras itself takes it where there is a GPU."""
    devices = [tf.config.PhysicalDevice(f"/physical_device:{kind}:0", kind) for kind in ("CPU", "GPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices)
    plain = keras.Sequential([keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    assert plain.jit_compile is True
    model = case.model()
    assert model.jit_compile is False
    for options, expected in (({}, False), ({"jit_compile": "auto"}, False), ({"jit_compile": True}, True)):
        model.compile("sgd", "mse", **options)
        assert model.jit_compile is expected
        assert model.get_compile_config()["jit_compile"] is expected  # what a file says


@pytest.mark.parametrize("case", the("Model"), ids=str)
def test_dropout_is_on_only_in_training(case: Case) -> None:
    model, x = case.model(**{case.family.dropout[0]: 0.5}), case.inputs()
    np.testing.assert_array_equal(model(x)[0], model(x, training=False)[0])
    assert np.abs(np.asarray(model(x, training=True)[0]) - np.asarray(model(x)[0])).max() > 0.1


@pytest.mark.parametrize("case", [*LANGUAGE_MODELS, *the("ForCausalLM")], ids=str)
def test_labels_of_any_integer_type(case: Case) -> None:
    """A decoder's labels are moved by one position, and what comes in from the right counts for nothing."""
    model = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)
    inputs = case.inputs()
    labels = inputs["input_ids"] % 7
    expected = model.evaluate(inputs, labels, verbose=0)
    for dtype in INTEGERS:
        assert model.evaluate(inputs, labels.astype(dtype), verbose=0) == expected, dtype


def test_the_loss_that_scripts_for_transformers_compute(
    classifier: TFXLMForSequenceClassification, inputs: dict[str, np.ndarray]
) -> None:
    outputs = classifier(inputs, labels=LABELS)
    for logits in (outputs.logits, outputs):
        assert classifier.hf_compute_loss(LABELS, logits) == outputs.loss
    assert classifier.hf_compute_loss({"labels": LABELS}, [outputs.logits]) == outputs.loss
    (case,) = the("ForQuestionAnsweringSimple")
    reader, (texts, spans) = case.model(), case.data()
    starts, ends = spans["start_positions"], spans["end_positions"]
    answer = reader(texts, **spans)
    named = {"start_position": starts, "end_position": ends}
    assert reader.hf_compute_loss(named, (answer.start_logits, answer.end_logits)) == answer.loss
    with pytest.raises(InputError, match="have no end_positions"):
        reader.hf_compute_loss({"start_position": starts}, answer)


def test_weights_of_losses_need_losses(small: XLMConfig) -> None:
    with pytest.raises(ArgumentError, match="loss_weights are those of compiled losses"):
        TFXLMForSequenceClassification(small).compile("sgd", loss_weights=[2.0])


def test_labels_without_a_known_number_of_axes(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMForSequenceClassification(small)
    model.compile("sgd")
    data = tf.data.Dataset.from_tensor_slices((inputs, LABELS)).batch(7)
    unknown = data.map(lambda x, y: (x, tf.numpy_function(lambda labels: labels, [y], tf.int64)))
    with pytest.raises(
        Exception, match=r"labels has an unknown number of axes.*tf\.ensure_shape\(labels, \[None\] \* 1\)"
    ):
        model.fit(unknown, verbose=0)
    model.fit(unknown.map(lambda x, y: (x, tf.ensure_shape(y, [None]))), verbose=0)


def test_a_class_of_ones_own_may_have_its_own_call(small: XLMConfig, inputs: dict[str, np.ndarray]) -> None:
    class Doubled(TFXLMForSequenceClassification):
        def call(self, input_ids: Any = None, **others: Any) -> Any:
            return 2 * super().call(input_ids, **others).logits

    model = perturb(Doubled(small))
    plain = TFXLMForSequenceClassification(small)
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(model(inputs), 2 * plain(inputs).logits, rtol=1e-6)
