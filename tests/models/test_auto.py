"""Which model class the automatic ones choose, and that loading goes through it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tfxlm
from tests.models.test_loading import same_weights
from tfxlm import (
    TFAutoModel,
    TFAutoModelForCausalLM,
    TFAutoModelForMaskedLM,
    TFAutoModelForQuestionAnswering,
    TFAutoModelForSequenceClassification,
    TFAutoModelForTokenClassification,
    TFXLMModel,
    XLMConfig,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, ConfigError, InputError
from tfxlm.models import auto

XLM = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
ROBERTA = XLMRobertaConfig(vocab_size=30, **SHAPE)
XL = XLMRobertaXLConfig(vocab_size=30, **SHAPE)

# By class, what follows the family's name in those of XLM, and of the others.
CHOICES = {
    "TFAutoModel": ("Model", "Model"),
    "TFAutoModelForCausalLM": ("WithLMHeadModel", "ForCausalLM"),
    "TFAutoModelForMaskedLM": ("WithLMHeadModel", "ForMaskedLM"),
    "TFAutoModelForMultipleChoice": ("ForMultipleChoice", "ForMultipleChoice"),
    "TFAutoModelForPreTraining": ("WithLMHeadModel", "ForMaskedLM"),
    "TFAutoModelForQuestionAnswering": ("ForQuestionAnsweringSimple", "ForQuestionAnswering"),
    "TFAutoModelForSequenceClassification": ("ForSequenceClassification", "ForSequenceClassification"),
    "TFAutoModelForTokenClassification": ("ForTokenClassification", "ForTokenClassification"),
    "TFAutoModelWithLMHead": ("WithLMHeadModel", "ForMaskedLM"),
}


def test_all_of_them_are_public() -> None:
    classes = {name for name, value in vars(auto).items() if inspect.isclass(value) and name.startswith("TFAuto")}
    assert classes == set(CHOICES) and classes <= set(tfxlm.__all__)


@pytest.mark.parametrize("name", CHOICES)
def test_the_class_for_a_configuration(name: str) -> None:
    of_xlm, of_others = CHOICES[name]
    choose = getattr(tfxlm, name).class_for
    assert choose(XLM) is getattr(tfxlm, f"TFXLM{of_xlm}")
    assert choose(ROBERTA) is getattr(tfxlm, f"TFXLMRoberta{of_others}")
    assert choose(XL) is getattr(tfxlm, f"TFXLMRobertaXL{of_others}")


def test_a_configuration_of_one_s_own_class_is_of_its_family() -> None:
    class Mine(XLMConfig):
        """A subclass."""

    assert TFAutoModel.class_for(Mine(vocab_size=30)) is TFXLMModel


def test_kinds_without_a_class() -> None:
    class Other(XLMConfig):
        """Of no family."""

        model_type: ClassVar[str] = "other"

    message = (
        r"^TFAutoModelForTokenClassification has no class for model_type 'other', which is that of Other\. It has one "
        r"for 'xlm' \(TFXLMForTokenClassification\), 'xlm-roberta' \(TFXLMRobertaForTokenClassification\), "
        r"'xlm-roberta-xl' \(TFXLMRobertaXLForTokenClassification\)\. Use a model class by its own name\.$"
    )
    with pytest.raises(ConfigError, match=message):
        TFAutoModelForTokenClassification.from_config(Other())


@pytest.mark.parametrize("config", [None, "folder", {"model_type": "xlm"}])
def test_what_is_no_configuration(config: Any) -> None:
    with pytest.raises(InputError, match=r"^TFAutoModel needs a configuration of tfxlm, such as XLMConfig, got .*Auto"):
        TFAutoModel.from_config(config)


@pytest.mark.parametrize("name", CHOICES)
def test_they_have_no_instances(name: str) -> None:
    message = rf"^{name} chooses a class and has no instances\. Use {name}\.from_pretrained\(name\), or, .*from_config"
    with pytest.raises(ArgumentError, match=message):
        getattr(tfxlm, name)(XLM)


def test_new_models_take_the_options_of_their_class() -> None:
    model = TFAutoModel.from_config(ROBERTA, add_pooling_layer=False, dtype="bfloat16", name="mine")
    assert type(model) is tfxlm.TFXLMRobertaModel and model.variable_dtype == "bfloat16" and model.name == "mine"
    assert model(np.array([[0, 5, 2]])).pooler_output is None


@pytest.mark.parametrize("config", [XLM, ROBERTA, XL], ids=["xlm", "xlm-roberta", "xlm-roberta-xl"])
def test_loading(config: Any, tmp_path: Path) -> None:
    model = TFAutoModelForSequenceClassification.from_config(config.replace(num_labels=3))
    model.save_pretrained(tmp_path)
    loaded, report = TFAutoModelForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True, output_attentions=True, local_files_only=True, dtype="float32", name="mine"
    )
    assert type(loaded) is type(model) and same_weights(loaded, model) and loaded.name == "mine"
    assert loaded.config == model.config.replace(
        name_or_path=str(tmp_path), output_attentions=True, architectures=[model.architecture], dtype="float32"
    )
    assert dict(report) == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    by_config = TFAutoModelForSequenceClassification.from_pretrained(tmp_path, config=model.config)
    by_folder = TFAutoModelForSequenceClassification.from_pretrained(tmp_path, config=tmp_path, num_labels=3)
    assert same_weights(by_config, model) and same_weights(by_folder, model)


def test_another_task_than_that_of_the_file(tmp_path: Path) -> None:
    base = TFAutoModel.from_config(XL)
    base.save_pretrained(tmp_path)
    model = TFAutoModelForCausalLM.from_pretrained(tmp_path, is_decoder=True)
    assert type(model) is tfxlm.TFXLMRobertaXLForCausalLM and model.config.is_decoder
    with pytest.raises(ConfigError, match=r"XLMRobertaXLConfig has no field 'causal'"):
        TFAutoModelForCausalLM.from_pretrained(tmp_path, causal=True)


def test_the_released_xxl_file_is_loaded_as_xl(tmp_path: Path) -> None:
    model = TFAutoModelForMaskedLM.from_config(XL)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"model_type": "xlm-roberta-xl"', '"model_type": "xlm-roberta"'))
    loaded = TFAutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(loaded) is tfxlm.TFXLMRobertaXLForMaskedLM and same_weights(loaded, model)
    with pytest.raises(ConfigError, match=r"but XLMRobertaConfig reads 'xlm-roberta'\. Use XLMRobertaXLConfig and"):
        tfxlm.TFXLMRobertaForMaskedLM.from_pretrained(tmp_path)


def test_files_of_other_models(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"has model_type 'bert', for which there is no configuration class\. There"):
        TFAutoModel.from_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="There is no file"):
        TFAutoModelForQuestionAnswering.from_pretrained(tmp_path / "..", local_files_only=True)
    with pytest.raises(
        InputError, match=r"^from_pretrained needs a folder or the name of a hub repository, got None\."
    ):
        TFAutoModel.from_pretrained(None)


def test_positional_arguments_reach_the_class(tmp_path: Path) -> None:
    model = TFAutoModel.from_config(ROBERTA, add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    for loaded in (
        TFAutoModel.from_pretrained(tmp_path, False),
        TFAutoModel.from_pretrained(tmp_path, add_pooling_layer=False),
    ):
        assert same_weights(loaded, model)
    with pytest.raises(TypeError, match="does not take 2 arguments by position"):
        TFAutoModelForSequenceClassification.from_pretrained(tmp_path, False)
