"""Every source of weights x family x head: loaded, compared tensor by tensor, run, written back, compared again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import tfxlm
from tests.parity.classes import KINDS
from tests.parity.reference import QUIET, Case, compare_outputs, make_case, run_reference
from tests.parity.sources import SAVES, as_args, as_cfg, fair_content, fair_words, fairseq_state
from tfxlm.checkpoints import open_checkpoint

pytestmark = QUIET

# What a FAIR or fairseq file cannot say.
OF_FAIR = {"vocab_size": 80, "pad_index": 2, "summary_type": "first", "layer_norm_eps": 1e-12}
OF_FAIRSEQ = {
    "position_embedding_type": "absolute",
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
}


def check_source(case: Case, path: Path, tmp_path: Path, **options: Any) -> None:
    """Loads `path`, and compares everything with the reference that it was made of."""
    expected = {name: tensor for name, tensor in case.reference.state_dict().items() if "position_ids" not in name}
    options = case.family.as_reference | case.options | options
    case.model, report = case.kind.model.from_pretrained(path, output_loading_info=True, **options)
    assert not report.new and not report.missing and not report.unexpected and not report.mismatched, str(report)
    inputs, real = case.batch(labels=False)
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, str(path))
    case.model.save_pretrained(tmp_path / "back")
    written = safetensors.torch.load_file(tmp_path / "back" / "model.safetensors")
    for name, tensor in written.items():
        assert torch.equal(tensor, expected[name]), name
    again, info = type(case.reference).from_pretrained(tmp_path / "back", output_loading_info=True, **case.options)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in expected.items())


def check_conversion(case: Case, path: Path, tmp_path: Path) -> None:
    """Converts `path`, and compares what `transformers` reads with the reference that it was made of."""
    files = tfxlm.convert_checkpoint(path, tmp_path / "converted", max_shard_size="2KB")
    assert any(file.name == "model.safetensors.index.json" for file in files)
    loaded, info = type(case.reference).from_pretrained(
        tmp_path / "converted", output_loading_info=True, **case.options
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    for name, tensor in case.reference.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("name", KINDS)
def test_state_dicts_of_torch_save(name: str, save: str, tmp_path: Path) -> None:
    case = make_case(name, 1, tmp_path / "source")
    (tmp_path / "source" / "model.safetensors").unlink()
    SAVES[save](case.reference.state_dict(), tmp_path / "source" / "pytorch_model.bin")
    check_source(case, tmp_path / "source", tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_conversion_of_old_files(name: str, tmp_path: Path) -> None:
    case = make_case(name, 2, tmp_path / "source")
    (tmp_path / "source" / "model.safetensors").unlink()
    SAVES["legacy"](case.reference.state_dict(), tmp_path / "source" / "pytorch_model.bin")
    check_conversion(case, tmp_path / "source", tmp_path)


def test_sharded_old_files(tmp_path: Path) -> None:
    case = make_case("XLMWithLMHeadModel", 1, tmp_path / "source")
    (tmp_path / "source" / "model.safetensors").unlink()
    state = case.reference.state_dict()
    shards = {f"pytorch_model-0000{number}-of-00002.bin": list(state)[number - 1 :: 2] for number in (1, 2)}
    for file, names in shards.items():
        SAVES["legacy"]({name: state[name] for name in names}, tmp_path / "source" / file)
    index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
    (tmp_path / "source" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    check_source(case, tmp_path / "source", tmp_path)


@pytest.mark.parametrize("training", [False, True], ids=["released", "training"])
@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("index", range(6))
def test_original_xlm(index: int, save: str, training: bool, tmp_path: Path) -> None:
    name = "XLMWithLMHeadModel" if index % 2 else "XLMModel"
    case = make_case(name, index, tmp_path / "reference", **OF_FAIR)
    path = tmp_path / "mine.pth"
    SAVES[save](fair_content(case.reference, wrapped=training, training=training), path)
    (tmp_path / "codes_mine").write_text("t h 9\na n 8\nan d</w> 7\n")
    check_source(case, path, tmp_path)
    config = tfxlm.AutoConfig.from_pretrained(path)
    for field in ("emb_dim", "n_layers", "n_heads", "causal", "gelu_activation", "n_langs", "vocab_size"):
        assert getattr(config, field) == getattr(case.reference.config, field), field
    assert config.use_lang_emb == (config.n_langs > 1 and case.reference.config.use_lang_emb)
    assert config.lang2id == {f"l{number}": number for number in range(config.n_langs)}
    found = tfxlm.inspect_checkpoint(path)
    assert not found.problems, found.problems
    assert found.languages == tuple(config.lang2id) and found.family == "xlm"
    # A tied table counts once.
    assert found.parameters == sum(parameter.numel() for parameter in case.reference.parameters())
    check_conversion(case, path, tmp_path)
    tokens = [
        tfxlm.XLMTokenizer.from_pretrained(folder).encode("the hand", lang="l0")
        for folder in (path, tmp_path / "converted")
    ]
    assert tokens[0] == tokens[1]


def test_original_xlm_with_an_adaptive_softmax(tmp_path: Path) -> None:
    case = make_case("XLMWithAdaptiveSoftmax", 3, tmp_path / "reference", **OF_FAIR)
    config = case.reference.config
    asm = {"asm": True, "asm_cutoffs": list(config.asm_cutoffs), "asm_div_value": config.asm_div_value}
    torch.save(fair_content(case.reference, **asm), tmp_path / "mine.pth")
    check_source(case, tmp_path / "mine.pth", tmp_path)


@pytest.mark.parametrize(
    "name", [name for name in KINDS if name.startswith("XLMFor")], ids=lambda name: name.removeprefix("XLM")
)
def test_original_xlm_under_a_new_head(name: str, tmp_path: Path) -> None:
    case = make_case("XLMWithLMHeadModel", 2, tmp_path / "reference", **OF_FAIR)
    torch.save(fair_content(case.reference), tmp_path / "mine.pth")
    model, report = KINDS[name].model.from_pretrained(tmp_path / "mine.pth", output_loading_info=True)
    assert report.new and not report.missing
    body = tfxlm.TFXLMModel.from_pretrained(tmp_path / "reference")
    ids = np.arange(14, 34).reshape(4, 5)
    if KINDS[name].has_choices:
        assert model(ids[None]).logits.shape == (1, 4)
    for ours, theirs in zip(model.base_model.weights, body.base_model.weights, strict=True):
        assert np.array_equal(ours.numpy(), theirs.numpy()), ours.path


@pytest.mark.parametrize("save", ["zip", "legacy"])
@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("task", ["Model", "ForMaskedLM", "ForSequenceClassification"])
@pytest.mark.parametrize("stem", ["XLMRoberta", "XLMRobertaXL"])
def test_fairseq(stem: str, task: str, layout: str, save: str, tmp_path: Path) -> None:
    case = make_case(stem + task, 4, tmp_path / "reference", **OF_FAIRSEQ)
    if task == "Model":  # fairseq has no pooling layer
        case.options = {"add_pooling_layer": False}
        case.reference = type(case.reference)(case.reference.config, add_pooling_layer=False).eval()
    with torch.no_grad():
        embeddings = (case.reference if task == "Model" else case.reference.roberta).embeddings
        embeddings.token_type_embeddings.weight.zero_()
    model = case.reference
    if task == "Model":
        model = type("Wrapped", (torch.nn.Module,), {})()
        model.roberta, model.config = case.reference, case.reference.config
    head = "sentence_classification_head" if task == "ForSequenceClassification" else None
    old = layout == "old"
    state = fairseq_state(model, prefix="decoder." if old else "encoder.", old=old, head=head)
    content = {"model": state, "last_optimizer_state": None, **(as_args if old else as_cfg)(model)}
    path = tmp_path / "fairseq"
    path.mkdir()
    SAVES[save](content, path / "model.pt")
    check_source(case, path, tmp_path)
    config = tfxlm.AutoConfig.from_pretrained(path)
    fields = ("num_attention_heads", "intermediate_size", "max_position_embeddings", "vocab_size", "num_hidden_layers")
    for field in (*fields, "hidden_size"):
        assert getattr(config, field) == getattr(case.reference.config, field), field
    found = tfxlm.inspect_checkpoint(path / "model.pt")
    assert [problem.partition(":")[0] for problem in found.problems] == ["no tokenizer"]
    assert found.parameters == sum(parameter.numel() for parameter in case.reference.parameters())
    check_conversion(case, path / "model.pt", tmp_path)


# The classes that TensorFlow had.
IN_TENSORFLOW = [
    name for name in KINDS if name.startswith(("XLMRoberta", "XLM")) and hasattr(transformers, f"TF{name}")
]


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("name", IN_TENSORFLOW)
def test_files_of_tensorflow_classes(name: str, sharded: bool, tmp_path: Path) -> None:
    changes = {"position_embedding_type": "absolute"} if name.startswith("XLMRoberta") else {"causal": False}
    case = make_case(name, 2, tmp_path / "reference", sinusoidal_embeddings=False, initializer_range=0.02, **changes)
    # The TensorFlow classes read no safetensors of today.
    torch.save(case.reference.state_dict(), tmp_path / "reference" / "pytorch_model.bin")
    theirs = getattr(transformers, f"TF{name}").from_pretrained(
        tmp_path / "reference", from_pt=True, use_safetensors=False
    )
    limit = {"max_shard_size": "2KB"} if sharded else {}
    theirs.save_pretrained(tmp_path / "source", safe_serialization=False, **limit)
    files = {path.name for path in (tmp_path / "source").iterdir()}
    assert not any(file.endswith((".safetensors", ".bin")) for file in files)
    assert ("tf_model.h5.index.json" in files) == sharded, files
    check_source(case, tmp_path / "source", tmp_path)
    check_conversion(case, tmp_path / "source", tmp_path)


def test_places_in_files(tmp_path: Path) -> None:
    """Tensors of old files and parts of fused matrices are read where they are, and tied ones once."""
    case = make_case("XLMWithLMHeadModel", 2, tmp_path / "reference", **OF_FAIR)
    SAVES["legacy"](fair_content(case.reference), tmp_path / "mine.pth")
    with open_checkpoint(tmp_path / "mine.pth") as checkpoint:
        assert checkpoint.is_same("pred_layer.proj.weight", "transformer.embeddings.weight")
        for name, tensor in case.reference.state_dict().items():
            assert np.array_equal(checkpoint.read(name), tensor.numpy()), name
        assert checkpoint.origin is not None and list(checkpoint.origin.words or ()) == fair_words(80)
