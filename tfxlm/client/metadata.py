"""What a server tells about its models: signatures, tensor specifications, version states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfxlm.client.dtypes import DType, dtype_of_number
from tfxlm.client.messages import ERROR_CODES, MODEL_STATES


@dataclass(frozen=True)
class TensorSpec:
    """Data type and shape of one input or output.

    Attributes:
        dtype: data type.
        shape: one size per dimension, `None` where any size goes; `None` as a whole when the rank is open too.
    """

    dtype: DType
    shape: tuple[int | None, ...] | None

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tells whether a tensor of a shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            expected in (None, size) for expected, size in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype.name} of {describe_shape(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs of one callable of a model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """Name, version and signatures of a served model."""

    name: str
    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: version number.
        state: `"START"`, `"LOADING"`, `"AVAILABLE"`, `"UNLOADING"`, `"END"` or `"UNKNOWN"`.
        error_code: canonical code of what went wrong, `"OK"` if nothing did.
        error_message: what went wrong, empty if nothing did.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


_STATE_NAMES = {number: name for name, number in MODEL_STATES.items()}
_CODE_NAMES = {number: name for name, number in ERROR_CODES.items()}


def code_name(number: int) -> str:
    """Returns the name of a canonical status code."""
    return _CODE_NAMES.get(number, "UNKNOWN")


def describe_shape(shape: tuple[int | None, ...] | None) -> str:
    """Writes a shape for a message: `shape (any, 3)`, `any shape`."""
    if shape is None:
        return "any shape"
    if not shape:
        return "shape () (a single value)"
    return f"shape ({', '.join('any' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"


def tensor_spec(info: Any) -> TensorSpec:
    """Reads a `TensorInfo` message (the official class or ours).

    Raises:
        InputError: the tensor has a data type that cannot be sent.
    """
    proto = info.tensor_shape
    shape = None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)
    return TensorSpec(dtype_of_number(info.dtype), shape)


def signature(definition: Any) -> Signature:
    """Reads a `SignatureDef` message (the official class or ours).

    Raises:
        InputError: a tensor has a data type that cannot be sent.
    """
    return Signature(
        inputs={name: tensor_spec(definition.inputs[name]) for name in sorted(definition.inputs)},
        outputs={name: tensor_spec(definition.outputs[name]) for name in sorted(definition.outputs)},
    )


def callable_signatures(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """Reads the signatures that can be called; the rest (a SavedModel's initialisation) is bookkeeping."""
    return {name: signature(signature_defs[name]) for name in sorted(signature_defs) if not name.startswith("__")}


def version_statuses(response: Any) -> tuple[VersionStatus, ...]:
    """Reads a `GetModelStatusResponse` message."""
    return tuple(
        VersionStatus(
            version=entry.version,
            state=_STATE_NAMES.get(entry.state, "UNKNOWN"),
            error_code=code_name(entry.status.error_code),
            error_message=entry.status.error_message,
        )
        for entry in response.model_version_status
    )
