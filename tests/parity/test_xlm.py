"""XLM against the PyTorch classes: outputs, losses, gradients, training and files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import transformers

import tfxlm
from tests.parity.reference import (
    CASES,
    GRADIENT_FLOOR,
    PAIRS,
    SEED,
    SWEEP,
    TOLERANCE,
    Case,
    close,
    in_file_orientation,
    make_case,
    random_config,
    to_torch,
)
from tfxlm.models.loading import weights_by_path

# Tracing costs seconds a case; `TFXLM_SWEEP=1` compiles all of them.
COMPILED = CASES if SWEEP else 3
TRAINED = 20 if SWEEP else 2

# A call without langs is compared too; that the model warns of it is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*has no langs")


@pytest.fixture(scope="module", params=[f"{name}-{index}" for name in PAIRS for index in range(CASES)])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, index = request.param.split("-")
    print(f"TFXLM_SEED={SEED}")
    return make_case(name, int(index), tmp_path_factory.mktemp("reference"))


def input_variants(case: Case) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Inputs in every combination that differs, and the real positions (batch, length) of each."""
    ids, lengths = case.ids()
    config, shape = case.config, ids.shape
    mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
    real = mask.astype(bool)
    langs = case.grid(ids, config.n_langs)
    positions = case.grid(ids, config.max_position_embeddings)
    types = case.grid(ids, config.vocab_size)
    embeds = case.rng.normal(size=(*shape, config.emb_dim)).astype(np.float32)
    head_mask = case.rng.integers(0, 2, config.n_heads).astype(np.float32)
    layer_mask = case.rng.random((config.n_layers, config.n_heads)).astype(np.float32)
    base = {"input_ids": ids}
    variants = {
        "ids": (base, real),
        "mask": (base | {"attention_mask": mask}, real),
        "lengths": (base | {"lengths": lengths}, real),
        "langs": (base | {"attention_mask": mask, "langs": langs}, real),
        "positions": (base | {"langs": langs, "position_ids": positions}, real),
        "types": (base | {"lengths": lengths, "langs": langs, "token_type_ids": types}, real),
        "mask_and_lengths": (base | {"attention_mask": mask, "lengths": lengths, "langs": langs}, real),
        "head_mask": (base | {"attention_mask": mask, "head_mask": head_mask}, real),
        "layer_head_mask": (base | {"langs": langs, "head_mask": layer_mask}, real),
        "embeds": ({"inputs_embeds": embeds}, np.ones(shape, bool)),
        "embeds_and_mask": ({"inputs_embeds": embeds, "attention_mask": mask, "langs": langs}, real),
    }
    variants["one token"] = ({"input_ids": ids[:1, :1], "langs": langs[:1, :1]}, np.ones((1, 1), bool))
    if not config.causal:
        # The reference ignores the mask inside causal attention, so holes are comparable without it only.
        holes = (case.rng.random(shape) < 0.7).astype(np.int64)
        holes[:, 0] = 1
        variants["holes"] = (base | {"attention_mask": holes, "langs": langs}, holes.astype(bool))
    return variants


def compare_outputs(ours: Any, reference: Any, real: np.ndarray, what: str, without: tuple[str, ...] = ()) -> None:
    assert set(ours) == set(reference.keys()).difference(without), what
    for name in ours:
        if name == "attentions":
            assert len(ours.attentions) == len(reference.attentions)
            for left, right in zip(ours.attentions, reference.attentions, strict=True):
                # (batch, heads, query, key): queries at real positions; weights on padding are part of the comparison.
                close(np.moveaxis(np.asarray(left), 1, 2), right.movedim(1, 2), real, f"{what} attentions")
        elif name == "hidden_states":
            assert len(ours.hidden_states) == len(reference.hidden_states)
            for left, right in zip(ours.hidden_states, reference.hidden_states, strict=True):
                close(left, right, real, f"{what} hidden_states")
        else:
            close(ours[name], reference[name], real if np.ndim(ours[name]) == 3 else None, f"{what} {name}")


