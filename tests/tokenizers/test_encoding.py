"""Encodings: what Keras and TensorFlow make of them, tensors, padding."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfxlm.errors import InputError
from tfxlm.tokenizers import BatchEncoding, XLMTokenizer


def test_attributes() -> None:
    encoding = BatchEncoding({"input_ids": [1, 2]})
    assert encoding.input_ids == [1, 2]
    assert encoding.data == {"input_ids": [1, 2]}
    with pytest.raises(AttributeError, match="This encoding has no 'langs'; it holds: input_ids"):
        _ = encoding.langs


@pytest.mark.parametrize("clone", [copy.deepcopy, copy.copy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies(clone: Any) -> None:
    encoding = BatchEncoding({"input_ids": [1, 2]})
    assert clone(encoding) == encoding
    assert type(clone(encoding)) is BatchEncoding


def test_keras_sees_a_dict() -> None:
    import keras

    encoding = BatchEncoding({"input_ids": np.ones((2, 3)), "attention_mask": np.zeros((2, 3))})
    doubled = keras.tree.map_structure(lambda array: array * 2, encoding)
    assert type(doubled) is BatchEncoding
    assert doubled["input_ids"].sum() == 12
    assert list(doubled) == ["input_ids", "attention_mask"]
    assert [leaf.sum() for leaf in keras.tree.flatten(encoding)] == [6, 0]


def test_keras_models_and_datasets_take_encodings(tokenizer: XLMTokenizer) -> None:
    import keras
    import tensorflow as tf

    class Sum(keras.Model):
        def call(self, inputs: dict[str, Any]) -> Any:
            return keras.ops.sum(inputs["input_ids"] * inputs["attention_mask"], axis=1)

    batch = tokenizer(["the", "hello world"], padding=True, return_tensors="tf")
    expected = [sum(row) for row in tokenizer(["the", "hello world"])["input_ids"]]
    assert np.asarray(Sum()(batch)).tolist() == expected
    rows = tf.data.Dataset.from_tensor_slices(dict(batch)).batch(2)
    assert Sum().predict(rows, verbose=0).tolist() == expected


def test_tensors(tokenizer: XLMTokenizer) -> None:
    import tensorflow as tf

    arrays = tokenizer(["the", "hello world"], lang="en", padding=True, return_tensors="np", return_length=True)
    assert {name: (value.dtype, value.shape) for name, value in arrays.items()} == {
        **dict.fromkeys(("input_ids", "attention_mask", "langs"), (np.dtype("int64"), (2, 4))),
        "length": (np.dtype("int64"), (2,)),
    }
    tensors = tokenizer("the", lang="en", return_tensors="tf", return_length=True)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()} == {
        **dict.fromkeys(("input_ids", "attention_mask", "langs"), (tf.int32, (1, 3))),
        "length": (tf.int32, (1,)),
    }
    assert tokenizer.decode(tensors["input_ids"][0]) == "<s>the </s>"


@pytest.mark.parametrize(
    ("truncation", "side", "max_length", "first", "second"),
    [
        ("longest_first", "right", 10, 5, 2),  # the longer text down to the shorter one
        ("longest_first", "right", 6, 2, 1),  # then one from each, the second text first
        ("longest_first", "right", 5, 1, 1),
        ("longest_first", "right", 3, 0, 0),
        ("only_first", "right", 7, 2, 2),
        ("only_first", "left", 7, 2, 2),
        ("only_second", "left", 12, 8, 1),
    ],
)
def test_truncation_of_a_pair(
    folder: Path, truncation: str, side: str, max_length: int, first: int, second: int
) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, truncation_side=side)
    letters, digits = list("abcdefgh"), list("12")
    if side == "right":
        kept = [f"{piece}</w>" for piece in (*letters[:first], *digits[:second])]
    else:
        kept = [f"{piece}</w>" for piece in (*letters[8 - first :], *digits[2 - second :])]
    ids = tokenizer(" ".join(letters), " ".join(digits), truncation=truncation, max_length=max_length)["input_ids"]
    assert [token for token in tokenizer.convert_ids_to_tokens(ids) if token not in ("<s>", "</s>")] == kept
    assert len(ids) == len(kept) + 3


def test_rows_of_several_lengths_make_no_tensor(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(
        InputError, match=r"The rows of 'input_ids' have 3 to 4 items and make no tensor. Pass padding=True"
    ):
        tokenizer(["the", "the the"], return_tensors="np")


def test_padding_of_rows_as_a_collator(tokenizer: XLMTokenizer) -> None:
    rows = [tokenizer(text, lang=lang) | {"label": 1} for text, lang in (("the", "de"), ("the the", "fr"))]
    batch = tokenizer.pad(rows, pad_to_multiple_of=4, padding_side="left", return_tensors="np")
    assert batch["input_ids"].tolist()[0][0] == tokenizer.pad_token_id
    assert batch["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert batch["langs"].tolist() == [[0] * 4, [2] * 4]
    assert batch["label"].tolist() == [1, 1]


def test_padding_of_arrays(tokenizer: XLMTokenizer) -> None:
    batch = {"input_ids": np.array([[0, 20, 1]]), "token_type_ids": np.array([[0, 0, 0]])}
    padded = tokenizer.pad(batch, padding="max_length", max_length=5, return_tensors="np")
    assert padded["input_ids"].tolist() == [[0, 20, 1, 2, 2]]
    assert padded["token_type_ids"].tolist() == [[0] * 5]
    assert "attention_mask" not in tokenizer.pad(batch, return_attention_mask=False, verbose=False)


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        ({"ids": [1]}, "needs input_ids, but got: ids"),
        ([], "takes one encoding, or a list of encodings with the same names"),
        ([{"input_ids": [1]}, {"langs": [1]}], "takes one encoding, or a list of encodings with the same names"),
        ({"input_ids": [[1], [2]], "label": [1]}, "as many rows in every column"),
    ],
)
def test_encodings_that_cannot_be_padded(tokenizer: XLMTokenizer, encodings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer.pad(encodings)
