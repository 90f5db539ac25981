"""`generate` against the slow way: one text at a time, all of it read again for each token."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.reference import Wanted, chosen, searched
from tests.models.battery import encoder_inputs
from tests.models.families import FAMILIES, ROBERTAS, SWEEP, XLM, Family
from tests.models.generating import Slow, causal_model, drawn_prompts, filled_up, padded, rows_of
from tfxlm.backend import uniform_draws

CASES = 24 if SWEEP else 3


@pytest.fixture(autouse=True)
def _step_by_step() -> Iterator[None]:
    """Nothing is compiled but where a test says so: what takes long is not the work."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def made(request: pytest.FixtureRequest) -> tuple[Family, Any, Slow]:
    model = causal_model(request.param)
    return request.param, model, Slow(model)


def drawn_options(rng: np.random.Generator, config: Any) -> tuple[Wanted, dict[str, Any]]:
    """Options as the reference takes them, and as `generate` does."""
    ends = tuple({config.end_token_id, *rng.integers(3, config.vocab_size, 2).tolist()})
    rules = {
        "repetition_penalty": float(rng.choice([1.0, 1.3, 0.8])),
        "no_repeat_ngram_size": int(rng.choice([0, 1, 2, 3])),
    }
    limit, minimum = int(rng.integers(4, 9)), int(rng.integers(0, 4))
    wanted = Wanted(limit, minimum, ends, **rules)
    given = {"max_new_tokens": limit, "min_new_tokens": minimum, "eos_token_id": list(ends)}
    return wanted, {**given, **rules}


def inputs_of(family: Family, prompts: list[list[int]], side: str, padding: int) -> tuple[dict[str, Any], list[Any]]:
    """The inputs of prompts, and the language of each."""
    inputs, langs = padded(prompts, side, padding), [None] * len(prompts)
    return (inputs, langs) if family is not XLM else (inputs | {"langs": [1, 0, 1]}, [1, 0, 1])


