"""The engine for names: a bijection, in both directions, with and without the prefix."""

import itertools

import pytest

from tfxlm.checkpoints import Ignored, NameMap, Rule, Tied, Transform
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.errors import InputError, WeightMismatchError

# Written out by hand from the two sides, not from the table.
PAIRS = {
    "transformer/embeddings/word/embeddings": "transformer.embeddings.weight",
    "transformer/embeddings/position/embeddings": "transformer.position_embeddings.weight",
    "transformer/embeddings/lang/embeddings": "transformer.lang_embeddings.weight",
    "transformer/embeddings/norm/gamma": "transformer.layer_norm_emb.weight",
    "transformer/embeddings/norm/beta": "transformer.layer_norm_emb.bias",
    "transformer/encoder/block_0/attention/query/kernel": "transformer.attentions.0.q_lin.weight",
    "transformer/encoder/block_0/attention/query/bias": "transformer.attentions.0.q_lin.bias",
    "transformer/encoder/block_11/attention/key/kernel": "transformer.attentions.11.k_lin.weight",
    "transformer/encoder/block_11/attention/value/bias": "transformer.attentions.11.v_lin.bias",
    "transformer/encoder/block_1/attention/output/kernel": "transformer.attentions.1.out_lin.weight",
    "transformer/encoder/block_1/attention_norm/gamma": "transformer.layer_norm1.1.weight",
    "transformer/encoder/block_2/attention_norm/beta": "transformer.layer_norm1.2.bias",
    "transformer/encoder/block_1/feed_forward/intermediate/kernel": "transformer.ffns.1.lin1.weight",
    "transformer/encoder/block_2/feed_forward/output/bias": "transformer.ffns.2.lin2.bias",
    "transformer/encoder/block_2/feed_forward_norm/gamma": "transformer.layer_norm2.2.weight",
    "transformer/encoder/block_1/feed_forward_norm/beta": "transformer.layer_norm2.1.bias",
    "pred_layer/bias": "pred_layer.proj.bias",
    "sequence_summary/summary/kernel": "sequence_summary.summary.weight",
    "sequence_summary/summary/bias": "sequence_summary.summary.bias",
    "logits_proj/kernel": "logits_proj.weight",
    "classifier/bias": "classifier.bias",
    "qa_outputs/kernel": "qa_outputs.weight",
    "qa_outputs/start_logits/dense/kernel": "qa_outputs.start_logits.dense.weight",
    "qa_outputs/end_logits/dense_0/kernel": "qa_outputs.end_logits.dense_0.weight",
    "qa_outputs/end_logits/layer_norm/gamma": "qa_outputs.end_logits.LayerNorm.weight",
    "qa_outputs/end_logits/dense_1/bias": "qa_outputs.end_logits.dense_1.bias",
    "qa_outputs/answer_class/dense_0/bias": "qa_outputs.answer_class.dense_0.bias",
    "qa_outputs/answer_class/dense_1/kernel": "qa_outputs.answer_class.dense_1.weight",
}


@pytest.mark.parametrize(("variable", "tensor"), PAIRS.items())
def test_xlm_names_in_both_directions(variable: str, tensor: str) -> None:
    assert XLM.tensor_name(variable) == tensor
    assert XLM.variable_path(tensor) == variable
    assert XLM.variable_path(tensor.removeprefix("transformer.")) == variable
    match = XLM.match_variable(variable)
    assert match == XLM.match_tensor(tensor)
    assert match.transform is (Transform.TRANSPOSE if variable.endswith("kernel") else Transform.IDENTITY)
    assert (match.part == "backbone") == variable.startswith("transformer/")


def test_bare_names_drop_the_prefix_only_from_the_backbone() -> None:
    for tensor in PAIRS.values():
        bare = XLM.file_name(tensor, bare=True)
        assert bare == tensor.removeprefix("transformer.")
        assert XLM.full_name(bare) == XLM.full_name(tensor) == XLM.file_name(tensor, bare=False) == tensor
    assert XLM.full_name("pred_layer.proj.weight") == "pred_layer.proj.weight"
    assert XLM.full_name("unknown") == "unknown"


