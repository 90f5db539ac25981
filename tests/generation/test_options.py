"""Options of generation that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfxlm.errors import InputError
from tfxlm.generation import GenerationOptions, checked_option, token_id, token_ids

SAMPLED, BEAMS = {"do_sample": True}, {"num_beams": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be a positive integer, got 0"),
        ({"num_return_sequences": 1.0}, "num_return_sequences must be a positive integer, got 1.0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be an integer, 0 or more, got -1"),
        ({**SAMPLED, "top_k": True}, "top_k must be an integer, 0 or more, got True"),
        ({**SAMPLED, "temperature": 0}, "temperature must be a number above 0, got 0"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty must be a number above 0, got nan"),
        ({**SAMPLED, "top_p": 1.5}, "top_p must be a number above 0 and at most 1, got 1.5"),
        ({"do_sample": 1}, "do_sample must be True or False, got 1"),
        ({"output_scores": None}, "output_scores must be True or False, got None"),
        ({**BEAMS, "length_penalty": "1"}, "length_penalty must be a number, got '1'"),
        ({**BEAMS, "early_stopping": "always"}, "early_stopping must be True, False or 'never', got 'always'"),
        ({**BEAMS, "early_stopping": np.array([True])}, "early_stopping must be True, False or 'never', got array"),
        ({**BEAMS, "early_stopping": 1}, "early_stopping must be True, False or 'never', got 1"),
        ({"pad_token_id": -1}, "pad_token_id must be an integer, 0 or more, got -1"),
        ({"temperature": 0.5}, "temperature=0.5 changes nothing with do_sample=False. Give do_sample=True, or leave"),
        ({"top_k": 3}, "top_k=3 changes nothing with do_sample=False"),
        ({"top_p": 0.9}, "top_p=0.9 changes nothing with do_sample=False"),
        ({"length_penalty": 2.0}, "length_penalty=2.0 changes nothing with num_beams=1. Give num_beams above 1"),
        ({"early_stopping": True}, "early_stopping=True changes nothing with num_beams=1"),
        ({**SAMPLED, **BEAMS}, "A beam search draws no tokens, but num_beams is 2 and do_sample is True"),
        ({**BEAMS, "num_return_sequences": 3}, "num_return_sequences=3 asks for more texts than num_beams=2 finds"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 asks for more texts than num_beams=1 finds"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationOptions(**options)


def test_several_texts_can_be_drawn() -> None:
    assert GenerationOptions(do_sample=True, num_return_sequences=3).num_return_sequences == 3


@pytest.mark.parametrize(("given", "expected"), [(None, ()), (3, (3,)), ([3, 1, 3], (3, 1)), ([], ())])
def test_ids(given: Any, expected: tuple[int, ...]) -> None:
    assert token_ids("eos_token_id", given, 5) == expected


@pytest.mark.parametrize("given", [5, -1, 1.0, "1", [1, 7], True])
def test_what_are_no_ids(given: Any) -> None:
    with pytest.raises(InputError, match=r"eos_token_id must be one or several ids in \[0, vocab_size = 5\), got"):
        token_ids("eos_token_id", given, 5)


@pytest.mark.parametrize("given", [5, -1, 1.0, [1], True])
def test_what_is_no_id(given: Any) -> None:
    with pytest.raises(InputError, match=r"pad_token_id must be an id in \[0, vocab_size = 5\), got"):
        token_id("pad_token_id", given, 5)
    assert token_id("pad_token_id", np.int64(4), 5) == 4


@pytest.mark.parametrize(("least", "what"), [(1, "a positive integer"), (0, "an integer, 0 or more")])
def test_a_number_that_is_too_small(least: int, what: str) -> None:
    with pytest.raises(InputError, match=f"mask_predict must be {what}, got -1"):
        checked_option("mask_predict", -1, least)
