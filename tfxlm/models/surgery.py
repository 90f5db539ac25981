"""Changes to the layers of a model that exists: its embeddings, the size of its vocabulary, its attention heads."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from tfxlm.backend import forget_compilation, replace_weight
from tfxlm.configs import PreTrainedConfig
from tfxlm.configs.checks import heads_by_layer
from tfxlm.errors import ConfigError, InputError
from tfxlm.layers import TiedProjection
from tfxlm.models.training import OwnLossModel


class AlterableModel(OwnLossModel):
    """A model whose embeddings, vocabulary and heads can be changed.

    A change of shapes makes new variables in place of those that it concerns, and copies no others. An optimizer made
    for the old ones does not fit any more, so the model must be compiled again; graphs of your own (`tf.function`) that
    were traced before keep the old variables, and must be traced again.

    The backbone has the layers `embeddings` (`TransformerEmbeddings`) and `encoder` (`TransformerEncoder`), and
    `reconfigure(config)`, which takes over a configuration that fits them.
    """

    # The attribute that holds the backbone.
    base_model_prefix: ClassVar[str] = ""
    # The attribute that holds the output layer of a language model.
    lm_head_name: ClassVar[str | None] = None

    _config: PreTrainedConfig

    @property
    def config(self) -> Any:
        """The configuration; a changed copy may be assigned, `model.config = model.config.replace(...)`.

        Raises:
            ConfigError: when it changes what layers were made from.
        """
        return self._config

    @config.setter
    def config(self, config: PreTrainedConfig) -> None:
        old = self._config
        names = [field.name for field in dataclasses.fields(old) if field.name not in old.free_fields]
        bound = [name for name in (*names, "num_labels") if getattr(config, name, None) != getattr(old, name)]
        if type(config) is not type(old) or bound:
            raise ConfigError(
                f"The layers of this {type(self).__name__} were made from its {type(old).__name__}, so "
                f"{', '.join(bound)} cannot change any more. Give them to from_pretrained(...), or make a new model "
                "from the changed configuration."
            )
        self._reconfigure(config)

    @property
    def base_model(self) -> keras.layers.Layer:
        """The backbone."""
        return getattr(self, self.base_model_prefix)

    # Embeddings and output layer, under the names of `transformers`

    def get_input_embeddings(self) -> keras.layers.Embedding:
        """Returns the layer of the word embeddings; its `embeddings` are the variable (vocab_size, dim)."""
        return self.base_model.embeddings.tables["word"]

    def set_input_embeddings(self, value: Any) -> None:
        """Gives the word embeddings new values.

        Args:
            value: (vocab_size, dim): an array, tensor or variable, or a layer with one.

        Raises:
            InputError: when the shape is another, or the embeddings are quantized or have LoRA.
        """
        table = self.get_input_embeddings()
        _check_plain([table])
        value = getattr(value, "embeddings", getattr(value, "weight", value))
        _assign(table.embeddings, value, "word embeddings")

    def get_lm_head(self) -> keras.layers.Layer | None:
        """Returns the output layer of a language model, or None."""
        return None if self.lm_head_name is None else getattr(self, self.lm_head_name)

    def get_output_embeddings(self) -> keras.layers.Embedding | None:
        """Returns the layer of the word embeddings where the output layer shares them, or None."""
        return self.get_input_embeddings() if isinstance(self.get_lm_head(), TiedProjection) else None

    def set_output_embeddings(self, value: Any) -> None:
        """Gives the output layer new values, which are the word embeddings'; see `set_input_embeddings`.

        Raises:
            InputError: as there, and when the model has no such layer.
        """
        if self.get_output_embeddings() is None:
            raise InputError(f"{type(self).__name__} has no output layer that shares the word embeddings.")
        self.set_input_embeddings(value)

    def get_bias(self) -> dict[str, keras.Variable] | None:
        """Returns the bias of the output layer of a language model, (vocab_size,) under "bias", or None."""
        bias = getattr(self.get_lm_head(), "bias", None)
        return None if bias is None else {"bias": bias}

    def set_bias(self, value: Mapping[str, Any]) -> None:
        """Gives the bias of the output layer new values.

        Args:
            value: {"bias": (vocab_size,)}.

        Raises:
            InputError: when the model has no such bias, or name or shape are others.
        """
        own = self.get_bias()
        if own is None:
            raise InputError(f"{type(self).__name__} has no output layer with a bias.")
        if set(value) != set(own):
            raise InputError(f"set_bias needs a mapping with {', '.join(own)}, got {', '.join(value) or 'nothing'}.")
        for name, weight in own.items():
            _assign(weight, value[name], name)

    # Changes of shapes

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None
    ) -> keras.layers.Embedding:
        """Changes the number of words.

        Words that stay keep their values; new ones are initialised as the configuration says, with a bias of 0.

        Args:
            new_num_tokens: the number of words, for example ``len(tokenizer)``; the present one by default.
            pad_to_multiple_of: rounds it up to a multiple of this.

        Returns:
            The layer of the word embeddings, as `get_input_embeddings`.

        Raises:
            InputError: when a number is no positive integer, the output layer is an adaptive softmax, or the
                embeddings are quantized or have LoRA.
            ConfigError: when a special token would be cut off.
        """
        table, config = self.get_input_embeddings(), self.config
        old_size = config.vocab_size
        size = _positive("new_num_tokens", old_size if new_num_tokens is None else new_num_tokens)
        multiple = _positive("pad_to_multiple_of", 1 if pad_to_multiple_of is None else pad_to_multiple_of)
        size = math.ceil(size / multiple) * multiple
        if size == old_size:
            return table
        head = self.get_lm_head()
        if head is not None and not isinstance(head, TiedProjection):
            raise InputError(
                f"{type(self).__name__} has an adaptive softmax, whose clusters hold the words it was made with. Load "
                "the backbone into a model without a head (TFXLMModel), or into one with asm=False."
            )
        _check_plain([table])
        config = config.replace(vocab_size=size)
        kept = min(size, old_size)
        # New rows are never the padding token's, which some initializers make 0.
        initializer = keras.initializers.RandomNormal(stddev=table.embeddings_initializer.stddev)
        new = initializer((size - kept, table.output_dim), table.embeddings.dtype)
        replace_weight(table, table.embeddings, ops.concatenate([table.embeddings.value[:kept], new]))
        table.input_dim = size
        if head is not None:
            bias = ops.concatenate([head.bias.value[:kept], ops.zeros((size - kept,), head.bias.dtype)])
            replace_weight(head, head.bias, bias)
            head.vocab_size = size
        self._reconfigure(config)
        self._forget_training()
        return table

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Removes attention heads, which then cost neither memory nor time.

        Args:
            heads_to_prune: heads by layer, for example ``{0: [1, 3], 2: [0]}``, counted as before any were removed.
                Those removed already (`config.pruned_heads`) are left out.

        Raises:
            ConfigError: when there is no such layer or head, or a layer would have none left.
            InputError: when a layer is quantized or has LoRA.
        """
        before = {layer: set(heads) for layer, heads in self.config.pruned_heads.items()}
        after = {layer: set(heads) for layer, heads in before.items()}
        for layer, heads in heads_by_layer(heads_to_prune, "heads_to_prune").items():
            after.setdefault(layer, set()).update(heads)
        changed = [layer for layer, heads in after.items() if heads != before.get(layer, set())]
        config = self.config.replace(pruned_heads={layer: sorted(heads) for layer, heads in after.items()})
        attentions = {layer: self.base_model.encoder.blocks[layer].attention for layer in changed}
        for attention in attentions.values():
            _check_plain([attention.query, attention.key, attention.value, attention.output_dense])
        for layer, attention in attentions.items():
            present = [head for head in range(config.num_attention_heads) if head not in before.get(layer, ())]
            _keep_heads(attention, [place for place, head in enumerate(present) if head not in after[layer]])
        if changed:
            self._reconfigure(config)
            self._forget_training()

    def _reconfigure(self, config: PreTrainedConfig) -> None:
        self._config = config
        self.base_model.reconfigure(config)

    def _forget_training(self) -> None:
        """Lets go of graphs and of the optimizer, which hold the variables that were replaced."""
        if self.compiled:
            warnings.warn(
                "The model has new variables, which its optimizer does not know. Call compile() again, with a new "
                "optimizer, before fit() or evaluate().",
                stacklevel=3,
            )
        forget_compilation(self)


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a positive integer, got {value!r}.")
    return int(value)


