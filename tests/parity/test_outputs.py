"""Outputs of all classes against the PyTorch classes: hidden states, attentions, and what the heads answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.parity.classes import KINDS, LANGUAGE_MODELS, named, word_labels
from tests.parity.reference import (
    CASES,
    ENCODER,
    QUIET,
    SWEEP,
    Case,
    cases,
    close,
    compare_outputs,
    make_case,
    run_reference,
    to_torch,
)

# Tracing costs seconds a case; `TFXLM_SWEEP=1` compiles all of them.
COMPILED = CASES if SWEEP else 2

pytestmark = QUIET


def input_variants(case: Case) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Inputs in every combination that differs, and the real positions (rows, length) of each."""
    drawn, real = case.drawn()
    family, every = case.family, np.ones_like(real)
    padding = {"attention_mask", "lengths", *(["input_ids"] if family.finds_padding else [])}
    variants = {
        what: ({name: drawn[name] for name in names}, real if padding.intersection(names) else every)
        for what, names in family.variants.items()
    }
    first = {name: drawn[name] for name in family.batch if name not in padding or name == "input_ids"}
    rows, length = case.choices, case.kind.min_length
    shortest = {name: value[:rows, :length] for name, value in first.items()}
    variants["shortest"] = (shortest, real[:rows, :length])
    if family.combines_masks or not case.config.is_causal:
        holes = (case.rng.random(real.shape) < 0.7).astype(np.int64)
        holes[:, 0] = 1
        variants["holes"] = (first | {"attention_mask": holes}, holes.astype(bool))
    if case.config.has_cross_attention:
        encoders = [{name: drawn[name] for name in names} for names in (ENCODER[:1], ENCODER)]
        variants = {
            # Those with a mask of the encoder and those without one take turns.
            what: (inputs | {name: value[: len(real)] for name, value in encoders[place % 2].items()}, real)
            for place, (what, (inputs, real)) in enumerate(variants.items())
        } | {"no encoder": variants["mask"]}
    return {what: (case.arranged(inputs), real) for what, (inputs, real) in variants.items()}


@cases()
def test_outputs(case: Case) -> None:
    # The bodies of a family are one, so that of the bare model stands for all.
    for what, (inputs, real) in case.sampled(input_variants(case).items(), every=2 if case.is_body else 5):
        # Without an encoder, the reference has no weights of cross-attention to return, and fails.
        with_attentions = ENCODER[0] in inputs or not case.config.has_cross_attention
        wanted = {"output_hidden_states": True, "output_attentions": with_attentions}
        reference = run_reference(case, inputs | wanted)
        compare_outputs(case, case.model(inputs | wanted), reference, inputs, real, f"{what}, attentions")
        # With attentions the padding is kept, without them it is removed; the switch is tried once.
        removed = {"removed": True} | ({"not to be removed": False} if what == "mask" else {})
        for how, remove_padding in removed.items():
            case.model.base_model.remove_padding = remove_padding
            outputs = case.model(inputs, output_hidden_states=True)
            without = ("attentions", "cross_attentions")
            compare_outputs(case, outputs, reference, inputs, real, f"{what}, padding {how}", without=without)


@cases(indices=range(2))
def test_tuples(case: Case) -> None:
    inputs, real = case.batch(labels=not case.kind.unreturned)
    wanted = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    with torch.no_grad():
        # A missing pooling layer leaves a place in the tuples of the reference.
        reference = [value for value in case.reference(**to_torch(inputs | wanted)) if value is not None]
    if case.name in named("ForMaskedLM") and ENCODER[0] in inputs:
        # Its tuples alone, not its output objects, have weights of cross-attention.
        del reference[-1]
    ours = case.model(inputs | wanted)
    assert isinstance(ours, tuple) and len(ours) == len(reference)
    for left, right in zip(ours, reference, strict=True):
        assert isinstance(left, tuple) == isinstance(right, tuple)
        assert len(left) == len(right) if isinstance(left, tuple) else left.shape == right.shape
        for one, other in zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]:
            assert one.shape == other.shape
            if np.ndim(one) in (0, 3) or (np.ndim(one) == 2 and not case.kind.up_to_ties):
                has_positions = np.shape(one)[:2] == real.shape
                close(one, other, real if has_positions else None, "a tuple's value")


