"""The options of `from_pretrained` that `transformers` has: what is followed, means nothing here, or is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from tfxlm.configs.corrections import pop_corrections
from tfxlm.configs.hub_options import Limits, pop_hub_options, pop_limited
from tfxlm.errors import ArgumentError, ConfigError

# Taken and without effect: files are read whatever wrote them, and loading never takes more memory than the model.
_NO_EFFECT = ("from_pt", "from_tf", "low_cpu_mem_usage", "weights_only", "adapter_kwargs", "_fast_init")

_QUANTIZE = 'Load the model without it, then call model.quantize("int8").'
_ONE_DEVICE = 'A model is on one device here: choose it with device_map, for example "auto", "cpu" or "cuda:0".'
_NO_NAMES = "Weight names are those of the PyTorch classes: rename the tensors in the file."

_LIMITS: Limits = {
    "attn_implementation": (("eager", "sdpa"), "There is one implementation of attention; leave the option out."),
    "from_flax": ((False,), "Flax files are not read: give a folder with safetensors."),
    "quantization_config": ((), _QUANTIZE),
    "load_in_8bit": ((False,), _QUANTIZE),
    "load_in_4bit": ((False,), _QUANTIZE),
    "max_memory": ((), _ONE_DEVICE),
    "offload_folder": ((), _ONE_DEVICE),
    "offload_state_dict": ((False,), _ONE_DEVICE),
    "offload_buffers": ((False,), _ONE_DEVICE),
    "tp_plan": ((), _ONE_DEVICE),
    "state_dict": ((), "Write the weights into a folder, or make the model from its configuration and call "
                   "set_weights."),
    "load_weight_prefix": ((), _NO_NAMES),
    "tf_to_pt_weight_rename": ((), _NO_NAMES),
    "key_mapping": ((), _NO_NAMES),
    "gguf_file": ((), "GGUF files are not read: give a folder with safetensors."),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Loading:
    """What `from_pretrained` was asked for, beside fields of the configuration.

    Args:
        hub: where files come from, as `tfxlm.files.resolve_folder` takes it.
        weights: which files hold the weights, as `tfxlm.checkpoints.weight_files` takes it.
        device: where variables go, such as "gpu:0"; None leaves it to the backend.
        dtype: Keras dtype or policy, "auto", or None.
        memory_map: whether variables are the memory of the files.
        corrections: whether wrong fields of released configurations are put right.
    """

    hub: Mapping[str, Any]
    weights: Mapping[str, Any]
    device: str | None
    dtype: Any
    memory_map: bool = False
    corrections: bool = True


def pop_loading(options: dict[str, Any]) -> Loading:
    """Takes all that is no field of a configuration out of `options`.

    Raises:
        ArgumentError: when options contradict each other, or one cannot be followed.
    """
    for name in _NO_EFFECT:
        options.pop(name, None)
    pop_limited(options, _LIMITS)
    dtype, torch_dtype = plain_dtype(options.pop("dtype", None)), plain_dtype(options.pop("torch_dtype", None))
    if None not in (dtype, torch_dtype) and dtype != torch_dtype:
        raise ArgumentError(f"dtype={dtype!r} and torch_dtype={torch_dtype!r} are one argument. Give one of them.")
    device, memory_map = _device(options.pop("device_map", None)), options.pop("memory_map", False)
    if memory_map and (device or "cpu").startswith("gpu"):
        raise ArgumentError(f"memory_map=True is for the CPU, whose memory files are: got a device_map for {device}.")
    return Loading(
        hub=pop_hub_options(options),
        weights={name: options.pop(name) for name in ("variant", "use_safetensors") if name in options},
        device="cpu:0" if memory_map else device,
        dtype=torch_dtype if dtype is None else dtype,
        memory_map=memory_map,
        corrections=pop_corrections(options),
    )


def plain_dtype(dtype: Any) -> Any:
    """Returns the name of a dtype of PyTorch, TensorFlow or numpy; anything else as it is."""
    if dtype is None or isinstance(dtype, str | keras.DTypePolicy):
        return dtype
    try:
        return keras.backend.standardize_dtype(dtype)
    except (TypeError, ValueError):
        return dtype


def dtype_policy(dtype: Any) -> keras.DTypePolicy:
    """Returns the Keras dtype policy for the `dtype` argument of a model; None means the global one.

    Raises:
        ConfigError: when it is not a floating point dtype or policy.
    """
    try:
        policy = keras.dtype_policies.get(plain_dtype(dtype))
        is_float = keras.backend.is_float_dtype(policy.compute_dtype)
    except (AttributeError, TypeError, ValueError):
        is_float = False
    if not is_float:
        raise ConfigError(
            f'dtype must be a floating point dtype or a Keras dtype policy, such as "float32", "float16" or '
            f'"mixed_bfloat16"; got {dtype!r}.'
        )
    return policy


def _device(device_map: Any) -> str | None:
    """Returns the device, as Keras calls it, that a `device_map` of `transformers` puts everything on."""
    place = device_map
    if isinstance(device_map, Mapping) and set(device_map) == {""}:
        place = device_map[""]
    if place is None or place == "auto":
        return None
    # "cuda:1", "/GPU:1", a torch.device, or the number of a GPU.
    is_number = isinstance(place, int) and not isinstance(place, bool)
    name = f"gpu:{place}" if is_number else str(place).lower().replace("cuda", "gpu")
    name = name.removeprefix("/").removeprefix("device:")
    kind, _, number = name.partition(":")
    if isinstance(place, Mapping) or kind not in ("cpu", "gpu") or not (number or "0").isdecimal():
        raise ArgumentError(f"device_map={device_map!r} is not something that from_pretrained can do. {_ONE_DEVICE}")
    return f"{kind}:{number or 0}"