def run_reference(case: Case, inputs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return case.reference.eval()(**to_torch(inputs))


def test_outputs(case: Case) -> None:
    for what, (inputs, real) in input_variants(case).items():
        wanted = {"output_hidden_states": True, "output_attentions": True}
        reference = run_reference(case, inputs | wanted)
        # With attentions the padding is kept, without them it is removed; the switch is tried once.
        compare_outputs(case.model(inputs | wanted), reference, real, f"{what}, padding kept")
        outputs = case.model(inputs, output_hidden_states=True)
        compare_outputs(outputs, reference, real, f"{what}, padding removed", without=("attentions",))
        if what == "langs":
            case.model.transformer.remove_padding = False
            switched = case.model(inputs, output_hidden_states=True)
            compare_outputs(switched, reference, real, "removal switched off", without=("attentions",))
            case.model.transformer.remove_padding = True


@pytest.mark.parametrize("name", PAIRS)
def test_pruned_heads(name: str, tmp_path: Path) -> None:
    # The last layer keeps all its heads; stored names are the same, shapes are not.
    changes = {"n_layers": 2, "n_heads": 3, "emb_dim": 27, "pruned_heads": {0: [0, 2]}}
    case = make_case(name, 0, tmp_path, **changes)
    ids, lengths = case.ids()
    inputs = {"input_ids": ids, "lengths": lengths, "langs": case.grid(ids, case.config.n_langs)}
    inputs |= {"output_attentions": True, "output_hidden_states": True}
    reference, real = run_reference(case, inputs), np.arange(ids.shape[1]) < lengths[:, None]
    assert [attention.shape[1] for attention in reference.attentions] == [1, 3]
    compare_outputs(case.model(inputs), reference, real, "pruned")


def test_losses(case: Case) -> None:
    if case.name == "XLMModel":
        return
    ids, lengths = case.ids()
    problems = [None] if case.name == "XLMWithLMHeadModel" else [None, "regression", "multi_label_classification"]
    if case.config.num_labels > 1 and case.name == "XLMForSequenceClassification":
        problems += ["single_label_classification", "-100"]
    if case.name == "XLMForSequenceClassification" and not (
        case.config.summary_use_proj and case.config.summary_proj_to_labels
    ):
        return  # as wide as the hidden states, which the reference's losses do not take
    for problem in problems:
        labels = case.labels(ids, lengths, problem)
        config_problem = problem
        if problem == "-100":
            labels[0], config_problem = -100, "single_label_classification"
        case.reference.config.problem_type = config_problem
        case.model.config = case.model.config.replace(problem_type=config_problem)
        if problem == "multi_label_classification" and case.config.num_labels == 1:
            labels = (labels > 0).astype(np.float32)[:, None]
        inputs = {"input_ids": ids, "lengths": lengths, "labels": labels}
        ours, reference = case.model(inputs), run_reference(case, inputs)
        close(ours.loss, reference.loss, what=f"loss of {problem}")
        close(ours[0], reference[0], what="first output")
    case.reference.config.problem_type = None
    case.model.config = case.model.config.replace(problem_type=None)


def test_chosen_positions(case: Case) -> None:
    if case.name != "XLMWithLMHeadModel":
        return
    ids, lengths = case.ids()
    full = np.asarray(case.model(input_ids=ids, lengths=lengths).logits)
    positions = case.rng.integers(0, ids.shape[1], (len(ids), 3))
    chosen = case.model(input_ids=ids, lengths=lengths, masked_positions=positions).logits
    close(chosen, np.take_along_axis(full, positions[:, :, None], axis=1), what="masked_positions")
    close(case.model(input_ids=ids, lengths=lengths, logits_to_keep=2).logits, full[:, -2:], what="logits_to_keep")
    close(case.model(input_ids=ids, logits_to_keep=0).logits, full, what="logits_to_keep=0")
    kept = np.array([2, 0, 2])
    close(case.model(input_ids=ids, logits_to_keep=kept).logits, full[:, kept], what="logits_to_keep tensor")
    labels = case.labels(ids, lengths)
    labels[:, 0] = 1
    reference = run_reference(case, {"input_ids": ids, "lengths": lengths, "labels": labels})
    order = np.argsort(labels == -100, axis=1, kind="stable")[:, : int((labels != -100).sum(1).max())]
    ours = case.model(input_ids=ids, masked_positions=order, labels=np.take_along_axis(labels, order, axis=1))
    close(ours.loss, reference.loss, what="loss over chosen positions")


def objective(case: Case, inputs: dict[str, Any], weights: np.ndarray | None) -> Any:
    """Our loss; the bare model's is a random projection of what it returns."""
    outputs = case.model(inputs, training=True)
    return outputs.loss if weights is None else tf.reduce_sum(outputs.last_hidden_state * weights)


def test_gradients(case: Case) -> None:
    ids, lengths = case.ids()
    inputs: dict[str, Any] = {"input_ids": ids, "lengths": lengths, "langs": case.grid(ids, case.config.n_langs)}
    weights = None
    if case.name == "XLMModel":
        real = np.arange(ids.shape[1]) < lengths[:, None]
        weights = case.rng.normal(size=(*ids.shape, case.config.emb_dim)) * real[:, :, None]
        weights = (weights / weights.size).astype(np.float32)
    elif case.name == "XLMWithLMHeadModel" or (case.config.summary_use_proj and case.config.summary_proj_to_labels):
        inputs["labels"] = case.labels(ids, lengths)
    else:
        return  # no loss in the reference
    case.reference.train().zero_grad()
    outputs = case.reference(**to_torch(inputs))
    (outputs.loss if weights is None else (outputs.last_hidden_state * torch.from_numpy(weights)).sum()).backward()
    reference = {
        name: np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        for name, p in case.reference.named_parameters()
        if p.requires_grad
    }
    case.reference.eval()
    variables = {path: v for path, v in weights_by_path(case.model).items() if v.trainable}
    for remove in (True, False):
        case.model.transformer.remove_padding = remove
        with tf.GradientTape() as tape:
            loss = objective(case, inputs, weights)
        gradients = tape.gradient(loss, [v.value for v in variables.values()], unconnected_gradients="zero")
        seen = set()
        for path, gradient in zip(variables, gradients, strict=True):
            name, ours = in_file_orientation(case.model, path, tf.convert_to_tensor(gradient).numpy())
            seen.add(name)
            difference, size = np.linalg.norm(ours - reference[name]), np.linalg.norm(reference[name])
            assert difference <= TOLERANCE * size + GRADIENT_FLOOR, f"{name}: {difference:.3g} of {size:.3g}"
        assert seen == set(reference)
    case.model.transformer.remove_padding = True


def test_weights_come_back_bit_for_bit(case: Case, tmp_path: Path) -> None:
    case.model.save_pretrained(tmp_path)
    loaded, info = type(case.reference).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), info
    before, after = case.reference.state_dict(), loaded.state_dict()
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    for field in random_config(np.random.default_rng(0), 0):
        assert getattr(loaded.config, field) == getattr(case.reference.config, field), field


