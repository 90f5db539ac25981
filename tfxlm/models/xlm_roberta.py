"""XLM-RoBERTa (Conneau et al., 2019, "Unsupervised Cross-lingual Representation Learning at Scale")."""

from __future__ import annotations

from typing import ClassVar

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.maps.xlm_roberta import XLM_ROBERTA
from tfxlm.configs import PreTrainedConfig, XLMRobertaConfig
from tfxlm.models.roberta_backbone import RobertaModel
from tfxlm.models.roberta_tasks import (
    RobertaForCausalLM,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaWithoutHead,
)


class TFXLMRobertaPreTrainedModel(RobertaModel):
    """What the XLM-RoBERTa classes share; see `TFXLMRobertaModel` for the call arguments.

    Source: Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale" (2020).

    Example:
        >>> from tfxlm import TFXLMRobertaModel, TFXLMRobertaPreTrainedModel
        >>> issubclass(TFXLMRobertaModel, TFXLMRobertaPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PreTrainedConfig]] = XLMRobertaConfig
    name_map: ClassVar[NameMap] = XLM_ROBERTA


class TFXLMRobertaModel(RobertaWithoutHead, TFXLMRobertaPreTrainedModel):
    """The XLM-RoBERTa encoder, or decoder (`config.is_decoder`), without a head.

    Args:
        config: `XLMRobertaConfig`.
        add_pooling_layer: whether there is a dense layer with tanh on the hidden state of the first real position.
        dtype: Keras dtype or policy.

    Call arguments:
        input_ids: int (batch, length). Or a dict, list or tuple of all arguments.
        attention_mask: int, float or bool (batch, length), 1 at real positions and 0 at padding. Without it every id
            but the padding token's is real; with `config.mask_from_padding=False` every id is, as in the reference.
            With `past_key_values` that of the new tokens, or of all.
        token_type_ids: int (batch, length), below `type_vocab_size`; 0 by default.
        position_ids: int (batch, length). By default they count words from `pad_token_id + 1` on and are
            `pad_token_id` at padding tokens; embeddings are all words.
        head_mask: float (heads,) or (layers, heads), 0 silences a head. Not for models with pruned heads.
        inputs_embeds: float (batch, length, dim), in place of `input_ids`.
        encoder_hidden_states: float (batch, encoder length, dim), what cross-attention looks at
            (`config.add_cross_attention`).
        encoder_attention_mask: int, float or bool (batch, encoder length), 1 at real positions of it; all are real by
            default.
        past_key_values: `KeyValueCache` of the tokens before, from `make_cache` or the outputs of the last call. The
            other inputs then are those of the new tokens only. For decoders. What cross-attention looks at is kept
            from the first call.
        use_cache: whether a decoder returns a cache for the next call also where none was given. By default
            `config.use_cache` says so, for calls outside graphs and training. It has room for the call and some more
            tokens, and grows outside graphs; inside, it is as long as there are positions. `make_cache` makes others.
        output_attentions, output_hidden_states, return_dict: override the configuration.
        training: whether dropout is on.
        lengths: by keyword: int (batch,), real tokens at the start of each row, in place of `attention_mask`.
        cache_position: by keyword: int, the slot of the cache for the first new token (or (new,), consecutive slots for
            all), to go back and write over later ones. They come after all that is there by default.

    Returns:
        `TFBaseModelOutputWithPoolingAndCrossAttentions`, or its tuple when `return_dict` is False. Padding is zero.

    Raises:
        InputError: when inputs are missing, contradict each other, or do not fit the model.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaModel, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaModel(XLMRobertaConfig(vocab_size=30, **shape))
        >>> model(np.array([[0, 14, 15, 2]])).pooler_output.shape
        TensorShape([1, 16])
    """

    architecture: ClassVar[str] = "XLMRobertaModel"


class TFXLMRobertaForCausalLM(RobertaForCausalLM, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa that predicts the next token; a decoder with `is_decoder=True`.

    Args:
        config: `XLMRobertaConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict`, then:
        labels: int (batch, length), the tokens themselves (they are shifted by one here); -100 is ignored.
        logits_to_keep: by keyword: an int n for the last n positions, or int (P,) positions.

    Returns:
        `TFCausalLMOutputWithCrossAttentions`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when labels are not those of all logits.
        ConfigError: for an output layer that does not share the word embeddings (`tie_word_embeddings=False`).

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForCausalLM, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForCausalLM(XLMRobertaConfig(vocab_size=30, is_decoder=True, **shape))
        >>> first = model(np.array([[0, 14, 15]]), use_cache=True)
        >>> model(np.array([[16]]), past_key_values=first.past_key_values).logits.shape
        TensorShape([1, 1, 30])
    """

    architecture: ClassVar[str] = "XLMRobertaForCausalLM"
    hf_first_position: ClassVar[int | None] = 0


