"""Writing a Keras model as a SavedModel, once on disk and loadable by the C++ runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from tfxlm.export.signatures import Signature


class _Servable(tf.Module):
    """What is saved: the variables, and functions that use them.

    The Keras model itself is only reachable through the functions. Tracked, it would be written a second time, and
    under names that the C++ runtime does not find.
    """

    def __init__(self, model: keras.Model, tokenizer: tf.Module | None) -> None:
        super().__init__()
        # Its tables have to be reachable.
        self.tokenizer = tokenizer
        self.weights = [variable.value for variable in model.variables]


def write_saved_model(
    model: keras.Model, signatures: Mapping[str, Signature], folder: Path, tokenizer: tf.Module | None = None
) -> None:
    """Writes ``saved_model.pb`` and ``variables/`` into `folder`.

    Args:
        model: the model that the functions use.
        signatures: what to export, by name.
        folder: where to write.
        tokenizer: the tokenizer that they use, or None.
    """
    graphs = {name: signature.graph for name, signature in signatures.items()}
    with _quiet(tf.get_logger()):
        tf.saved_model.save(_Servable(model, tokenizer), str(folder), signatures=graphs)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silences what is only information: it would name the temporary folder."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
