"""Figures of a training for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import summary_pb2

from tfxlm.training.callbacks import RunCallback
from tfxlm.training.run import FigureTable, Run

_SCALAR = summary_pb2.SummaryMetadata(
    plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class=summary_pb2.DATA_CLASS_SCALAR,
)


class WriteSummaries(RunCallback):
    """Writes perplexity, accuracy and loss of each objective and language, and the learning rate.

    Args:
        run: the state.
        folder: where to.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        super().__init__(run)
        self._writer = tf.summary.create_file_writer(str(folder))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes where it is time to."""
        run = self.run
        with self._writer.as_default():
            if run.is_due(run.config.log_every):
                self._write_figures("train", run.window)
                rates = {"learning_rate": run.learning_rate(run.step - 1)}
                more = {"gradient_norm": run.gradient_norm, "waiting_for_data": run.seconds.share}
                for name, value in {**rates, **more, "tokens_per_second": run.tokens_per_second}.items():
                    self._write(name, value)
            if run.is_due(run.config.evaluate_every):
                self._write_figures("held_out", run.held_out)
                self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the file."""
        self._writer.close()

    def _write_figures(self, kind: str, table: FigureTable) -> None:
        for name, figures in table.items():
            for figure in ("loss", "perplexity", "accuracy"):
                self._write(f"{kind}/{name}/{figure}", getattr(figures, figure))

    def _write(self, name: str, value: float) -> None:
        # `tf.summary.scalar` needs the package of TensorBoard, which whoever looks at the figures may have elsewhere.
        tf.summary.write(name, tf.constant(value, tf.float32), step=self.run.step, metadata=_SCALAR)
