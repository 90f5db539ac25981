"""Exports with static sizes, compiled with XLA and not: the same answers, in the sizes that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.asked import TRIED, Asked, as_text, check
from tests.export.conftest import Exports
from tests.export.support import export, unchecked
from tests.models.battery import perturb, random_inputs
from tests.models.families import FAMILIES, SWEEP
from tfxlm.export import export_model
from tfxlm.models import TFXLMForMultipleChoice, TFXLMForQuestionAnswering

LENGTHS, BATCHES = (8, 24), (1, 6)


@pytest.fixture(scope="module", params=TRIED, ids=str)
def asked(request: pytest.FixtureRequest, families: dict[str, Asked]) -> Asked:
    return families[request.param.prefix]


def compiled_functions(folder: Path) -> list[Any]:
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    return [function for function in graph.library.function if function.attr["_XlaMustCompile"].b]


def test_the_encoder_of_every_family_compiles(asked: Asked, tmp_path: Path) -> None:
    model, plain = asked.export("ForSequenceClassification")
    with unchecked():
        options: dict[str, Any] = {"length_buckets": LENGTHS, "batch_buckets": BATCHES[-1:], "signatures": ["text"]}
        folder = export_model(model, asked.tokenizer, tmp_path / "jit", jit=True, **options)
    functions = compiled_functions(folder)
    assert functions and not compiled_functions(plain)
    for function in functions:  # and nothing but the encoder
        work = {node.op for node in function.node_def}
        assert not {op for op in work if "String" in op or "Regex" in op or "TFText" in op or "Lookup" in op}
    assert any("MatMul" in {node.op for node in function.node_def} for function in functions)
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    expected = asked.loaded("ForSequenceClassification").signatures["serving_default"]
    request = {name: tf.constant(value) for name, value in asked.request("ForSequenceClassification").items()}
    for rows in (slice(0, 5), slice(1, 2)):
        part = {name: value[rows] for name, value in request.items()}
        found = {name: as_text(value.numpy()) for name, value in loaded(**part).items()}
        check(found, {name: as_text(value.numpy()) for name, value in expected(**part).items()})
    with pytest.raises(tf.errors.InvalidArgumentError, match="more rows than the largest of batch_buckets, 6"):
        loaded(**{name: tf.concat([value, value], axis=0) for name, value in request.items()})
    assert model.base_model.remove_padding


def test_ids_of_the_family_without_a_tokenizer_of_its_own_compile(tmp_path: Path) -> None:
    """XLM-RoBERTa-XL, whose texts only a sweep asks about."""
    family = FAMILIES[2]
    model = perturb(family.cls("ForSequenceClassification")(family.small))
    with unchecked():
        options: dict[str, Any] = {"length_buckets": LENGTHS[:1], "batch_buckets": BATCHES[-1:], "signatures": ["ids"]}
        folder = export_model(model, None, tmp_path / "jit", jit=True, **options)
    assert any("MatMul" in {node.op for node in function.node_def} for function in compiled_functions(folder))
    # Signatures take no token types.
    inputs = {name: random_inputs(family.small, lengths=(5, 3, 7))[name] for name in ("input_ids", "attention_mask")}
    request = {"input_ids": inputs["input_ids"], "lengths": inputs["attention_mask"].sum(1)}
    run = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = run(**{name: tf.constant(value, tf.int32) for name, value in request.items()})
    np.testing.assert_allclose(found["scores"], tf.nn.softmax(model(inputs).logits), atol=1e-5)


@pytest.mark.parametrize("asked", FAMILIES[1:2], ids=str, indirect=True)
def test_warm_up_has_every_size(asked: Asked, tmp_path: Path) -> None:
    """Without XLA, as rows are of the same sizes."""
    model, _ = asked.export("ForSequenceClassification")
    with unchecked():
        options: dict[str, Any] = {"length_buckets": LENGTHS, "batch_buckets": BATCHES, "signatures": ["text", "ids"]}
        folder = export_model(model, asked.tokenizer, tmp_path / "sizes", **options)
    sizes: dict[str, list[tuple[int, int]]] = {}
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(folder / "assets.extra/tf_serving_warmup_requests")):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            request = log.predict_log.request
            arrays = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            if "text" in arrays:
                texts = [text.decode() for text in arrays["text"]]
                longest = max(len(row) for row in asked.tokenizer(texts, truncation=True, max_length=24)["input_ids"])
                sizes.setdefault("serving_default", []).append((len(texts), longest))
            elif "input_ids" in arrays:
                sizes.setdefault(request.model_spec.signature_name, []).append(arrays["input_ids"].shape)
    for name, found in sizes.items():
        buckets = {(rows, next(one for one in LENGTHS if one >= length)) for rows, length in found[1:]}
        assert buckets == {(1, 8), (6, 8), (1, 24), (6, 24)}, name
    assert set(sizes) == {"serving_default", "ids"}


@pytest.mark.parametrize("kind", [TFXLMForMultipleChoice, *([TFXLMForQuestionAnswering] if SWEEP else [])])
def test_ids_are_padded_to_buckets(kind: Any, exports: Exports, tmp_path: Path) -> None:
    plain = exports(kind)
    sized = export(plain.model, tmp_path / "sized", length_buckets=(4, 13), batch_buckets=(8,), jit=True)
    request = {name: tf.constant(value) for name, value in plain.request("serving_default").items()}
    expected, found = (it.loaded.signatures["serving_default"](**request) for it in (plain, sized))
    check(*({name: as_text(value.numpy()) for name, value in one.items()} for one in (found, expected)))
    long = {
        name: np.concatenate([value, value], axis=-1) if name in ("input_ids", "langs", "p_mask") else value
        for name, value in plain.request("serving_default").items()
    }
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="more tokens in a row than the largest of length_buckets, 13"
    ):
        sized.loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in long.items()})
