"""Checkpoints: names and arrays, read and written without torch.

`open_checkpoint` gives tensors by name, a `NameMap` says which variable takes which, `plan` reports what does not fit,
`write_checkpoint` writes safetensors, and `rewrite_checkpoint` makes a checkpoint one that models can map.
"""

from tfxlm.checkpoints.arrays import TensorInfo
from tfxlm.checkpoints.checkpoint import Checkpoint, open_checkpoint, weight_files
from tfxlm.checkpoints.name_map import Ignored, Match, NameMap, Rule, Tied, Transform
from tfxlm.checkpoints.report import LoadPlan, LoadReport, Mismatch, Source, plan
from tfxlm.checkpoints.rewriting import rewrite_checkpoint
from tfxlm.checkpoints.writer import Lazy, write_checkpoint

__all__ = [
    "Checkpoint",
    "Ignored",
    "Lazy",
    "LoadPlan",
    "LoadReport",
    "Match",
    "Mismatch",
    "NameMap",
    "Rule",
    "Source",
    "TensorInfo",
    "Tied",
    "Transform",
    "open_checkpoint",
    "plan",
    "rewrite_checkpoint",
    "weight_files",
    "write_checkpoint",
]
