"""What calls return: dictionaries that are also read by attribute and by position."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from tfxlm.backend import register_mapping


class ModelOutput(dict):
    """A dictionary of the outputs that exist, in the order of the class's fields.

    ``outputs.logits``, ``outputs["logits"]`` and ``outputs[0]`` read the same tensor when `logits` is the first
    output there is. A field that was not computed is None as an attribute and absent as a key.
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
    """

    last_hidden_state: Any
    hidden_states: Any
    attentions: Any


class _HeadOutput(ModelOutput):
    loss: Any
    logits: Any
    hidden_states: Any
    attentions: Any


class TFXLMWithLMHeadModelOutput(_HeadOutput):
    """Outputs of a language model.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, length or chosen positions, vocab_size), scores before the softmax.
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
    """


class TFSequenceClassifierOutput(_HeadOutput):
    """Outputs of a sequence classifier.

    Args:
        loss: float32 scalar, if labels are given.
        logits: float (batch, num_labels), scores before the softmax (values, for regression).
        hidden_states: tuple of layers + 1 tensors (batch, length, dim), if asked for.
        attentions: tuple of layers tensors (batch, heads, length, length), if asked for.
    """
