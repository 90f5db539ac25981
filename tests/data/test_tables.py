"""Tables as batches: `prepare_tf_dataset` and what is under it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.example_files import ROOT
from tfxlm import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMModel,
    XLMConfig,
    XLMTokenizer,
)
from tfxlm.errors import InputError

CHECKPOINT = ROOT / "examples" / "checkpoint"
TEXTS = ["Play some jazz.", "Will it rain in Paris tomorrow?", "Wake me at seven.", "Order two pizzas, please.", "Hi!"]


class Table:
    """As much of a `datasets.Dataset` as is needed."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns
        self.column_names = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows: list[int]) -> dict[str, list[Any]]:
        return {name: [column[row] for row in rows] for name, column in self.columns.items()}


@pytest.fixture(scope="module")
def tokenizer() -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(CHECKPOINT)


def made(cls: Any, **fields: Any) -> Any:
    config = XLMConfig.from_pretrained(CHECKPOINT)
    return cls(config.replace(emb_dim=8, n_heads=2, n_layers=1, dropout=0.0, **fields))


@pytest.fixture(scope="module")
def columns(tokenizer: XLMTokenizer) -> dict[str, list[Any]]:
    encoded = tokenizer(TEXTS, lang="en")
    return {"text": TEXTS, **encoded, "label": [0, 1, 2, 3, 4]}


def forms(columns: dict[str, list[Any]]) -> dict[str, Any]:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"columns": columns, "rows": rows, "table": Table(columns)}


@pytest.mark.parametrize("form", ["columns", "rows", "table"])
def test_batches_are_what_the_tokenizer_pads(form: str, columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMForSequenceClassification, num_labels=5)
    data = model.prepare_tf_dataset(forms(columns)[form], batch_size=2, shuffle=False, tokenizer=tokenizer)
    assert int(data.cardinality()) == 3
    batches = list(data.as_numpy_iterator())
    for start, (x, y) in zip((0, 2, 4), batches, strict=True):
        expected = tokenizer(TEXTS[start : start + 2], lang="en", padding=True, return_tensors="np")
        assert set(x) == {"input_ids", "attention_mask", "langs"}
        for name, value in x.items():
            np.testing.assert_array_equal(value, expected[name])
        np.testing.assert_array_equal(y, np.arange(start, min(start + 2, 5)))


