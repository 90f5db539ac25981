"""Several devices and workers: strategies of `tf.distribute`, and which of them gets which rows."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfxlm import files
from tfxlm.errors import ConfigError
from tfxlm.training.settings import PretrainingConfig

Shard = tuple[int, int]

# A file with which workers find out whether they share a folder, and how long it may take to come to the others.
_TOKEN, _PATIENCE = ".workers", 30.0


class Devices:
    """Where a training runs.

    Args:
        config: says the strategy. With several workers it must be made before TensorFlow does anything else.

    Raises:
        ConfigError: there are no such devices, or rows cannot be shared evenly.
    """

    def __init__(self, config: PretrainingConfig) -> None:
        self.strategy = _strategy(config)
        self._has_workers = config.strategy == "multi_worker"
        self.replicas = self.strategy.num_replicas_in_sync if self.strategy else 1
        if config.batch_size % self.replicas:
            raise ConfigError(
                f"batch_size must be a multiple of the {self.replicas} devices that share a batch, got "
                f"{config.batch_size}."
            )

    def scope(self) -> AbstractContextManager[Any]:
        """Returns the scope in which model and optimizer are made."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def sum_over_workers(self, number: int) -> int:
        """Returns the sum of a number that each worker has; what all of them must come to."""
        if not self._has_workers:
            return number
        of_devices = iter((number,))  # the first of this worker's has it, and the others nothing
        values = self.strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant(next(of_devices, 0), tf.int64)
        )
        return int(self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))

    def check_shared(self, folder: Path) -> None:
        """Makes sure that all workers see what one of them writes; all must come to it.

        Args:
            folder: the output folder.

        Raises:
            ConfigError: some do not, on every worker.
        """
        if not self._has_workers:
            return
        path, token = folder / _TOKEN, secrets.randbits(32) if self.writes else 0
        if self.writes:
            files.make_folder(folder)
            path.write_text(str(token))
        token = self.sum_over_workers(token)
        end = time.monotonic() + _PATIENCE
        while not (seen := _reads(path, str(token))) and time.monotonic() < end:
            time.sleep(0.1)
        others = self.sum_over_workers(int(not seen))
        if self.writes:
            path.unlink(missing_ok=True)
        if others:
            raise ConfigError(
                f"{others} of the workers {'does' if others == 1 else 'do'} not see what is written to '{folder}'. "
                "output must be a folder that all workers share, such as one on a network disk."
            )

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        resolver = self.strategy.cluster_resolver if self._has_workers else None
        if resolver is None or resolver.task_type is None:
            return True
        has_chief = "chief" in resolver.cluster_spec().jobs
        return resolver.task_type == "chief" or (
            not has_chief and (resolver.task_type, resolver.task_id) == ("worker", 0)
        )

    def share(self, make: Callable[[Shard], tf.data.Dataset]) -> Any:
        """Gives each device its part of the rows of every batch.

        Args:
            make: makes the batches of a worker: of all rows, the part that index and number of workers say.

        Returns:
            What `fit` and `evaluate` take.
        """
        if self.strategy is None:
            return make((0, 1))

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            workers = context.num_input_pipelines
            return _cut(make((context.input_pipeline_id, workers)), self.replicas // workers)

        return self.strategy.distribute_datasets_from_function(of_worker)


def rows_of(dataset: tf.data.Dataset, shard: Shard) -> tf.data.Dataset:
    """Leaves of every batch the rows of a worker."""
    index, count = shard
    if count == 1:
        return dataset

    def part(*batch: Any) -> Any:
        def cut(values: tf.Tensor) -> tf.Tensor:
            size = values.shape[0] // count
            return values[index * size : (index + 1) * size]

        return tf.nest.map_structure(cut, batch)

    return dataset.map(part)


def _reads(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


def _cut(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Cuts every batch into parts, one for each device of a worker."""
    if parts == 1:
        return dataset

    def cut(*batch: Any) -> tf.data.Dataset:
        def stacked(values: tf.Tensor) -> tf.Tensor:
            size = values.shape[0] // parts
            made = tf.reshape(values, tf.concat([[parts, size], tf.shape(values)[1:]], 0))
            return tf.ensure_shape(made, (parts, size, *values.shape[1:]))

        return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(stacked, batch))

    return dataset.flat_map(cut).prefetch(tf.data.AUTOTUNE)


def _strategy(config: PretrainingConfig) -> Any:
    if config.strategy is None:
        return None
    if config.strategy == "mirrored":
        known = [device.name.removeprefix("/device:").lower() for device in tf.config.list_logical_devices()]
        absent = [device for device in config.devices if device.lower() not in known]
        if absent:
            raise ConfigError(f"devices must be some of {', '.join(known)}, which are here; got {', '.join(absent)}.")
        return tf.distribute.MirroredStrategy(list(config.devices) or None)
    if config.strategy == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise ConfigError(
                "strategy is 'multi_worker', but the environment has no TF_CONFIG, which names the workers: "
                '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}.'
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=next(iter(config.devices), ""))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ConfigError(f"strategy is 'tpu', but no TPU can be reached: {error}") from error
    return tf.distribute.TPUStrategy(resolver)
