"""What an export is: its signatures and files, versions, and requests that its graph refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tests.export.conftest import Exports
from tests.export.support import Exported, config, config_of, export, make_model, unchecked
from tests.models.battery import perturb
from tfxlm.errors import InputError, OutputExistsError
from tfxlm.export import export_model
from tfxlm.export.running import Runner, Sizes
from tfxlm.export.signatures import make_signatures
from tfxlm.models import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMModel,
    TFXLMRobertaForCausalLM,
    TFXLMRobertaModel,
    TFXLMRobertaXLForCausalLM,
    TFXLMRobertaXLForTokenClassification,
    TFXLMWithLMHeadModel,
)
from tfxlm.models.tasks import BeamQuestionAnswering, MultipleChoice, SpanQuestionAnswering

# Inputs beside ids, lengths and langs, by task: those of both signatures, and those of the small answers alone.
MORE_INPUTS: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {
    MultipleChoice: ((), ("num_choices",)),
    SpanQuestionAnswering: ((), ("p_mask",)),
    BeamQuestionAnswering: (("p_mask", "cls_index"), ()),
}


def test_signatures_and_warmup(exported: Exported) -> None:
    more = (MORE_INPUTS[base] for base in type(exported.model).__mro__ if base in MORE_INPUTS)
    everywhere, small_only = next(more, ((), ()))
    langs = ("langs",) if exported.model.config.uses_lang_embeddings else ()
    names = {"outputs": {"input_ids", "lengths", *langs, *everywhere}}
    names["serving_default"] = names["outputs"] | {*small_only}
    assert set(exported.loaded.signatures) == set(names)
    for name, function in exported.loaded.signatures.items():
        specs = function.structured_input_signature[1]
        assert {key: spec.dtype for key, spec in specs.items()} == dict.fromkeys(names[name], tf.int32)
    records = list(tf.data.TFRecordDataset(str(exported.folder / "assets.extra/tf_serving_warmup_requests")))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert [log.predict_log.request.model_spec.signature_name for log in logs] == ["serving_default", "outputs"]
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.name == type(exported.model).__name__
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        exported.loaded.signatures[request.model_spec.signature_name](**inputs)


def test_the_manifest_names_every_file_and_a_golden_answer(exported: Exported) -> None:
    folder = exported.folder
    manifest = json.loads((folder / "assets.extra/manifest.json").read_text())
    assert (manifest["class"], manifest["dtype"]) == (type(exported.model).__name__, "float32")
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written - set(manifest["sha256"]) == {"assets.extra/manifest.json"}
    inputs = {name: tf.constant(values, tf.int32) for name, values in manifest["golden"]["inputs"].items()}
    answer = exported.loaded.signatures["serving_default"](**inputs)
    assert set(answer) == set(manifest["golden"]["outputs"])
    for name, expected in manifest["golden"]["outputs"].items():
        if answer[name].dtype == tf.string:
            assert np.char.decode(answer[name].numpy().astype(bytes), "utf-8").tolist() == expected
        else:
            np.testing.assert_allclose(answer[name], expected, atol=1e-5)
            assert answer[name].dtype.is_integer == (np.asarray(expected).dtype.kind == "i")


def test_the_manifest_keeps_the_options_of_answers(exports: Exports, tmp_path: Path) -> None:
    def options(folder: Path) -> dict[str, int]:
        return json.loads((folder / "assets.extra/manifest.json").read_text())["answers"]

    of_texts = {"max_question_length": None, "stride": None}
    assert options(exports(TFXLMForQuestionAnswering).folder) == {"top_k": 5, "max_answer_length": 30} | of_texts
    assert options(exports(TFXLMForSequenceClassification).folder) == {}
    changed = export(make_model(TFXLMWithLMHeadModel), tmp_path / "lm", top_k=2)
    assert options(changed.folder) == {"top_k": 2}
    assert changed.loaded.signatures["serving_default"].structured_outputs["ids"].shape[-1] == 2


def test_padding_is_removed_in_the_graph(exported: Exported) -> None:
    """The position-wise work is done on rows that are found when a request comes."""
    proto = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    functions = {function.signature.name: function for function in proto.meta_graphs[0].graph_def.library.function}
    (model,) = [name for name in functions if name.startswith(MODEL)]
    assert finds_rows(functions[model].node_def)
    work = [node for node in functions[model].node_def if node.op == "MatMul" and "feed_forward" in node.name]
    assert len(work) == 2 * exported.model.config.num_hidden_layers  # of rank 2
    for name in GRAPHS:
        (graph,) = [it for key, it in functions.items() if key.startswith(f"__inference_{name}_")]
        called = [node.attr["f"].func.name for node in graph.node_def if node.op.endswith("PartitionedCall")]
        assert called.count(model) == 1


def test_the_graph_has_no_form_that_only_some_machines_run_well(exported: Exported) -> None:
    proto = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    assert not [node.name for function in functions for node in function.node_def if node.op == "FusedBatchNormV3"]


# Names of the functions that become signatures, and of that of the model which both call.
GRAPHS = ("default", "full")
MODEL = "__inference__outputs_"


def finds_rows(nodes: Iterable[Any]) -> bool:
    ops = [node.op for node in nodes]
    return "Where" in ops and ops.count("GatherV2") > 3


def test_a_graph_that_keeps_padding_finds_no_rows() -> None:
    """What the test before looks for is the removal's."""
    model = make_model(TFXLMForTokenClassification)
    for remove_padding in (True, False):
        model.base_model.remove_padding = remove_padding
        for signature in make_signatures(Runner(model, Sizes()), {}).values():
            functions = signature.graph.graph.as_graph_def().library.function
            (nodes,) = [it.node_def for it in functions if it.signature.name.startswith(MODEL)]
            assert finds_rows(nodes) == ("Where" in [node.op for node in nodes]) == remove_padding