@pytest.mark.parametrize("name", KINDS)
def test_pruned_heads(name: str, tmp_path: Path) -> None:
    # The last layer keeps all its heads; stored names are the same, shapes are not.
    changes = {"num_hidden_layers": 2, "num_attention_heads": 3, "hidden_size": 27, "pruned_heads": {0: [0, 2]}}
    # Decoders have cross-attention here, where there is any: its heads stay.
    case = make_case(name, 1, tmp_path, **changes)
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
    assert reference["logits"].shape[1] == case.config.hidden_size
    compare_outputs(case, case.model(inputs), reference, inputs, real, summary_type)


@cases(["XLMForMultipleChoice"], indices=range(3))
def test_lengths_that_are_not_for_choices_are_ignored(case: Case) -> None:
    inputs, real = case.batch()
    inputs["lengths"] = np.ones(len(inputs["input_ids"]), np.int64)
    with pytest.warns(UserWarning, match="lengths must have shape"):
        outputs = case.model(inputs)
    compare_outputs(case, outputs, run_reference(case, inputs), inputs, real, "lengths")


@cases(LANGUAGE_MODELS, range(0, CASES, 5))
def test_chosen_positions(case: Case) -> None:
    drawn, real = case.drawn()
    inputs = {name: drawn[name] for name in ("input_ids", "attention_mask")}
    full = np.asarray(case.model(inputs).logits)
    length = real.shape[1]
    close(case.model(inputs, logits_to_keep=2).logits, full[:, -2:], what="logits_to_keep=2")
    close(case.model(inputs, logits_to_keep=0).logits, full, what="logits_to_keep=0")
    kept = np.array([2, 0, 2])
    close(case.model(inputs, logits_to_keep=kept).logits, full[:, kept], what="logits_to_keep tensor")
    if "masked_positions" not in case.model.keyword_arguments:
        return
    positions = case.rng.integers(0, length, (len(real), 3))
    chosen = case.model(inputs, masked_positions=positions).logits
    close(chosen, np.take_along_axis(full, positions[:, :, None], axis=1), what="masked_positions")
    labels = word_labels(case, drawn["input_ids"], drawn["lengths"])["labels"]
    labels[:, 0] = 1
    reference = run_reference(case, inputs | {"labels": labels})
    order = np.argsort(labels == -100, axis=1, kind="stable")[:, : int((labels != -100).sum(1).max())]
    ours = case.model(inputs, masked_positions=order, labels=np.take_along_axis(labels, order, axis=1))
    close(ours.loss, reference["loss"], what="loss over chosen positions")


@cases(indices=range(COMPILED))
def test_compiled(case: Case) -> None:
    inputs, real = case.batch()
    wanted = {"output_hidden_states": True, "output_attentions": True}
    reference = run_reference(case, inputs | wanted)
    # All but the width of an encoder's states may be unknown.
    known = {ENCODER[0]: [None, None, case.config.hidden_size]}
    signature = {
        key: tf.TensorSpec(known.get(key, [None] * np.ndim(value)), value.dtype) for key, value in inputs.items()
    }
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    graph = {"input_signature": [signature]}
    # The bodies are compiled both ways; what comes after them in turn.
    ways = {"graph": graph, "xla": {"jit_compile": True}}
    for what, options in case.sampled(ways.items(), every=1 if case.is_body else 2):
        function = tf.function(lambda x: case.model(x | wanted), **options)
        compare_outputs(case, function(tensors), reference, inputs, real, what)
