"""What is in a file of weights: tensors under the names of `transformers`, and what else it says of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfxlm.checkpoints.arrays import TensorEntry


@dataclass(frozen=True)
class Origin:
    """What a checkpoint of another program says of its model, in the terms of `transformers`.

    Attributes:
        program: whose layout it is, such as ``"XLM (FAIR)"``.
        config: what ``config.json`` would hold.
        words: the words of its dictionary by id, as the program spells them; None where it stores none.
        holds: what else is in the file, for people: the keys beside weights and settings.
        notes: what was noticed or had to be decided, for people.
    """

    program: str
    config: Mapping[str, Any]
    words: Sequence[str] | None = None
    holds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# What the reader of a layout finds in a file: the tensors, and what is said of their model.
Found = tuple[dict[str, TensorEntry], Origin]


@dataclass(frozen=True)
class Contents:
    """The content of one file.

    Attributes:
        tensors: tensors by the name that `transformers` has for them.
        file_format: the format of the file, for people.
        origin: for a file of another program, what it says of its model.
    """

    tensors: dict[str, TensorEntry]
    file_format: str
    origin: Origin | None = None
