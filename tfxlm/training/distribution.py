"""Several devices and workers: strategies of `tf.distribute`, and which of them gets which rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from tfxlm.errors import ConfigError
from tfxlm.training.settings import PretrainingConfig

Shard = tuple[int, int]


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
