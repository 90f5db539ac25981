"""Question answering against the PyTorch classes: every way to call the beam, and labels at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.parity.classes import named
from tests.parity.reference import QUIET, Case, cases, close, compare_outputs, run_reference

BEAM = "XLMForQuestionAnswering"
# Those that score each token as a start and as an end, and search no further.
SIMPLE = [name for name in named("ForQuestionAnswering", "ForQuestionAnsweringSimple") if name != BEAM]
SPAN = ("start_positions", "end_positions")
# What the beam is given beside the words, and the outputs that the answer then has.
SEARCHED = {"start_top_log_probs", "start_top_index", "end_top_log_probs", "end_top_index", "cls_logits"}
LEARNED = {"loss", "start_logits", "end_logits"}
CALLS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "nothing": ((), SEARCHED),
    "cls_index": (("cls_index",), SEARCHED),
    "p_mask": (("p_mask",), SEARCHED),
    "both": (("cls_index", "p_mask"), SEARCHED),
    "one position": (("start_positions", "p_mask"), SEARCHED),
    "no positions": (("is_impossible", "cls_index"), SEARCHED),
    "positions": (SPAN, LEARNED),
    "positions and mask": ((*SPAN, "p_mask"), LEARNED),
    "positions and judgement": ((*SPAN, "is_impossible"), LEARNED),
    "positions and class": ((*SPAN, "cls_index"), LEARNED),
    "all but mask": ((*SPAN, "is_impossible", "cls_index"), LEARNED | {"answer_class_logits"}),
    "all": ((*SPAN, "is_impossible", "cls_index", "p_mask"), LEARNED | {"answer_class_logits"}),
}

pytestmark = QUIET


@cases([BEAM])
def test_beam(case: Case) -> None:
    batch, real = case.batch()
    given = {name: batch.pop(name) for name in CALLS["all"][0]}
    for what, (names, fields) in case.sampled(CALLS.items(), every=2):
        inputs = batch | {name: given[name] for name in names}
        ours, reference = case.model(inputs), run_reference(case, inputs)
        assert set(ours) == fields, what
        compare_outputs(case, ours, reference, inputs, real, what)


@cases([BEAM], range(4))
def test_beam_where_no_answer_may_be(case: Case) -> None:
    inputs, _ = case.batch(labels=False)
    inputs["p_mask"] = np.ones(inputs["input_ids"].shape, np.float32)
    ours, reference = case.model(inputs), run_reference(case, inputs)
    # All are equally unlikely, so which are named says nothing.
    for name in ("start_top_log_probs", "end_top_log_probs", "cls_logits"):
        close(ours[name], reference[name], what=name)


@cases([BEAM], range(4))
def test_a_true_answer_that_may_not_be(case: Case) -> None:
    inputs, _ = case.batch()
    inputs["p_mask"] = np.ones(inputs["input_ids"].shape, np.float32)
    inputs["p_mask"][:, 0] = 0
    inputs["start_positions"][0] = 1
    ours, reference = case.model(inputs).loss, run_reference(case, inputs)["loss"]
    assert reference > 1e28
    close(ours, reference)


@cases([BEAM], range(2, 12, 4))
def test_beam_longer_than_the_text(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, _ = case.ids()
    inputs = {"input_ids": ids[ids[:, 2] != case.config.pad_index, :3]}
    with pytest.raises(RuntimeError, match="index k out of range"):
        run_reference(case, inputs)
    # Ours finds what a smaller beam of the reference finds, and after it nothing.
    starts, ends = case.config.start_n_top, case.config.end_n_top
    head, few = case.reference.qa_outputs, min(ends, 3)
    assert starts > 3
    monkeypatch.setattr(head, "start_n_top", 3)
    monkeypatch.setattr(head, "end_n_top", few)
    ours, reference = case.model(inputs), run_reference(case, inputs)
    # (batch, start), and (batch, end, start); what follows a start without probability does not matter.
    shapes = {"start_top": ((-1, starts), (-1, 3), 3), "end_top": ((-1, ends, starts), (-1, few, 3), few)}
    for name, (shape, small, count) in shapes.items():
        probs, index = (np.reshape(ours[f"{name}_{what}"], shape) for what in ("log_probs", "index"))
        if name == "end_top":
            probs, index = probs[..., :3], index[..., :3]
        close(probs[:, :count], reference[f"{name}_log_probs"].reshape(small), what=name)
        assert np.array_equal(index[:, :count], reference[f"{name}_index"].reshape(small)), name
        assert not probs[:, count:].any() and index.max() < 3, name
    close(ours.cls_logits, reference["cls_logits"])


@cases([*SIMPLE, BEAM], range(4))
def test_labels_in_columns(case: Case) -> None:
    inputs, real = case.batch()
    columns = {name: inputs[name][:, None] for name in inputs if name in (*SPAN, "is_impossible", "cls_index")}
    compare_outputs(case, case.model(inputs | columns), run_reference(case, inputs | columns), inputs, real, "columns")


def loss_of_rows(case: Case, inputs: dict[str, Any], target: str, rows: np.ndarray) -> np.ndarray:
    """The reference's cross-entropy of one target over some rows, from its own logits."""
    logits = np.asarray(run_reference(case, inputs)[target.replace("positions", "logits")], np.float64)[rows]
    labels = inputs[target][rows]
    return np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(rows)), labels])


@cases(SIMPLE, range(4))
def test_positions_that_are_no_answer(case: Case) -> None:
    inputs, real = case.batch(shape=(4, 9))
    inputs["start_positions"], inputs["end_positions"] = np.array([-1, 9, 3, 500]), np.array([0, 9, -7, 8])
    # Those past the end do not count, others are brought to the start.
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "past the end")
    # The reference brings -100 to the start too; here it is ignored, as in all labels.
    inputs["start_positions"], inputs["end_positions"] = np.array([-100, 1, 2, 3]), np.array([4, 5, -100, 8])
    rows = {"start_positions": np.array([1, 2, 3]), "end_positions": np.array([0, 1, 3])}
    expected = sum(loss_of_rows(case, inputs, target, rows[target]) for target in SPAN) / 2
    close(case.model(inputs).loss, expected, what="-100")


@cases([BEAM], range(4))
def test_ignored_ends_of_the_beam(case: Case) -> None:
    inputs, real = case.batch(shape=(4, 9))
    inputs["end_positions"][[0, 2]] = -100
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "-100")