@pytest.mark.parametrize("index", range(COMPILED))
@pytest.mark.parametrize("name", PAIRS)
def test_compiled(name: str, index: int, tmp_path: Path) -> None:
    case = make_case(name, index, tmp_path)
    ids, lengths = case.ids()
    inputs: dict[str, Any] = {"input_ids": ids, "lengths": lengths, "langs": case.grid(ids, case.config.n_langs)}
    if name != "XLMModel" and case.config.summary_use_proj and case.config.summary_proj_to_labels:
        inputs["labels"] = case.labels(ids, lengths)
    reference = run_reference(case, inputs)
    real = np.arange(ids.shape[1]) < lengths[:, None]
    signature = {key: tf.TensorSpec([None] * np.ndim(value), np.asarray(value).dtype) for key, value in inputs.items()}
    graph = tf.function(lambda x: case.model(x), input_signature=[signature])
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    for what, outputs in {
        "graph": graph(tensors),
        "xla": tf.function(lambda x: case.model(x), jit_compile=True)(tensors),
    }.items():
        compare_outputs(outputs, reference, real, what)


@pytest.mark.parametrize("index", range(TRAINED))
@pytest.mark.parametrize("name", [name for name in PAIRS if name != "XLMModel"])
def test_twenty_steps_of_training(name: str, index: int, tmp_path: Path) -> None:
    changes = {"summary_use_proj": True, "summary_proj_to_labels": True}
    case = make_case(name, index, tmp_path, **changes)
    options = {"weight_decay": 0.05}
    optimizer = torch.optim.AdamW(
        [p for p in case.reference.parameters() if p.requires_grad], lr=2e-3, betas=(0.9, 0.98), eps=1e-8, **options
    )
    case.model.compile(keras.optimizers.AdamW(2e-3, beta_1=0.9, beta_2=0.98, epsilon=1e-8, **options))
    batches = []
    for _ in range(4):
        ids, lengths = case.ids(shape=(3, 9))
        inputs = {"input_ids": ids, "lengths": lengths, "langs": case.grid(ids, case.config.n_langs)}
        batches.append(inputs | {"labels": case.labels(ids, lengths)})
    ours, reference = [], []
    case.reference.train()
    for step in range(20):
        batch = batches[step % 4]
        ours.append(float(case.model.train_on_batch(batch)))
        case.model.reset_metrics()  # what train_on_batch returns is a running mean otherwise
        optimizer.zero_grad()
        loss = case.reference(**to_torch(batch)).loss
        loss.backward()
        optimizer.step()
        reference.append(loss.item())
    np.testing.assert_allclose(ours, reference, rtol=1e-3)
    assert len(set(reference)) == 20


