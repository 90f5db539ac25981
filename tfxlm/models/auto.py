"""Models by task, of the family that a checkpoint or configuration is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tfxlm.configs import AutoConfig, PreTrainedConfig
from tfxlm.errors import ArgumentError, ConfigError, InputError
from tfxlm.models.options import pop_loading
from tfxlm.models.storing import StorableModel
from tfxlm.models.xlm import TFXLMModel, TFXLMWithLMHeadModel
from tfxlm.models.xlm_roberta import (
    TFXLMRobertaForCausalLM,
    TFXLMRobertaForMaskedLM,
    TFXLMRobertaForMultipleChoice,
    TFXLMRobertaForQuestionAnswering,
    TFXLMRobertaForSequenceClassification,
    TFXLMRobertaForTokenClassification,
    TFXLMRobertaModel,
)
from tfxlm.models.xlm_roberta_xl import (
    TFXLMRobertaXLForCausalLM,
    TFXLMRobertaXLForMaskedLM,
    TFXLMRobertaXLForMultipleChoice,
    TFXLMRobertaXLForQuestionAnswering,
    TFXLMRobertaXLForSequenceClassification,
    TFXLMRobertaXLForTokenClassification,
    TFXLMRobertaXLModel,
)
from tfxlm.models.xlm_tasks import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
)

ModelClass = type[StorableModel]


def _by_family(*model_classes: ModelClass) -> dict[str, ModelClass]:
    return {model_class.config_class.model_type: model_class for model_class in model_classes}


class AutoModelClass:
    """What the classes share that choose a model class by its configuration. They have no instances."""

    model_classes: ClassVar[Mapping[str, ModelClass]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise ArgumentError(
            f"{name} chooses a class and has no instances. Use {name}.from_pretrained(name), or, for a new model "
            f"without a checkpoint, {name}.from_config(config)."
        )

    @classmethod
    def class_for(cls, config: PreTrainedConfig) -> ModelClass:
        """Returns the model class for a configuration.

        Raises:
            InputError: when `config` is no configuration.
            ConfigError: when there is no class for models of its kind.
        """
        if not isinstance(config, PreTrainedConfig):
            raise InputError(
                f"{cls.__name__} needs a configuration of tfxlm, such as XLMConfig, got {config!r}. To read one from "
                "a folder or the hub, use AutoConfig.from_pretrained(name)."
            )
        if config.model_type not in cls.model_classes:
            known = ", ".join(f"{name!r} ({found.__name__})" for name, found in cls.model_classes.items())
            raise ConfigError(
                f"{cls.__name__} has no class for model_type {config.model_type!r}, which is that of "
                f"{type(config).__name__}. It has one for {known}. Use a model class by its own name."
            )
        return cls.model_classes[config.model_type]

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **options: Any) -> Any:
        """Makes a new model, without a checkpoint.

        Args:
            config: the configuration, whose class decides that of the model.
            **options: further arguments of that class, such as `dtype` and `name`.

        Raises:
            InputError, ConfigError: see `class_for`.
        """
        return cls.class_for(config)(config, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: Any,
        config: PreTrainedConfig | str | Path | None = None,
        **options: Any,
    ) -> Any:
        """Loads a model from a folder or the Hugging Face hub; its configuration decides the class.

        Args:
            pretrained_model_name_or_path: folder with ``config.json`` and weights, name of a hub repository, or a
                checkpoint of another program.
            *model_args: further positional arguments of the class.
            config: a configuration to use in place of the stored one, or where to read one.
            **options: see `TFPreTrainedModel.from_pretrained`, which also lists what is raised.

        Returns:
            The model, or ``(model, report)`` with `output_loading_info=True`.
        """
        path = pretrained_model_name_or_path
        if config is None or isinstance(config, str | Path):
            # Changes of fields are left to the class, so that its errors are those that a user of it sees.
            asked = pop_loading(dict(options))
            config = AutoConfig.from_pretrained(config or path, corrections=asked.corrections, **asked.hub)
        return cls.class_for(config).from_pretrained(path, *model_args, config=config, **options)


class TFAutoModel(AutoModelClass):
    """Models without a head: `TFXLMModel`, `TFXLMRobertaModel`, `TFXLMRobertaXLModel`.

    Example:
        >>> from tfxlm import TFAutoModel, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> type(TFAutoModel.from_config(XLMRobertaConfig(vocab_size=30, **shape))).__name__
        'TFXLMRobertaModel'
    """

    model_classes = _by_family(TFXLMModel, TFXLMRobertaModel, TFXLMRobertaXLModel)


class TFAutoModelForCausalLM(AutoModelClass):
    """Models that predict the next token; XLM-RoBERTa and XLM-RoBERTa-XL with `is_decoder=True`, XLM with `causal`.

    `TFXLMWithLMHeadModel`, `TFXLMRobertaForCausalLM` or `TFXLMRobertaXLForCausalLM`.

    Example:
        >>> from tfxlm import TFAutoModelForCausalLM, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> config = XLMRobertaConfig(vocab_size=30, is_decoder=True, **shape)
        >>> type(TFAutoModelForCausalLM.from_config(config)).__name__
        'TFXLMRobertaForCausalLM'
    """

    model_classes = _by_family(TFXLMWithLMHeadModel, TFXLMRobertaForCausalLM, TFXLMRobertaXLForCausalLM)


class TFAutoModelForMaskedLM(AutoModelClass):
    """Models that predict masked tokens.

    `TFXLMWithLMHeadModel`, `TFXLMRobertaForMaskedLM` or `TFXLMRobertaXLForMaskedLM`.

    Example:
        >>> from tfxlm import TFAutoModelForMaskedLM, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
        >>> type(TFAutoModelForMaskedLM.from_config(config)).__name__
        'TFXLMWithLMHeadModel'
    """

    model_classes = _by_family(TFXLMWithLMHeadModel, TFXLMRobertaForMaskedLM, TFXLMRobertaXLForMaskedLM)


class TFAutoModelForPreTraining(AutoModelClass):
    """Models as they were pretrained: those of `TFAutoModelForMaskedLM`.

    `TFXLMWithLMHeadModel`, `TFXLMRobertaForMaskedLM` or `TFXLMRobertaXLForMaskedLM`.

    Example:
        >>> from tfxlm import TFAutoModelForPreTraining, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> config = XLMRobertaConfig(vocab_size=30, **shape)
        >>> type(TFAutoModelForPreTraining.from_config(config)).__name__
        'TFXLMRobertaForMaskedLM'
    """

    model_classes = TFAutoModelForMaskedLM.model_classes


class TFAutoModelWithLMHead(AutoModelClass):
    """The old name of `TFAutoModelForMaskedLM`.

    `TFXLMWithLMHeadModel`, `TFXLMRobertaForMaskedLM` or `TFXLMRobertaXLForMaskedLM`.

    Example:
        >>> from tfxlm import TFAutoModelWithLMHead, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> config = XLMRobertaXLConfig(vocab_size=30, **shape)
        >>> type(TFAutoModelWithLMHead.from_config(config)).__name__
        'TFXLMRobertaXLForMaskedLM'
    """

    model_classes = TFAutoModelForMaskedLM.model_classes


class TFAutoModelForSequenceClassification(AutoModelClass):
    """Models with a classification or regression head.

    `TFXLMForSequenceClassification`, `TFXLMRobertaForSequenceClassification` or
    `TFXLMRobertaXLForSequenceClassification`.

    Example:
        >>> from tfxlm import TFAutoModelForSequenceClassification, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
        >>> type(TFAutoModelForSequenceClassification.from_config(config)).__name__
        'TFXLMForSequenceClassification'
    """

    model_classes = _by_family(
        TFXLMForSequenceClassification, TFXLMRobertaForSequenceClassification, TFXLMRobertaXLForSequenceClassification
    )


class TFAutoModelForMultipleChoice(AutoModelClass):
    """Models that choose one of several texts.

    `TFXLMForMultipleChoice`, `TFXLMRobertaForMultipleChoice` or `TFXLMRobertaXLForMultipleChoice`.

    Example:
        >>> from tfxlm import TFAutoModelForMultipleChoice, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
        >>> type(TFAutoModelForMultipleChoice.from_config(config)).__name__
        'TFXLMForMultipleChoice'
    """

    model_classes = _by_family(TFXLMForMultipleChoice, TFXLMRobertaForMultipleChoice, TFXLMRobertaXLForMultipleChoice)


class TFAutoModelForTokenClassification(AutoModelClass):
    """Models with a label for each token.

    `TFXLMForTokenClassification`, `TFXLMRobertaForTokenClassification` or
    `TFXLMRobertaXLForTokenClassification`.

    Example:
        >>> from tfxlm import TFAutoModelForTokenClassification, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
        >>> type(TFAutoModelForTokenClassification.from_config(config)).__name__
        'TFXLMForTokenClassification'
    """

    model_classes = _by_family(
        TFXLMForTokenClassification, TFXLMRobertaForTokenClassification, TFXLMRobertaXLForTokenClassification
    )


class TFAutoModelForQuestionAnswering(AutoModelClass):
    """Models that score each token as the first and as the last of an answer.

    `TFXLMForQuestionAnsweringSimple`, `TFXLMRobertaForQuestionAnswering` or `TFXLMRobertaXLForQuestionAnswering`. XLM's
    model with a beam is `TFXLMForQuestionAnswering`, by its own name.

    Example:
        >>> from tfxlm import TFAutoModelForQuestionAnswering, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1)
        >>> type(TFAutoModelForQuestionAnswering.from_config(config)).__name__
        'TFXLMForQuestionAnsweringSimple'
    """

    model_classes = _by_family(
        TFXLMForQuestionAnsweringSimple, TFXLMRobertaForQuestionAnswering, TFXLMRobertaXLForQuestionAnswering
    )