def test_weights_are_written_once_and_the_export_checks_itself(tmp_path: Path) -> None:
    model = TFXLMModel(config(emb_dim=96, vocab_size=3000))
    folder = export_model(model, None, tmp_path / "served")
    size = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    assert size < 1.05 * 4 * model.num_parameters()


def test_versions_count_up_and_are_never_overwritten(tmp_path: Path) -> None:
    model = TFXLMForSequenceClassification(config())
    with unchecked():
        assert export_model(model, None, tmp_path / "served").name == "1"
        assert model.export(tmp_path / "served").name == "2"
        assert export_model(model, None, tmp_path / "served", version=7).name == "7"
        assert export_model(model, None, tmp_path / "served").name == "8"
        with pytest.raises(OutputExistsError, match="exists already"):
            export_model(model, None, tmp_path / "served", version=7)
        with pytest.raises(InputError, match="version must be a positive integer, got 0"):
            export_model(model, None, tmp_path / "served", version=0)


def test_the_models_own_method_exports_the_same(tmp_path: Path) -> None:
    model = make_model(TFXLMForQuestionAnsweringSimple)
    with unchecked():
        one = export_model(model, None, tmp_path / "one", top_k=3)
        two = model.export(tmp_path / "two", top_k=3, version=5)
    assert two == tmp_path / "two" / "5"
    manifests = [json.loads((folder / "assets.extra/manifest.json").read_text()) for folder in (one, two)]
    assert manifests[0]["golden"] == manifests[1]["golden"]
    assert (
        manifests[0]["answers"]
        == manifests[1]["answers"]
        == {"top_k": 3, "max_answer_length": 30} | ({"max_question_length": None, "stride": None})
    )


@pytest.mark.parametrize(
    ("changes", "width"),
    [({"id2label": {0: "stars"}}, 1), ({"problem_type": "regression"}, 3)],
    ids=["one-label", "problem-type"],
)
def test_a_regression_answers_numbers_alone(changes: dict[str, Any], width: int, tmp_path: Path) -> None:
    it = export(make_model(TFXLMForSequenceClassification, n_layers=1, **changes), tmp_path / "served")
    answer = ask(it)
    assert set(answer) == {"scores"}
    assert answer["scores"].shape == (4, width)
    np.testing.assert_allclose(answer["scores"], it.outputs()["logits"], atol=2e-5)


def ask(it: Exported, **changes: np.ndarray) -> dict[str, tf.Tensor]:
    request = {**it.request("serving_default"), **changes}
    return it.loaded.signatures["serving_default"](**{name: tf.constant(array) for name, array in request.items()})


def test_the_problem_that_labels_told_the_model_is_exported(tmp_path: Path) -> None:
    model = make_model(TFXLMForSequenceClassification, n_layers=1)
    model(np.array([[1, 2]]), langs=np.zeros((1, 2), int), labels=np.ones((1, 3), np.float32))  # several labels at once
    it = export(model, tmp_path / "served")
    np.testing.assert_allclose(ask(it)["scores"], 1 / (1 + np.exp(-it.outputs()["logits"])), atol=1e-5)
    stored = json.loads((it.folder / "assets.extra/config.json").read_text())
    assert stored["problem_type"] == "multi_label_classification"


def test_a_model_without_language_embeddings_takes_no_langs(tmp_path: Path) -> None:
    it = export(make_model(TFXLMForSequenceClassification, n_langs=1), tmp_path / "served")
    assert set(it.samples["serving_default"]) == set(it.samples["outputs"]) == {"input_ids", "lengths"}
    np.testing.assert_allclose(
        np.log(ask(it)["scores"]), tf.nn.log_softmax(it.outputs()["logits"]).numpy(), rtol=0, atol=2e-5
    )


