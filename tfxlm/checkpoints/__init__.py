"""Checkpoints: names and arrays, read and written without torch.

`open_checkpoint` gives tensors by name, a `NameMap` says which variable takes which, `plan` reports what does not fit,
and `write_checkpoint` writes safetensors.
"""

from tfxlm.checkpoints.arrays import TensorInfo
from tfxlm.checkpoints.checkpoint import Checkpoint
from tfxlm.checkpoints.name_map import Ignored, Match, NameMap, Rule, Tied, Transform
from tfxlm.checkpoints.opening import find_original, find_weights, is_file, open_checkpoint, read_origin, weight_files
from tfxlm.checkpoints.origin import Origin
from tfxlm.checkpoints.report import LoadPlan, LoadReport, Mismatch, Source, plan
from tfxlm.checkpoints.safetensors import FLOATS
from tfxlm.checkpoints.writer import Lazy, parse_size, write_checkpoint

__all__ = [
    "FLOATS",
    "Checkpoint",
    "Ignored",
    "Lazy",
    "LoadPlan",
    "LoadReport",
    "Match",
    "Mismatch",
    "NameMap",
    "Origin",
    "Rule",
    "Source",
    "TensorInfo",
    "Tied",
    "Transform",
    "find_original",
    "find_weights",
    "is_file",
    "open_checkpoint",
    "parse_size",
    "plan",
    "read_origin",
    "weight_files",
    "write_checkpoint",
]
