"""What a checkpoint is, found out without loading its weights."""

from tfxlm.inspection.checkpoint import Inspection, inspect_checkpoint

__all__ = ["Inspection", "inspect_checkpoint"]
