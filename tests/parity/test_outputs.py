"""Outputs of all classes against the PyTorch classes: hidden states, attentions, and what the heads answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.parity.classes import KINDS, LANGUAGE_MODELS
from tests.parity.reference import CASES, SWEEP, Case, cases, close, compare_outputs, make_case, run_reference, to_torch

# Tracing costs seconds a case; `TFXLM_SWEEP=1` compiles all of them.
COMPILED = CASES if SWEEP else 2

# A call without langs is compared too; that the model warns of it is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*has no langs")


def input_variants(case: Case) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Inputs in every combination that differs, and the real positions (rows, length) of each."""
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
    rows, short = case.choices, case.kind.min_length
    shortest = {"input_ids": ids[:rows, :short], "langs": langs[:rows, :short]}
    variants["shortest"] = (shortest, real[:rows, :short])
    if not config.causal:
        # The reference ignores the mask inside causal attention, so holes are comparable without it only.
        holes = (case.rng.random(shape) < 0.7).astype(np.int64)
        holes[:, 0] = 1
        variants["holes"] = (base | {"attention_mask": holes, "langs": langs}, holes.astype(bool))
    return {what: (case.arranged(inputs), real) for what, (inputs, real) in variants.items()}


@cases()
def test_outputs(case: Case) -> None:
    # The bodies are one, so that of the bare model stands for all; the others' take turns.
    for what, (inputs, real) in case.sampled(input_variants(case).items(), every=4 if case.kind.labels else 1):
        wanted = {"output_hidden_states": True, "output_attentions": True}
        reference = run_reference(case, inputs | wanted)
        # With attentions the padding is kept, without them it is removed; the switch is tried once.
        compare_outputs(case, case.model(inputs | wanted), reference, inputs, real, f"{what}, padding kept")
        removed = {"removed": True} | ({"not to be removed": False} if what == "langs" else {})
        for how, remove_padding in removed.items():
            case.model.transformer.remove_padding = remove_padding
            outputs = case.model(inputs, output_hidden_states=True)
            compare_outputs(case, outputs, reference, inputs, real, f"{what}, padding {how}", without=("attentions",))


@cases(indices=range(2))
def test_tuples(case: Case) -> None:
    inputs, real = case.batch(labels=not case.kind.unreturned)
    wanted = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    with torch.no_grad():
        reference = case.reference(**to_torch(inputs | wanted))
    ours = case.model(inputs | wanted)
    assert isinstance(ours, tuple) and len(ours) == len(reference)
    for left, right in zip(ours, reference, strict=True):
        assert isinstance(left, tuple) == isinstance(right, tuple)
        assert len(left) == len(right) if isinstance(left, tuple) else left.shape == right.shape
    hidden_states = zip(ours[-2], reference[-2], strict=True)
    assert all(close(left, right, real, "hidden_states") is None for left, right in hidden_states)
    assert [weights.shape for weights in ours[-1]] == [weights.shape for weights in reference[-1]]
    close(ours[0], reference[0], real if np.ndim(ours[0]) == 3 else None, "first output")


@pytest.mark.parametrize("name", KINDS)
def test_pruned_heads(name: str, tmp_path: Path) -> None:
    # The last layer keeps all its heads; stored names are the same, shapes are not.
    changes = {"n_layers": 2, "n_heads": 3, "emb_dim": 27, "pruned_heads": {0: [0, 2]}}
    case = make_case(name, 0, tmp_path, **changes)
    inputs, real = case.batch(labels=False)
    wanted = {"output_attentions": True, "output_hidden_states": True}
    reference = run_reference(case, inputs | wanted)
    assert [attention.shape[1] for attention in reference["attentions"]] == [1, 3]
    compare_outputs(case, case.model(inputs | wanted), reference, inputs, real, "pruned")


@pytest.mark.parametrize("summary_type", ["first", "last", "mean", "cls_index"])
@pytest.mark.parametrize("changes", [{"summary_use_proj": False}, {"summary_proj_to_labels": False}])
def test_summary_that_is_not_as_wide_as_the_labels(changes: dict[str, Any], summary_type: str, tmp_path: Path) -> None:
    changes = {"summary_use_proj": True, **changes, "num_labels": 3, "summary_type": summary_type}
    case = make_case("XLMForSequenceClassification", 0, tmp_path, **changes)
    inputs, real = case.batch(labels=False)
    reference = run_reference(case, inputs)
    assert reference["logits"].shape[1] == case.config.emb_dim
    compare_outputs(case, case.model(inputs), reference, inputs, real, summary_type)


@cases(["XLMForMultipleChoice"], indices=range(3))
def test_lengths_that_are_not_for_choices_are_ignored(case: Case) -> None:
    inputs, real = case.batch()
    inputs["lengths"] = np.ones(len(inputs["input_ids"]), np.int64)
    with pytest.warns(UserWarning, match="lengths must have shape"):
        outputs = case.model(inputs)
    compare_outputs(case, outputs, run_reference(case, inputs), inputs, real, "lengths")


@cases(LANGUAGE_MODELS, range(0, CASES, 3))
def test_chosen_positions(case: Case) -> None:
    ids, lengths = case.ids()
    full = np.asarray(case.model(input_ids=ids, lengths=lengths).logits)
    positions = case.rng.integers(0, ids.shape[1], (len(ids), 3))
    chosen = case.model(input_ids=ids, lengths=lengths, masked_positions=positions).logits
    close(chosen, np.take_along_axis(full, positions[:, :, None], axis=1), what="masked_positions")
    close(case.model(input_ids=ids, lengths=lengths, logits_to_keep=2).logits, full[:, -2:], what="logits_to_keep")
    close(case.model(input_ids=ids, logits_to_keep=0).logits, full, what="logits_to_keep=0")
    kept = np.array([2, 0, 2])
    close(case.model(input_ids=ids, logits_to_keep=kept).logits, full[:, kept], what="logits_to_keep tensor")
    labels = case.kind.labels(case, ids, lengths)["labels"]
    labels[:, 0] = 1
    reference = run_reference(case, {"input_ids": ids, "lengths": lengths, "labels": labels})
    order = np.argsort(labels == -100, axis=1, kind="stable")[:, : int((labels != -100).sum(1).max())]
    ours = case.model(input_ids=ids, masked_positions=order, labels=np.take_along_axis(labels, order, axis=1))
    close(ours.loss, reference["loss"], what="loss over chosen positions")


@cases(indices=range(COMPILED))
def test_compiled(case: Case) -> None:
    inputs, real = case.batch()
    wanted = {"output_hidden_states": True, "output_attentions": True}
    reference = run_reference(case, inputs | wanted)
    signature = {key: tf.TensorSpec([None] * np.ndim(value), value.dtype) for key, value in inputs.items()}
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    for what, function in {
        "graph": tf.function(lambda x: case.model(x | wanted), input_signature=[signature]),
        "xla": tf.function(lambda x: case.model(x | wanted), jit_compile=True),
    }.items():
        compare_outputs(case, function(tensors), reference, inputs, real, what)
