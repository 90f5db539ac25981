"""How `generate` is called: graphs, streams, what is refused, masks, and a model that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.reference import Wanted, chosen
from tests.models.families import FAMILIES, ROBERTAS, SWEEP, XLM, Family
from tests.models.generating import Slow, causal_model, masked_model
from tests.tokenizers.toy import write_toy
from tfxlm import TFXLMWithLMHeadModel, XLMTokenizer
from tfxlm.errors import ArgumentError, InputError, LanguageError
from tfxlm.models.continuing import CompiledFunctions

IDS = np.array([[2, 9, 8], [4, 6, 5]])


# Ways to choose, of which the sweep compiles all with XLA.
WAYS: list[dict[str, Any]] = [{"do_sample": True, "seed": 4, "top_p": 0.8}, {"num_beams": 2}]


@pytest.fixture(scope="module")
def model() -> Any:
    return causal_model(XLM)


@pytest.fixture(scope="module")
def greedy(model: Any) -> np.ndarray:
    """Two texts of three tokens with five more, the first with padding before it."""
    return model.generate(IDS, langs="en", max_new_tokens=5, eos_token_id=[]).numpy()


def test_a_graph_has_generation_as_its_part(model: Any, greedy: np.ndarray) -> None:
    def function(ids: Any) -> Any:
        return model.generate(ids, langs=1, max_new_tokens=5, eos_token_id=[])

    known = tf.function(function, autograph=False)
    assert np.array_equal(known(tf.constant(IDS)), greedy)
    any_size = tf.function(function, autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    assert np.array_equal(any_size(tf.constant(IDS, tf.int32)), greedy)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Each prompt must have at least one token"):
        any_size(tf.constant([[2, 2]]))


@pytest.mark.parametrize("options", WAYS if SWEEP else WAYS[:1], ids=str)
def test_xla_gives_the_same(model: Any, options: dict[str, Any]) -> None:
    given = {"langs": "en", "max_new_tokens": 4, "no_repeat_ngram_size": 2, "repetition_penalty": 1.1, **options}
    assert np.array_equal(model.generate(IDS, **given, jit_compile=True), model.generate(IDS, **given))


class Watcher:
    """Gets what a streamer of `transformers` gets."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def put(self, value: Any) -> None:
        self.got.append(value.tolist())

    def end(self) -> None:
        self.got.append("end")


def test_a_streamer_gets_each_step(model: Any, greedy: np.ndarray) -> None:
    watcher = Watcher()
    found = model.generate(IDS, langs="en", max_new_tokens=5, eos_token_id=[], streamer=watcher)
    assert np.array_equal(found, greedy)
    assert watcher.got[0] == IDS.tolist() and watcher.got[-1] == "end"
    news = np.stack(watcher.got[1:-1], axis=1)
    assert news.tolist() == [greedy[0, 3:].tolist(), greedy[1, 3:].tolist()]


