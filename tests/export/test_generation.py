"""Exports of causal models: texts and ids that they go on from, beside `generate` and the Python tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from tests.export.support import C_API, ask_process, unchecked
from tests.models.battery import perturb
from tests.models.families import FAMILIES, XLM, Family
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import Client, Server, TFXLMForSequenceClassification, XLMRobertaTokenizer, XLMTokenizer
from tfxlm.errors import InputError
from tfxlm.export import export_model

LANG2ID = {"de": 1, "en": 0, "fr": 2}
ROOM, NEW = 24, 6
TEXTS = ["Hello the singing", "", "hello " * 40, "the <s> No. 7"]
LANGS, SEEDS = ["en", "fr", "de", "en"], [3, 1, 4, 1]
GENERATION: dict[Family, dict[str, Any]] = {
    XLM: {"max_new_tokens": NEW, "num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5},
    FAMILIES[1]: {
        "max_new_tokens": NEW,
        "do_sample": True,
        "top_p": 0.9,
        "temperature": 1.5,
        "repetition_penalty": 1.1,
    },
}


class Exported:
    """A causal model of a family, its tokenizer and its export."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.family, self.is_xlm = family, family is XLM
        if self.is_xlm:
            self.tokenizer: Any = XLMTokenizer(
                toy_vocabulary(), MERGES, lang2id=LANG2ID, clean_up_tokenization_spaces=True
            )
            values: dict[str, Any] = {"n_langs": 3, "lang2id": LANG2ID, "max_position_embeddings": ROOM}
        else:
            self.tokenizer = XLMRobertaTokenizer(trained(), model_max_length=512)
            values = {"max_position_embeddings": ROOM + 2}
        values |= {"vocab_size": len(self.tokenizer), family.causal: True}
        kind = family.cls("WithLMHeadModel" if self.is_xlm else "ForCausalLM")
        self.model = perturb(kind(family.small.replace(**values)), seed=1)
        self.options = GENERATION[family]
        with unchecked():
            self.path = export_model(self.model, self.tokenizer, folder / str(family), generation=self.options)

    def prompts(self) -> dict[str, np.ndarray]:
        """The ids of the texts, without what ends them, and of long ones only the last that there is room for."""
        rows = []
        for text, lang in zip(TEXTS, LANGS, strict=True):
            options = {"lang": lang} if self.is_xlm else {}
            whole = self.tokenizer(text, split_special_tokens=True, **options)["input_ids"]
            first, pieces = whole[:1], whole[1:-1]
            rows.append(first + pieces[-(ROOM - NEW - 1) :])
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), max(lengths)), int)
        for row, own in enumerate(rows):
            ids[row, : len(own)] = own
        langs = np.array([LANG2ID[lang] for lang in LANGS])[:, None]
        found = {"input_ids": ids, "lengths": lengths}
        found |= {"langs": np.broadcast_to(langs, ids.shape)} if self.is_xlm else {"seed": np.array(SEEDS)}
        return {name: array.astype(np.int32) for name, array in found.items()}

    def request(self) -> dict[str, dict[str, np.ndarray]]:
        prompts = self.prompts()
        texts: dict[str, np.ndarray] = {"text": np.char.encode(TEXTS, "utf-8")}
        texts |= {"lang": np.char.encode(LANGS, "utf-8")} if self.is_xlm else {"seed": prompts["seed"]}
        of_ids = {name: array for name, array in prompts.items() if name != "seed"}
        return {"serving_default": texts, "generate_ids": prompts, "ids": of_ids, "outputs": of_ids}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Exported]:
    folder = tmp_path_factory.mktemp("exported")
    return {family: Exported(family, folder) for family in GENERATION}


@pytest.fixture(scope="module")
def answers(exported: dict[Family, Exported], tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Any]:
    """The answers of the C API, which are all asked for at once."""
    asked = [(it.path, it.request()) for it in exported.values()]
    return dict(zip(exported, ask_process(C_API, asked, tmp_path_factory.mktemp("asked")), strict=True))