def test_every_rule_of_xlm_is_a_bijection() -> None:
    expanded = [
        (rule.variable.replace("{i}", i), rule.tensor.replace("{i}", i)) for rule in XLM.rules for i in ("0", "1", "12")
    ]
    pairs = sorted(set(expanded))
    assert len({variable for variable, _ in pairs}) == len({tensor for _, tensor in pairs}) == len(pairs)
    for variable, tensor in pairs:
        assert (XLM.tensor_name(variable), XLM.variable_path(tensor)) == (tensor, variable)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.attentions.00.q_lin.weight",
        "transformer.attentions.-1.q_lin.weight",
        "transformer.attentions.x.q_lin.weight",
        "transformer.attentions.{i}.q_lin.weight",
        "transformer.attentions.١.q_lin.weight",
        "transformer.attentions.0.q_lin.weight.more",
        "transformer.attentions.0.q_lin.weight\n",
        "transformer.layer_norm3.0.weight",
        "transformer.transformer.embeddings.weight",
        "transformer.pred_layer.proj.bias",
        "qa_outputs.answer_class.dense_1.bias",
        "",
    ],
)
def test_names_that_only_look_alike(name: str) -> None:
    assert XLM.match_tensor(name) is None
    with pytest.raises(WeightMismatchError, match="No variable takes the tensor"):
        XLM.variable_path(name)


def test_unknown_variable() -> None:
    with pytest.raises(
        WeightMismatchError, match=r"No rule gives a tensor name to the variable 'adapter/kernel'. Layers"
    ):
        XLM.tensor_name("adapter/kernel")


def test_ignored_names_with_and_without_the_prefix() -> None:
    assert "constant" in (XLM.ignored_reason("transformer.position_ids") or "")
    assert "constant" in (XLM.ignored_reason("position_ids") or "")
    assert XLM.ignored_reason("transformer.embeddings.weight") is None
    numbered = NameMap([Rule("a", "a")], ignored=[Ignored("layers.{i}.cache", "empty")])
    assert numbered.ignored_reason("layers.3.cache") == "empty"
    assert numbered.ignored_reason("layers.x.cache") is None


def test_shapes() -> None:
    assert Transform.TRANSPOSE.shape((2, 3)) == (3, 2)
    assert Transform.IDENTITY.shape([2, 3]) == (2, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Rule("a", "x"), Rule("a", "y")),
        (Rule("a", "x"), Rule("b", "x")),
        (Rule("a_{i}", "x_{i}"), Rule("a_1", "y")),
        (Rule("a_{i}", "x_{i}"), Rule("b", "x_7")),
        (Rule("a_{i}/b_1", "x_{i}"), Rule("a_2/b_{i}", "y_{i}")),
    ],
)
def test_overlapping_rules_are_refused(first: Rule, second: Rule) -> None:
    for rules in itertools.permutations((first, second)):
        with pytest.raises(InputError, match=r"The name map is not a bijection: some (variable|tensor) name fits both"):
            NameMap(rules)


def test_rules_that_differ_in_a_number_do_not_overlap() -> None:
    names = NameMap([Rule("norm1_{i}", "n1.{i}"), Rule("norm2_{i}", "n2.{i}"), Rule("norm3_4", "n3.4")])
    assert [names.tensor_name(f"norm{k}_4") for k in (1, 2, 3)] == ["n1.4", "n2.4", "n3.4"]


def test_short_names_may_not_be_other_names() -> None:
    rules = [Rule("b/x", "base.x"), Rule("x", "x", part="head")]
    with pytest.raises(InputError, match="some tensor name fits both"):
        NameMap(rules, prefix="base.")
    with pytest.raises(InputError, match="some tensor name fits both"):
        NameMap(rules[:1], prefix="base.", ignored=[Ignored("x", "no")])
    with pytest.raises(InputError, match="some tensor name fits both"):
        NameMap(rules[:1], prefix="base.", tied=[Tied("x", to="base.x")])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("a_{i}", "x"), "must be in the variable path and in the tensor name, or in neither"),
        (Rule("a_{i}_{i}", "x_{i}"), "is not a name with at most one '{i}', standing apart from digits"),
        (Rule("a1{i}", "x_{i}"), "standing apart from digits"),
        (Rule("a{j}", "x"), "is not a name"),
        (Rule("a", "other.x"), "Tensor names of the backbone begin with 'base.', but 'other.x' does not"),
    ],
)
def test_malformed_rules(rule: Rule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NameMap([rule], prefix="base." if rule.tensor == "other.x" else "")


def test_tied_to_nothing() -> None:
    with pytest.raises(InputError, match="A tensor is tied to 'y', for which there is no rule"):
        NameMap([Rule("a", "x")], tied=[Tied("z", to="y")])