def test_nothing_grows_with_the_steps(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step hands on to the next has the same shapes at each: the cache has its full size from the start."""
    shapes = []
    kept = CompiledFunctions.get

    def watched(self: Any, model: Any, key: Any, function: Any, jit_compile: bool = False) -> Any:
        run = kept(self, model, key, function, jit_compile)

        def noted(*given: Any) -> Any:
            result = run(*given)
            shapes.append([tuple(tensor.shape) for tensor in tf.nest.flatten(result)])
            return result

        return noted if "proceed" in str(key) else run

    monkeypatch.setattr(CompiledFunctions, "get", watched)
    model.generate(IDS, langs="en", max_new_tokens=7, eos_token_id=[], streamer=Watcher())
    assert len(shapes) == 6 and all(one == shapes[0] for one in shapes)


def test_seeds(model: Any) -> None:
    asked = {"langs": "en", "max_new_tokens": 6, "do_sample": True, "eos_token_id": []}
    first, again = (model.generate(IDS, **asked, seed=seed).numpy() for seed in (1, 1))
    assert np.array_equal(first, again)
    others = [model.generate(IDS, **asked).numpy() for _ in range(3)]
    assert any(not np.array_equal(first, other) for other in others)
    of_rows = model.generate(IDS, **asked, seed=[5, 6]).numpy()
    alone = model.generate(IDS[1:], **asked, seed=[6]).numpy()
    assert np.array_equal(of_rows[1], alone[0])
    # Copies too, where another row goes on for longer.
    ids = np.array([[2, 2, 2, 9, 8], [4, 6, 5, 7, 3]])
    copies = {**asked, "max_new_tokens": None, "max_length": 9, "num_return_sequences": 2}
    of_rows = model.generate(ids, **copies, seed=[5, 6]).numpy()
    alone = model.generate(ids[1:], **copies, seed=[6]).numpy()
    assert np.array_equal(of_rows[2:, 5:9], alone[:, 5:9])


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=str)
def test_a_long_text_beside_a_short_one(model: Any, options: dict[str, Any]) -> None:
    """What has come to the end of the positions stays there, while the other goes on."""
    longest = model.config.max_sequence_length
    ids = np.full((2, longest - 2), 2)
    ids[0], ids[1, :4] = 9, [4, 6, 5, 7]
    asked = {"langs": "en", "eos_token_id": [], **options}
    together = model.generate(ids, **asked).numpy()
    for row, size in enumerate((longest - 2, 4)):
        alone = model.generate(ids[row : row + 1, :size], **asked).numpy()[0]
        new = alone[size:]
        assert np.array_equal(together[row][together[row] != 2], alone[alone != 2]), (row, new)


def test_a_model_that_changes_is_compiled_again() -> None:
    model = causal_model(XLM)
    before = model.generate(IDS, langs="en", max_new_tokens=3, eos_token_id=[])
    model.resize_token_embeddings(XLM.small.vocab_size + 3)
    head = model.get_lm_head()
    head.bias.assign(np.where(np.arange(head.vocab_size) == XLM.small.vocab_size + 1, 100.0, head.bias))
    after = model.generate(IDS, langs="en", max_new_tokens=3, eos_token_id=[]).numpy()
    assert (after[:, 3:] == XLM.small.vocab_size + 1).all() and not np.array_equal(before, after)


def test_half_precision_and_an_adaptive_softmax() -> None:
    config = XLM.small.replace(causal=True, asm=True, asm_cutoffs=[10, 20])
    for model in (TFXLMWithLMHeadModel(config), TFXLMWithLMHeadModel(XLM.small.replace(causal=True), dtype="bfloat16")):
        score = Slow(model).score(lang=0) if model.config.asm else None
        found = model.generate(IDS[1:], langs=0, max_new_tokens=3).numpy()[0, 3:].tolist()
        if score is not None:
            expected = chosen(score, IDS[1].tolist(), Wanted(3, ends=(1,)))
            assert found[: len(expected)] == expected


def test_the_example_of_the_model_card(tmp_path: Path) -> None:
    """That of xlm-clm-ende-1024, with the class of this package, and its answer goes on."""
    folder = write_toy(tmp_path / "xlm-clm-ende-1024", lang2id={"de": 0, "en": 1})
    size = len(XLMTokenizer.from_pretrained(folder))
    saved = causal_model(XLM, vocab_size=size, lang2id={"de": 0, "en": 1})
    saved.save_pretrained(folder)

    tokenizer = XLMTokenizer.from_pretrained(folder)
    model = TFXLMWithLMHeadModel.from_pretrained(folder)
    input_ids = tf.constant([tokenizer.encode("Wikipedia was used to")])
    language_id = tokenizer.lang2id["en"]
    langs = tf.constant([language_id] * input_ids.shape[1])
    langs = tf.reshape(langs, (1, -1))
    outputs = model(input_ids, langs=langs)

    assert outputs[0].shape == (1, input_ids.shape[1], size)
    # The end that the tokenizer has put behind the text is left out.
    found = model.generate(input_ids[:, :-1], langs="en", max_new_tokens=8).numpy()[0].tolist()
    prompt = input_ids[0, :-1].numpy().tolist()
    expected = chosen(Slow(model).score(lang=language_id), prompt, Wanted(8, ends=(1,)))
    assert found == prompt + expected
    # What it says is what the logits of the last real token say.
    assert found[len(prompt)] == int(np.argmax(outputs[0][0, -2]))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("rounds", [1, 3])
def test_mask_predict(family: Family, rounds: int) -> None:
    model = masked_model(family)
    mask_id = getattr(model.config, "mask_index", 20)
    ids = np.array([[4, mask_id, 7, mask_id, mask_id, 9], [3, 8, mask_id, 6, model.config.pad_index, 15]])
    tokens = np.array([[1] * 6, [1, 1, 1, 1, 0, 0]])
    langs = {"langs": [0, 1]} if family is XLM else {}
    found = model.generate(ids, tokens, **langs, mask_predict=rounds, mask_token_id=mask_id, max_new_tokens=1).numpy()
    expected = [by_hand(model, ids[row][tokens[row] > 0], row, rounds, mask_id, found.shape[1]) for row in range(2)]
    assert found.tolist() == expected
    left = {"mask_predict": rounds, "mask_token_id": mask_id}
    turned = [np.roll(one, 2) if row else one for row, one in enumerate(ids)], np.array([[1] * 6, [0, 0, 1, 1, 1, 1]])
    found = model.generate(np.array(turned[0]), turned[1], **langs, **left).numpy()
    plain = model.generate(ids, tokens, **langs, **left).numpy()
    assert np.array_equal(found[1, 2:], plain[1, :4]) and np.array_equal(found[0], plain[0])


def by_hand(model: Any, ids: np.ndarray, lang: int, rounds: int, mask_id: int, width: int) -> list[int]:
    """Mask-predict of one text, with a mask behind it, and padding."""
    ids = np.append(ids, mask_id)
    places = np.flatnonzero(ids == mask_id)
    probabilities = np.zeros(len(ids))
    again = places
    for turn in range(rounds):
        ids[again] = mask_id
        langs = {"langs": np.full((1, len(ids)), lang)} if model.config.uses_lang_embeddings else {}
        logits = np.asarray(model(ids[None], attention_mask=np.ones((1, len(ids))), **langs).logits)[0].astype(float)
        logits[:, [mask_id, model.config.pad_index]] = -np.inf
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        ids[again], probabilities[again] = logits[again].argmax(-1), shares[again].max(-1)
        count = len(places) * (rounds - turn - 1) // rounds
        again = places[np.argsort(probabilities[places], kind="stable")[:count]]
    return ids.tolist() + [model.config.pad_index] * (width - len(ids))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_masked_model_says_what_it_can_do(family: Family) -> None:
    model = masked_model(family)
    field = family.causal
    with pytest.raises(InputError, match=rf"is not causal \(config.{field} is False\).* with {field}=True; or fill"):
        model.generate(IDS)
    with pytest.raises(InputError, match=r"There is no mask token \(id 30\) in the texts. Put some in, or give"):
        model.generate(IDS, mask_predict=2, mask_token_id=30)
    assert ("hf_compat=True" in model._advice()) == (family is XLM)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5},
        {"num_beams": np.int64(2)},
        {"max_length": 9},
        {"min_new_tokens": 0},
        {"eos_token_id": 3},
        {"seed": [1, 2]},
        {"jit_compile": True},
        {"hf_compat": True},
        {"encoder_hidden_states": np.zeros((2, 3, 4))},
        {"output_scores": True, "streamer": object()},
    ],
    ids=lambda options: ",".join(options),
)
def test_mask_predict_heeds_what_it_takes(options: dict[str, Any]) -> None:
    named = ", ".join(sorted(options, reverse=True))
    with pytest.raises(InputError, match=rf"does not heed {named}: leave that out\. Beside texts it heeds max_new_to"):
        masked_model(XLM).generate(IDS, mask_predict=2, **options)


def test_an_early_end_of_beams_is_a_flag_of_numpy_too(model: Any) -> None:
    asked = {"langs": "en", "num_beams": 3, "max_new_tokens": 8, "eos_token_id": list(range(3, 30)), "pad_token_id": 2}
    early, flag, late = (model.generate(IDS, **asked, early_stopping=it).numpy() for it in (True, np.True_, False))
    assert np.array_equal(early, flag) and not np.array_equal(early, late)


def test_what_mask_predict_must_know(model: Any) -> None:
    with pytest.raises(InputError, match=r"does not say which id is the mask. Give mask_token_id=tokenizer"):
        masked_model(ROBERTAS[0]).generate(IDS, mask_predict=2)
    with pytest.raises(InputError, match=r"is causal, so a mask does not see what is behind it\. Leave"):
        model.generate(IDS, mask_predict=2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_new_tokens": 0}, InputError, "max_new_tokens must be a positive integer, got 0"),
        ({"min_length": -1}, InputError, "min_length must be an integer, 0 or more, got -1"),
        (
            {"max_new_tokens": 3, "max_length": 9},
            InputError,
            "max_new_tokens counts new tokens and max_length those",
        ),
        (
            {"min_new_tokens": 3, "min_length": 9},
            InputError,
            "min_new_tokens counts new tokens and min_length those",
        ),
        ({"max_length": 99}, InputError, "max_length=99 is more than the 32 tokens that the model reads"),
        ({"max_new_tokens": 3, "min_new_tokens": 4}, InputError, "min_new_tokens=4 is more than max_new_tokens=3"),
        ({"max_length": 8, "min_length": 9}, InputError, "min_length=9 is more than max_length=8"),
        ({"max_new_tokens": 30}, InputError, "Prompts may have 2 tokens here, for the model reads texts of 32"),
        ({"max_length": 3}, InputError, "Prompts may have 2 tokens here"),
        ({"attention_mask": np.array([[1, 1, 1], [0, 0, 0]])}, InputError, "Each prompt must have at least one token"),
        ({"langs": "fr"}, LanguageError, "The language 'fr' is unknown. The model's languages are de, en"),
        (
            {"langs": ["en"]},
            InputError,
            "langs must be one language for all texts, one for each of the 2 rows",
        ),
        ({"encoder_hidden_states": 1}, ArgumentError, "does not generate from encoder_hidden_states. Its inputs are"),
        ({"streamer": object()}, InputError, "streamer must have the methods put and end.* object has no put"),
        ({"streamer": Watcher(), "num_beams": 2}, InputError, "Beam search knows its texts only at the end"),
        ({"pad_token_id": 99}, InputError, r"pad_token_id must be an id in \[0, vocab_size = \d+\), got 99"),
        ({"mask_token_id": 5}, InputError, "mask_token_id changes nothing without mask_predict. Give mask_predict"),
        ({"output_scores": True}, InputError, "output_scores changes nothing without return_dict_in_generate"),
        ({"do_sample": True, "seed": 0.5}, InputError, "seed must be one integer, or one for each row, got 0.5"),
        ({"do_sample": True, "seed": [1] * 3}, InputError, "seed must be one integer, or one for each of the 2 rows"),
    ],
)
def test_calls_that_are_refused(model: Any, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        model.generate(IDS, **{"langs": "en", **options})


def test_what_only_works_outside_of_graphs(model: Any) -> None:
    for options, message in (
        ({"do_sample": True}, "Inside a graph the draws would be the same in each call: give a seed"),
        ({"streamer": Watcher()}, "Inside a graph nobody can watch: leave streamer out"),
    ):
        run = tf.function(lambda ids, given=options: model.generate(ids, langs=0, **given), autograph=False)
        with pytest.raises(InputError, match=message):
            run(tf.constant(IDS))


def test_languages_need_names_and_a_model_that_knows_some() -> None:
    nameless = causal_model(XLM, lang2id={})
    with pytest.raises(LanguageError, match="The model's languages are none: its configuration has no lang2id"):
        nameless.generate(IDS, langs="en")
    with pytest.raises(ArgumentError, match="TFXLMRobertaForCausalLM does not generate from langs"):
        causal_model(ROBERTAS[0]).generate(IDS, langs="en")


def test_a_dict_of_inputs_is_taken_apart(model: Any, greedy: np.ndarray) -> None:
    batch = {"input_ids": IDS, "langs": np.ones_like(IDS)}
    assert np.array_equal(model.generate(batch, max_new_tokens=5, eos_token_id=[]), greedy)
    with pytest.raises(ArgumentError, match="does not generate from token_type_ids"):
        model.generate(batch | {"token_type_ids": IDS})
