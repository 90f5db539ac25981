"""XLMConfig: fields, aliases, defaults, checks, and the way to a file and back."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfxlm.configs import XLMConfig
from tfxlm.configs.checks import ACTIVATION_NAMES
from tfxlm.errors import CheckpointNotFoundError, ConfigError, CorruptFileError, OutputExistsError

DEFAULTS = {
    "vocab_size": 30145,
    "emb_dim": 2048,
    "n_layers": 12,
    "n_heads": 16,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "gelu_activation": True,
    "sinusoidal_embeddings": False,
    "causal": False,
    "asm": False,
    "n_langs": 1,
    "use_lang_emb": True,
    "max_position_embeddings": 512,
    "embed_init_std": 2048**-0.5,
    "layer_norm_eps": 1e-12,
    "init_std": 0.02,
    "bos_index": 0,
    "eos_index": 1,
    "pad_index": 2,
    "unk_index": 3,
    "mask_index": 5,
    "is_encoder": True,
    "summary_type": "first",
    "summary_use_proj": True,
    "summary_activation": None,
    "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1,
    "start_n_top": 5,
    "end_n_top": 5,
    "mask_token_id": 0,
    "lang_id": 0,
    "pad_token_id": 2,
    "bos_token_id": 0,
}
SHARED_DEFAULTS = {
    "num_labels": 2,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "use_return_dict": True,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "architectures": None,
    "dtype": None,
    "eos_token_id": None,
    "summary_last_dropout": 0.0,
    "summary_over_padding": False,
    "lang2id": {},
    "id2lang": {},
    "asm_cutoffs": None,
    "asm_div_value": 4.0,
}


def small(**changes: Any) -> XLMConfig:
    return XLMConfig(**({"vocab_size": 30, "emb_dim": 16, "n_heads": 2, "n_layers": 1} | changes))


@pytest.mark.parametrize(("name", "value"), [*DEFAULTS.items(), *SHARED_DEFAULTS.items()])
def test_defaults(name: str, value: Any) -> None:
    found = getattr(XLMConfig(), name)
    assert found == value and isinstance(found, type(value)) and isinstance(found, bool) == isinstance(value, bool)


def test_positional_order_is_the_reference_s() -> None:
    values = [31, 32, 3, 4, 0.2, 0.3, False, True, True, True, 5, False, 64, 0.5, 1e-6, 0.03, 6, 7, 8, 9, 10, True]
    values += ["mean", False, "tanh", False, 0.4, 3, 2, 11, 12, 13, 14]
    config = XLMConfig(*values, asm_cutoffs=[10, 20])
    assert [getattr(config, name) for name in DEFAULTS] == values


@pytest.mark.parametrize(
    ("alias", "field"),
    [
        ("n_words", "vocab_size"),
        ("hidden_size", "emb_dim"),
        ("n_layer", "n_layers"),
        ("num_hidden_layers", "n_layers"),
        ("n_head", "n_heads"),
        ("num_attention_heads", "n_heads"),
    ],
)
def test_aliases(alias: str, field: str) -> None:
    config = XLMConfig(**{alias: 64})
    assert getattr(config, field) == getattr(config, alias) == 64
    assert XLMConfig(**{alias: 64, field: 64}) == config
    assert config.replace(**{alias: 32}).to_dict()[field] == 32
    with pytest.raises(ConfigError, match=f"'{alias}' and '{field}' are one field, but 64 and 32 were given. Give one"):
        XLMConfig(**{alias: 64, field: 32})
    with pytest.raises(ConfigError, match=f"'{field}' and '{alias}' are one field, but 32 and 64 were given. Give one"):
        XLMConfig(**{field: 32, alias: 64})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, r"vocab_size must be a positive integer below 2\*\*31, got 0"),
        ({"vocab_size": 2.0}, r"vocab_size must be a positive integer below 2\*\*31, got 2.0"),
        ({"vocab_size": 10**23}, r"vocab_size must be a positive integer below 2\*\*31, got 1000"),
        ({"n_layers": True}, r"n_layers must be a positive integer below 2\*\*31, got True"),
        ({"emb_dim": 10, "n_heads": 4}, r"emb_dim must be a multiple of n_heads \(4\), got 10"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), got 1.0"),
        ({"summary_first_dropout": -0.1}, r"summary_first_dropout must be a number in \[0, 1\), got -0.1"),
        ({"layer_norm_eps": -1}, "layer_norm_eps must be a finite number of 0 or more, got -1"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps must be a finite number of 0 or more, got inf"),
        ({"init_std": float("nan")}, "init_std must be a finite number of 0 or more, got nan"),
        ({"init_std": 10**400}, "init_std must be a finite number of 0 or more, got 1000"),
        ({"asm_div_value": float("inf")}, "asm_div_value must be a finite number above 0, got inf"),
        ({"causal": 1}, "causal must be True or False, got 1"),
        ({"pad_index": 30}, r"pad_index must be below vocab_size \(30\), got 30"),
        ({"mask_index": 30}, r"mask_index must be below vocab_size \(30\), got 30"),
        ({"vocab_size": 5}, r"mask_index must be below vocab_size \(5\), got 5"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be True or False, got 'yes'"),
        ({"architectures": "XLMModel"}, "architectures must be a list of names, or None, got 'XLMModel'"),
        ({"architectures": [1]}, r"architectures must be a list of names, or None, got \[1\]"),
        ({"summary_activation": "prelu"}, "summary_activation must be one of None, '', 'gelu', .* got 'prelu'"),
        (
            {"pruned_heads": {1: [0]}},
            r"heads below n_heads \(2\) of layers below n_layers \(1\), not all .*got {1: \[0\]}",
        ),
        ({"pruned_heads": {0: [2]}}, "pruned_heads must be heads below n_heads"),
        ({"pruned_heads": {0: [-1]}}, "pruned_heads must be heads below n_heads"),
        ({"pruned_heads": {0: [0, 1]}}, "pruned_heads must be heads below n_heads .* not all of a layer"),
        ({"pruned_heads": {"a": [0]}}, "pruned_heads must map layers to lists of heads, got {'a'"),
        ({"pruned_heads": [0]}, "pruned_heads must map layers to lists of heads"),
        ({"pruned_heads": {0: 1}}, "pruned_heads must map layers to lists of heads"),
        (
            {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}},
            "id2label .* and label2id .* disagree. Give one",
        ),
        ({"asm_div_value": 0}, "asm_div_value must be a finite number above 0, got 0"),
        ({"asm_div_value": True}, "asm_div_value must be a finite number above 0, got True"),
        ({"eos_index": -1}, "eos_index must be an integer of 0 or more, got -1"),
        ({"eos_token_id": "x"}, "eos_token_id must be an integer of 0 or more, or None, got 'x'"),
        ({"is_encoder": False}, r"is_encoder must be True \(XLM decoders were never released\), got False"),
        ({"summary_type": "attn"}, "summary_type must be one of 'first', 'last', 'mean', 'cls_index', got 'attn'"),
        ({"problem_type": "ranking"}, "problem_type must be one of None, 'regression', .* got 'ranking'"),
        ({"num_labels": 0}, r"num_labels must be a positive integer below 2\*\*31, got 0"),
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "num_labels is 3, but id2label names 2 labels"),
        ({"id2label": {1: "a"}}, "id2label must be a mapping of 0, 1, 2, ... to names"),
        ({"id2label": ["a"]}, "id2label must map ids to names"),
        ({"id2label": {"a": 0}}, "id2label must map integers to names"),
        ({"label2id": {"a": "first"}}, "label2id must map names to integers"),
        ({"lang2id": {"en": "first"}}, "lang2id must map names to integers"),
        ({"n_langs": 2, "lang2id": {"en": 0, "fr": 2}}, r"lang2id must be ids below n_langs \(2\)"),
        (
            {"n_langs": 3, "lang2id": {"de": 0, "en": 1, "fr": 2}, "id2lang": {0: "en", 1: "de", 2: "fr"}},
            "id2lang and lang2id disagree on de, en. Give one of them, or make them agree",
        ),
        ({"lang2id": {"de": 0, "en": 1}, "id2lang": {0: "de"}}, "id2lang and lang2id disagree on en. Give one"),
        ({"lang2id": {"de": 0}, "id2lang": {0: "de", 1: "en"}}, "id2lang and lang2id disagree on en. Give one"),
        (
            {"asm": True, "asm_cutoffs": [5, 9], "asm_div_value": 4.5},
            r"asm_div_value must be small enough that emb_dim \(16\) can be divided by it .* \[5, 9\], got 4.5",
        ),
        ({"asm": True}, "asm_cutoffs must be an increasing list of word ids when asm is True, got None"),
        ({"asm": True, "asm_cutoffs": [20, 10]}, "asm_cutoffs must be an increasing list"),
        ({"asm": True, "asm_cutoffs": [20, 30]}, "asm_cutoffs must be an increasing list of word ids"),
        ({"asm": True, "asm_cutoffs": 20}, "asm_cutoffs must be an increasing list of word ids .* got 20"),
    ],
)
def test_invalid_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_integers_of_numpy_become_those_of_python() -> None:
    numbers = [np.int64(5), np.int32(9)]
    config = small(vocab_size=np.int64(30), lang2id={"en": np.int64(0)}, asm=True, asm_cutoffs=numbers, note=numbers)
    plain = small(vocab_size=30, lang2id={"en": 0}, asm=True, asm_cutoffs=[5, 9], note=[5, 9])
    assert json.dumps(config.to_dict()) == json.dumps(plain.to_dict())
    assert type(config.vocab_size) is int
    with pytest.raises(ConfigError, match="vocab_size must be a positive integer"):
        small(vocab_size=np.float64(30))


def test_numbers_and_flags_of_numpy_become_those_of_python() -> None:
    config = small(dropout=np.float32(0.25), layer_norm_eps=np.float64(1e-6), causal=np.bool_(True), note=np.float16(2))
    plain = small(dropout=0.25, layer_norm_eps=1e-6, causal=True, note=2.0)
    assert config == plain and json.dumps(config.to_dict()) == json.dumps(plain.to_dict())
    assert (type(config.dropout), type(config.causal)) == (float, bool)
    for value in (np.float32(1.5), np.bool_(True), np.float32("nan"), np.array(0.1)):
        with pytest.raises(ConfigError, match=r"dropout must be a number in \[0, 1\)"):
            small(dropout=value)
    with pytest.raises(ConfigError, match="causal must be True or False"):
        small(causal=np.int64(1))


def test_fields_of_a_file_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "xlm", "self": 1, "values": 2}', encoding="utf-8")
    config = XLMConfig.from_pretrained(tmp_path)
    assert (config.to_dict()["self"], config.replace(self=3, values=4).to_dict()["self"]) == (1, 3)
    assert XLMConfig.from_pretrained(tmp_path, self=5, values=6).to_dict()["values"] == 6


def test_too_many_positional_arguments() -> None:
    with pytest.raises(ConfigError, match="takes at most 33 positional arguments, got 40"):
        XLMConfig(*range(40))


def test_frozen() -> None:
    config = small()
    with pytest.raises(ConfigError, match=r"frozen, so 'causal' cannot be set.*config\.replace\(causal=True\)"):
        config.causal = True
    assert config.replace(causal=True).causal and not config.causal


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.id2label.update({2: "new"}),
        lambda config: config.id2label.pop(0),
        lambda config: config.label2id.__setitem__("new", 2),
        lambda config: config.label2id.__delitem__("no"),
        lambda config: config.label2id.__ior__({"new": 2}),
        lambda config: config.lang2id.clear(),
        lambda config: config.pruned_heads[0].append(0),
        lambda config: config.architectures.__iadd__(["b"]),
        lambda config: config.asm_cutoffs.sort(),
        lambda config: config.kept["list"].insert(0, 0),
        lambda config: config.extra.setdefault("new", 1),
    ],
)
def test_what_fields_hold_is_frozen_too(change: Any) -> None:
    config = small(
        id2label={0: "no", 1: "yes"}, n_langs=2, lang2id={"de": 0, "en": 1}, pruned_heads={0: [1]},
        architectures=["a"], asm_cutoffs=[3, 5], kept={"list": [1]},
    )  # fmt: skip
    before = config.to_dict()
    with pytest.raises(ConfigError, match=r"are frozen, and so is what their fields hold. Make a changed copy with"):
        change(config)
    assert config.to_dict() == before and config.num_labels == 2


def test_fields_are_not_those_of_the_caller() -> None:
    labels, kept = {0: "no", 1: "yes"}, {"list": [1]}
    config = small(id2label=labels, kept=kept)
    labels[2] = kept["list"] = 7  # type: ignore[assignment]
    config.to_dict()["kept"]["list"] = 8
    assert config.num_labels == 2 and config.kept == {"list": [1]}
    plain = config.to_dict()
    assert type(plain["kept"]) is dict and type(plain["kept"]["list"]) is list and type(plain["id2label"]) is dict
    assert json.loads(json.dumps(config.id2label)) == {"0": "no", "1": "yes"}
    assert dict(config.id2label) | {2: "maybe"} == config.id2label | {2: "maybe"}


def test_unknown_fields_count_when_configurations_are_compared() -> None:
    assert small(task="xnli") == small(task="xnli")
    assert small(task="xnli") != small(task="mlm") and small(task="xnli") != small()


def test_activations_are_those_that_layers_have() -> None:
    from tfxlm.layers.activations import ACTIVATIONS

    assert set(ACTIVATION_NAMES) == set(ACTIVATIONS)
    assert all(small(summary_activation=name).summary_activation == name for name in (None, "", *ACTIVATION_NAMES))


def test_both_label_mappings_when_they_agree() -> None:
    config = small(id2label={"1": "yes", "0": "no"}, label2id={"yes": 1, "no": 0})
    assert config.id2label == {0: "no", 1: "yes"} and config.label2id == {"no": 0, "yes": 1}


def test_ids_of_labels_may_be_text_as_old_scripts_wrote_them() -> None:
    assert small(label2id={"no": "0", "yes": "1"}).id2label == {0: "no", 1: "yes"}


def test_in_a_file_the_names_of_labels_count_more_than_their_number(caplog: pytest.LogCaptureFixture) -> None:
    config = XLMConfig.from_dict(
        {**small().to_dict(), "num_labels": 3, "id2label": {"0": "no", "1": "yes"}, "label2id": {}}
    )
    assert config.id2label == {0: "no", 1: "yes"}
    assert "num_labels = 3, but id2label names 2 labels" in caplog.text


def test_as_text(tmp_path: Path) -> None:
    config = small(lang2id={"de": 0, "中": 1}, n_langs=2)
    config.save_pretrained(tmp_path)
    assert config.to_json_string() == (tmp_path / "config.json").read_text(encoding="utf-8")


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="XLMConfig has no field 'n_wrods'"):
        small().n_wrods  # noqa: B018


def test_replace_keeps_the_rest() -> None:
    config = small(id2label={0: "no", 1: "yes", 2: "maybe"}, finetuning_task="xnli", dropout=0.3)
    assert config.replace(causal=True).label2id == {"no": 0, "yes": 1, "maybe": 2}
    changed = config.replace(num_labels=2)
    assert changed.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert (changed.finetuning_task, changed.dropout) == ("xnli", 0.3)
    assert config.replace(num_labels=3).id2label == config.id2label
    assert config.replace(label2id={"x": 1, "y": 0}).id2label == {0: "y", 1: "x"}


def test_languages_in_either_form() -> None:
    by_name = small(n_langs=2, lang2id={"de": 0, "en": 1})
    assert by_name.id2lang == {0: "de", 1: "en"} and by_name.uses_lang_embeddings
    assert small(n_langs=2, id2lang={"0": "de", "1": "en"}).lang2id == by_name.lang2id
    assert by_name.replace(lang2id={"fr": 0, "sw": 1}).id2lang == {0: "fr", 1: "sw"}
    assert by_name.replace(id2lang={"1": "fr"}).lang2id == {"fr": 1}
    both = small(n_langs=2, lang2id={"de": 0, "en": 1, "eng": 1}, id2lang={0: "de", 1: "en"})
    assert both.lang2id["eng"] == 1 and both.id2lang[1] == "en"
    assert not small(n_langs=2, use_lang_emb=False).uses_lang_embeddings
    assert not small(n_langs=1).uses_lang_embeddings


def test_round_trip(tmp_path: Path) -> None:
    config = small(
        n_langs=2, lang2id={"de": 0, "en": 1}, id2label={0: "a", 1: "b"}, dtype="float16", pruned_heads={0: [1]},
        architectures=["XLMModel"], layer_norm_eps=1e-6, unknown_field={"kept": [1]}, summary_type="mean",
    )  # fmt: skip
    config.save_pretrained(tmp_path / "new" / "folder")
    stored = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert stored["model_type"] == "xlm" and stored["unknown_field"] == {"kept": [1]}
    assert stored["id2lang"] == {"0": "de", "1": "en"} and stored["torch_dtype"] == "float16"
    back = XLMConfig.from_pretrained(tmp_path / "new" / "folder")
    assert back == config.replace(name_or_path=str(tmp_path / "new" / "folder"))
    assert back.unknown_field == {"kept": [1]}
    assert XLMConfig.from_pretrained(tmp_path / "new" / "folder", n_layer=4).n_layers == 4
    assert XLMConfig.from_dict(back.to_dict()).to_dict() == back.to_dict()


def test_copies() -> None:
    config = small(kept="yes", n_langs=3, id2label={0: "a", 1: "b"}, pruned_heads={0: [1]}, asm_cutoffs=[3])
    for copied in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config))):
        assert copied == config and copied.kept == "yes"
        with pytest.raises(ConfigError, match="are frozen"):
            copied.pruned_heads[0].append(0)


def test_saving_onto_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputExistsError, match=r"file' is a file. Give a folder to save to"):
            small().save_pretrained(folder)


def test_representation_shows_the_fields() -> None:
    assert repr(small()).startswith("XLMConfig(model_type='xlm', ")
    assert "vocab_size=30" in repr(small())


def test_other_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="has model_type 'bert', but XLMConfig reads 'xlm'"):
        XLMConfig.from_pretrained(tmp_path)


def test_missing_and_corrupt_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        XLMConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": ')
    with pytest.raises(CorruptFileError):
        XLMConfig.from_pretrained(tmp_path)
