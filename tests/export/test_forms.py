"""Forms of exports beside the usual ones: examples, embeddings, dtypes, and signatures by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.asked import LANGS, LANGS_OF_PAIRS, PAIRS, TEXTS, Asked, as_text, warmup_requests
from tests.export.conftest import Exports
from tests.export.support import LABELS, export, make_model, unchecked
from tests.models.battery import perturb
from tests.models.families import FAMILIES, XLM_ROBERTA
from tfxlm.errors import InputError
from tfxlm.export import export_model
from tfxlm.models import TFXLMForSequenceClassification, TFXLMModel, TFXLMRobertaModel

EXAMPLES = "ForSequenceClassification"


def example(**features: str) -> bytes:
    values = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])) for name, text in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def methods(folder: Path) -> dict[str, str]:
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
    return {name: one.method_name for name, one in graph.signature_def.items() if not name.startswith("__")}


@pytest.mark.parametrize("prefix", [family.prefix for family in FAMILIES[:2]])
def test_examples_are_classified_as_their_texts(families: dict[str, Asked], prefix: str) -> None:
    """As TensorFlow Serving's Classify asks: some rows have a second text, and some do not."""
    asked = families[prefix]
    _, folder = asked.export(EXAMPLES)
    loaded = asked.loaded(EXAMPLES).signatures
    pairs = [pair if index % 2 else "" for index, pair in enumerate(PAIRS)]
    rows = [{"text": text, **({"text_pair": pair} if pair else {})} for text, pair in zip(TEXTS, pairs, strict=True)]
    request: dict[str, Any] = {"text": TEXTS, "text_pair": PAIRS}
    if asked.is_xlm:
        for row, lang, other in zip(rows, LANGS, LANGS_OF_PAIRS, strict=True):
            row |= {"lang": lang, "lang_pair": other}
        request |= {"lang": LANGS, "lang_pair": LANGS_OF_PAIRS}
    found = loaded["classify"](inputs=tf.constant([example(**row) for row in rows]))
    assert as_text(found["classes"].numpy()).tolist() == [list(LABELS.values())] * 5
    double = loaded["text_pair"](**{name: tf.constant(value) for name, value in request.items()})["scores"]
    names = [name for name in request if "pair" not in name]
    single = loaded["serving_default"](**{name: tf.constant(request[name]) for name in names})["scores"]
    expected = [double[i] if pairs[i] else single[i] for i in range(5)]
    np.testing.assert_allclose(found["scores"], expected, atol=2e-6)
    only_single = [example(**{name: row[name] for name in names}) for row in rows]
    np.testing.assert_allclose(loaded["classify"](inputs=tf.constant(only_single))["scores"], single, atol=2e-6)
    predict = dict.fromkeys(("serving_default", "text_pair", "ids", "outputs"), "tensorflow/serving/predict")
    assert methods(folder) == {**predict, "classify": "tensorflow/serving/classify"}
    assert loaded["classify"](**{n: tf.constant(v) for n, v in warmup_requests(folder)["classify"].items()})
    if asked.is_xlm:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"Feature: lang \(data type: string\) is required"):
            loaded["classify"](inputs=tf.constant([example(text="the")]))


def exported(asked: Asked, tmp_path: Path, **labels: Any) -> tuple[Path, Any]:
    config = asked.family.small.replace(vocab_size=len(asked.tokenizer), num_labels=None, **labels)
    model = perturb(asked.family.cls(EXAMPLES)(config))
    with unchecked():
        folder = export_model(model, asked.tokenizer, tmp_path / "served")
    return folder, tf.saved_model.load(str(folder)).signatures


@pytest.fixture
def with_pieces(families: dict[str, Asked]) -> Asked:
    """The family whose tokenizer is small in a graph."""
    return families[XLM_ROBERTA.prefix]


def test_examples_of_a_regression(with_pieces: Asked, tmp_path: Path) -> None:
    folder, loaded = exported(with_pieces, tmp_path, id2label={0: "stars"})
    assert methods(folder)["regress"] == "tensorflow/serving/regress"
    found = loaded["regress"](inputs=tf.constant([example(text=text) for text in TEXTS]))
    expected = loaded["serving_default"](text=tf.constant(TEXTS))
    assert set(expected) == {"scores"}
    np.testing.assert_allclose(found["outputs"], expected["scores"][:, 0], atol=2e-6)
    assert (folder / "assets.extra/labels.txt").read_text() == "stars\n"


def test_several_labels_and_several_numbers(with_pieces: Asked, tmp_path: Path) -> None:
    several, loaded = exported(with_pieces, tmp_path / "a", id2label=LABELS, problem_type="multi_label_classification")
    found = loaded["classify"](inputs=tf.constant([example(text=text) for text in TEXTS]))
    logits = loaded["outputs"](**tokens(several))["logits"]
    np.testing.assert_allclose(loaded["ids"](**tokens(several))["scores"], tf.sigmoid(logits), atol=2e-6)
    np.testing.assert_allclose(found["scores"], loaded["serving_default"](text=tf.constant(TEXTS))["scores"], atol=2e-6)
    _, loaded = exported(with_pieces, tmp_path / "b", id2label=LABELS, problem_type="regression")
    # Regress takes one number for each example.
    assert set(loaded) == {"serving_default", "text_pair", "ids", "outputs"}
    assert loaded["serving_default"](text=tf.constant(TEXTS))["scores"].shape == (5, 3)


