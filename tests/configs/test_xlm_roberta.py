"""XLMRobertaConfig and XLMRobertaXLConfig: fields, defaults, checks, and the way to a file and back."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from tfxlm import XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig
from tfxlm.configs.checks import ACTIVATION_NAMES
from tfxlm.configs.xlm_roberta import POSITION_TYPES
from tfxlm.errors import ConfigError

# In the order of the reference's positional arguments: XLM-RoBERTa's default, then XLM-RoBERTa-XL's.
DEFAULTS: dict[str, tuple[Any, Any]] = {
    "vocab_size": (30522, 250880),
    "hidden_size": (768, 2560),
    "num_hidden_layers": (12, 36),
    "num_attention_heads": (12, 32),
    "intermediate_size": (3072, 10240),
    "hidden_act": ("gelu", "gelu"),
    "hidden_dropout_prob": (0.1, 0.1),
    "attention_probs_dropout_prob": (0.1, 0.1),
    "max_position_embeddings": (512, 514),
    "type_vocab_size": (2, 1),
    "initializer_range": (0.02, 0.02),
    "layer_norm_eps": (1e-12, 1e-5),
    "pad_token_id": (1, 1),
    "bos_token_id": (0, 0),
    "eos_token_id": (2, 2),
    "position_embedding_type": ("absolute", "absolute"),
    "use_cache": (True, True),
    "classifier_dropout": (None, None),
}
SHARED_DEFAULTS = {
    "is_decoder": False,
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "mask_from_padding": True,
    "num_labels": 2,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "problem_type": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "architectures": None,
    "dtype": None,
}
SMALL = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
CLASSES = pytest.mark.parametrize("config_class", [XLMRobertaConfig, XLMRobertaXLConfig])


def small(config_class: Any = XLMRobertaConfig, **changes: Any) -> Any:
    return config_class(**{**SMALL, **changes})


def curved(x: Any) -> Any:
    """An activation of one's own."""
    return x * abs(x)


def same(found: Any, expected: Any) -> bool:
    return found == expected and type(found) in (type(expected), *type(expected).__subclasses__())


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    base, large = DEFAULTS[name]
    assert same(getattr(XLMRobertaConfig(), name), base) and same(getattr(XLMRobertaXLConfig(), name), large)


@CLASSES
@pytest.mark.parametrize("name", SHARED_DEFAULTS)
def test_shared_defaults(config_class: Any, name: str) -> None:
    assert same(getattr(config_class(), name), SHARED_DEFAULTS[name])


@CLASSES
def test_positional_order_is_the_reference_s(config_class: Any) -> None:
    values = [31, 32, 3, 4, 5, "relu", 0.2, 0.3, 64, 6, 0.5, 1e-6, 7, 8, 9, "relative_key", False, 0.4]
    config = config_class(*values, is_decoder=True)
    assert [getattr(config, name) for name in DEFAULTS] == values
    with pytest.raises(ConfigError, match=f"{config_class.__name__} takes at most 18 positional arguments, got 19"):
        config_class(*values, True)


@CLASSES
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, r"hidden_size must be a positive integer below 2\*\*31, got 0"),
        ({"intermediate_size": 2.0}, r"intermediate_size must be a positive integer below 2\*\*31, got 2.0"),
        ({"type_vocab_size": 0}, r"type_vocab_size must be a positive integer below 2\*\*31, got 0"),
        ({"num_attention_heads": 3}, r"hidden_size must be a multiple of num_attention_heads \(3\), got 16"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must be a number in \[0, 1\), got 1.0"),
        (
            {"attention_probs_dropout_prob": None},
            r"attention_probs_dropout_prob must be a number in \[0, 1\), got None",
        ),
        ({"classifier_dropout": 1.5}, r"classifier_dropout must be a number in \[0, 1\), or None, got 1.5"),
        ({"initializer_range": -1}, "initializer_range must be a finite number of 0 or more, got -1"),
        ({"initializer_range": float("inf")}, "initializer_range must be a finite number of 0 or more, got inf"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps must be a finite number of 0 or more, got '1e-5'"),
        ({"use_cache": 1}, "use_cache must be True or False, got 1"),
        ({"is_decoder": None}, "is_decoder must be True or False, got None"),
        ({"mask_from_padding": "no"}, "mask_from_padding must be True or False, got 'no'"),
        ({"chunk_size_feed_forward": -1}, "chunk_size_feed_forward must be an integer of 0 or more, got -1"),
        ({"add_cross_attention": True}, "add_cross_attention must be False unless is_decoder is True, got True"),
        ({"pad_token_id": None}, "pad_token_id must be an integer of 0 or more, got None"),
        ({"pad_token_id": 30}, r"pad_token_id must be below vocab_size \(30\), got 30"),
        ({"eos_token_id": -1}, "eos_token_id must be an integer of 0 or more, or None, got -1"),
        (
            {"pad_token_id": 3, "max_position_embeddings": 4},
            r"max_position_embeddings must be above 4, the position of the first token \(pad_token_id \+ 1\), got 4",
        ),
        (
            {"position_embedding_type": "rotary"},
            "position_embedding_type must be one of 'absolute', 'relative_key', 'relative_key_query', got 'rotary'",
        ),
        ({"hidden_act": "prelu"}, "hidden_act must be a function, or one of 'gelu', .*, 'tanh', got 'prelu'"),
        ({"hidden_act": None}, "hidden_act must be a function, or one of 'gelu', .* got None"),
        ({"hidden_act": ["gelu"]}, r"hidden_act must be a function, or one of 'gelu', .* got \['gelu'\]"),
        (
            {"pruned_heads": {1: [0]}},
            r"heads below num_attention_heads \(2\) of layers below num_hidden_layers \(1\), not all .*got {1: \[0\]}",
        ),
        ({"problem_type": "ranking"}, "problem_type must be one of None, 'regression', .* got 'ranking'"),
    ],
)
def test_invalid_values(config_class: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(config_class, **changes)


@CLASSES
def test_the_documented_choices(config_class: Any) -> None:
    for name in ACTIVATION_NAMES:
        assert small(config_class, hidden_act=name).hidden_act == name
    for kind in POSITION_TYPES:
        assert small(config_class, position_embedding_type=kind).position_embedding_type == kind


def test_what_the_families_answer_alike() -> None:
    xlm = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1, causal=True, pad_index=4, n_langs=3)
    decoder = small(is_decoder=True, add_cross_attention=True, pad_token_id=4)
    for config in (xlm, decoder):
        assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (16, 2, 1)
        assert config.is_causal and config.pad_index == 4
    assert not xlm.replace(causal=False).is_causal and not small().is_causal
    assert decoder.has_cross_attention and not xlm.has_cross_attention and not small().has_cross_attention
    assert xlm.uses_lang_embeddings and not decoder.uses_lang_embeddings
    assert xlm.max_sequence_length == 512


