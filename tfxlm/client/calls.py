"""The calls of TensorFlow Serving's interface, as a client makes them, whatever they travel over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tfxlm.client.examples import Examples
from tfxlm.client.metadata import Signature


@dataclass(frozen=True)
class ModelRef:
    """A model, as asked for: the newest version unless a version or a version label is given."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Predict:
    """Inputs for a signature -> one array per output."""

    model: ModelRef
    signature_name: str
    signature: Signature
    inputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Classify:
    """Examples -> a tuple of classes for each."""

    model: ModelRef
    signature_name: str
    examples: Examples


@dataclass(frozen=True)
class Regress:
    """Examples -> a number for each, float32 (examples,)."""

    model: ModelRef
    signature_name: str
    examples: Examples


@dataclass(frozen=True)
class MultiInference:
    """Examples, and what several signatures make of them -> what `Classify` and `Regress` give, by signature."""

    METHODS: ClassVar[Mapping[str, str]] = {
        "classify": "tensorflow/serving/classify",
        "regress": "tensorflow/serving/regress",
    }

    model: ModelRef
    tasks: Mapping[str, str]
    examples: Examples


@dataclass(frozen=True)
class GetMetadata:
    """-> the signatures of a model."""

    model: ModelRef


@dataclass(frozen=True)
class GetStatus:
    """-> the states of a model's versions."""

    model: ModelRef


@dataclass(frozen=True)
class Reload:
    """A `ModelServerConfig` message that takes the place of the server's -> None."""

    config: Any


Call = Predict | Classify | Regress | MultiInference | GetMetadata | GetStatus | Reload


@dataclass(frozen=True)
class ScoredClass:
    """A class that an example may belong to.

    Attributes:
        label: its name.
        score: how well it fits, usually a probability.
    """

    label: str
    score: float
