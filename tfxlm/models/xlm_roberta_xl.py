"""XLM-RoBERTa-XL and -XXL (Goyal et al., 2021, "Larger-Scale Transformers for Multilingual Masked Language Modeling").

Pre-LN, with a normalisation after the last block and none after the embeddings. No TensorFlow class came before these,
so arguments by position are in the order of the PyTorch classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from keras import ops

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.maps.xlm_roberta_xl import XLM_ROBERTA_XL
from tfxlm.configs import PreTrainedConfig, XLMRobertaXLConfig
from tfxlm.heads.labels import IGNORED_LABEL, token_places
from tfxlm.layers import padding_mask
from tfxlm.models.backbone import Backbone
from tfxlm.models.roberta_backbone import RobertaBackbone, RobertaModel
from tfxlm.models.roberta_tasks import (
    CACHE,
    ENCODER,
    INPUTS,
    SWITCHES,
    RobertaForCausalLM,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaWithoutHead,
)


class XLMRobertaXLBackbone(RobertaBackbone):
    """XLM-RoBERTa's body with normalisations before attention and feed-forward layers, and after all."""

    @property
    def embedding_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEmbeddings`."""
        return {**super().embedding_options, "norm": False}

    @property
    def block_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEncoder`."""
        return {**super().block_options, "norm": "pre", "final_norm": True, "feed_forward_dropout": 0.0}


class TFXLMRobertaXLPreTrainedModel(RobertaModel):
    """What the XLM-RoBERTa-XL classes share; see `TFXLMRobertaModel` for the call arguments.

    Source: Goyal et al., "Larger-Scale Transformers for Multilingual Masked Language Modeling" (2021).

    Example:
        >>> from tfxlm import TFXLMRobertaXLModel, TFXLMRobertaXLPreTrainedModel
        >>> issubclass(TFXLMRobertaXLModel, TFXLMRobertaXLPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PreTrainedConfig]] = XLMRobertaXLConfig
    name_map: ClassVar[NameMap] = XLM_ROBERTA_XL
    backbone_class: ClassVar[type[Backbone]] = XLMRobertaXLBackbone


class TFXLMRobertaXLModel(RobertaWithoutHead, TFXLMRobertaXLPreTrainedModel):
    """The XLM-RoBERTa-XL encoder, or decoder (`config.is_decoder`), without a head.

    The last of `hidden_states` is that after the final normalisation.

    Args:
        config: `XLMRobertaXLConfig`.
        add_pooling_layer: whether there is a dense layer with tanh on the hidden state of the first real position.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel`.

    Returns:
        `TFBaseModelOutputWithPoolingAndCrossAttentions`, or its tuple when `return_dict` is False. Padding is zero.

    Raises:
        InputError: when inputs are missing, contradict each other, or do not fit the model.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLModel, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLModel(XLMRobertaXLConfig(vocab_size=30, **shape))
        >>> model(np.array([[0, 14, 15, 2]])).pooler_output.shape
        TensorShape([1, 16])
    """

    architecture: ClassVar[str] = "XLMRobertaXLModel"


