"""Texts that exports are asked with, by task, and what the tokenizers and the signatures over ids make of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.export.support import LABELS, unchecked
from tests.models.battery import perturb
from tests.models.families import FAMILIES, NEEDS, SWEEP, XLM, Family
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.export import export_model

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
# Signatures of exports in every run, by class, where they are not those for texts and for ids: to make all takes twice
# as long, and one class has them. Those of exports without a tokenizer are all there.
SIGNATURES_OF: dict[str, tuple[str, ...] | None] = {
    "ForSequenceClassification": None,
    "ForTokenClassification": ("serving_default", "text", "ids"),
}
# Those of XLM-RoBERTa-XL have the tokenizer and the graphs of XLM-RoBERTa.
TRIED = FAMILIES if SWEEP else FAMILIES[:2]
CASES = [(family.prefix, task) for family in TRIED for task in TASKS]
# Those that are asked in every way: each form of one family, and another family's tokenizer. In every run, each form of
# one of the two: to load an export in three programs takes half a minute.
IN_TURN = ("ForMultipleChoice", "masks", "questions", "questions, beam")
OF_PIECES = ("ForSequenceClassification", "questions") if SWEEP else IN_TURN[:3]
SERVED = [(XLM.prefix, task) for task in SIGNATURES if task != "Model" and (SWEEP or task not in IN_TURN)]
SERVED += [(FAMILIES[1].prefix, task) for task in OF_PIECES]
QUESTIONS = ["Where is it?", "", "who", "hello there the world? " * 9, "the"]
CONTEXTS = [
    "Hello, the singing world is there. " * 3 + "It's the end of 7 worlds, L'été «there».",
    "the world",
    "",
    "  It is hello there, and the world… is ending: (No. 7) ½ of it; " + "x y z w v u t s r q p o n m " * 2,
    "e\u0301t\u00e9 \ufb01 " + "ab cd ef gh ij kl mn op qr st uv wx yz " * 3,
]


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
        self.read: dict[Path, Any] = {}

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
            model = perturb(self.family.cls(name)(self.family.small.replace(**NEEDS.get(name, {}), **values)))
            with unchecked():
                signatures = None if SWEEP else SIGNATURES_OF.get(name, ("serving_default", "ids"))
                folder = export_model(model, self.tokenizer, self.folder / name, signatures=signatures)
            self.made[name] = model, folder
        return self.made[name]

    def loaded(self, task: str) -> Any:
        """The export, loaded once."""
        _, folder = self.export(task)
        if folder not in self.read:
            self.read[folder] = tf.saved_model.load(str(folder))
        return self.read[folder]

    def served_name(self, task: str) -> str:
        """What a server calls the export, which tasks of a class share."""
        return f"{self.family.prefix}-{self.export(task)[1].parent.name}"

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
