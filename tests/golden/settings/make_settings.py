"""Writes settings as fairseq's checkpoints have them, with omegaconf and classes under fairseq's names.

Run by hand, with omegaconf installed: ``python tests/golden/settings/make_settings.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import pickle
import sys
import types
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

MODULES = ("fairseq", "fairseq.dataclass", "fairseq.dataclass.configs")


class Activation(enum.Enum):
    """A choice, which fairseq has as the members of an enumeration."""

    GELU = "gelu"
    RELU = "relu"


@dataclasses.dataclass
class ModelConfig:
    """Settings of a model."""

    _name: str = "roberta_base"
    encoder_attention_heads: int = 2
    activation_fn: Activation = Activation.RELU
    dropout: float = 0.25
    pooler_dropout: float | None = None
    layers: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
    data: Any = None


@dataclasses.dataclass
class FairseqConfig:
    """Settings of everything."""

    model: Any = None
    common: Any = None


def main() -> None:
    """Writes the files beside this one."""
    sys.modules.update({name: types.ModuleType(name) for name in MODULES})
    vars(sys.modules[MODULES[-1]]).update(globals())
    for kind in (Activation, ModelConfig, FairseqConfig):
        kind.__module__ = MODULES[-1]
    structured = OmegaConf.structured(FairseqConfig)
    structured.model, structured.common = OmegaConf.structured(ModelConfig), {"seed": 1, "list": [1, 2]}
    plain = {"model": {"_name": "roberta_base", "encoder_attention_heads": 2, "activation_fn": "relu", "dropout": 0.25}}
    settings = {
        "structured": structured,
        "dictionary": OmegaConf.create(plain),
        "dataclass": FairseqConfig(model=ModelConfig()),
        "namespace": argparse.Namespace(arch="roberta_base", **vars(ModelConfig()), kind=Activation),
    }
    for name, value in settings.items():
        # As torch.save pickles.
        Path(__file__).with_name(f"{name}.pkl").write_bytes(pickle.dumps(value, protocol=2))


if __name__ == "__main__":
    main()