def _check_plain(layers: Iterable[Any]) -> None:
    """Refuses layers whose weights are not what their values are made of alone."""
    for layer in layers:
        if getattr(layer, "has_file_layout", False):
            raise InputError(
                f"{layer.path} cannot be changed: its kernel is the memory of a file. Load the model without "
                "memory_map=True."
            )
        if layer.quantization_mode is not None or layer.lora_enabled:
            what = "is quantized" if layer.quantization_mode is not None else "has LoRA weights"
            raise InputError(
                f"{layer.path} {what}, so it cannot be changed any more. Change the model first, then quantize it or "
                "enable LoRA."
            )


def _assign(weight: keras.Variable, value: Any, name: str) -> None:
    value = ops.convert_to_tensor(value)
    if tuple(value.shape) != tuple(weight.shape):
        raise InputError(
            f"{name} must have shape {tuple(weight.shape)}, got {tuple(value.shape)}. For another number of words, "
            "call resize_token_embeddings first."
        )
    weight.assign(value)


def _keep_heads(attention: Any, places: list[int]) -> None:
    """Reduces an attention layer to the heads at `places`."""
    width = attention.head_dim
    columns = np.arange(attention.num_heads * width).reshape(-1, width)[places].reshape(-1)
    for dense in (attention.query, attention.key, attention.value):
        replace_weight(dense, dense.kernel, ops.take(dense.kernel.value, columns, axis=1))
        replace_weight(dense, dense.bias, ops.take(dense.bias.value, columns, axis=0))
        dense.units = len(columns)
    output = attention.output_dense
    replace_weight(output, output.kernel, ops.take(output.kernel.value, columns, axis=0))
    output.input_spec = keras.InputSpec(min_ndim=2, axes={-1: len(columns)})
    attention.num_heads = len(places)
