"""Writing a Keras model as a SavedModel, once on disk and loadable by the C++ runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from tfxlm.export.signatures import PREDICT, Signature


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
    _write_methods(folder, {name: signature.method for name, signature in signatures.items()})


def _write_methods(folder: Path, methods: Mapping[str, str]) -> None:
    """Says what each signature may be asked for; what is saved says that of the usual one."""
    if set(methods.values()) == {PREDICT}:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for name, method in methods.items():
        updater.replace_method_name(signature_key=name, method_name=method)
    updater.save()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silences what is only information: it would name the temporary folder."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
