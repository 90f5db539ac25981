"""Models whose heads are pruned or whose vocabulary is resized, against the PyTorch classes after the same change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.classes import KINDS
from tests.parity.reference import QUIET, Case, compare_outputs, make_case, run_reference

pytestmark = QUIET


def read_back(case: Case, folder: Path) -> None:
    """Gives the case the reference that is read from what our model saves."""
    case.model.save_pretrained(folder)
    case.reference, info = type(case.reference).from_pretrained(folder, output_loading_info=True, **case.options)
    assert not any(info.values()), info
    case.kind.mend(case.reference)


@pytest.mark.parametrize("name", KINDS)
def test_prune_heads(name: str, tmp_path: Path) -> None:
    # Decoders have cross-attention here, where there is any: its heads stay.
    case = make_case(name, 1, tmp_path / "whole", num_hidden_layers=3, num_attention_heads=4, hidden_size=36)
    inputs, real = case.batch()
    wanted = {"output_attentions": True, "output_hidden_states": True}
    for heads in ({0: [1, 3], 2: [0]}, {2: [0, 2]}):
        case.model.prune_heads(heads)
        case.reference.prune_heads(heads)
        compare_outputs(case, case.model(inputs | wanted), run_reference(case, inputs | wanted), inputs, real, "pruned")
    assert [weights.shape[1] for weights in case.model(inputs | wanted).attentions] == [2, 4, 2]
    read_back(case, tmp_path / "pruned")
    compare_outputs(case, case.model(inputs | wanted), run_reference(case, inputs | wanted), inputs, real, "read back")


@pytest.mark.parametrize("change", [-3, 5])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "XLMWithAdaptiveSoftmax"])
def test_resize_token_embeddings(name: str, change: int, tmp_path: Path) -> None:
    case = make_case(name, 0, tmp_path / "before")
    before = case.reference.get_input_embeddings().weight.detach()
    size = len(before) + change
    case.model.resize_token_embeddings(size)
    case.reference.resize_token_embeddings(size)
    kept = case.reference.get_input_embeddings().weight.detach()[: len(before)]
    table = torch.tensor(np.asarray(case.model.get_input_embeddings().embeddings))
    assert table.shape[0] == size and torch.equal(table[: len(before)], kept)
    # Words that are new are drawn, so they are given to the reference.
    read_back(case, tmp_path / "after")
    inputs, real = case.batch()
    if change > 0:
        inputs["input_ids"][..., 0] = size - 1
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "resized")