@pytest.mark.parametrize(("kind", "length"), [("absolute", 510), ("relative_key", 512), ("relative_key_query", 512)])
def test_longest_sequence(kind: str, length: int) -> None:
    assert small(position_embedding_type=kind).max_sequence_length == length
    assert small(XLMRobertaXLConfig, position_embedding_type=kind).max_sequence_length == length + 2


def test_dropout_of_the_classifier() -> None:
    assert small(hidden_dropout_prob=0.3).classifier_dropout_rate == 0.3
    assert small(hidden_dropout_prob=0.3, classifier_dropout=0.0).classifier_dropout_rate == 0.0


@CLASSES
def test_round_trip(config_class: Any, tmp_path: Path) -> None:
    config = small(
        config_class, is_decoder=True, add_cross_attention=True, position_embedding_type="relative_key",
        id2label={0: "a", 1: "b", 2: "c"}, pruned_heads={0: [1]}, classifier_dropout=0.2, hidden_act="silu",
        chunk_size_feed_forward=2, mask_from_padding=False, task={"kept": [1]}, architectures=["Mine"], dtype="float16",
        use_cache=False,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == config_class.model_type and stored["task"] == {"kept": [1]}
    assert stored["pruned_heads"] == {"0": [1]} and stored["mask_from_padding"] is False
    assert config_class.from_pretrained(tmp_path) == config.replace(name_or_path=str(tmp_path))
    assert config_class.from_pretrained(tmp_path, num_labels=5, is_decoder=True).num_labels == 5
    with pytest.raises(ConfigError, match=r"has no field 'is_decode'\. Did you mean 'is_decoder'\?"):
        config_class.from_pretrained(tmp_path, is_decode=True)


@CLASSES
def test_extensions_are_written_only_when_they_say_something(config_class: Any, tmp_path: Path) -> None:
    assert "mask_from_padding" not in small(config_class).to_dict()
    assert "summary_over_padding" not in XLMConfig().to_dict()
    config = small(config_class, mask_from_padding=False)
    assert config.to_dict()["mask_from_padding"] is False
    assert config_class.from_dict(config.to_dict()) == config


def test_copies_and_equality() -> None:
    config = small(pruned_heads={0: [1]}, hidden_act=curved)
    for copied in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), config.replace()):
        assert copied == config and copied.hidden_act is curved
    large = small(XLMRobertaXLConfig, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12)
    assert {**large.to_dict(), "model_type": "xlm-roberta"} == small().to_dict()
    assert large != small() and not isinstance(large, XLMRobertaConfig) and not isinstance(small(), type(large))


def test_a_function_as_activation(tmp_path: Path) -> None:
    config = small(hidden_act=curved)
    assert f"hidden_act={curved!r}" in repr(config)
    message = (
        f"config.json cannot hold hidden_act={curved!r}, which is a function. Name an activation instead: "
        'config.replace(hidden_act="gelu"). To keep a model that has the function, save its weights alone '
        "(model.save_weights) and load them into a model made with the function."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        config.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    config.replace(hidden_act="gelu").save_pretrained(tmp_path)
    again = XLMRobertaConfig.from_pretrained(tmp_path, hidden_act=curved)
    assert again == config.replace(name_or_path=str(tmp_path))