def tokens(folder: Path) -> dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in warmup_requests(folder)["ids"].items()}


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("first", False), ("summary", False)])
def test_embeddings(pooling: str, normalize: bool, tmp_path: Path) -> None:
    for kind, changes in ((TFXLMModel, {"summary_type": "last"}), (TFXLMRobertaModel, {})):
        it = export(make_model(kind, **changes), tmp_path / kind.__name__, pooling=pooling, normalize=normalize)
        request = {name: tf.constant(value) for name, value in it.request("serving_default").items()}
        found = it.loaded.signatures["serving_default"](**request)["embedding"]
        outputs, lengths = it.outputs(), it.request("outputs")["lengths"]
        states = outputs["last_hidden_state"]
        expected = {
            "mean": [row[:length].mean(0) for row, length in zip(states, lengths, strict=True)],
            "first": states[:, 0],
            "summary": outputs.get("pooler_output", [row[n - 1] for row, n in zip(states, lengths, strict=True)]),
        }[pooling]
        if normalize:
            expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, r"^pooling must be one of mean, first, summary, got 'max'\.$"),
        ({"normalize": 1}, r"^normalize must be True or False, got 1\.$"),
        ({"dtype": "int8"}, r"^dtype='int8' is not a dtype of exports\. Choose one of float32, bfloat16, float16"),
        ({"signatures": "ids"}, r"^signatures='ids' should be a list of names, or a mapping\. Pass \['ids'\]\.$"),
        ({"signatures": ["text"]}, r"^There is no signature 'text' of this model and tokenizer\. There are: ids, outp"),
        ({"signatures": []}, r"^signatures has no 'serving_default', which is asked when a request names none"),
        ({"signatures": {"mine": "ids"}}, r"^signatures has no 'serving_default'"),
        ({"signatures": {"serving_default": print}}, r"^The signature 'serving_default' should be the name of one, or"),
        ({"length_buckets": (8, 4)}, r"^length_buckets=\(8, 4\) should be different sizes, ascending"),
        ({"batch_buckets": (0,)}, r"^batch_buckets=\(0,\) should be different sizes, ascending"),
        ({"length_buckets": (8, 32)}, r"^The last of length_buckets is 32, but the model takes 16 tokens"),
        ({"jit": True}, r"^jit=True compiles the model for each length of a batch\. Pass length_buckets"),
        ({"max_length": 8}, r"^max_length=8 is for texts, but there is no tokenizer\. Leave it out\.$"),
        ({"truncation": "only_first"}, r"^truncation='only_first' is for texts, but there is no tokenizer"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        export_model(make_model(TFXLMModel), None, tmp_path / "served", **options)
    assert not (tmp_path / "served").exists()


def test_signatures_by_name_and_of_ones_own(with_pieces: Asked, tmp_path: Path) -> None:
    model, _ = with_pieces.export(EXAMPLES)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="input_ids")])
    def double(input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"twice": 2 * model(input_ids)["logits"]}

    ids = np.array([[0, 5, 1]], np.int32)
    mine: dict[str, Any] = {"serving_default": "text", "labels": "text", "double": (double, {"input_ids": ids})}
    folder = export_model(model, with_pieces.tokenizer, tmp_path / "mine", signatures=mine)
    loaded = tf.saved_model.load(str(folder)).signatures
    assert set(loaded) == set(mine)
    np.testing.assert_array_equal(
        loaded["labels"](text=tf.constant(TEXTS))["scores"],
        loaded["serving_default"](text=tf.constant(TEXTS))["scores"],
    )
    expected = 2 * model(ids)["logits"]
    np.testing.assert_allclose(loaded["double"](input_ids=tf.constant(ids))["twice"], expected, atol=2e-6)
    with unchecked():
        listed = export_model(model, with_pieces.tokenizer, tmp_path / "mine", signatures=["ids", "outputs"])
    loaded = tf.saved_model.load(str(listed)).signatures
    assert set(loaded) == {"serving_default", "outputs"} and "label" in loaded["serving_default"].structured_outputs


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_dtype(dtype: str, exports: Exports, tmp_path: Path) -> None:
    full = exports(TFXLMForSequenceClassification)
    model = full.model
    before = [variable.numpy() for variable in model.variables]
    half = export(model, tmp_path / dtype, dtype=dtype)
    assert model.dtype_policy.name == "float32"
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    sizes = [sum(path.stat().st_size for path in (it.folder / "variables").iterdir()) for it in (half, full)]
    assert sizes[0] < 0.7 * sizes[1]
    assert half.loaded.signatures["outputs"].structured_outputs["logits"].dtype == dtype
    request = {name: tf.constant(value) for name, value in full.request("serving_default").items()}
    scores = [it.loaded.signatures["serving_default"](**request)["scores"] for it in (half, full)]
    np.testing.assert_allclose(*scores, atol=half.tolerance)


def test_a_dtype_needs_plain_weights(tmp_path: Path) -> None:
    model = make_model(TFXLMForSequenceClassification)
    model.enable_lora(2)
    with pytest.raises(InputError, match=r"has LoRA weights, so the model cannot be exported with dtype='bfloat16'"):
        export_model(model, None, tmp_path / "served", dtype="bfloat16")
