"""From ids back to text."""

from typing import Any

import numpy as np
import pytest

from tfxlm.errors import InputError
from tfxlm.tokenizers import XLMTokenizer


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, 20, 1]], r"decode\(\) takes one row of ids, but got a list of several. Use batch_decode\(\)"),
        (np.array([[0, 20, 1]]), r"but got a ndarray of several. Use batch_decode\(\)"),
        ([[0, 1], [0]], r"Use batch_decode\(\)"),
        ("abc", r"decode\(\) takes ids, which are whole numbers, but got 'abc'"),
        (["the</w>"], r"takes ids, which are whole numbers, but got \['the</w>'\]"),
        ([0.5], "takes ids, which are whole numbers"),
        (None, "takes ids, which are whole numbers, but got None"),
    ],
)
def test_what_cannot_be_decoded(tokenizer: XLMTokenizer, ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer.decode(ids)


def test_what_can_be_decoded(tokenizer: XLMTokenizer) -> None:
    (index,) = tokenizer("the", add_special_tokens=False)["input_ids"]
    forms = (index, [index], np.array(index), np.array([index], np.int32), (index,), [np.int64(index)])
    assert [tokenizer.decode(form) for form in forms] == ["the"] * 6
    assert tokenizer.decode([]) == ""
    assert tokenizer.batch_decode([[index], []]) == ["the", ""]
