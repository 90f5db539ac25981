"""What goes where, and everything that does not fit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import random_array
from tfxlm.checkpoints import LoadPlan, Source, Transform, open_checkpoint, plan
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.errors import WeightMismatchError

DIM, WORDS, LAYERS = 4, 11, 2

BACKBONE = {
    "transformer/embeddings/word/embeddings": (WORDS, DIM),
    "transformer/embeddings/position/embeddings": (6, DIM),
    "transformer/embeddings/norm/gamma": (DIM,),
    "transformer/embeddings/norm/beta": (DIM,),
    **{
        f"transformer/encoder/block_{i}/feed_forward/{name}": shape
        for i in range(LAYERS)
        for name, shape in {
            "intermediate/kernel": (DIM, 16),
            "intermediate/bias": (16,),
            "output/kernel": (16, DIM),
        }.items()
    },
}
LM = {"pred_layer/bias": (WORDS,)}
CLASSIFIER = {"sequence_summary/summary/kernel": (DIM, 3), "sequence_summary/summary/bias": (3,)}

Planner = Callable[..., LoadPlan]


@pytest.fixture
def planned(tmp_path: Path) -> Planner:
    """Plans the loading of `variables` from a file of `saved` variables, changed by name; None removes a tensor."""

    def make(variables: dict, saved: dict, changes: dict | None = None, *, bare: bool = False) -> LoadPlan:
        arrays = {
            XLM.file_name(XLM.tensor_name(path), bare=bare): random_array(
                XLM.match_variable(path).transform.shape(shape)
            )
            for path, shape in saved.items()
        }
        arrays |= changes or {}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
        with open_checkpoint(tmp_path) as checkpoint:
            return plan(XLM, checkpoint, variables)

    return make


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("head", [{}, LM, CLASSIFIER])
def test_all_fits(planned: Planner, head: dict, bare: bool) -> None:
    variables = BACKBONE | head
    result = planned(variables, variables, bare=bare)
    assert result.sources.keys() == variables.keys()
    prefix = "" if bare else "transformer."
    assert result.sources["transformer/encoder/block_1/feed_forward/output/kernel"] == Source(
        f"{prefix}ffns.1.lin2.weight", Transform.TRANSPOSE
    )
    assert result.sources["transformer/embeddings/word/embeddings"] == Source(
        f"{prefix}embeddings.weight", Transform.IDENTITY
    )
    assert result.report.check() is result.report
    assert str(result.report).startswith(f"{len(variables)} weights from '")
    assert len(str(result.report).splitlines()) == 1


@pytest.mark.parametrize("bare", [False, True])
def test_head_on_a_bare_checkpoint_is_new(planned: Planner, bare: bool) -> None:
    result = planned(BACKBONE | CLASSIFIER, BACKBONE, bare=bare)
    assert result.sources.keys() == BACKBONE.keys()
    assert result.report.check().new == tuple(CLASSIFIER)
    assert "2 new, initialised freshly and in need of training:\n  sequence_summary/summary/kernel" in str(
        result.report
    )


def test_heads_of_others_are_unused(planned: Planner) -> None:
    result = planned(BACKBONE, BACKBONE | LM | {"qa_outputs/kernel": (DIM, 2)})
    assert dict(result.report.check().unused) == {
        "pred_layer.proj.bias": "of the language modeling head, which this model does not have",
        "qa_outputs.weight": "of the span question answering head, which this model does not have",
    }
    assert "2 unused:\n  " in str(result.report)


def test_everything_wrong_is_in_one_error(planned: Planner) -> None:
    result = planned(
        BACKBONE | CLASSIFIER,
        BACKBONE | CLASSIFIER,
        {
            "transformer.layer_norm_emb.weight": None,
            "transformer.layer_norm_emb.bias": None,
            "transformer.ffns.2.lin1.weight": np.zeros((16, DIM), np.float32),
            "transformer.lang_embeddings.weight": np.zeros((2, DIM), np.float32),
            "encoder.weight": np.zeros((2,), np.float32),
            "transformer.embeddings.weight": np.zeros((WORDS + 1, DIM), np.float16),
            "transformer.ffns.0.lin1.weight": np.zeros((DIM, 16), np.float32),
            "transformer.ffns.1.lin1.bias": np.zeros((16,), np.int8),
            "sequence_summary.summary.bias": np.zeros((5,), np.float32),
        },
    )
    report = result.report
    assert report.missing == ("transformer.layer_norm_emb.weight", "transformer.layer_norm_emb.bias")
    assert sorted(report.unexpected) == [
        "encoder.weight",
        "transformer.ffns.2.lin1.weight",
        "transformer.lang_embeddings.weight",
    ]
    found = {item.tensor: (item.expected, item.found, item.dtype.name) for item in report.mismatched}
    assert found == {
        "transformer.embeddings.weight": ((11, 4), (12, 4), "float16"),
        "transformer.ffns.0.lin1.weight": ((16, 4), (4, 16), "float32"),
        "transformer.ffns.1.lin1.bias": ((16,), (16,), "int8"),
        "sequence_summary.summary.bias": ((3,), (5,), "float32"),
    }
    assert not {item.variable for item in report.mismatched} & result.sources.keys()
    with pytest.raises(WeightMismatchError, match="do not fit the model") as caught:
        report.check()
    message = str(caught.value)
    for name in (*report.missing, *report.unexpected, *found):
        assert f"  {name}" in message
    for part in (
        "2 missing:",
        "3 unexpected:",
        "4 with a wrong shape or dtype:",
        "embeddings.weight: expected (11, 4), found float16 (12, 4)",
    ):
        assert part in message
    assert "Check that config.json belongs to this checkpoint" in message
    with pytest.raises(WeightMismatchError, match="3 with a wrong shape or dtype"):
        report.check(ignore_mismatched_sizes=True)


def test_another_number_of_labels(planned: Planner) -> None:
    saved = BACKBONE | {"sequence_summary/summary/kernel": (DIM, 7), "sequence_summary/summary/bias": (7,)}
    result = planned(BACKBONE | CLASSIFIER, saved)
    with pytest.raises(
        WeightMismatchError, match="start the heads of another size afresh, pass `ignore_mismatched_sizes=True`"
    ):
        result.report.check()
    report = result.report.check(ignore_mismatched_sizes=True)
    assert report.mismatched == ()
    assert report.new == tuple(CLASSIFIER)
    assert result.sources.keys() == BACKBONE.keys()


def test_backbone_sizes_are_never_ignored(planned: Planner) -> None:
    result = planned(BACKBONE, BACKBONE, {"transformer.embeddings.weight": np.zeros((5, DIM), np.float32)})
    for ignore in (False, True):
        with pytest.raises(WeightMismatchError, match="1 with a wrong shape or dtype") as caught:
            result.report.check(ignore_mismatched_sizes=ignore)
        assert "ignore_mismatched_sizes" not in str(caught.value)


def test_long_lists_are_cut(planned: Planner) -> None:
    extra = {f"z{i:03}": np.zeros((1,), np.float32) for i in range(500)}
    with pytest.raises(WeightMismatchError, match=r"500 unexpected:\n  z000\n(  z\d+\n){19}  \.\.\. and 480 more\n"):
        planned(BACKBONE, BACKBONE, extra).report.check()


TABLE = random_array((WORDS, DIM))


@pytest.mark.parametrize("bare", [False, True])
def test_tied_tensor_beside_its_target(planned: Planner, bare: bool) -> None:
    result = planned(BACKBONE | LM, BACKBONE | LM, {"pred_layer.proj.weight": TABLE}, bare=bare)
    assert result.report.check().tied == ("pred_layer.proj.weight",)
    assert result.sources["transformer/embeddings/word/embeddings"].tensor.endswith(
        ".weight" if not bare else "embeddings.weight"
    )
    assert "1 tied:\n  pred_layer.proj.weight" in str(result.report)


def test_tied_tensor_stands_in(planned: Planner) -> None:
    changes = {"pred_layer.proj.weight": TABLE, "transformer.embeddings.weight": None}
    for variables in (BACKBONE, BACKBONE | LM):
        result = planned(variables, variables, changes)
        assert result.report.check().tied == ("pred_layer.proj.weight",)
        assert result.sources["transformer/embeddings/word/embeddings"] == Source(
            "pred_layer.proj.weight", Transform.IDENTITY
        )


def test_tied_tensor_of_another_shape(planned: Planner) -> None:
    result = planned(BACKBONE, BACKBONE, {"pred_layer.proj.weight": TABLE[1:]})
    with pytest.raises(
        WeightMismatchError, match=r"pred_layer.proj.weight: expected \(11, 4\), found float32 \(10, 4\)"
    ):
        result.report.check()


def test_buffers_are_ignored_with_their_reason(planned: Planner) -> None:
    for bare, name in ((False, "transformer.position_ids"), (True, "position_ids")):
        report = planned(BACKBONE, BACKBONE, {name: np.arange(6)[None]}, bare=bare).report.check()
        assert report.ignored == ((name, "a constant 0, 1, 2, ... that older versions saved"),)
        assert f"1 ignored:\n  {name} (a constant" in str(report)


def test_one_tensor_under_two_names(planned: Planner) -> None:
    report = planned(BACKBONE, BACKBONE, {"embeddings.weight": TABLE}).report
    assert len(report.unexpected) == 1
    with pytest.raises(WeightMismatchError, match="1 unexpected"):
        report.check()


def test_unlisted_tensors_of_shards_are_told(tmp_path: Path) -> None:
    arrays = {
        XLM.tensor_name(path): random_array(XLM.match_variable(path).transform.shape(shape))
        for path, shape in BACKBONE.items()
    }
    safetensors.numpy.save_file(arrays | {"left": TABLE}, tmp_path / "one.safetensors")
    listed = ", ".join(f'"{name}": "one.safetensors"' for name in arrays)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {' + listed + "}}")
    with open_checkpoint(tmp_path) as checkpoint:
        report = plan(XLM, checkpoint, BACKBONE).report.check()
    assert report.ignored == (("left", "in a file of the checkpoint, but not in its index"),)


def test_variable_without_a_rule(planned: Planner) -> None:
    with pytest.raises(WeightMismatchError, match="No rule gives a tensor name to the variable 'adapter/kernel'"):
        planned(BACKBONE | {"adapter/kernel": (2, 2)}, BACKBONE)
