"""What TensorFlow keeps of a SavedModel that is gone: the one place that looks into it."""

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops

_LOADER = "tensorflow.python.saved_model.function_deserialization"


@contextmanager
def without_gradients() -> Iterator[None]:
    """Forgets the gradients that SavedModels bring which are loaded meanwhile: a server has no use for them.

    TensorFlow registers them for good, and each holds its model, weights and all: memory would grow with each version.
    """
    registry = ops.gradient_registry._registry
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if getattr(registry[name]["type"], "__module__", "") == _LOADER:
                registry.pop(name, None)
