"""What TensorFlow keeps of a SavedModel that is gone: the one place that looks into it."""

from tensorflow.python.framework import ops

_LOADER = "tensorflow.python.saved_model.function_deserialization"


def forget_loaded_gradients() -> None:
    """Forgets the gradients that loaded SavedModels brought, which a server has no use for.

    TensorFlow registers them for good, and each holds its model, weights and all: memory would grow with each version.
    """
    registry = ops.gradient_registry._registry
    for name, entry in list(registry.items()):
        if getattr(entry["type"], "__module__", "") == _LOADER:
            registry.pop(name, None)
