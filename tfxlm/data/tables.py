"""Tables of tokenized examples as batches for Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.errors import InputError

Row = dict[str, Any]

# Other names of the column "labels".
_LABELS = ("label", "label_ids")

# What columns that have an entry for each token, and that tokenizers do not pad, are padded with.
_FILLS = {"labels": -100, "p_mask": 1}


def batches(
    dataset: Any,
    *,
    inputs: Sequence[str],
    labels: Sequence[str],
    batch_size: int = 8,
    shuffle: bool = True,
    tokenizer: Any = None,
    collate: Callable[[list[Row]], Mapping[str, Any]] | None = None,
    drop_remainder: bool = True,
    prefetch: bool = True,
) -> tf.data.Dataset:
    """Makes batches of a table.

    Args:
        dataset: a `datasets.Dataset`, or another object with `column_names`, a length and rows; a sequence of dicts; or
            a mapping of columns.
        inputs: columns that are inputs; others are left out.
        labels: columns that are labels. "label" and "label_ids" count as "labels".
        batch_size: rows of a batch.
        shuffle: whether each epoch has another order, by numpy's global generator.
        tokenizer: pads rows of different lengths, by its `pad`.
        collate: makes a batch of rows, in place of that.
        drop_remainder: whether a last batch that is smaller is left out.
        prefetch: whether the next batch is made meanwhile.

    Returns:
        Batches of inputs, a dict; or of (inputs, labels), the labels an array, or a dict where there can be several.

    Raises:
        InputError: when `batch_size` is no positive number, `dataset` is no table, is empty, has no column of `inputs`
            or two that are the same labels, or rows differ in length and nothing pads them.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, the number of rows of a batch, got {batch_size}.")
    names, size, read = _table(dataset)
    kept = [name for name in names if _name(name, labels) in (*inputs, *labels)]
    if not set(kept) & set(inputs):
        raise InputError(f"The dataset has no column that the model takes. It has {', '.join(names) or 'none'}.")
    same = [name for name in kept if _name(name, labels) == "labels"]
    if len(same) > 1:
        raise InputError(
            f"The dataset has labels more than once, as {', '.join(same)}. Remove the columns that the model should "
            "not learn from."
        )
    count = size // batch_size if drop_remainder else math.ceil(size / batch_size)
    if not count:
        raise InputError(f"{size} rows make no batch of {batch_size}. Change batch_size, or give drop_remainder=False.")
    collate = collate or (lambda rows: _collate(rows, tokenizer))

    def batch(indices: np.ndarray) -> Any:
        rows = [{_name(name, labels): row[name] for name in kept} for row in read(indices)]
        columns = {_name(str(name), labels): _array(value) for name, value in collate(rows).items()}
        x = {name: value for name, value in columns.items() if name in inputs}
        y = {name: value for name, value in columns.items() if name in labels}
        if not y:
            return x
        return x, y if len(labels) > 1 else next(iter(y.values()))

    def epoch() -> Iterator[Any]:
        order = np.random.permutation(size) if shuffle else np.arange(size)
        for start in range(0, count * batch_size, batch_size):
            yield batch(order[start : start + batch_size])

    signature = tf.nest.map_structure(
        lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batch(np.arange(min(batch_size, size)))
    )
    made = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    made = made.apply(tf.data.experimental.assert_cardinality(count))
    return made.prefetch(tf.data.AUTOTUNE) if prefetch else made


def _name(column: str, labels: Sequence[str]) -> str:
    return "labels" if column in _LABELS and "labels" in labels else column


def _table(dataset: Any) -> tuple[list[str], int, Callable[[np.ndarray], list[Row]]]:
    """Returns the names of the columns, the number of rows, and what reads rows."""
    if isinstance(dataset, Mapping):
        columns = {str(name): value for name, value in dataset.items()}
        sizes = {len(column) for column in columns.values()}
        if len(sizes) > 1:
            raise InputError(
                f"The columns of the dataset have different lengths, {sorted(sizes)}: one entry per row each."
            )

        def read(indices: np.ndarray) -> list[Row]:
            return _rows({name: [column[int(index)] for index in indices] for name, column in columns.items()})

        return list(columns), max(sizes, default=0), read
    names = getattr(dataset, "column_names", None)
    if isinstance(names, list):
        return names, len(dataset), lambda indices: _rows(dataset[[int(index) for index in indices]])
    if isinstance(dataset, Sequence) and all(isinstance(row, Mapping) for row in dataset):
        shared = [str(name) for name in dataset[0]] if dataset else []
        return shared, len(dataset), lambda indices: [dict(dataset[int(index)]) for index in indices]
    raise InputError(
        f"A dataset must be a datasets.Dataset, a list of dicts or a mapping of columns, got {type(dataset).__name__}."
    )


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _collate(rows: list[Row], tokenizer: Any) -> dict[str, Any]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if tokenizer is None or "input_ids" not in columns:
        return {name: _stacked(name, values) for name, values in columns.items()}
    # Everything of a row that has one entry for each token.
    ids = columns["input_ids"]
    choices = len(ids[0]) if _depth(ids[0]) == 2 else 0
    if choices and any(len(row) != choices for row in ids):
        numbers = sorted({len(row) for row in ids})
        raise InputError(
            f"Rows of a batch have different numbers of choices, {numbers}. Give each row as many: repeat one, say."
        )
    flat_ids = [each for row in ids for each in row] if choices else ids
    fits = [name for name, values in columns.items() if name not in _FILLS and _depth(values[0]) == _depth(ids[0])]
    encodings = [dict.fromkeys(fits) for _ in flat_ids]
    for name in fits:
        values = [each for row in columns[name] for each in row] if choices else columns[name]
        for encoding, value in zip(encodings, values, strict=True):
            encoding[name] = _plain(value)
    padded = {name: np.asarray(value) for name, value in tokenizer.pad(encodings, return_tensors="np").items()}
    length, side = padded["input_ids"].shape[1], getattr(tokenizer, "padding_side", "right")
    if choices:
        padded = {name: value.reshape(len(rows), choices, -1) for name, value in padded.items()}
    for name, values in columns.items():
        if name in fits:
            continue
        per_token = name in _FILLS and _depth(values[0]) == 1 and len(values[0]) == len(ids[0])
        padded[name] = _filled(values, length, _FILLS[name], side) if per_token else _stacked(name, values)
    return padded


def _filled(values: Sequence[Any], length: int, fill: int, side: str) -> np.ndarray:
    array = np.full((len(values), length), fill)
    for row, value in zip(array, values, strict=True):
        row[slice(len(value)) if side == "right" else slice(length - len(value), None)] = value
    return array


def _stacked(name: str, values: Sequence[Any]) -> np.ndarray:
    try:
        return np.asarray([_plain(value) for value in values])
    except ValueError as error:
        raise InputError(
            f"Rows of {name} differ in length. Pass the tokenizer, which pads them, or pad while tokenizing."
        ) from error


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list | tuple | np.ndarray) or (hasattr(value, "shape") and len(value.shape)):
        depth, value = depth + 1, value[0] if len(value) else 0
    return depth