@pytest.mark.parametrize("family", GENERATION, ids=str)
def test_texts_are_those_of_generate(
    family: Family, exported: dict[Family, Exported], answers: dict[Family, Any]
) -> None:
    it, answer = exported[family], answers[family]
    prompts, copies = it.prompts(), it.options.get("num_return_sequences", 1)
    alone = []
    for row, length in enumerate(prompts["lengths"]):
        given = {name: array[row : row + 1] for name, array in prompts.items() if name != "lengths"}
        given["input_ids"] = given["input_ids"][:, :length]
        if it.is_xlm:
            given["langs"] = given["langs"][:, :length]
        seed = given.pop("seed", None)
        alone.append(it.model.generate(given, seed=seed, **it.options).numpy()[:, length:])
    for row, news in enumerate(alone):
        for text in range(copies):
            size = answer["serving_default/lengths"][row, text]
            ids = answer["serving_default/ids"][row, text]
            assert ids.tolist() == news[text].tolist() + [it.model.config.pad_index] * (NEW - news.shape[1])
            expected = it.tokenizer.decode(ids[:size], skip_special_tokens=True)
            assert answer["serving_default/texts"][row, text] == expected
    for name in ("ids", "lengths", *(("scores",) if it.is_xlm else ())):
        np.testing.assert_allclose(answer[f"generate_ids/{name}"], answer[f"serving_default/{name}"], atol=1e-5)


def test_a_client_has_the_texts(exported: dict[Family, Exported], answers: dict[Family, Any]) -> None:
    folders = {it.path.parent.name: it.path.parent for it in exported.values()}
    with Server(folders, rest_port=0, grpc_port=0) as server, Client(grpc=server.grpc_address) as client:
        for family, it in exported.items():
            name, answer = it.path.parent.name, answers[family]
            given: dict[str, Any] = {"lang": LANGS} if it.is_xlm else {"seed": SEEDS}
            found = client.generate_text(name, TEXTS, batch_size=2, **given)
            assert [[one.text for one in row] for row in found] == answer["serving_default/texts"].tolist()
            for row, news in enumerate(found):
                for text, one in enumerate(news):
                    size = answer["serving_default/lengths"][row, text]
                    assert one.ids == tuple(answer["serving_default/ids"][row, text, :size].tolist())
                    assert one.score == (
                        pytest.approx(answer["serving_default/scores"][row, text]) if it.is_xlm else None
                    )
            if it.is_xlm:
                with pytest.raises(InputError, match="draws nothing: leave seed out"):
                    client.generate_text(name, "x", seed=1, lang=LANGS[0])
            else:
                assert client.generate_text(name, TEXTS[0], seed=SEEDS[0]) == found[0]
                assert len(client.generate_text(name, TEXTS)) == len(TEXTS)
                for seed, message in (
                    (-1, "below 2\\*\\*31"),
                    ([1, 2], "got 2 seeds for 1 rows"),
                    (True, "whole number"),
                ):
                    with pytest.raises(InputError, match=message):
                        client.generate_text(name, "x", seed=seed)


