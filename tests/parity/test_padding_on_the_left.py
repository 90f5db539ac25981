"""Texts that are padded on the left, against the PyTorch classes given each text alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.classes import KINDS, named
from tests.parity.reference import CASES, ENCODER, QUIET, ROWS, Case, cases, close, compare_outputs, run_reference

# Those whose positions count what is no padding.
NAMES = [name for name in KINDS if not KINDS[name].family.finds_padding]
# Those that the reference computes alike wherever padding is: none that read the first position.
AT_EACH = [name for name in NAMES if name in named("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")]

pytestmark = QUIET


def flipped(inputs: dict[str, Any]) -> dict[str, Any]:
    """Reverses texts, so that their padding comes first."""
    return {name: value[:, ::-1].copy() if name in ROWS else value for name, value in inputs.items()}


@cases(NAMES, range(0, CASES, 5))
def test_texts_padded_on_the_left(case: Case) -> None:
    drawn, real = case.drawn()
    names = ("input_ids", "attention_mask", "token_type_ids", *ENCODER)
    inputs, real = flipped({name: drawn[name] for name in names if name in drawn}), real[:, ::-1]
    ours = case.model(case.arranged(inputs), output_hidden_states=True)
    for row in range(len(real)):
        start = int(np.argmax(real[row]))
        alone = {
            name: value[row : row + 1, start:] if name in ROWS else value[row : row + 1]
            for name, value in inputs.items()
        }
        if case.kind.has_choices:
            alone = {name: value[:, None] for name, value in alone.items()}
        reference = run_reference(case, alone | {"output_hidden_states": True})
        for left, right in zip(ours.hidden_states, reference.pop("hidden_states"), strict=True):
            close(left[row, start:], right[0], what=f"hidden_states of row {row}")
        for name, value in reference.items():
            has_positions = value.ndim == 3 or name in case.kind.at_positions
            found = np.asarray(ours[name]).reshape(len(real), *value.shape[1:]) if case.kind.has_choices else ours[name]
            close(found[row, start:] if has_positions else found[row], value[0], what=f"{name} of row {row}")


# Padding on the left of a decoder has nothing to attend to: these are no decoders.
@cases(AT_EACH, range(0, CASES, 4))
def test_labels_at_padding(case: Case) -> None:
    # Padding learns in the reference, from what it attends to.
    drawn, real = case.drawn()
    inputs, real = flipped({name: drawn[name] for name in ("input_ids", "attention_mask")}), real[:, ::-1]
    assert case.kind.labels is not None
    inputs |= case.kind.labels(case, inputs["input_ids"], real.sum(axis=1))
    if "labels" in inputs:
        inputs["labels"][~real] = 0
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "labels")