@pytest.mark.parametrize("case", range(CASES))
def test_greedy_and_drawn_texts(made: tuple[Family, Any, Slow], case: int) -> None:
    family, model, slow = made
    rng = np.random.default_rng(case)
    wanted, given = drawn_options(rng, model.config)
    prompts = drawn_prompts(model.config, rng)
    inputs, langs = inputs_of(family, prompts, ["left", "right", "both"][case % 3], model.config.pad_index)
    draws, copies = None, 1
    if case % 2:
        copies = int(rng.integers(1, 3))
        options = {
            "temperature": float(rng.choice([0.5, 1.0, 1.7])),
            "top_k": int(rng.choice([0, 3, 10, 50])),
            "top_p": float(rng.choice([1.0, 0.9, 0.4])),
        }
        wanted = dataclasses.replace(wanted, **options)
        given |= {"do_sample": True, "seed": case, "num_return_sequences": copies, **options}
        draws = np.asarray(uniform_draws((3 * copies, wanted.limit), case))
    found = rows_of(model.generate(inputs, **given), inputs)
    for row, new in enumerate(found):
        score = slow.score(lang=langs[row // copies])
        expected = chosen(score, prompts[row // copies], wanted, None if draws is None else draws[row])
        assert new == filled_up(expected, new, model.config.pad_index), (case, row)


@pytest.mark.parametrize("case", range(CASES))
def test_beam_search(made: tuple[Family, Any, Slow], case: int) -> None:
    family, model, slow = made
    rng = np.random.default_rng([1, case])
    wanted, given = drawn_options(rng, model.config)
    options = {
        "num_beams": int(rng.integers(2, 5)),
        "length_penalty": float(rng.choice([1.0, 0.0, 2.0, -1.0, 0.6])),
        "early_stopping": [False, True, "never"][case % 3],
    }
    wanted = dataclasses.replace(wanted, **options)
    copies = int(rng.integers(1, options["num_beams"] + 1))
    prompts = drawn_prompts(model.config, rng)
    inputs, langs = inputs_of(family, prompts, ["right", "left", "both"][case % 3], model.config.pad_index)
    output = model.generate(inputs, **given, **options, num_return_sequences=copies, return_dict_in_generate=True)
    found = rows_of(output.sequences, inputs)
    for row, prompt in enumerate(prompts):
        expected = searched(slow.score(lang=langs[row]), prompt, wanted)[:copies]
        for place, (score, new) in enumerate(expected):
            at = row * copies + place
            assert found[at] == filled_up(new, found[at], model.config.pad_index), (case, row, place)
            assert float(output.sequences_scores[at]) == pytest.approx(score, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("family", "kind"), [(ROBERTAS[0], "relative_key"), (ROBERTAS[1], "absolute")], ids=str)
def test_decoders_that_look_at_an_encoder(family: Family, kind: str) -> None:
    model = causal_model(family, add_cross_attention=True, position_embedding_type=kind)
    slow, rng = Slow(model), np.random.default_rng(2)
    prompts, more = drawn_prompts(model.config, rng), encoder_inputs(model.config, 3)
    for side, beams in (("left", 1), ("right", 3)):
        inputs = padded(prompts, side, model.config.pad_index)
        options = {"num_beams": beams} if beams > 1 else {"do_sample": True, "num_return_sequences": 2, "seed": 1}
        output = model.generate(inputs | more, max_new_tokens=5, eos_token_id=[], **options)
        draws = np.asarray(uniform_draws((6, 5), 1))
        for row, new in enumerate(rows_of(output, inputs)):
            text = row if beams > 1 else row // 2
            score, wanted = slow.score(text, more=more), Wanted(5, num_beams=beams)
            alone = chosen(score, prompts[text], wanted, draws[row])
            expected = alone if beams == 1 else searched(score, prompts[text], wanted)[0][1]
            assert new == filled_up(expected, new, model.config.pad_index)


def test_max_length_counts_each_text_without_its_padding(made: tuple[Family, Any, Slow]) -> None:
    family, model, slow = made
    prompts = drawn_prompts(model.config, np.random.default_rng(0))
    inputs, langs = inputs_of(family, prompts, "left", model.config.pad_index)
    for beams in (1, 2):
        output = model.generate(inputs, max_length=9, min_length=7, num_beams=beams)
        for row, new in enumerate(rows_of(output, inputs)):
            size, score = len(prompts[row]), slow.score(lang=langs[row])
            wanted = Wanted(9 - size, 7 - size, (model.config.end_token_id,), num_beams=beams)
            alone = chosen(score, prompts[row], wanted)
            expected = alone if beams == 1 else searched(score, prompts[row], wanted)[0][1]
            assert new == filled_up(expected, new, model.config.pad_index)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_scores_of_steps_lead_to_the_texts(made: tuple[Family, Any, Slow], options: dict[str, int]) -> None:
    family, model, _ = made
    prompts = drawn_prompts(model.config, np.random.default_rng(5))
    inputs, _ = inputs_of(family, prompts, "right", model.config.pad_index)
    asked = {"max_new_tokens": 5, "eos_token_id": [], "repetition_penalty": 1.2, "return_dict_in_generate": True}
    output = model.generate(inputs, **asked, **options, output_scores=True)
    scores = np.asarray(output.scores)
    news = rows_of(output.sequences, inputs)
    assert scores.shape == (5, 3 * options.get("num_beams", 1), model.config.vocab_size)
    if not options:
        assert scores.argmax(axis=-1).T.tolist() == [new[:5] for new in news]
        assert "sequences_scores" not in output and "beam_indices" not in output
        return
    rows = np.asarray(output.beam_indices)
    sums = [
        sum(scores[step, rows[text, step], token] for step, token in enumerate(new[:5]))
        for text, new in enumerate(news)
    ]
    np.testing.assert_allclose(np.array(sums) / 5, output.sequences_scores, rtol=1e-5)


def test_by_default_twenty_tokens_are_made_or_as_many_as_there_is_room_for() -> None:
    model = causal_model(XLM)
    for length, new in ((4, 20), (30, 2)):
        assert model.generate(np.full((1, length), 9), langs=1, eos_token_id=[]).shape == (1, length + new)


def test_the_prompt_may_have_what_is_no_token_anywhere() -> None:
    model = causal_model(XLM)
    whole = model.generate([[9, 8, 7]], langs=0, max_new_tokens=4)
    holes = model.generate([[9, 4, 8, 7, 5]], attention_mask=[[1, 0, 1, 1, 0]], langs=0, max_new_tokens=4)
    assert holes[0, 4:].numpy().tolist() == whole[0, 3:].numpy().tolist()
    assert holes[0, :4].numpy().tolist() == [9, 4, 8, 7]
    of_lengths = model.generate([[9, 8, 7, 6]], lengths=[3], langs=0, max_new_tokens=4)
    assert of_lengths.numpy().tolist() == whole.numpy().tolist()


@pytest.mark.parametrize("langs", ["en", 1, ["en", "en"], [1, 1], [[1] * 3] * 2, [[0, 1, 1]] * 2], ids=str)
def test_languages_of_new_tokens_are_those_of_the_last_one(langs: Any) -> None:
    model = causal_model(XLM)
    ids = np.array([[9, 8, 7], [3, 4, 6]])
    of_tokens = langs if np.ndim(langs) == 2 else [[1] * 3] * 2
    found = model.generate(ids, langs=langs, max_new_tokens=4, eos_token_id=[])
    for row in range(2):
        text = ids[row].tolist()
        for _ in range(4):
            spread = np.array([of_tokens[row] + [1] * (len(text) - 3)])
            text.append(int(np.asarray(model(np.array([text]), langs=spread).logits)[0, -1].argmax()))
        assert found[row].numpy().tolist() == text


def test_a_model_that_knows_no_languages_ignores_them() -> None:
    model = causal_model(XLM, n_langs=1, lang2id={})
    assert np.array_equal(model.generate([[9, 8]], langs=[[0, 0]]), model.generate([[9, 8]]))
