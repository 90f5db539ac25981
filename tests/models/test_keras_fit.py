"""`fit`, `evaluate` and `predict` of every class: what data may look like, graphs, XLA, several outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import BY_NAME, CASES, ROWS, Arrays, Case, cross_entropy, sampled, span_loss
from tests.models.families import SWEEP, XLM
from tfxlm.errors import InputError

SIZE = 4  # of batches: 4 rows and 3


def dataset(*data: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(data if len(data) > 1 else data[0]).batch(SIZE)


class Batches(keras.utils.PyDataset):
    """The same batches from Python."""

    def __init__(self, *data: Any) -> None:
        super().__init__()
        self.batches = [keras.tree.map_structure(np.asarray, batch) for batch in dataset(*data)]
        self.epochs = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]

    def on_epoch_end(self) -> None:
        self.epochs += 1


def generator(*data: Any) -> Iterator[Any]:
    yield from Batches(*data).batches


def by_output(case: Case, labels: Arrays) -> Arrays:
    return {case.targets[name]: value for name, value in labels.items()}


def plain(labels: Arrays) -> Any:
    """Labels as Keras users give them: the only ones, or all in order."""
    return tuple(labels.values()) if len(labels) > 1 else next(iter(labels.values()))


def positional(case: Case, inputs: Arrays) -> list[Any]:
    names = case.cls.positional_arguments
    last = max(names.index(name) for name in inputs)
    return [inputs.get(name) for name in names[: last + 1]]


WAYS: dict[str, Callable[[Case, Arrays, Arrays], tuple[Any, ...]]] = {
    "arrays": lambda case, x, labels: (x, plain(labels)),
    "by label": lambda case, x, labels: (x, labels),
    "by output": lambda case, x, labels: (x, by_output(case, labels)),
    "inside x": lambda case, x, labels: (x | labels,),
    "x in order": lambda case, x, labels: (positional(case, x), plain(labels)),
    "dataset": lambda case, x, labels: (dataset(x, plain(labels)),),
    "dataset, by output": lambda case, x, labels: (dataset(x, by_output(case, labels)),),
    "dataset, inside x": lambda case, x, labels: (dataset(x | labels),),
    "PyDataset": lambda case, x, labels: (Batches(x, plain(labels)),),
    "PyDataset, inside x": lambda case, x, labels: (Batches(x | labels),),
    "generator": lambda case, x, labels: (generator(x, plain(labels)),),
    "generator, inside x": lambda case, x, labels: (generator(x | labels),),
}


@pytest.fixture(scope="module")
def model(case: Case) -> Any:
    """Without learning, so that all tests see the same weights; eager, as tracing costs seconds."""
    return case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)


# The ways that make batches differently are tried with every class, the others with one label and with several.
FOR_ALL = ("arrays", "inside x", "dataset", "PyDataset, inside x")
FOR_SOME = ("TFXLMForTokenClassification", "TFXLMForQuestionAnswering")


def is_tried(case: Case, way: str) -> bool:
    return SWEEP or case.family is not XLM or way in FOR_ALL or str(case) in FOR_SOME


TRIED = [pytest.param(case, way, id=f"{case}-{way}") for way in WAYS for case in sampled(way) if is_tried(case, way)]


@pytest.mark.parametrize(("case", "way"), TRIED, indirect=["case"], scope="module")
def test_ways_to_give_data(case: Case, model: Any, way: str) -> None:
    inputs, labels = case.data()
    expected = case.mean_of_batches(case.outputs(model), labels, SIZE)
    data, validation = (WAYS[way](case, inputs, labels) for _ in range(2))
    options: dict[str, Any] = {"batch_size": SIZE} if isinstance(data[0], dict | list) else {}
    options |= {"steps_per_epoch": 2} if "generator" in way else {}
    if way in ("arrays", "inside x", "dataset", "PyDataset"):
        options["validation_data"] = validation if len(validation) > 1 else validation[0]
    history = model.fit(*data, **options, shuffle=False, verbose=0).history
    assert history["loss"] == pytest.approx([expected], rel=1e-5)
    assert history.get("val_loss", [expected]) == pytest.approx([expected], rel=1e-5)
    if isinstance(data[0], Batches):
        assert data[0].epochs


def test_single_batches_and_splits(case: Case, model: Any) -> None:
    inputs, labels = case.data()
    outputs = case.outputs(model)
    expected = case.loss(outputs, labels)
    assert model.train_on_batch(inputs, plain(labels)) == pytest.approx(expected, rel=1e-5)
    assert model.test_on_batch(inputs | labels) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(inputs, plain(labels), ROWS, 0) == pytest.approx(expected, rel=1e-5)
    parts = [[{name: value[rows] for name, value in arrays.items()} for arrays in (outputs, labels)]
             for rows in (slice(4), slice(4, None))]  # fmt: skip
    # By position: x, y, batch_size, epochs, verbose, callbacks, validation_split.
    history = model.fit(inputs | labels, None, ROWS, 2, 0, None, 0.3, shuffle=False).history
    assert history["loss"] == pytest.approx([case.loss(*parts[0])] * 2, rel=1e-5)
    assert history["val_loss"] == pytest.approx([case.loss(*parts[1])] * 2, rel=1e-5)


def test_predict(case: Case, model: Any) -> None:
    inputs, labels = case.data()
    expected = model(inputs)
    for data in (inputs, inputs | labels, dataset(inputs, plain(labels)), positional(case, inputs)):
        predicted = model.predict(data, batch_size=SIZE if isinstance(data, dict | list) else None, verbose=0)
        assert type(predicted) is type(expected) and list(predicted) == list(expected)
        for name, value in predicted.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_predict_with_everything(case: Case) -> None:
    model = case.model(output_hidden_states=True, output_attentions=True)
    model.compile(run_eagerly=True)
    inputs, labels = case.data()
    expected = model(inputs)
    assert {"hidden_states", "attentions"} <= set(expected)
    predicted = model.predict(inputs | labels, batch_size=SIZE, verbose=0)
    assert list(predicted) == list(expected)
    for value, other in zip(keras.tree.flatten(predicted), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-5)


def losses_of(case: Case) -> dict[str, Any]:
    """A Keras loss for each output; see `Case.compiled_loss`."""
    if case.loss_function:
        return {"last_hidden_state": keras.losses.MeanSquaredError()}
    losses: dict[str, Any] = {
        output: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for output in case.targets.values()
    }
    if "answer_class_logits" in losses:
        losses["answer_class_logits"] = keras.losses.BinaryCrossentropy(from_logits=True)
    return losses


def test_compiled_losses(case: Case) -> None:
    inputs, labels = case.data()
    losses = losses_of(case)
    ways = [losses, {label: losses[output] for label, output in case.targets.items()}, list(losses.values())]
    if len(case.targets) < 3:
        ways.append(next(iter(losses.values())))  # one for all outputs
    model = case.model()
    expected = case.compiled_loss(case.outputs(model), labels)
    for loss in ways:
        case.compiled(keras.optimizers.SGD(0.0), model=model, loss=loss, run_eagerly=True)
        result = model.test_on_batch(inputs | labels, return_dict=True)
        assert result["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("return_dict", [True, False])
def test_compiled_losses_with_more_outputs(case: Case, return_dict: bool) -> None:
    model = case.model(output_hidden_states=True, output_attentions=True, return_dict=return_dict)
    inputs, labels = case.data()
    outputs = case.outputs(case.model())
    expected = case.compiled_loss(outputs, labels)
    case.compiled(keras.optimizers.SGD(0.0), model=model, loss=losses_of(case), run_eagerly=True)
    for data in ((inputs, plain(labels)), (inputs | labels,)):
        assert model.test_on_batch(*data, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-4)
    own = case.compiled(keras.optimizers.SGD(0.0), model=model, run_eagerly=True)
    assert own.test_on_batch(inputs | labels) == pytest.approx(case.loss(outputs, labels), rel=1e-4)


QUESTION_ANSWERING = [case for case in CASES if len(case.targets) > 1]


@pytest.mark.parametrize("case", sampled("several outputs", QUESTION_ANSWERING), ids=str)
@pytest.mark.parametrize("by", ["output", "label", "order"])
def test_several_outputs(case: Case, by: str) -> None:
    inputs, labels = case.data()
    model = case.model()
    outputs, names = case.outputs(model), list(case.targets.values())[:2]
    spans = dict(zip(("start_positions", "end_positions"), names, strict=True))

    def named(values: list[Any]) -> Any:
        keys = {"output": names, "label": list(spans)}.get(by)
        return values if keys is None else dict(zip(keys, values, strict=True))

    cross = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(0.0), loss=named([cross, cross]), loss_weights=named([0.25, 2.0]),
        metrics=named([["accuracy"], ["accuracy"]]), run_eagerly=True,
    )  # fmt: skip
    result = model.evaluate(inputs, labels, batch_size=ROWS, verbose=0, return_dict=True)
    each = [cross_entropy(outputs[output], labels[label]) for label, output in spans.items()]
    assert result["loss"] == pytest.approx(0.25 * each[0] + 2 * each[1], rel=1e-5)
    for (label, output), loss in zip(spans.items(), each, strict=True):
        assert result[f"{output}_loss"] == pytest.approx(loss, rel=1e-5)
        counts = (labels[label] >= 0) & (labels[label] < 6)
        right = outputs[output].argmax(-1) == labels[label]
        assert result[f"{output}_accuracy"] == pytest.approx(right[counts].mean())


@pytest.mark.parametrize("case", sampled("several outputs", QUESTION_ANSWERING), ids=str)
def test_labels_that_do_not_fit(case: Case) -> None:
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)
    only = {"start_positions": labels["start_positions"]}
    with pytest.raises(InputError, match=r"The labels have no end_positions\. The model learns from start_positions"):
        model.train_on_batch(inputs, only)
    with pytest.raises(InputError, match=r"y has no place for 'labels'\. The model learns from: start_positions, end"):
        model.train_on_batch(inputs, {"labels": only["start_positions"]})
    with pytest.raises(InputError, match=r"y has 4 arrays, but the model learns from \d: .* Give one array for each"):
        model.train_on_batch(inputs, tuple(labels["start_positions"] for _ in range(4)))
    weights = {"labels": np.ones(ROWS, np.float32)}
    with pytest.raises(InputError, match=r"sample_weight has no place for 'labels'"):
        model.train_on_batch(inputs, labels, sample_weight=weights)


def test_labels_in_a_list(case: Case, model: Any) -> None:
    """Lists of numbers; several labels in their order."""
    inputs, labels = case.data()
    expected = case.loss(case.outputs(model), labels)
    lists = [value.tolist() for value in labels.values()]
    assert model.train_on_batch(inputs, lists if len(lists) > 1 else lists[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", sampled("graphs", every=5), ids=str)
def test_graphs_learn_as_eager_code_does(case: Case) -> None:
    """Two epochs of batches of 4 and 3 rows, one batch or several in each execution: the same losses and weights."""
    inputs, labels = case.data()
    histories, weights = [], []
    for options in ({"run_eagerly": True}, {"jit_compile": False}, {"steps_per_execution": 2}):
        model = case.compiled(keras.optimizers.SGD(0.1), **options)
        data = dataset(inputs, plain(labels))
        histories.append(model.fit(data, epochs=2, verbose=0).history["loss"])
        weights.append(model.get_weights())
    assert histories[0][1] < histories[0][0]
    for history, values in zip(histories[1:], weights[1:], strict=True):
        np.testing.assert_allclose(history, histories[0], rtol=1e-5)
        for left, right in zip(values, weights[0], strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)
    # The last model answers from graphs too: three batches, in executions of two and one.
    expected = case.loss(case.outputs(model), labels)
    assert model.evaluate(inputs, plain(labels), batch_size=ROWS, verbose=0) == pytest.approx(expected, rel=1e-5)
    predicted, outputs = model.predict(inputs, batch_size=3, verbose=0), model(inputs)
    for name, value in predicted.items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-5)


@pytest.mark.parametrize("case", sampled("XLA", every=5), ids=str)
def test_xla_learns_as_eager_code_does(case: Case) -> None:
    inputs, labels = case.data()
    histories, weights = [], []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        model = case.compiled(keras.optimizers.SGD(0.1), **options)
        history = model.fit(inputs, plain(labels), batch_size=ROWS, epochs=3, shuffle=False, verbose=0).history
        histories.append(history["loss"])
        weights.append(model.get_weights())
    np.testing.assert_allclose(*histories, rtol=1e-5)
    for left, right in zip(*weights, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_adaptive_softmax() -> None:
    """A head that needs the labels in its call gets them from wherever they are, and gives no other answer."""
    case = BY_NAME["TFXLMWithLMHeadModel"]
    model = case.model(asm=True, asm_cutoffs=[10, 20])
    inputs, labels = case.data()
    outputs = {"logits": np.asarray(model(inputs).logits)}
    expected, whole = case.mean_of_batches(outputs, labels, SIZE), case.loss(outputs, labels)
    case.compiled(keras.optimizers.SGD(0.0), model=model, run_eagerly=True)
    for way in FOR_ALL:
        data = WAYS[way](case, inputs, labels)
        result = model.evaluate(
            *data, batch_size=SIZE if len(data) > 1 or isinstance(data[0], dict) else None, verbose=0
        )
        assert result == pytest.approx(expected, rel=1e-5)
    assert list(model.predict(inputs | labels, verbose=0)) == ["logits"]
    case.compiled(keras.optimizers.SGD(0.0), model=model, loss=losses_of(case), run_eagerly=True)
    assert model.test_on_batch(inputs, plain(labels)) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("return_dict", [True, False])
@pytest.mark.parametrize("loss", ["own", "compiled"])
def test_a_label_that_counts_for_nothing(loss: str, return_dict: bool) -> None:
    """Whether a question has an answer is judged where the call says at which token."""
    case = BY_NAME["TFXLMForQuestionAnswering"]
    inputs, labels = case.data()
    outputs = case.outputs(case.model())
    model = case.model(return_dict=return_dict, output_hidden_states=True)
    options = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)} if loss == "compiled" else {}
    case.compiled(keras.optimizers.SGD(0.0), model=model, run_eagerly=True, **options)
    del inputs["cls_index"]
    expected = span_loss(outputs, labels) * (2 if options else 1)
    for data in ((inputs, labels), (inputs | labels,)):
        assert model.test_on_batch(*data, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
