"""How requests are joined: TensorFlow Serving's BatchingParameters."""

import os
from dataclasses import dataclass, field

from tfxlm.errors import ConfigError, InputError
from tfxlm.serve.config_messages import CLASSES
from tfxlm.serve.text_files import read_message

_EXAMPLE = "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 } allowed_batch_sizes: 8"

_WRAPPED = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@dataclass(frozen=True)
class BatchingParameters:
    """Which requests are answered together; the names and defaults are those of TensorFlow Serving.

    Args:
        max_batch_size: the most rows that are answered together; a request that has more is answered alone.
        batch_timeout_micros: how long, in millionths of a second, a request waits for others while there is a free
            thread; while there is none, others join it at no cost.
        max_enqueued_batches: batches of one signature that may wait; what comes then is told to come again.
        num_batch_threads: batches that are worked on at the same time; one per core by default.
        allowed_batch_sizes: numbers of rows that the model is asked with, in increasing order, the last of which is
            `max_batch_size`: copies of a row fill a batch up to the next one. Empty for any.
        pad_variable_length_inputs: join requests of different lengths too where the signature says how long each row
            is (`lengths`, `num_words`, `num_choices`); otherwise only those of the same length.

    Raises:
        InputError: a number is too small, or the sizes contradict each other.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        for name in _WRAPPED:
            lowest = 0 if name == "batch_timeout_micros" else 1
            if getattr(self, name) < lowest:
                raise InputError(f"{name} must be at least {lowest}, got {getattr(self, name)}.")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise InputError(
                f"allowed_batch_sizes must increase from 1 or more to max_batch_size, {self.max_batch_size}; got "
                f"{list(sizes)}."
            )

    def rows_to_run(self, rows: int) -> int:
        """Returns how many rows the model is asked with for so many real ones."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read_batching_parameters(file: str | os.PathLike[str]) -> BatchingParameters:
    """Reads a file of BatchingParameters in protocol buffer text format.

    Raises:
        ConfigError: the file cannot be read, is malformed, or holds numbers that are out of range.
    """
    message = read_message(file, CLASSES["BatchingParameters"](), "file of batching parameters", _EXAMPLE)
    given = {name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)}
    try:
        return BatchingParameters(
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
            **given,
        )
    except InputError as error:
        raise ConfigError(f"{file}: {error}") from None
