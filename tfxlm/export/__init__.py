"""SavedModels for TensorFlow Serving."""

from tfxlm.export.exporter import export_model

__all__ = ["export_model"]
