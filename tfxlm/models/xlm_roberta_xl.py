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
from tfxlm.heads.labels import IGNORED_LABEL
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
    """What the XLM-RoBERTa-XL classes share; see `TFXLMRobertaModel` for the call arguments."""

    config_class: ClassVar[type[PreTrainedConfig]] = XLMRobertaXLConfig
    name_map: ClassVar[NameMap] = XLM_ROBERTA_XL
    backbone_class: ClassVar[type[Backbone]] = XLMRobertaXLBackbone


class TFXLMRobertaXLModel(RobertaWithoutHead, TFXLMRobertaXLPreTrainedModel):
    """The XLM-RoBERTa-XL encoder, or decoder (`config.is_decoder`), without a head.

    As `TFXLMRobertaModel`, with `XLMRobertaXLConfig`. The last of `hidden_states` is that after the final
    normalisation.
    """

    architecture: ClassVar[str] = "XLMRobertaXLModel"


class TFXLMRobertaXLForCausalLM(RobertaForCausalLM, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that predicts the next token; as `TFXLMRobertaForCausalLM`, with `XLMRobertaXLConfig`.

    By position, `labels` int (batch, length) come before `past_key_values`.
    """

    architecture: ClassVar[str] = "XLMRobertaXLForCausalLM"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, "labels", *CACHE, *SWITCHES, "training")


class TFXLMRobertaXLForMaskedLM(RobertaForMaskedLM, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that predicts masked tokens; as `TFXLMRobertaForMaskedLM`, with `XLMRobertaXLConfig`.

    By position, `encoder_hidden_states`, `encoder_attention_mask` and `labels` int (batch, length) come before
    `output_attentions`.
    """

    architecture: ClassVar[str] = "XLMRobertaXLForMaskedLM"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, "labels", *SWITCHES, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("masked_positions", "logits_to_keep", "lengths")


class TFXLMRobertaXLForSequenceClassification(RobertaForSequenceClassification, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL with a classification or regression head.

    As `TFXLMRobertaForSequenceClassification`, with `XLMRobertaXLConfig`; by position, `labels` come before
    `output_attentions`.
    """

    architecture: ClassVar[str] = "XLMRobertaXLForSequenceClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", *SWITCHES, "training")


class TFXLMRobertaXLForMultipleChoice(RobertaForMultipleChoice, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that chooses one of several texts.

    As `TFXLMRobertaForMultipleChoice`, with `XLMRobertaXLConfig`; by position, `input_ids`, `token_type_ids`,
    `attention_mask` and `labels` come first.
    """

    architecture: ClassVar[str] = "XLMRobertaXLForMultipleChoice"
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *("input_ids", "token_type_ids", "attention_mask", "labels", "position_ids", "head_mask", "inputs_embeds"),
        *(*SWITCHES, "training"),
    )


class TFXLMRobertaXLForTokenClassification(RobertaForTokenClassification, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL with a label for each token.

    As `TFXLMRobertaForTokenClassification`, with `XLMRobertaXLConfig`; its own loss also leaves out labels of positions
    that `attention_mask` or `lengths` leave out. By position, `labels` come before `output_attentions`.
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
        # The reference takes only ones for real here.
        mask = None if mask is None else ops.cast(ops.equal(mask, ops.ones_like(mask)), "int32")
        is_real = padding_mask(*ops.shape(ids), attention_mask=mask, lengths=lengths)
        return {"labels": ops.where(is_real, ids, ops.full_like(ids, IGNORED_LABEL))}


class TFXLMRobertaXLForQuestionAnswering(RobertaForQuestionAnswering, TFXLMRobertaXLPreTrainedModel):
    """XLM-RoBERTa-XL that scores each token as the first and as the last of an answer.

    As `TFXLMRobertaForQuestionAnswering`, with `XLMRobertaXLConfig`; by position, `start_positions` and `end_positions`
    come before `output_attentions`.
    """

    architecture: ClassVar[str] = "XLMRobertaXLForQuestionAnswering"
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *(*INPUTS, "start_positions", "end_positions"),
        *(*SWITCHES, "training"),
    )
