"""The base class of all models: made from a configuration, loaded, and saved."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import keras

from tfxlm.configs import PreTrainedConfig
from tfxlm.errors import ArgumentError, ConfigError
from tfxlm.models.calls import gather_arguments, make_call, make_signature, merge, signed
from tfxlm.models.layer_states import enable_lora, layer_states, quick_replacement, restore_layer_states
from tfxlm.models.options import dtype_policy
from tfxlm.models.outputs import ModelOutput
from tfxlm.models.storing import StorableModel


class TFPreTrainedModel(StorableModel):
    """A Keras model made from a configuration.

    A class says its configuration, its names in checkpoints, and the arguments of its call; it makes its layers in
    `make_layers` and computes in `forward`.

    Args:
        config: a configuration of the class's `config_class`.
        *args, **options: what else the class takes, `layer_options`.
        dtype: a Keras dtype or dtype policy, for example "mixed_bfloat16"; the global policy by default.
        name: name of the Keras model.

    Raises:
        ArgumentError: for an option that the class does not take.
        ConfigError: when `config` belongs to another family, or asks for what the class cannot do, and when `dtype` is
            no floating point dtype or policy.

    Example:
        >>> from tfxlm import TFPreTrainedModel, TFXLMModel, XLMConfig
        >>> model = TFXLMModel(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1), dtype="mixed_bfloat16")
        >>> isinstance(model, TFPreTrainedModel), model.config.emb_dim
        (True, 16)
    """

    positional_arguments: ClassVar[tuple[str, ...]] = ()
    keyword_arguments: ClassVar[tuple[str, ...]] = ()
    main_input_name: ClassVar[str] = "input_ids"
    # The axes of the ids.
    text_axes: ClassVar[tuple[str, ...]] = ("batch", "length")
    # What scripts for `transformers` ask: the library whose tensors models return.
    framework: ClassVar[str] = "tf"

    signature: ClassVar[inspect.Signature]
    call: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfxlm")(cls)
        if cls.positional_arguments:
            cls.signature = make_signature(cls.positional_arguments, cls.keyword_arguments)
            if "call" not in vars(cls):
                cls.call = make_call(cls.signature)
            cls.__call__ = signed(TFPreTrainedModel.__call__, cls.signature)  # type: ignore[method-assign]

    def __init__(
        self, config: PreTrainedConfig, *args: Any, dtype: Any = None, name: str | None = None, **options: Any
    ) -> None:
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, got {type(config).__name__}."
            )
        # Inputs are not cast to the compute dtype at the door: labels and masks keep their precision.
        super().__init__(dtype=dtype_policy(dtype), name=name, autocast=False)
        self._config = config
        # What of `layer_options` was given.
        self.options = self._options_of_layers(args, options)
        self.make_layers(config)
        self.build()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the model; see the class for the arguments and outputs."""
        # Keras refuses an argument that holds tensors beside flags, so the first one is taken apart before Keras looks.
        return super().__call__(**gather_arguments(self.signature, args, kwargs, len(self.text_axes)))

    def make_layers(self, config: Any) -> None:
        """Makes the layers, with what `options` has of `layer_options`; they are built afterwards, in `build`."""
        raise NotImplementedError

    def _options_of_layers(self, args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        unknown = [name for name in options if name not in self.layer_options]
        if unknown or len(args) > len(self.layer_options):
            what = ", ".join(unknown) or f"{1 + len(args)} arguments by position"
            known = ", ".join(("config", *self.layer_options, "dtype", "name"))
            raise ArgumentError(f"{type(self).__name__} does not take {what}. It takes: {known}.")
        return merge(dict(zip(self.layer_options, args, strict=False)), options, "by position")

    def forward(self, **arguments: Any) -> Any:
        """Computes the outputs from the call arguments that were given, as tensors."""
        raise NotImplementedError

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables of all layers."""
        for layer in self.layers:
            layer.build(None)
        self.built = True

    def finish(self, outputs: ModelOutput, return_dict: bool | None) -> Any:
        """Returns `outputs` as the caller wants them: an object, or a tuple."""
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()

    def quantize(self, mode: Any = None, config: Any = None, filters: Any = None, **options: Any) -> None:
        """Quantizes dense layers and embeddings, for example with mode "int8"; see `keras.Model.quantize`."""
        self.check_own_memory("be quantized")
        with warnings.catch_warnings(), quick_replacement():
            # Keras warns of each dropout that it has nothing to quantize.
            warnings.filterwarnings("ignore", message=".*does not have a `quantize` method")
            super().quantize(mode, config=config, filters=filters, **options)

    def enable_lora(self, rank: int, lora_alpha: float | None = None, layers: str = "query|value") -> None:
        """Gives layers of the backbone LoRA weights (Hu et al., 2021), and freezes its other layers.

        The head learns as before. Single layers have Keras's `enable_lora` too. Files of Keras keep the LoRA weights
        apart, `save_pretrained` adds them to those they belong to. A compiled model must be compiled again, with a new
        optimizer.

        Args:
            rank: of the LoRA weights.
            lora_alpha: LoRA is multiplied by `lora_alpha / rank`; `rank` by default.
            layers: regular expression that the paths of the layers contain: names are `query`, `key`, `value` and
                `output` of attention, `intermediate` and `output` of the feed-forward layer, and of embeddings `word`,
                `position` and `lang`.

        Raises:
            InputError: when no layer matches.
        """
        self.check_own_memory("get LoRA weights")
        enable_lora(self, self.base_model, rank, lora_alpha, layers)
        self._forget_training()

    # Keras serialization

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs, as JSON types."""
        return {
            **self.options,
            "config": self.config.to_dict(),
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "layer_states": layer_states(self),
        }

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None, **options: Any) -> Self:
        """Makes a freshly initialised model from a configuration, or from what `get_config` returned."""
        if isinstance(config, PreTrainedConfig):
            return cls(config, **options)
        values = dict(config)
        if isinstance(values.get("dtype"), Mapping):
            values["dtype"] = keras.dtype_policies.deserialize(values["dtype"])
        states = values.pop("layer_states", {})
        model = cls(cls.config_class.from_dict(values.pop("config")), **values)
        restore_layer_states(model, states)
        return model

    def export(self, filepath: str | Path, format: str = "tf_saved_model", **options: Any) -> Any:
        """Exports the model; a SavedModel is written by `tfxlm.export_model`, as the next version under `filepath`.

        Args:
            filepath: folder of the served model.
            format: "tf_saved_model", or another format that Keras exports to.
            **options: those of `tfxlm.export_model`: `tokenizer`, `version`, and what the small answers of a class take
                (`top_k` of language models, `top_k` and `max_answer_length` of question answering); of Keras for other
                formats.

        Returns:
            The version's folder.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **options)
        # Late, because models know nothing of serving.
        from tfxlm.export import export_model

        return export_model(self, options.pop("tokenizer", None), filepath, **options)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Returns the number of parameters; shared ones count once.

        Args:
            only_trainable: whether to count trainable ones alone.
            exclude_embeddings: whether to leave out the embedding tables.
        """
        weights = self.trainable_weights if only_trainable else self.weights
        tables = [table.weights for table in self.base_model.embeddings.tables.values()] if exclude_embeddings else []
        left_out = {id(weight) for table in tables for weight in table}
        return sum(math.prod(weight.shape) for weight in weights if id(weight) not in left_out)

    @property
    def dummy_inputs(self) -> dict[str, Any]:
        """A small batch that the model takes, the one of the TensorFlow classes of `transformers`."""
        raise NotImplementedError

    def prepare_tf_dataset(
        self,
        dataset: Any,
        batch_size: int = 8,
        shuffle: bool = True,
        tokenizer: Any = None,
        collate_fn: Callable[..., Any] | None = None,
        collate_fn_args: Mapping[str, Any] | None = None,
        drop_remainder: bool | None = None,
        prefetch: bool = True,
    ) -> Any:
        """Makes batches for `fit` of a table of tokenized examples.

        Columns that the model does not take are left out, and "label" and "label_ids" count as "labels".

        Args:
            dataset: a `datasets.Dataset`, a list of dicts, or a mapping of columns.
            batch_size: rows of a batch.
            shuffle: whether rows are in another order in each epoch.
            tokenizer: pads rows of different lengths, each batch to its longest.
            collate_fn: makes a batch of a list of dicts, in place of that.
            collate_fn_args: keyword arguments of `collate_fn`.
            drop_remainder: whether a last batch that is smaller is left out; as `shuffle` by default.
            prefetch: whether the next batch is made meanwhile.

        Returns:
            A `tf.data.Dataset` of inputs, or of (inputs, labels) where there are labels: an array, or a dict of them
            for models with several.

        Raises:
            InputError: when `dataset` is no table, has no column that the model takes, or rows differ in length and
                nothing pads them.
        """
        # Late, because it needs TensorFlow, which models do not.
        from tfxlm.data.tables import batches

        return batches(
            dataset,
            inputs=[name for name in self.signature.parameters if name not in self.labels.targets],
            labels=list(self.labels.targets),
            batch_size=batch_size,
            shuffle=shuffle,
            tokenizer=tokenizer,
            collate=None if collate_fn is None else partial(collate_fn, **(collate_fn_args or {})),
            drop_remainder=shuffle if drop_remainder is None else drop_remainder,
            prefetch=prefetch,
        )
