"""The base class of all models: made from a configuration, loaded, and saved."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import keras

from tfxlm.checkpoints import LoadReport, NameMap
from tfxlm.configs import HUB_OPTIONS, PreTrainedConfig
from tfxlm.errors import ArgumentError, ConfigError, InputError
from tfxlm.models import loading
from tfxlm.models.calls import gather_arguments, make_call, make_signature
from tfxlm.models.outputs import ModelOutput
from tfxlm.models.surgery import AlterableModel


def dtype_policy(dtype: Any) -> keras.DTypePolicy:
    """Returns the Keras dtype policy for the `dtype` argument of a model; None means the global one.

    Raises:
        ConfigError: when it is not a floating point dtype or policy.
    """
    try:
        policy = keras.dtype_policies.get(dtype)
        is_float = keras.backend.is_float_dtype(policy.compute_dtype)
    except (AttributeError, TypeError, ValueError):
        is_float = False
    if not is_float:
        raise ConfigError(
            f'dtype must be a floating point dtype or a Keras dtype policy, such as "float32", "float16" or '
            f'"mixed_bfloat16"; got {dtype!r}.'
        )
    return policy


class TFPreTrainedModel(AlterableModel):
    """A Keras model made from a configuration.

    A class says its configuration, its names in checkpoints, and the arguments of its call; it makes its layers in
    `make_layers` and computes in `forward`.

    Args:
        config: a configuration of the class's `config_class`.
        dtype: a Keras dtype or dtype policy, for example "mixed_bfloat16"; the global policy by default.
        name: name of the Keras model.

    Raises:
        ConfigError: when `config` belongs to another family, or asks for what the class cannot do, and when `dtype` is
            no floating point dtype or policy.
    """

    config_class: ClassVar[type[PreTrainedConfig]]
    name_map: ClassVar[NameMap]
    # Stored in config.json, so that `transformers` finds its class.
    architecture: ClassVar[str] = ""
    # Checkpoints of a class without a head hold names without the backbone's prefix.
    has_head: ClassVar[bool] = True
    positional_arguments: ClassVar[tuple[str, ...]] = ()
    keyword_arguments: ClassVar[tuple[str, ...]] = ()
    main_input_name: ClassVar[str] = "input_ids"

    signature: ClassVar[inspect.Signature]
    call: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfxlm")(cls)
        if cls.positional_arguments:
            cls.signature = make_signature(cls.positional_arguments, cls.keyword_arguments)
            cls.call = make_call(cls.signature)

    def __init__(self, config: PreTrainedConfig, *, dtype: Any = None, name: str | None = None) -> None:
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, got {type(config).__name__}."
            )
        # Inputs are not cast to the compute dtype at the door: labels and masks keep their precision.
        super().__init__(dtype=dtype_policy(dtype), name=name, autocast=False)
        self._config = config
        self.make_layers(config)
        self.build()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the model; see the class for the arguments and outputs."""
        # Keras refuses an argument that holds tensors beside flags, so the first one is taken apart before Keras looks.
        return super().__call__(**gather_arguments(self.signature, args, kwargs))

    def make_layers(self, config: Any) -> None:
        """Makes the layers; they are built afterwards, in `build`."""
        raise NotImplementedError

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

    # Keras serialization

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs, as JSON types."""
        return {
            "config": self.config.to_dict(),
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None, **options: Any) -> Self:
        """Makes a freshly initialised model from a configuration, or from what `get_config` returned."""
        if isinstance(config, PreTrainedConfig):
            return cls(config, **options)
        values = dict(config)
        if isinstance(values.get("dtype"), Mapping):
            values["dtype"] = keras.dtype_policies.deserialize(values["dtype"])
        return cls(cls.config_class.from_dict(values.pop("config")), **values)

    # Checkpoints

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        config: PreTrainedConfig | str | Path | None = None,
        dtype: Any = None,
        torch_dtype: Any = None,
        from_pt: bool = True,
        output_loading_info: bool = False,
        ignore_mismatched_sizes: bool = False,
        **options: Any,
    ) -> Any:
        """Loads a model from a folder or the Hugging Face hub, without PyTorch and without a second copy in memory.

        Args:
            name_or_path: folder with ``config.json`` and weights (safetensors or zip ``.bin``, whole or sharded), or
                name of a hub repository.
            config: a configuration to use in place of the stored one.
            dtype: Keras dtype or policy of the model, whatever the file's; "auto" for the dtype that the configuration
                names; the global policy by default.
            torch_dtype: another name for `dtype`.
            from_pt: accepted and without effect: files are in PyTorch's layout.
            output_loading_info: whether to return the `LoadReport` too.
            ignore_mismatched_sizes: whether head weights of another shape are freshly initialised instead of refused.
            **options: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir`; anything else replaces a
                field of the configuration, for example ``num_labels=3``.

        Returns:
            The model, or ``(model, report)``.

        Raises:
            CheckpointNotFoundError: when there is no such folder, repository or file.
            CorruptFileError, UnsafeFileError: when a file is broken, or asks for more than weights.
            WeightMismatchError: when names or shapes do not fit; all of them are listed.
            ConfigError: when the configuration is invalid or of another family, or `dtype` is no dtype.
            InputError: when `name_or_path` is neither a path nor a name.
            ArgumentError: when `dtype` and `torch_dtype` disagree.
        """
        if not isinstance(name_or_path, str | os.PathLike):
            raise InputError(
                f"from_pretrained needs a folder or the name of a hub repository, got {name_or_path!r}. "
                f"For a new model without a checkpoint, use {cls.__name__}(config)."
            )
        if None not in (dtype, torch_dtype) and dtype != torch_dtype:
            raise ArgumentError(f"dtype={dtype!r} and torch_dtype={torch_dtype!r} are one argument. Give one of them.")
        dtype = torch_dtype if dtype is None else dtype
        hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
        if config is None or isinstance(config, str | Path):
            config = cls.config_class.from_pretrained(config or name_or_path, **hub, **options)
        elif options:
            config = config.replace(**options)
        policy = dtype_policy(config.dtype if isinstance(dtype, str) and dtype == "auto" else dtype)
        model, report = loading.load(
            lambda: cls(config, dtype=policy), cls.name_map, name_or_path, hub, ignore_mismatched_sizes
        )
        return (model, report) if output_loading_info else model

    def save_pretrained(self, folder: str | Path, *, max_shard_size: int | str = "5GB") -> None:
        """Writes ``config.json`` and ``model.safetensors`` (in shards when large) as `transformers` reads them.

        Args:
            folder: made when missing.
            max_shard_size: size of one file at most, in bytes or like "5GB".
        """
        stored = {"architectures": [self.architecture], "dtype": self.dtype_policy.variable_dtype}
        # Weights first: when they cannot be written, a configuration must not claim them.
        loading.save(self, self.name_map, Path(folder), bare=not self.has_head, max_shard_size=max_shard_size)
        self.config.replace(**stored).save_pretrained(folder)

    def export(self, filepath: str | Path, format: str = "tf_saved_model", **options: Any) -> Any:
        """Exports the model; a SavedModel is written by `tfxlm.export_model`, as the next version under `filepath`.

        Args:
            filepath: folder of the served model.
            format: "tf_saved_model", or another format that Keras exports to.
            **options: `tokenizer` and `version` of `tfxlm.export_model`; of Keras for other formats.

        Returns:
            The version's folder.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **options)
        # Late, because models know nothing of serving.
        from tfxlm.export import export_model

        return export_model(self, options.pop("tokenizer", None), filepath, **options)

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Returns the number of parameters; shared ones count once."""
        weights = self.trainable_weights if only_trainable else self.weights
        return sum(math.prod(weight.shape) for weight in weights)


__all__ = ["LoadReport", "TFPreTrainedModel"]
