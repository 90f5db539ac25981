"""Batches for pre-training: what is hidden, in which proportions, and that a batch is a function of its number."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tests.data.stores import rows, sentences, small_store, tiny_xlm, write_lines
from tests.example_files import ROOT
from tfxlm import XLMRobertaTokenizer
from tfxlm.data import PretrainingData, SpecialIds
from tfxlm.data.mlm import Masking
from tfxlm.data.prepare import prepare_store
from tfxlm.data.store import Store
from tfxlm.errors import CorruptFileError, InputError, TokenizerError

EOS, PAD, MASK, FIRST_ORDINARY = 1, 2, 5, 14


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("store"), tiny_xlm())


def data(store: Store, objectives: str, **options: Any) -> PretrainingData:
    return PretrainingData(store, None, objectives, **{"batch_size": 4, "length": 32, **options})


def taken(dataset: tf.data.Dataset, count: int | None = None) -> list[Any]:
    return [tf.nest.map_structure(lambda one: one.numpy(), one) for one in itertools.islice(dataset, count)]


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True))


def restored(batch: Any) -> np.ndarray:
    """The ids before they were hidden."""
    inputs, labels, weights = batch
    ids = inputs["input_ids"].copy()
    for row, (places, values, used) in enumerate(zip(inputs["masked_positions"], labels, weights, strict=True)):
        ids[row, places[used > 0]] = values[used > 0]
    return ids


def test_masked_batches(store: Store) -> None:
    made = data(store, "mlm:en")
    spec = made.dataset().element_spec
    assert {name: (one.shape.as_list(), one.dtype) for name, one in spec[0].items()} == {
        **{name: ([4, 32], tf.int32) for name in ("input_ids", "attention_mask", "langs", "position_ids")},
        "masked_positions": ([4, 5], tf.int32),  # 15 % of 31
    }
    assert (spec[1].shape, spec[1].dtype, spec[2].shape, spec[2].dtype) == ((4, 5), tf.int32, (4, 5), tf.float32)
    stream = [token for row in rows(store, "en", "train") for token in (*row, EOS)]
    text = np.array(stream * 2)
    windows = {tuple(text[begin : begin + 31]) for begin in range(len(stream))}
    for inputs, labels, weights in taken(made.dataset(), 30):
        ids = restored((inputs, labels, weights))
        assert (ids[:, 0] == EOS).all() and all(tuple(row[1:]) in windows for row in ids)
        used = weights > 0
        assert (labels[used] >= FIRST_ORDINARY).all() and (labels[~used] == -100).all()
        assert (inputs["masked_positions"][used] > 0).all() and (inputs["masked_positions"][~used] == 0).all()
        assert (inputs["langs"] == 1).all() and (inputs["position_ids"] == np.arange(32)).all()
        for places, real in zip(inputs["masked_positions"], used, strict=True):
            assert (np.diff(places[real]) > 0).all()
        changed = inputs["input_ids"] != ids
        assert set(inputs["input_ids"][changed]) <= {MASK, *range(FIRST_ORDINARY, made.ids.size)}


def hidden(masking: Masking, tokens: np.ndarray, steps: int) -> list[tuple[np.ndarray, ...]]:
    mask = np.ones_like(tokens)
    call = tf.function(lambda step: masking(tokens, mask, step, (0, len(tokens))))
    return [tuple(one.numpy() for one in call(tf.constant(step, tf.int64))) for step in range(steps)]


def test_rates_are_those_of_the_paper(store: Store) -> None:
    ids = SpecialIds.of(tiny_xlm())
    tokens = np.full((64, 101), 20, np.int32)
    tokens[:, 0], tokens[:, 1::10] = EOS, EOS
    draws = hidden(Masking(ids, 64, 101, seed=3), tokens, 20)
    places = np.zeros(101)
    kinds: Counter[str] = Counter()
    randoms: Counter[int] = Counter()
    for new, positions, labels, weights in draws:
        assert (labels[weights > 0] == 20).all()
        np.add.at(places, positions[weights > 0], 1)
        for row, place in zip(*np.nonzero(weights), strict=True):
            token = int(new[row, positions[row, place]])
            kinds["mask" if token == MASK else "kept" if token == 20 else "random"] += 1
            randoms[token] += token not in (MASK, 20)
    assert places[0] == 0 and (places[1::10] == 0).all()
    count, total = 64 * 20 * 90, sum(kinds.values())
    assert abs(total - 0.15 * count) < 5 * np.sqrt(count * 0.15 * 0.85)
    assert (np.abs(places[tokens[0] == 20] - 1280 * 0.15) < 5 * np.sqrt(1280 * 0.15 * 0.85)).all()
    ordinary = ids.size - FIRST_ORDINARY
    for kind, share in (("mask", 0.8), ("kept", 0.1 + 0.1 / ordinary), ("random", 0.1 * (1 - 1 / ordinary))):
        assert abs(kinds[kind] - share * total) < 5 * np.sqrt(total * share * (1 - share)), kind
    assert min(randoms) >= 0 and {token for token, found in randoms.items() if found} <= set(range(14, ids.size))
    assert sum(found > 0 for found in randoms.values()) == ordinary - 1


def test_rates_can_be_set() -> None:
    ids = SpecialIds.of(tiny_xlm())
    tokens = np.full((8, 64), 20, np.int32)
    masking = Masking(ids, 8, 64, share=0.5, mask_keep_random=(0.0, 1.0, 0.0), seed=1)
    for new, _, _, weights in hidden(masking, tokens, 5):
        assert (new == tokens).all() and (np.abs(weights.sum(1) - 31.5) == 0.5).all()


def test_frequent_tokens_are_hidden_less_often() -> None:
    ids = SpecialIds.of(tiny_xlm())
    frequencies = np.zeros(ids.size, np.int64)
    frequencies[20], frequencies[21] = 1600, 100
    tokens = np.tile(np.array([20, 21], np.int32), (64, 100))  # as many of each in a row
    masking = Masking(ids, 64, 200, share=0.02, frequencies=frequencies, smoothing=0.5, seed=1)
    labels = np.concatenate([labels[weights > 0] for _, _, labels, weights in hidden(masking, tokens, 40)])
    # The weights are 1/40 and 1/10; so few are taken that those left over hardly change them.
    share = (labels == 21).mean()
    assert abs(share - 0.8) < 0.02 + 5 * np.sqrt(0.16 / len(labels))


def test_causal_batches(store: Store) -> None:
    made = data(store, "clm:de")
    for inputs, labels, weights in taken(made.dataset(), 10):
        assert (inputs["masked_positions"] == np.arange(32)).all() and (weights == 1).all()
        assert (labels[:, :-1] == inputs["input_ids"][:, 1:]).all() and "causal" not in inputs
    # Every token and every separator counts once.
    held = [token for row in rows(store, "de", "held_out") for token in (*row, EOS)]
    found = []
    for _, labels, weights in taken(made.held_out("clm", "de")):
        found += labels[weights > 0].tolist()
    assert found == held


def test_translation_batches(store: Store) -> None:
    ids = SpecialIds.of(tiny_xlm())
    pairs = rows(store, "en-de", "train")
    framed = {
        (EOS, *first, EOS, EOS, *second, EOS): len(first) + 2
        for first, second in zip(pairs[::2], pairs[1::2], strict=True)
    }
    made = data(store, "tlm:de-en", length=140, packed_pairs=False)
    seen = 0
    for batch in taken(made.dataset(), 20):
        inputs, whole = batch[0], restored(batch)
        for row in range(4):
            size = int(inputs["attention_mask"][row].sum())
            first = framed[tuple(whole[row, :size])]
            seen += 1
            assert inputs["position_ids"][row, :size].tolist() == [*range(first), *range(size - first)]
            assert inputs["langs"][row, :size].tolist() == [1] * first + [0] * (size - first)
            assert (whole[row, size:] == PAD).all() and ids.languages == {"de": 0, "en": 1}
    assert seen == 80
    packed = taken(data(store, "tlm:en-de", length=140).dataset(), 10)
    alone = np.mean([batch[0]["attention_mask"].mean() for batch in taken(made.dataset(), 10)])
    assert np.mean([batch[0]["attention_mask"].mean() for batch in packed]) > alone


def test_languages_come_by_their_shares(store: Store) -> None:
    made = data(store, "mlm:en,de clm:en*2,de tlm*0.5:en-de", alpha=0.5)
    tokens = {name: store.part(name).tokens for name in store.names}
    root = {name: (tokens[name] / (tokens["en"] + tokens["de"])) ** 0.5 for name in ("en", "de")}
    expected = {("tlm", "en-de"): 0.2}
    for objective, weight in (("mlm", 1), ("clm", 2)):
        total = weight * root["en"] + root["de"]
        expected[objective, "en"] = 0.4 * weight * root["en"] / total
        expected[objective, "de"] = 0.4 * root["de"] / total
    counts = Counter(made.plan(step) for step in range(5000))
    for entry, share in expected.items():
        assert abs(counts[entry] - 5000 * share) < 5 * np.sqrt(5000 * share * (1 - share)), entry
    assert counts.total() == 5000 and set(counts) == set(expected)


MIXTURE = "mlm:en,de clm:en tlm:en-de"


def test_a_batch_is_a_function_of_its_number(store: Store) -> None:
    made = data(store, MIXTURE)
    whole = taken(made.dataset(), 40)
    assert same(whole[17:], taken(data(store, MIXTURE).dataset(17, 23)))  # in the middle of an epoch
    assert same(taken(data(store, MIXTURE).dataset(4090, 10))[6:], taken(data(store, MIXTURE).dataset(4096, 4)))
    assert not same(whole, taken(data(store, MIXTURE, seed=1).dataset(), 40))
    for step, (inputs, labels, _) in enumerate(whole):
        objective, name = made.plan(step)
        assert inputs["causal"].tolist() == [objective == "clm"] * 4
        assert labels.shape == (4, 32 if objective == "clm" else 5)
        assert set(inputs["langs"].ravel()) <= {1 if one == "en" else 0 for one in name.split("-")}


def test_shards_together_are_the_whole(store: Store) -> None:
    made = data(store, MIXTURE)
    whole = taken(made.dataset(3, 12))
    parts = [taken(made.dataset(3, 12, shard=(index, 2))) for index in range(2)]
    joined = [tf.nest.map_structure(lambda *halves: np.concatenate(halves), *both) for both in zip(*parts, strict=True)]
    assert same(whole, joined)


def test_an_epoch_has_everything_once_in_another_order_each_time(store: Store) -> None:
    made = data(store, "mlm:de", batch_size=1)
    stream = [token for row in rows(store, "de", "train") for token in (*row, EOS)]
    count = -(-len(stream) // 31)
    batches = taken(made.dataset(0, 2 * count))
    epochs = [[tuple(restored(one)[0, 1:]) for one in half] for half in (batches[:count], batches[count:])]
    for epoch in epochs:
        counted = Counter(token for row in epoch for token in row)
        extra = counted - Counter(stream)
        assert not Counter(stream) - counted and extra.total() == count * 31 - len(stream)
    orders = [[row[:5] for row in epoch] for epoch in epochs]
    assert orders[0] != orders[1] and len({*orders[0]} & {*orders[1]}) < count / 2


def test_held_out_batches_are_fixed_and_finite(store: Store) -> None:
    first = data(store, MIXTURE).held_out("mlm", "de")
    assert same(taken(first), taken(data(store, "mlm:en clm:de", seed=9).held_out("mlm", "de")))
    stream = [token for row in rows(store, "de", "held_out") for token in (*row, EOS)]
    batches = taken(first)
    assert len(batches) == int(first.cardinality()) == -(-len(stream) // (31 * 4))
    real = np.concatenate([restored(one)[:, 1:][one[0]["attention_mask"][:, 1:] == 1] for one in batches])
    assert real.tolist() == stream
    empty = batches[-1][0]["attention_mask"].sum(1) == 0
    assert (batches[-1][2][empty] == 0).all()
    pairs = taken(data(store, "tlm:en-de", length=140).held_out("tlm", ("en", "de")))
    assert sum(one[0]["attention_mask"].sum() for one in pairs) == store.part("en-de", "held_out").tokens + 20 * 4


def test_whole_sentences_of_roberta(tmp_path: Path) -> None:
    model = io.BytesIO()
    lines = sentences("en", 300)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), vocab_size=60, model_writer=model, minloglevel=2, hard_vocab_limit=False
    )
    tokenizer = XLMRobertaTokenizer(model.getvalue())
    made = prepare_store({"en": str(write_lines(tmp_path / "en", lines))}, tokenizer, tmp_path / "store")
    known = set(rows(made, "en", "train"))
    for batch in taken(PretrainingData(made, tokenizer, "mlm:en", batch_size=4, length=64).dataset(), 10):
        assert set(batch[0]) == {"input_ids", "attention_mask", "masked_positions"}
        for row, size in zip(restored(batch), batch[0]["attention_mask"].sum(1), strict=True):
            assert row[0] == 0 and row[size - 1] == 2 and (row[size:] == 1).all()
            groups = itertools.groupby(row[1:size].tolist(), key=lambda token: token == 2)
            found = [tuple(group) for is_separator, group in groups if not is_separator]
            assert set(found) <= known and size + len(found) > 30


def test_wrong_calls(store: Store, tmp_path: Path) -> None:
    for options, message in (
        ({"batch_size": 0}, r"batch_size must be the number of rows of a batch, 1 or more, got 0"),
        ({"length": 4}, r"length must be the number of tokens of a row, 8 or more, got 4"),
        ({"alpha": 2}, r"alpha must be from 0 \(all languages alike\) to 1 \(by size\), got 2"),
        ({"mask_share": 0}, r"mask_share must be more than 0 and less than 1"),
        ({"word_mask_keep_rand": (1, 1, 0)}, r"word_mask_keep_rand must be three shares that are 1 together"),
        ({"frequency_smoothing": -1}, r"frequency_smoothing must be from 0 to 1, got -1"),
        ({"split": "test"}, r"split must be one of 'train', 'held_out'"),
    ):
        with pytest.raises(InputError, match=message):
            data(store, "mlm:en", **options)
    made = data(store, "mlm:en")
    with pytest.raises(InputError, match=r"shard=\(0, 3\) must be the index of a worker and the number of"):
        made.dataset(shard=(0, 3))
    with pytest.raises(InputError, match=r"first_step must be the number of the first batch, 0 or more, got -1"):
        made.dataset(-1)
    with pytest.raises(InputError, match=r"'tlm' cannot be measured on 'en': give 'mlm' or 'clm' with a language"):
        made.held_out("tlm", "en")
    with pytest.raises(InputError, match=r"has no 'de-en'\. It has en, de, en-de\. Write en-de\.$"):
        made.held_out("tlm", "de-en")
    other = tiny_xlm()
    other.add_special_tokens({"additional_special_tokens": ["<new>"]})
    with pytest.raises(TokenizerError, match="was made by another tokenizer"):
        PretrainingData(store, other, "mlm:en", batch_size=1)
    languages = SpecialIds(**(vars(made.ids) | {"languages": {"fr": 0}}))
    with pytest.raises(InputError, match=r"The tokenizer has no language 'en', only fr"):
        PretrainingData(store, languages, "mlm:en", batch_size=1)
    path = write_lines(tmp_path / "en", sentences("en", 5))
    none_held = prepare_store({"en": str(path)}, tiny_xlm(), tmp_path / "store")
    with pytest.raises(InputError, match=r"has no text of 'en' in the split 'held_out'.* and --held-out"):
        data(none_held, "mlm:en").held_out("mlm", "en")
    smaller = SpecialIds(**(vars(made.ids) | {"size": 30}))
    damaged = PretrainingData(store, smaller, "mlm:en", batch_size=1)
    with pytest.raises((CorruptFileError, tf.errors.OpError), match=r"has the id \d+, but its tokenizer only 30"):
        taken(damaged.dataset(), 1)


def test_a_process_that_holds_an_iterator_ends(store: Store) -> None:
    """Several at once: on a busy machine TensorFlow's threads come late."""
    script = (
        "import sys\nfrom tfxlm.data import PretrainingData, open_store\n"
        "data = PretrainingData(open_store(sys.argv[1]), None, 'mlm:en', batch_size=4, length=32)\n"
        "iterator = iter(data.dataset())\nnext(iterator)\nprint('read')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, str(store.path)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    try:
        for run in runs:
            output, messages = run.communicate(timeout=240)
            assert (run.returncode, output) == (0, "read\n"), messages
    finally:
        for run in runs:
            run.kill()