@pytest.mark.parametrize(
    "options",
    [{"safe_serialization": False}, {"max_shard_size": "8KB"}, {"safe_serialization": False, "max_shard_size": "8KB"}],
    ids=["bin", "sharded", "sharded_bin"],
)
def test_file_formats(options: dict[str, Any], tmp_path: Path) -> None:
    case = make_case("XLMWithLMHeadModel", 1, tmp_path / "whole")
    case.reference.save_pretrained(tmp_path / "other", **options)
    files = {path.name for path in (tmp_path / "other").iterdir()}
    assert any("index" in name for name in files) == ("max_shard_size" in options), files
    again = tfxlm.TFXLMWithLMHeadModel.from_pretrained(tmp_path / "other")
    expected = weights_by_path(case.model)
    for path, weight in weights_by_path(again).items():
        assert np.array_equal(weight.numpy(), expected[path].numpy()), path


def test_half_precision_file(tmp_path: Path) -> None:
    case = make_case("XLMModel", 2, tmp_path / "float32")
    case.reference.half().save_pretrained(tmp_path / "float16")
    case.model = tfxlm.TFXLMModel.from_pretrained(tmp_path / "float16")
    case.reference = case.reference.float()
    ids, lengths = case.ids()
    inputs = {"input_ids": ids, "lengths": lengths}
    compare_outputs(
        case.model(inputs), run_reference(case, inputs), np.arange(ids.shape[1]) < lengths[:, None], "float16 file"
    )


def test_base_file_into_head_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = make_case("XLMModel", 3, tmp_path)
    ids, lengths = case.ids()
    with caplog.at_level(logging.WARNING, "tfxlm"):
        model = tfxlm.TFXLMForSequenceClassification.from_pretrained(tmp_path)
    assert "sequence_summary/summary/kernel" in caplog.text
    reference = run_reference(case, {"input_ids": ids, "output_hidden_states": True})
    ours = model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    close(ours, reference.last_hidden_state, np.arange(ids.shape[1]) < lengths[:, None])


def test_head_file_into_base_model(tmp_path: Path) -> None:
    case = make_case("XLMWithLMHeadModel", 4, tmp_path)
    case.model, report = tfxlm.TFXLMModel.from_pretrained(tmp_path, output_loading_info=True)
    ids, lengths = case.ids()
    reference = transformers.XLMModel.from_pretrained(tmp_path).eval()(torch.from_numpy(ids))
    close(case.model(ids).last_hidden_state, reference.last_hidden_state, np.arange(ids.shape[1]) < lengths[:, None])
    assert [name for name, _ in report.unused] == ["pred_layer.proj.bias"]


@pytest.mark.parametrize("dim", [8, 9])
def test_sinusoidal_table_of_a_new_model(dim: int) -> None:
    options = {"vocab_size": 11, "emb_dim": dim, "n_heads": 1, "n_layers": 1, "sinusoidal_embeddings": True}
    reference = transformers.XLMModel(transformers.XLMConfig(**options))
    model = tfxlm.TFXLMModel(tfxlm.XLMConfig(**options))
    table = weights_by_path(model)["transformer/embeddings/position/embeddings"]
    assert np.array_equal(table.numpy(), reference.position_embeddings.weight.detach().numpy())


def test_defaults_of_the_configuration(tmp_path: Path) -> None:
    reference = transformers.XLMConfig()
    ours = tfxlm.XLMConfig()
    fields = ours.to_dict()
    for name in fields:
        # Fields that the reference reads, but does not set itself, are optional there.
        if name not in ("model_type", "summary_over_padding", "summary_last_dropout", "asm_div_value"):
            assert getattr(reference, name) == getattr(ours, name), name
    ours.save_pretrained(tmp_path)
    back = transformers.XLMConfig.from_pretrained(tmp_path)
    assert back.emb_dim == 2048 and back.n_words == 30145 and back.num_labels == 2