def test_a_model_learns_from_it(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    keras.utils.set_random_seed(1)
    model = made(TFXLMForSequenceClassification, num_labels=5)
    data = model.prepare_tf_dataset(columns, batch_size=2, shuffle=True, drop_remainder=False, tokenizer=tokenizer)
    model.compile(keras.optimizers.Adam(0.05), metrics=["accuracy"])
    losses = model.fit(data, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(data.map(lambda x, y: x), verbose=0)["logits"].shape == (5, 5)


def test_order(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMForSequenceClassification, num_labels=5)
    keras.utils.set_random_seed(3)
    data = model.prepare_tf_dataset(columns, batch_size=2, tokenizer=tokenizer)
    assert int(data.cardinality()) == 2
    epochs = [[int(label) for _, y in data for label in y] for _ in range(6)]
    assert len({tuple(epoch) for epoch in epochs}) > 1 and all(len(set(epoch)) == 4 for epoch in epochs)
    keras.utils.set_random_seed(3)
    again = model.prepare_tf_dataset(columns, batch_size=2, tokenizer=tokenizer)
    assert [[int(label) for _, y in again for label in y] for _ in range(6)] == epochs


def test_labels_for_each_token_are_padded_as_ignored(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMForTokenClassification, num_labels=3)
    labels = [[index % 3 for index, _ in enumerate(row)] for row in columns["input_ids"]]
    table = {"input_ids": columns["input_ids"], "langs": columns["langs"], "labels": labels}
    ((x, y),) = model.prepare_tf_dataset(table, batch_size=5, shuffle=False, tokenizer=tokenizer)
    for row, value, ids in zip(labels, y.numpy(), x["input_ids"].numpy(), strict=True):
        np.testing.assert_array_equal(value[: len(row)], row)
        assert np.all(value[len(row) :] == -100) and np.all(ids[len(row) :] == tokenizer.pad_token_id)


def test_several_labels_and_choices(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMForQuestionAnsweringSimple, num_labels=2)
    spans = {"start_positions": [1, 1, 2, 1, 1], "end_positions": [2, 3, 2, 2, 1]}
    table = {**columns, **spans}
    x, y = next(iter(model.prepare_tf_dataset(table, batch_size=4, shuffle=False, tokenizer=tokenizer)))
    assert set(y) == set(spans) and "label" not in x and np.array_equal(y["end_positions"], [2, 3, 2, 2])
    model.compile("adam")
    model.fit(model.prepare_tf_dataset(table, batch_size=2, tokenizer=tokenizer), verbose=0)

    chooser = made(TFXLMForMultipleChoice)
    encoded = [tokenizer([text, text + " Yes."], lang="en") for text in TEXTS]
    rows = [{**row, "label": 1} for row in encoded]
    x, y = next(iter(chooser.prepare_tf_dataset(rows, batch_size=3, shuffle=False, tokenizer=tokenizer)))
    assert (
        x["input_ids"].shape
        == x["langs"].shape
        == (3, 2, max(len(ids) for row in encoded[:3] for ids in row["input_ids"]))
    )
    assert np.array_equal(y, [1, 1, 1])
    np.testing.assert_array_equal(x["input_ids"][0, 0, : len(encoded[0]["input_ids"][0])], encoded[0]["input_ids"][0])
    assert chooser(x).logits.shape == (3, 2)
    # Graphs know neither the number of choices nor their length.
    chooser.compile("sgd")
    losses = chooser.fit(chooser.prepare_tf_dataset(rows, batch_size=2, tokenizer=tokenizer), verbose=0).history["loss"]
    assert np.isfinite(losses).all()


def test_rows_with_other_numbers_of_choices_are_refused(tokenizer: XLMTokenizer) -> None:
    rows = [{**tokenizer(TEXTS[:count], lang="en"), "label": 0} for count in (2, 3)]
    with pytest.raises(InputError, match=r"different numbers of choices, \[2, 3\]"):
        list(made(TFXLMForMultipleChoice).prepare_tf_dataset(rows, batch_size=2, shuffle=False, tokenizer=tokenizer))


def test_without_labels_and_without_padding(tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMModel)
    table = dict(tokenizer(TEXTS, lang="en", padding=True, return_tensors="np"))
    (x,) = model.prepare_tf_dataset({**table, "text": TEXTS}, batch_size=5, shuffle=False, prefetch=False)
    assert set(x) == set(table) and model(x).last_hidden_state.shape == (5, table["input_ids"].shape[1], 8)


def test_a_collate_function_of_the_callers(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    model = made(TFXLMForSequenceClassification, num_labels=5)

    def collate(rows: list[dict[str, Any]], length: int) -> dict[str, Any]:
        ids = np.array([(row["input_ids"] + [2] * length)[:length] for row in rows])
        return {"input_ids": tf.constant(ids), "label_ids": [row["labels"] for row in rows], "text": ["" for _ in rows]}

    data = model.prepare_tf_dataset(columns, 2, False, collate_fn=collate, collate_fn_args={"length": 9})
    x, y = next(iter(data))
    assert set(x) == {"input_ids"} and x["input_ids"].shape == (2, 9) and np.array_equal(y, [0, 1])


def test_what_is_no_table(columns: dict[str, list[Any]], tokenizer: XLMTokenizer) -> None:
    prepare = made(TFXLMForSequenceClassification).prepare_tf_dataset
    with pytest.raises(InputError, match=r"datasets.Dataset, a list of dicts or a mapping of columns, got int"):
        prepare(5)
    with pytest.raises(InputError, match=r"no column that the model takes. It has text"):
        prepare({"text": TEXTS})
    with pytest.raises(InputError, match=r"Rows of input_ids differ in length. Pass the tokenizer"):
        prepare(columns, 2)
    with pytest.raises(InputError, match=r"5 rows make no batch of 8. Change batch_size, or give drop_remainder=False"):
        prepare(columns, tokenizer=tokenizer)
    for size in (0, -2):
        with pytest.raises(
            InputError, match=rf"batch_size must be 1 or more, the number of rows of a batch, got {size}\."
        ):
            prepare(columns, size, tokenizer=tokenizer)
    with pytest.raises(InputError, match=r"labels more than once, as label, labels\. Remove the columns that"):
        prepare({"input_ids": [[1], [2]], "label": [0, 1], "labels": [1, 0]}, 2)
    with pytest.raises(InputError, match=r"labels more than once, as label_ids, label\. Remove"):
        prepare({"label_ids": [0, 1], "input_ids": [[1], [2]], "label": [0, 1]}, 2)
    with pytest.raises(InputError, match=r"columns of the dataset have different lengths, \[1, 5\]"):
        prepare({**columns, "label": [1]})