def test_a_causal_model_predicts_from_what_came_before(tmp_path: Path) -> None:
    it = export(make_model(TFXLMWithLMHeadModel, causal=True), tmp_path / "served")
    ids = it.request("serving_default")["input_ids"]
    changed = ids.copy()
    changed[:, 3:] = changed[:, 3:] % 50 + 5
    one, other = ask(it), ask(it, input_ids=changed)
    np.testing.assert_allclose(one["scores"][:, :3], other["scores"][:, :3], atol=2e-6)
    np.testing.assert_array_equal(one["ids"][:, :3], other["ids"][:, :3])
    assert (one["ids"][0, 3:].numpy() != other["ids"][0, 3:].numpy()).any()
    logits = it.outputs()["logits"]
    np.testing.assert_array_equal(one["ids"][0, :, 0], logits[0].argmax(-1))


@pytest.mark.parametrize("kind", [TFXLMRobertaForCausalLM, TFXLMRobertaXLForCausalLM])
def test_decoders_are_exported_without_cache_and_encoder(kind: Any, tmp_path: Path) -> None:
    it = export(make_model(kind, add_cross_attention=True, use_cache=True), tmp_path / "served")
    assert set(it.samples["serving_default"]) == set(it.samples["outputs"]) == {"input_ids", "lengths"}
    assert set(it.expected["outputs"]) == {"logits"}
    np.testing.assert_array_equal(ask(it)["ids"][0, :, 0], it.outputs()["logits"][0].argmax(-1))


@pytest.mark.parametrize("changes", [{"add_pooling_layer": False}, {}], ids=["without", "with"])
def test_models_with_and_without_pooling_layer(changes: dict[str, Any], tmp_path: Path) -> None:
    model = perturb(TFXLMRobertaModel(config_of(TFXLMRobertaModel), **changes))
    it = export(model, tmp_path / "served")
    assert ("pooler_output" in it.expected["outputs"]) == (not changes)
    assert set(ask(it)) == {"embedding"}


@pytest.mark.parametrize("changes", [{"position_embedding_type": "relative_key_query"}, {"mask_from_padding": False}])
def test_other_positions_and_masks(changes: dict[str, Any], tmp_path: Path) -> None:
    """`lengths` say what is real, whatever the model takes for padding on its own."""
    it = export(make_model(TFXLMRobertaXLForTokenClassification, **changes), tmp_path / "served")
    scores = tf.nn.softmax(it.outputs()["logits"]).numpy().max(-1) * it.mask()
    np.testing.assert_allclose(ask(it)["score"], scores, atol=2e-5)


def test_short_positions(tmp_path: Path) -> None:
    """Requests that go with an export are no longer than its texts may be."""
    it = export(make_model(TFXLMRobertaModel, max_position_embeddings=6), tmp_path / "served")
    assert it.samples["outputs"]["input_ids"].shape == (3, 4)


def test_inputs_that_would_broadcast_are_refused(exported: Exported) -> None:
    request = exported.request("serving_default")
    shapes = {"num_choices": r"\(batch,\)"}
    for name in set(request) - {"input_ids"}:
        message = f"{name} must have shape {shapes.get(name, r'.batch')}"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            ask(exported, **{name: request[name][:1]})


BAD_VALUES = [
    ("input_ids", 60, r"input_ids must be in \[0, vocab_size = 60\)"),
    ("langs", 4, r"langs must be language ids in \[0, n_langs = 4\)"),
    ("lengths", 12, "lengths must be at least 1 and at most the length of input_ids"),
    ("lengths", 0, "lengths must be at least 1"),
    ("lengths", -1, "lengths must be at least 1"),
    ("num_choices", 0, r"num_choices must be at least 1 and at most the number of choices in input_ids\."),
    ("num_choices", 4, "num_choices must be at least 1 and at most"),
    ("cls_index", -1, r"cls_index must be positions of real tokens: at least 0 and below lengths\."),
    ("cls_index", 7, "cls_index must be positions of real tokens"),
]


def test_bad_values_are_refused_in_the_graph(exported: Exported) -> None:
    request = exported.request("serving_default")
    for name, value, message in BAD_VALUES:
        if name in request:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                ask(exported, **{name: np.full_like(request[name], value)})


def test_texts_without_a_position_are_refused_in_the_graph(exported: Exported) -> None:
    request = exported.request("serving_default")
    rank = request["input_ids"].ndim
    empty = {name: array[..., :0] for name, array in request.items() if array.ndim == rank}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"input_ids must have shape .* with .*length of at least 1"
    ):
        ask(exported, **empty)


def test_rows_without_a_choice_are_refused_in_the_graph(exports: Exports) -> None:
    it = exports(TFXLMForMultipleChoice)
    none = {name: array[:, :0] for name, array in it.request("serving_default").items() if name != "num_choices"}
    message = (
        r"input_ids must have shape \(batch, choices, length\) with at least 1 choice and a length of at least 1\."
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(it, **none)