@pytest.mark.parametrize("family", GENERATION, ids=str)
def test_the_graph_has_only_operations_of_tensorflow_and_its_text_library(
    family: Family, exported: dict[Family, Exported]
) -> None:
    saved = saved_model_pb2.SavedModel.FromString((exported[family].path / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    operations = {node.op for node in nodes} - {function.signature.name for function in graph.library.function}
    assert {name for name in operations if name.startswith(("Xla", "PyFunc", "EagerPyFunc"))} == set()
    core = {name for name in operations if not name.startswith("TFText>")}
    assert all(op_def_registry.get(name) is not None for name in core)


def test_one_language_of_all_texts_and_the_options_by_default(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id=LANG2ID)
    values = {"n_langs": 3, "lang2id": LANG2ID, "vocab_size": len(tokenizer), "causal": True}
    model = perturb(XLM.cls("WithLMHeadModel")(XLM.small.replace(**values)))
    with unchecked() as given:
        folder = export_model(model, tokenizer, tmp_path, lang="fr", max_length=8)
    assert list(given[0][1]["serving_default"]) == ["text"]
    texts = ["the", "hello world " * 9 + "the"]
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](text=tf.constant(texts))
    # Half of the 20 positions.
    assert answer["ids"].shape == (2, 1, 10)
    for row, text in enumerate(texts):
        begin, *pieces, _ = tokenizer.encode(text, lang="fr")
        # The end of a long text, with room for what stands before and after it.
        prompt = np.array([[begin, *pieces[-6:]]])
        made = model.generate(prompt, langs="fr", max_new_tokens=10).numpy()[0, prompt.shape[1] :]
        count = int(answer["lengths"][row, 0])
        assert answer["ids"].numpy()[row, 0, :count].tolist() == made[:count].tolist()


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"num_beam": 2}, "Served generation has no option num_beam. It has: max_new_tokens"),
        ({"max_new_tokens": 20}, "max_new_tokens=20 leaves no room for prompts: the model reads 20 tokens"),
        ({"num_beams": 0}, "num_beams must be a positive integer, got 0"),
        ({"pad_token_id": 99}, r"pad_token_id must be an id in \[0, vocab_size = \d+\), got 99"),
        (3, "generation must be a dict of options of generate, or None, got 3"),
    ],
)
def test_options_that_are_refused(generation: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = XLM.cls("WithLMHeadModel")(XLM.small.replace(causal=True))
    with pytest.raises(InputError, match=message):
        export_model(model, None, tmp_path, generation=generation)


def test_only_causal_language_models_generate(tmp_path: Path) -> None:
    for model in (TFXLMForSequenceClassification(XLM.small), XLM.cls("WithLMHeadModel")(XLM.small)):
        with pytest.raises(InputError, match="have no option 'generation'"):
            export_model(model, None, tmp_path, generation={"num_beams": 2})


def test_a_second_text_that_there_is_not_cannot_be_cut(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id=LANG2ID)
    values = {"n_langs": 3, "lang2id": LANG2ID, "vocab_size": len(tokenizer), "causal": True}
    with pytest.raises(InputError, match=r"truncation='only_second' needs a second text\. Pass text_pair, or 'only_f"):
        export_model(
            XLM.cls("WithLMHeadModel")(XLM.small.replace(**values)), tokenizer, tmp_path, truncation="only_second"
        )


def test_generation_in_buckets_and_compiled(tmp_path: Path) -> None:
    model = perturb(XLM.cls("WithLMHeadModel")(XLM.small.replace(causal=True)), seed=1)
    options = {"max_new_tokens": 3, "do_sample": True, "eos_token_id": []}
    sizes: dict[str, Any] = {"length_buckets": (4, 12), "batch_buckets": (4,), "jit": True}
    with unchecked():
        folder = export_model(model, None, tmp_path, generation=options, signatures=["generate_ids"], **sizes)
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    compiled = [function for function in functions if function.attr["_XlaMustCompile"].b]
    assert any("MatMul" in {node.op for node in function.node_def} for function in compiled)
    ids, langs = np.array([[5, 6, 7], [8, 9, 0], [4, 0, 0]]), np.ones((3, 3), int)
    request = {"input_ids": ids, "langs": langs, "lengths": [3, 2, 1], "seed": [5, 6, 7]}
    ask = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answer = ask(**{name: tf.constant(value, tf.int32) for name, value in request.items()})
    assert answer["ids"].shape == (3, 1, 3)
    for row, length in enumerate(request["lengths"]):
        prompt, seed = ids[row : row + 1, :length], [request["seed"][row]]
        made = model.generate(prompt, langs=1, seed=seed, **options).numpy()
        assert answer["ids"].numpy()[row, 0].tolist() == made[0, length:].tolist()
    for name, shape, message in (("batch", (5, 3), "more rows than"), ("length", (1, 13), "more tokens in a row than")):
        wide = {"input_ids": tf.ones(shape, tf.int32), "langs": tf.zeros(shape, tf.int32)}
        wide |= {"lengths": tf.ones(shape[0], tf.int32), "seed": tf.ones(shape[0], tf.int32)}
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{message} the largest of {name}_buckets"):
            ask(**wide)
