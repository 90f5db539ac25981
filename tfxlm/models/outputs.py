"""What calls return: dictionaries that are also read by attribute and by position."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from tfxlm.backend import register_mapping


class ModelOutput(dict):
    """A dictionary of the outputs that exist, in the order of the class's fields.

    ``outputs.logits``, ``outputs["logits"]`` and ``outputs[0]`` read the same tensor when `logits` is the first
    output there is. A field that was not computed is None as an attribute and absent as a key.

    Args:
        *args, **kwargs: outputs by name, as `dict` takes them; those that are None are left out.

    Example:
        >>> from tfxlm import ModelOutput, TFMaskedLMOutput
        >>> outputs = TFMaskedLMOutput({"logits": "scores"}, loss=None)
        >>> isinstance(outputs, ModelOutput), outputs.to_tuple(), outputs["logits"], outputs.loss
        (True, ('scores',), 'scores', None)
    """

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.fields = (*cls.fields, *inspect.get_annotations(cls))
        register_mapping(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(*args, **kwargs)
        known = [name for name in self.fields if name in given]
        rest = [name for name in given if name not in self.fields]
        super().__init__({name: given[name] for name in known + rest if given[name] is not None})

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return dict.__getitem__(self, name)
        if name in self.fields:
            return None
        raise AttributeError(f"{type(self).__name__} has no output {name!r}. It has: {', '.join(self.fields)}.")

    def __setattr__(self, name: str, value: Any) -> None:
        # Attribute, key and position stay one; None leaves an output out, as it does when the object is made.
        if name not in self.fields:
            super().__setattr__(name, value)
        elif value is None:
            self.pop(name, None)
        else:
            self[name] = value

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """Returns the outputs that exist, in order."""
        return tuple(self.values())


class TFBaseModelOutput(ModelOutput):
    """Outputs of a model without a head.

    Args:
        last_hidden_state: float (batch, length, dim), hidden states after the last block.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for: the embeddings' output, then
            each block's.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for: the attention weights.
        cache: `KeyValueCache` with what was given and the new tokens, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFBaseModelOutput
        >>> outputs = TFBaseModelOutput(last_hidden_state=np.zeros((1, 4, 16)))
        >>> outputs.last_hidden_state.shape, outputs[0] is outputs.last_hidden_state, outputs.attentions
        ((1, 4, 16), True, None)
    """

    last_hidden_state: Any
    hidden_states: Any
    attentions: Any
    cache: Any


class TFBaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """Outputs of a model without a head that may be a decoder.

    Args:
        last_hidden_state: float (batch, length, dim), hidden states after the last block.
        pooler_output: float (batch, dim), made of the hidden state of the first real position, if the model has a
            pooling layer.
        past_key_values: `KeyValueCache` with what was given and the new tokens, if one was given or asked for.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for: the embeddings' output, then
            each block's.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for: the attention weights.
        cross_attentions: tuple of layers tensors (batch, heads, length, encoder length), if asked for and the model
            looks at an encoder's states.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFBaseModelOutputWithPoolingAndCrossAttentions
        >>> states, pooled = np.zeros((1, 4, 16)), np.zeros((1, 16))
        >>> outputs = TFBaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=states, pooler_output=pooled)
        >>> outputs[1] is outputs.pooler_output is pooled, list(outputs)
        (True, ['last_hidden_state', 'pooler_output'])
    """

    last_hidden_state: Any
    pooler_output: Any
    past_key_values: Any
    hidden_states: Any
    attentions: Any
    cross_attentions: Any


class TFGenerateOutput(ModelOutput):
    """What `generate` returns with `return_dict_in_generate=True`.

    Args:
        sequences: int32 (texts, length), the prompts with the new tokens behind them, then padding; as many texts for
            each prompt as were asked for, one after the other.
        sequences_scores: float32 (texts,), of beam search: the sum of log-probabilities of the new tokens, over the
            power `length_penalty` of their number.
        scores: float32 (steps, rows, vocab_size), if asked for: the scores of the next token at each step, as the
            options left them; log-probabilities of beam search, whose rows are the beams of all prompts.
        beam_indices: int32 (texts, steps), of beam search: the row of `scores` that each new token is from; -1 behind
            the end of a text.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMWithLMHeadModel, XLMConfig
        >>> model = TFXLMWithLMHeadModel(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1, causal=True))
        >>> found = model.generate(
        ...     np.array([[0, 14]]), num_beams=2, max_new_tokens=3, eos_token_id=[], return_dict_in_generate=True
        ... )
        >>> found.sequences.shape, found.sequences_scores.shape
        (TensorShape([1, 5]), TensorShape([1]))
    """

    sequences: Any
    sequences_scores: Any
    scores: Any
    beam_indices: Any


class TFCausalLMOutputWithCrossAttentions(ModelOutput):
    """Outputs of a language model that predicts the next token.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, length or kept positions, vocab_size), scores before the softmax of the token after each.
        past_key_values: `KeyValueCache` with what was given and the new tokens, if one was given or asked for.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cross_attentions: tuple of layers tensors (batch, heads, length, encoder length), if asked for and the model
            looks at an encoder's states.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFCausalLMOutputWithCrossAttentions
        >>> outputs = TFCausalLMOutputWithCrossAttentions(logits=np.zeros((1, 4, 30)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 4, 30), True, None)
    """

    loss: Any
    logits: Any
    past_key_values: Any
    hidden_states: Any
    attentions: Any
    cross_attentions: Any


class _HeadOutput(ModelOutput):
    loss: Any
    logits: Any
    hidden_states: Any
    attentions: Any
    cache: Any


class TFXLMWithLMHeadModelOutput(_HeadOutput):
    """Outputs of a language model.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, length or chosen positions, vocab_size), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cache: `KeyValueCache` with what was given and the new tokens, if one was given.
        label_log_probs: float32 (batch, P), log-probabilities of the labels, if a model with an adaptive softmax is
            given some.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMWithLMHeadModelOutput
        >>> outputs = TFXLMWithLMHeadModelOutput(logits=np.zeros((1, 4, 30)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 4, 30), True, None)
    """

    label_log_probs: Any


class TFMaskedLMOutput(ModelOutput):
    """Outputs of a language model that predicts masked tokens.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, length or chosen positions, vocab_size), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFMaskedLMOutput
        >>> outputs = TFMaskedLMOutput(logits=np.zeros((1, 4, 30)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 4, 30), True, None)
    """

    loss: Any
    logits: Any
    hidden_states: Any
    attentions: Any


class TFSequenceClassifierOutput(_HeadOutput):
    """Outputs of a sequence classifier.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, num_labels), scores before the softmax (values, for regression).
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cache: `KeyValueCache`, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFSequenceClassifierOutput
        >>> outputs = TFSequenceClassifierOutput(logits=np.zeros((1, 3)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 3), True, None)
    """


class TFMultipleChoiceModelOutput(_HeadOutput):
    """Outputs of a model that chooses among texts.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, choices), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch * choices, length, dim), if asked for.
        attentions: tuple of layers tensors (batch * choices, heads, length, length), if asked for.
        cache: `KeyValueCache`, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFMultipleChoiceModelOutput
        >>> outputs = TFMultipleChoiceModelOutput(logits=np.zeros((1, 2)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 2), True, None)
    """


class TFTokenClassifierOutput(_HeadOutput):
    """Outputs of a token classifier.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, length, num_labels), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cache: `KeyValueCache`, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFTokenClassifierOutput
        >>> outputs = TFTokenClassifierOutput(logits=np.zeros((1, 4, 3)))
        >>> outputs.logits.shape, outputs[0] is outputs.logits, outputs.attentions
        ((1, 4, 3), True, None)
    """


class TFQuestionAnsweringModelOutput(ModelOutput):
    """Outputs of a model that scores the first and the last token of an answer.

    Args:
        loss: float32 scalar, if both positions are given.
        start_logits: float (batch, length), scores before the softmax.
        end_logits: float (batch, length), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cache: `KeyValueCache`, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFQuestionAnsweringModelOutput
        >>> outputs = TFQuestionAnsweringModelOutput(start_logits=np.zeros((1, 4)), end_logits=np.ones((1, 4)))
        >>> start_logits, end_logits = outputs.to_tuple()
        >>> outputs[1] is end_logits is outputs.end_logits, list(outputs)
        (True, ['start_logits', 'end_logits'])
    """

    loss: Any
    start_logits: Any
    end_logits: Any
    hidden_states: Any
    attentions: Any
    cache: Any


class TFXLMForQuestionAnsweringOutput(ModelOutput):
    """Outputs of a model that searches answers with a beam.

    The first four are there if both positions are given, the next five if not.

    Args:
        loss: float32 scalar.
        start_logits: float32 (batch, length), scores of the first token before the softmax.
        end_logits: float32 (batch, length), scores of the last token, given the true first one.
        answer_class_logits: float (batch,), score before the sigmoid of a question without an answer, given the true
            first token; if `is_impossible` is given too.
        start_top_log_probs: float32 (batch, start_n_top), probabilities (not their logarithms) of the best first
            tokens, best first.
        start_top_index: int32 (batch, start_n_top), their positions.
        end_top_log_probs: float32 (batch, end_n_top * start_n_top), probabilities of the best last tokens of each
            start: the best ones of all starts, then the second best, and so on.
        end_top_index: int32 (batch, end_n_top * start_n_top), their positions.
        cls_logits: float (batch,), score before the sigmoid of a question without an answer.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
        cache: `KeyValueCache`, if one was given.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForQuestionAnsweringOutput
        >>> outputs = TFXLMForQuestionAnsweringOutput(start_top_index=np.zeros((1, 4)), end_top_index=np.ones((1, 4)))
        >>> start_top_index, end_top_index = outputs.to_tuple()
        >>> outputs[1] is end_top_index is outputs.end_top_index, list(outputs)
        (True, ['start_top_index', 'end_top_index'])
    """

    loss: Any
    start_logits: Any
    end_logits: Any
    answer_class_logits: Any
    start_top_log_probs: Any
    start_top_index: Any
    end_top_log_probs: Any
    end_top_index: Any
    cls_logits: Any
    hidden_states: Any
    attentions: Any
    cache: Any