class TFXLMRobertaXLForCausalLM(RobertaForCausalLM, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that predicts the next token; a decoder with `is_decoder=True`.

    Args:
        config: `XLMRobertaXLConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForCausalLM`; by position, `labels` come before `past_key_values`.

    Returns:
        `TFCausalLMOutputWithCrossAttentions`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when labels are not those of all logits.
        ConfigError: for an output layer that does not share the word embeddings (`tie_word_embeddings=False`).

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForCausalLM, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForCausalLM(XLMRobertaXLConfig(vocab_size=30, is_decoder=True, **shape))
        >>> first = model(np.array([[0, 14, 15]]), use_cache=True)
        >>> model(np.array([[16]]), past_key_values=first.past_key_values).logits.shape
        TensorShape([1, 1, 30])
    """

    architecture: ClassVar[str] = "XLMRobertaXLForCausalLM"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, "labels", *CACHE, *SWITCHES, "training")


class TFXLMRobertaXLForMaskedLM(RobertaForMaskedLM, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that predicts masked tokens.

    Args:
        config: `XLMRobertaXLConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForMaskedLM`; by position, `encoder_hidden_states`, `encoder_attention_mask` and
        `labels` come before `output_attentions`.

    Returns:
        `TFMaskedLMOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when chosen positions are past the end.
        ConfigError: for an output layer that does not share the word embeddings (`tie_word_embeddings=False`).

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForMaskedLM, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForMaskedLM(XLMRobertaXLConfig(vocab_size=30, **shape))
        >>> model(np.array([[0, 29, 15, 2]]), masked_positions=np.array([[1]])).logits.shape
        TensorShape([1, 1, 30])
    """

    architecture: ClassVar[str] = "XLMRobertaXLForMaskedLM"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, "labels", *SWITCHES, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("masked_positions", "logits_to_keep", "lengths")


class TFXLMRobertaXLForSequenceClassification(RobertaForSequenceClassification, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL with a classification or regression head on the hidden state of the first real position.

    When the configuration names no `problem_type`, the first labels decide; see
    `TFXLMRobertaForSequenceClassification`.

    Args:
        config: `XLMRobertaXLConfig`; `num_labels`, `problem_type` and `classifier_dropout` describe the head.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForSequenceClassification`; by position, `labels` come before
        `output_attentions`.

    Returns:
        `TFSequenceClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when dtype, shape or values of the labels do not
            fit the problem.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForSequenceClassification, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForSequenceClassification(XLMRobertaXLConfig(vocab_size=30, num_labels=3, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), labels=np.array([2]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaXLForSequenceClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", *SWITCHES, "training")


class TFXLMRobertaXLForMultipleChoice(RobertaForMultipleChoice, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that chooses one of several texts, such as the endings of a story.

    Args:
        config: `XLMRobertaXLConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForMultipleChoice`; by position, `input_ids`, `token_type_ids`,
        `attention_mask` and `labels` come first.

    Returns:
        `TFMultipleChoiceModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForMultipleChoice, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForMultipleChoice(XLMRobertaXLConfig(vocab_size=30, **shape))
        >>> model(np.array([[[0, 14, 15, 2], [0, 14, 16, 2]]])).logits.shape
        TensorShape([1, 2])
    """

    architecture: ClassVar[str] = "XLMRobertaXLForMultipleChoice"
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *("input_ids", "token_type_ids", "attention_mask", "labels", "position_ids", "head_mask", "inputs_embeds"),
        *(*SWITCHES, "training"),
    )


class TFXLMRobertaXLForTokenClassification(RobertaForTokenClassification, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL with a label for each token, such as names in a text.

    Args:
        config: `XLMRobertaXLConfig`; `num_labels` and `classifier_dropout` describe the head.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForTokenClassification`; by position, `labels` come before `output_attentions`:
        labels: int (batch, length); -100 is ignored, and so are labels where `attention_mask` or `lengths` say padding.

    Returns:
        `TFTokenClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when labels do not fit.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForTokenClassification, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForTokenClassification(XLMRobertaXLConfig(vocab_size=30, num_labels=3, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), labels=np.array([[-100, 2, 0, -100]]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 4, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaXLForTokenClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", *SWITCHES, "training")

    def learnable(self, labels: Mapping[str, Any], inputs: Any) -> Mapping[str, Any]:
        """Returns labels of which those at padding do not count; see `OwnLossModel`."""
        given = inputs if isinstance(inputs, Mapping) else {}
        mask, lengths = given.get("attention_mask"), given.get("lengths")
        if mask is None and lengths is None:
            return labels
        ids = ops.convert_to_tensor(labels["labels"])
        if mask is not None:
            # Here, too: in a graph nothing says that the inputs are checked first.
            ids = token_places(ids, *ops.shape(mask))
        # The reference takes only ones for real here.
        mask = None if mask is None else ops.cast(ops.equal(mask, ops.ones_like(mask)), "int32")
        is_real = padding_mask(*ops.shape(ids), attention_mask=mask, lengths=lengths)
        return {"labels": ops.where(is_real, ids, ops.full_like(ids, IGNORED_LABEL))}


class TFXLMRobertaXLForQuestionAnswering(RobertaForQuestionAnswering, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that scores each token as the first and as the last of an answer.

    Args:
        config: `XLMRobertaXLConfig` with `num_labels` 2, its default.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaForQuestionAnswering`; by position, `start_positions` and
        `end_positions` come before `output_attentions`.

    Returns:
        `TFQuestionAnsweringModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when positions are no integers.
        ConfigError: when `num_labels` is not 2.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaXLForQuestionAnswering, XLMRobertaXLConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaXLForQuestionAnswering(XLMRobertaXLConfig(vocab_size=30, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), start_positions=np.array([1]), end_positions=np.array([2]))
        >>> outputs.start_logits.shape, outputs.end_logits.shape, outputs.loss.shape
        (TensorShape([1, 4]), TensorShape([1, 4]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaXLForQuestionAnswering"
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *(*INPUTS, "start_positions", "end_positions"),
        *(*SWITCHES, "training"),
    )