class TFXLMRobertaForMaskedLM(RobertaForMaskedLM, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa that predicts masked tokens.

    Args:
        config: `XLMRobertaConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict` but for the cache, then:
        labels: int (batch, length), or (batch, P) with chosen positions; -100 is ignored. They are not shifted.
        masked_positions: by keyword: int (batch, P), the only positions whose logits are computed.
        logits_to_keep: by keyword: an int n for the last n positions, or int (P,) positions.
        encoder_hidden_states, encoder_attention_mask: by keyword.

    Returns:
        `TFMaskedLMOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when chosen positions are past the end.
        ConfigError: for an output layer that does not share the word embeddings (`tie_word_embeddings=False`).

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForMaskedLM, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=30, **shape))
        >>> model(np.array([[0, 29, 15, 2]]), masked_positions=np.array([[1]])).logits.shape
        TensorShape([1, 1, 30])
    """

    architecture: ClassVar[str] = "XLMRobertaForMaskedLM"


class TFXLMRobertaForSequenceClassification(RobertaForSequenceClassification, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa with a classification or regression head on the hidden state of the first real position.

    When the configuration names no `problem_type`, the first labels that reach the model's own loss decide, and the
    model's `config` keeps the answer: later labels, saved checkpoints and exports follow it, as in the reference.

    Args:
        config: `XLMRobertaConfig`; `num_labels`, `problem_type` and `classifier_dropout` describe the head.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict` but for encoder and cache, then:
        labels: int (batch,) ids; (batch, num_labels) of 0 and 1 for several labels at once; float (batch,) or
            (batch, num_labels) for regression (see `PreTrainedConfig.problem_type`).

    Returns:
        `TFSequenceClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when dtype, shape or values of the labels do not
            fit the problem.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForSequenceClassification, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForSequenceClassification(XLMRobertaConfig(vocab_size=30, num_labels=3, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), labels=np.array([2]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaForSequenceClassification"


class TFXLMRobertaForMultipleChoice(RobertaForMultipleChoice, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa that chooses one of several texts, such as the endings of a story.

    Args:
        config: `XLMRobertaConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict` but for encoder and cache, each with the axis of choices after
        that of the batch (`input_ids` int (batch, choices, length)), then:
        labels: int (batch,), the right choice; -100 is ignored.

    Returns:
        `TFMultipleChoiceModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForMultipleChoice, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForMultipleChoice(XLMRobertaConfig(vocab_size=30, **shape))
        >>> model(np.array([[[0, 14, 15, 2], [0, 14, 16, 2]]])).logits.shape
        TensorShape([1, 2])
    """

    architecture: ClassVar[str] = "XLMRobertaForMultipleChoice"


class TFXLMRobertaForTokenClassification(RobertaForTokenClassification, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa with a label for each token, such as names in a text.

    Args:
        config: `XLMRobertaConfig`; `num_labels` and `classifier_dropout` describe the head.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict` but for encoder and cache, then:
        labels: int (batch, length); -100 is ignored.

    Returns:
        `TFTokenClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when labels do not fit.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForTokenClassification, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForTokenClassification(XLMRobertaConfig(vocab_size=30, num_labels=3, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), labels=np.array([[-100, 2, 0, -100]]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 4, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaForTokenClassification"


class TFXLMRobertaForQuestionAnswering(RobertaForQuestionAnswering, TFXLMRobertaPreTrainedModel):
    """XLM-RoBERTa that scores each token as the first and as the last of an answer.

    Args:
        config: `XLMRobertaConfig` with `num_labels` 2, its default.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMRobertaModel` up to `return_dict` but for encoder and cache, then:
        start_positions, end_positions: int (batch,), of the answer's first and last token. Positions past the end, as
            of answers that truncation cut off, and -100 are ignored.

    Returns:
        `TFQuestionAnsweringModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when positions are no integers.
        ConfigError: when `num_labels` is not 2.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMRobertaForQuestionAnswering, XLMRobertaConfig
        >>> shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        >>> model = TFXLMRobertaForQuestionAnswering(XLMRobertaConfig(vocab_size=30, **shape))
        >>> outputs = model(np.array([[0, 14, 15, 2]]), start_positions=np.array([1]), end_positions=np.array([2]))
        >>> outputs.start_logits.shape, outputs.end_logits.shape, outputs.loss.shape
        (TensorShape([1, 4]), TensorShape([1, 4]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMRobertaForQuestionAnswering"
