"""Exports that take raw text, beside the Python tokenizer and the signatures over ids; asked in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.export.support import C_API, LABELS, WITHOUT_TFXLM, ask_process, unchecked
from tests.models.battery import perturb
from tests.models.families import FAMILIES, NEEDS, XLM, Family
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.client import Client
from tfxlm.errors import InputError, LanguageError, ServingError
from tfxlm.export import export_model
from tfxlm.serve import Server

LANG2ID = {"de": 1, "en": 0, "fr": 2}
LENGTH = 24
TEXTS = ["Hello the singing world", "", "L'été «there» it's.", "hello " * 40, "the <s> </s> <pad> No. 7"]
PAIRS = ["the", "world " * 40, "", "hello", "there, there"]
LANGS, LANGS_OF_PAIRS = ["en", "fr", "fr", "de", "en"], ["en", "en", "de", "fr", "en"]
# Behind the real ones stands what a server fills rows up with: the first of all.
WORDS = [
    ["Hello", "the", "singing", "world"],
    ["", "Hello", "Hello", "Hello"],
    ["L'été", "there", "Hello", "Hello"],
    ["hello" * 20] * 4,
    ["the"] * 4,
]
CHOICES = [["yes", "no", "yes"], ["the", "hello", "world"], ["x", "yes", "yes"], ["", "yes", "yes"], ["a", "", "c"]]
NUM_WORDS, NUM_CHOICES = [4, 1, 2, 4, 4], [2, 3, 1, 1, 3]

# Task of a class, by the signature that is asked; the default one, but for pairs.
TASKS = {
    "Model": "serving_default",
    "ForSequenceClassification": "serving_default",
    "ForSequenceClassification, pairs": "text_pair",
    "ForTokenClassification": "serving_default",
    "ForMultipleChoice": "serving_default",
    "masks": "serving_default",
}
# Those whose references are in tests of their own.
MORE_TASKS = {
    "questions": "serving_default",
    "questions, beam": "serving_default",
    "ForTokenClassification, texts": "text",
}
SIGNATURES = TASKS | MORE_TASKS
CASES = [(family.prefix, task) for family in FAMILIES for task in TASKS]
# Those that are asked in every way: each form of one family, and another family's tokenizer.
SERVED = [(XLM.prefix, task) for task in SIGNATURES if task != "Model"]
SERVED += [(FAMILIES[1].prefix, task) for task in ("ForSequenceClassification", "questions")]
QUESTIONS = ["Where is it?", "", "who", "hello there the world? " * 9, "the"]
CONTEXTS = [
    "Hello, the singing world is there. " * 3 + "It's the end of 7 worlds, L'été «there».",
    "the world",
    "",
    "  It is hello there, and the world… is ending: (No. 7) ½ of it; " + "x y z w v u t s r q p o n m " * 2,
    "e\u0301t\u00e9 \ufb01 " + "ab cd ef gh ij kl mn op qr st uv wx yz " * 3,
]


def served_name(prefix: str, task: str) -> str:
    return f"{prefix}-{task}".replace(", ", "-")


class Asked:
    """A family's tokenizer and its exported models."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.family, self.folder = family, folder
        self.is_xlm = family is XLM
        # Texts are cut on the left in one family.
        options = {"model_max_length": 512, "truncation_side": "left" if family is FAMILIES[-1] else "right"}
        if self.is_xlm:
            self.tokenizer: Any = XLMTokenizer(toy_vocabulary(), MERGES, lang2id=LANG2ID, **options)
        else:
            self.tokenizer = XLMRobertaTokenizer(trained(), **options)
        self.made: dict[str, tuple[Any, Path]] = {}

    def export(self, task: str) -> tuple[Any, Path]:
        name = {
            "masks": self.family.language_model,
            "questions": "ForQuestionAnsweringSimple" if self.is_xlm else "ForQuestionAnswering",
            "questions, beam": "ForQuestionAnswering",
        }.get(task, task.partition(",")[0])
        if name not in self.made:
            values = {"vocab_size": len(self.tokenizer), "id2label": None if "Question" in name else LABELS}
            values |= {"max_position_embeddings": LENGTH if self.is_xlm else LENGTH + 2}
            values |= {"n_langs": 3, "lang2id": LANG2ID} if self.is_xlm else {}
            model = perturb(self.family.cls(name)(self.family.config.replace(**NEEDS.get(name, {}), **values)))
            with unchecked():
                self.made[name] = model, export_model(model, self.tokenizer, self.folder / name)
        return self.made[name]

    def request(self, task: str) -> dict[str, Any]:
        langs = {"lang": LANGS} if self.is_xlm else {}
        match task:
            case "ForSequenceClassification, pairs":
                more = {"lang_pair": LANGS_OF_PAIRS} if self.is_xlm else {}
                return {"text": TEXTS, "text_pair": PAIRS, **langs, **more}
            case "ForTokenClassification":
                return {"words": WORDS, "num_words": NUM_WORDS, **langs}
            case "ForMultipleChoice":
                return {"text": TEXTS, "choices": CHOICES, "num_choices": NUM_CHOICES, **langs}
            case "masks":
                return {"text": self.masked(), **langs}
            case "questions" | "questions, beam":
                return {"question": QUESTIONS, "context": CONTEXTS, **langs}
        return {"text": TEXTS, **langs}

    def masked(self) -> list[str]:
        mask = self.tokenizer.mask_token
        return [f"Hello {mask} world", f"{mask}{mask} the", "no mask", "hello " * 40 + mask, f"a  {mask} , {mask}."]

    def ids(self, *texts: Any, langs: Any = LANGS, split: bool = True, **options: Any) -> dict[str, np.ndarray]:
        """What the signatures over ids take, of the Python tokenizer."""
        options |= {"padding": True, "truncation": True, "max_length": LENGTH, "split_special_tokens": split}
        options |= {"lang": langs} if self.is_xlm else {}
        batch = self.tokenizer(*texts, return_tensors="np", **options)
        request = {"input_ids": batch["input_ids"], "lengths": batch["attention_mask"].sum(axis=1)}
        request |= {"langs": batch["langs"]} if self.is_xlm else {}
        return {name: np.asarray(value, np.int32) for name, value in request.items()}

    def expected(self, task: str, loaded: Any) -> dict[str, np.ndarray]:
        """The answer to the same texts, of the signature over ids and by hand."""

        def ask(request: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            answer = loaded.signatures["ids"](**{name: tf.constant(array) for name, array in request.items()})
            return {name: as_text(value.numpy()) for name, value in answer.items()}

        match task:
            case "ForSequenceClassification, pairs":
                return ask(self.ids(TEXTS, PAIRS, langs=list(zip(LANGS, LANGS_OF_PAIRS, strict=True))))
            case "ForTokenClassification":
                return self.of_words(ask)
            case "ForMultipleChoice":
                return self.of_choices(ask)
            case "masks":
                return self.of_masks(ask)
        return ask(self.ids(TEXTS))

    def of_words(self, ask: Any) -> dict[str, np.ndarray]:
        options: dict[str, Any] = {"is_split_into_words": True, "split_special_tokens": True}
        options |= {"truncation": True, "max_length": LENGTH}
        rows = [row[:count] if any(row[:count]) else [] for row, count in zip(WORDS, NUM_WORDS, strict=True)]
        answer = ask(self.ids(rows, is_split_into_words=True))
        label, score = np.full((5, 4), "", object), np.zeros((5, 4), np.float32)
        for index, row in enumerate(rows):
            langs = {"lang": LANGS[index]} if self.is_xlm else {}
            words = self.tokenizer(row, **options, **langs).word_ids()
            whole = self.tokenizer(row, **{**options, "truncation": False, "max_length": None}, **langs).word_ids()
            for word in range(len(row)):
                # On the left a word loses its first piece first.
                is_cut = self.tokenizer.truncation_side == "left" and words.count(word) < whole.count(word)
                if word in words and not is_cut:
                    place = words.index(word)
                    label[index, word], score[index, word] = (
                        answer["label"][index, place],
                        answer["score"][index, place],
                    )
        return {"label": label, "score": score}

    def of_choices(self, ask: Any) -> dict[str, np.ndarray]:
        texts = [text for text in TEXTS for _ in range(3)]
        flat = self.ids(
            texts, [one for row in CHOICES for one in row], langs=[lang for lang in LANGS for _ in range(3)]
        )
        request = {name: array.reshape(5, 3, *array.shape[1:]) for name, array in flat.items()}
        return ask({**request, "num_choices": np.array(NUM_CHOICES, np.int32)})

    def of_masks(self, ask: Any) -> dict[str, np.ndarray]:
        request = self.ids(self.masked(), split=False)
        answer = ask(request)
        ids, scores = np.full((5, 2, 5), -1), np.zeros((5, 2, 5), np.float32)
        for row, tokens in enumerate(request["input_ids"]):
            for mask, place in enumerate(np.flatnonzero(tokens == self.tokenizer.mask_token_id)):
                ids[row, mask], scores[row, mask] = answer["ids"][row, place], answer["scores"][row, place]
        names = [
            ""
            if index < 0
            else self.tokenizer.convert_tokens_to_string([self.tokenizer.convert_ids_to_tokens(int(index))])
            for index in ids.ravel()
        ]
        return {"tokens": np.array([name.strip() for name in names]).reshape(ids.shape), "ids": ids, "scores": scores}


def as_bytes(value: Any) -> np.ndarray:
    array = np.array(value)
    return array.astype(np.int32) if array.dtype.kind == "i" else np.char.encode(array, "utf-8")


def as_text(array: np.ndarray) -> np.ndarray:
    return np.char.decode(array.astype(bytes), "utf-8") if array.dtype == object else array


def check(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, atol=2e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    return {family.prefix: Asked(family, tmp_path_factory.mktemp(family.prefix)) for family in FAMILIES}


@pytest.mark.parametrize(("prefix", "task"), CASES)
def test_texts_are_answered_as_their_ids(families: dict[str, Asked], prefix: str, task: str) -> None:
    asked = families[prefix]
    _, folder = asked.export(task)
    loaded = tf.saved_model.load(str(folder))
    request = {name: tf.constant(as_bytes(value)) for name, value in asked.request(task).items()}
    found = loaded.signatures[TASKS[task]](**request)
    check({name: as_text(value.numpy()) for name, value in found.items()}, asked.expected(task, loaded))


@pytest.fixture(scope="module")
def server(families: dict[str, Asked]) -> Iterator[Server]:
    models = {served_name(prefix, task): families[prefix].export(task)[1].parent for prefix, task in SERVED}
    with Server(models, rest_port=0, grpc_port=0) as running:
        yield running


def test_all_ways_give_equal_answers(families: dict[str, Asked], server: Server, tmp_path: Path) -> None:
    """REST in columns and in rows, gRPC, another process, and the C++ runtime without Python TensorFlow."""
    given = []
    for prefix, task in SERVED:
        asked = families[prefix]
        folder = asked.export(task)[1]
        request = {name: as_bytes(value) for name, value in asked.request(task).items()}
        given.append((folder, {**warmup_requests(folder), SIGNATURES[task]: request}))
    others = []
    for name, command in (("Python", WITHOUT_TFXLM), ("C", C_API)):
        (tmp_path / name).mkdir()
        others.append(ask_process(command, given, tmp_path / name))
    with (
        Client(rest=server.rest_url) as columns,
        Client(rest=server.rest_url, rest_format="rows") as rows,
        Client(grpc=server.grpc_address) as grpc,
    ):
        for python, c in zip(*others, strict=True):
            check(c, python)
        for index, (prefix, task) in enumerate(SERVED):
            name, request, signature = served_name(prefix, task), families[prefix].request(task), SIGNATURES[task]
            expected = grpc.predict(name, request, signature_name=signature)
            for client in (columns, rows):
                check(client.predict(name, request, signature_name=signature), expected)
            for answers in others:
                start = f"{signature}/"
                own = {key[len(start) :]: value for key, value in answers[index].items() if key.startswith(start)}
                check(own, expected)


def warmup_requests(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The requests that the export has for each of its signatures."""
    requests = {}
    for record in tf.data.TFRecordDataset(str(folder / "assets.extra/tf_serving_warmup_requests")):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.HasField("classify_log"):
            request, examples = log.classify_log.request, log.classify_log.request.input.example_list.examples
            arrays = {"inputs": np.array([example.SerializeToString() for example in examples])}
        else:
            request = log.predict_log.request
            arrays = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        requests[request.model_spec.signature_name] = {
            name: array.astype(bytes) if array.dtype == object else array for name, array in arrays.items()
        }
    return requests


@pytest.mark.parametrize(("prefix", "task"), [(XLM.prefix, task) for task in TASKS])
def test_sizes_are_checked_and_empty_batches_answered(families: dict[str, Asked], prefix: str, task: str) -> None:
    asked = families[prefix]
    signature = tf.saved_model.load(str(asked.export(task)[1])).signatures[TASKS[task]]
    request = {name: as_bytes(value) for name, value in asked.request(task).items()}
    first = "words" if "words" in request else "text"
    for name in request:
        if name != first:
            shorter = {key: tf.constant(value[:1] if key == name else value) for key, value in request.items()}
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must have as many rows as {first}"):
                signature(**shorter)
    for name in ("num_words", "num_choices"):
        if name in request:
            with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{name} must be at least 1 and at most"):
                signature(
                    **{
                        key: tf.constant(value + 9 * (key == name) if key == name else value)
                        for key, value in request.items()
                    }
                )
    empty = signature(**{name: tf.constant(value[:0]) for name, value in request.items()})
    assert all(value.shape[0] == 0 for value in empty.values())


def test_bad_texts_are_refused_and_the_server_lives(server: Server) -> None:
    name = served_name(XLM.prefix, "ForSequenceClassification")
    for client in (Client(rest=server.rest_url), Client(grpc=server.grpc_address)):
        with client:
            with pytest.raises(ServingError, match=r"lang must be a language of the model: de, en, fr"):
                client.predict(name, {"text": ["Hello"], "lang": ["xx"]})
            with pytest.raises(ServingError, match=r"lang must have as many rows as text"):
                client.predict(name, {"text": ["Hello", "the"], "lang": ["en"]})
            assert client.predict(name, {"text": ["Hello"], "lang": ["en"]})["label"].shape == (1,)


def test_one_language_for_all_texts(families: dict[str, Asked], tmp_path: Path) -> None:
    asked = families[XLM.prefix]
    model, folder = asked.export("ForSequenceClassification")
    with unchecked():
        fixed = tf.saved_model.load(str(export_model(model, asked.tokenizer, tmp_path / "fixed", lang="fr")))
    assert set(fixed.signatures["serving_default"].structured_input_signature[1]) == {"text"}
    any_language = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = fixed.signatures["serving_default"](text=tf.constant(TEXTS))
    expected = any_language(text=tf.constant(TEXTS), lang=tf.constant(["fr"] * 5))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    with pytest.raises(LanguageError, match=r"'xx' is unknown\. Known languages: de, en, fr"):
        export_model(model, asked.tokenizer, tmp_path / "other", lang="xx")


def test_the_whole_export_is_checked_and_described(families: dict[str, Asked], tmp_path: Path) -> None:
    """Without leaving the fresh process out, as the other tests do; with a tokenizer of TensorFlow Text."""
    asked = families[next(family.prefix for family in FAMILIES if family is not XLM)]
    model, _ = asked.export("ForSequenceClassification")
    folder = export_model(model, asked.tokenizer, tmp_path / "checked")
    golden = json.loads((folder / "assets.extra" / "manifest.json").read_text())["golden"]
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = loaded(**{name: tf.constant(value) for name, value in golden["inputs"].items()})
    np.testing.assert_allclose(found["scores"], golden["outputs"]["scores"], atol=1e-5)
    assert as_text(found["label"].numpy()).tolist() == golden["outputs"]["label"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"padding_side": "left"}, "pads on the left"),
        ({"lang2id": None}, "the tokenizer knows no languages"),
        ({"mask_token": None}, "has no mask token"),
    ],
)
def test_tokenizers_without_a_graph_go_as_files(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, **({"lang2id": LANG2ID} | options))
    config = XLM.config.replace(vocab_size=len(tokenizer), n_langs=3, lang2id=LANG2ID)
    model = XLM.cls("WithLMHeadModel")(config)
    with unchecked(), pytest.warns(UserWarning, match=f"The export takes ids only: .*{reason}"):
        folder = export_model(model, tokenizer, tmp_path / "served")
    signatures = tf.saved_model.load(str(folder)).signatures
    assert "input_ids" in signatures["serving_default"].structured_input_signature[1]
    assert (folder / "assets.extra" / "tokenizer" / "vocab.json").is_file()
    with pytest.raises(InputError, match=f"lang='en' is for texts, but .*{reason}"):
        export_model(model, tokenizer, tmp_path / "served", lang="en")


def test_languages_that_are_all_cut_before(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"th": 0, "zh": 1})
    model = XLM.cls("Model")(XLM.config.replace(vocab_size=len(tokenizer), n_langs=2, lang2id=None))
    with unchecked():
        folder = export_model(model, tokenizer, tmp_path / "served")
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert signature(text=tf.constant(["the"]), lang=tf.constant(["zh"]))["embedding"].shape[0] == 1
