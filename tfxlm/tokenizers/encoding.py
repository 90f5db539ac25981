"""What a tokenizer returns: batches of model inputs."""

from collections.abc import Callable, Iterable, Mapping, Sized
from types import MappingProxyType
from typing import Any

import numpy as np

from tfxlm import trees
from tfxlm.errors import InputError
from tfxlm.tokenizers.lengths import choose
from tfxlm.tokenizers.lookups import Details, Lookups


class BatchEncoding(Lookups, dict[str, Any]):
    """The outcome of a tokenizer: a dict of model inputs whose values are attributes as well.

    Keras treats it as the dict it is: it can be passed to a model, to ``fit`` and to ``tf.data``.

    Args:
        data: model inputs by name.
        details: what is known of the tokens beside their ids; None if nothing.

    Example:
        >>> from tfxlm import BatchEncoding
        >>> BatchEncoding({"input_ids": [0, 1]}).input_ids
        [0, 1]
    """

    #: The methods about words and characters are there, as with the fast tokenizers of `transformers`.
    is_fast = True

    def __init__(
        self, data: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), details: Details | None = None
    ) -> None:
        super().__init__(data)
        self._details = details

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"This encoding has no '{name}'; it holds: {', '.join(self) or 'nothing'}.") from None

    @property
    def data(self) -> dict[str, Any]:
        """The model inputs as a plain dict."""
        return dict(self)

    def convert_to_tensors(self, tensor_type: str | None, prepend_batch_axis: bool = False) -> "BatchEncoding":
        """Turns every value into a tensor, in place.

        Args:
            tensor_type: ``"np"`` (int64), ``"tf"`` (int32), or None to change nothing.
            prepend_batch_axis: whether to put an axis of length 1 in front.

        Returns:
            This encoding.

        Raises:
            InputError: `tensor_type` is unknown, or the rows of a value differ in length.
        """
        if tensor_type is None:
            return self
        make = choose("return_tensors", tensor_type, _TENSORS)
        for name, value in self.items():
            rows = [value] if prepend_batch_axis else value
            lengths = sorted({len(row) for row in rows if isinstance(row, Sized)})
            if len(lengths) > 1:
                raise InputError(
                    f"The rows of '{name}' have {lengths[0]} to {lengths[-1]} items and make no tensor. Pass "
                    "padding=True to make them equally long, and truncation=True with max_length to limit them."
                )
            self[name] = make(rows)
        return self


trees.register_mapping(BatchEncoding)


def _numpy(rows: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(rows)
    return array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array


def _tensorflow(rows: Any) -> Any:
    import tensorflow as tf

    array = np.asarray(rows)
    return tf.constant(array, dtype=tf.int32 if array.size == 0 or array.dtype.kind in "iu" else None)


_TENSORS: Mapping[str, Callable[[Any], Any]] = MappingProxyType({"np": _numpy, "tf": _tensorflow})
