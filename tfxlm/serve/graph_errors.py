"""TensorFlow's errors -> errors for the client: canonical code, the message without its stack and node names."""

import re

import tensorflow as tf

from tfxlm.client.messages import ERROR_CODES
from tfxlm.errors import ServingError

_CODE_NAMES = {number: name for name, number in ERROR_CODES.items()}

_NOISE = re.compile(
    r"""
    ^Graph\ execution\ error:.*
    | ^Detected\ at\ node\ .*
    | ^<stack\ traces\ unavailable>
    | ^\d+\ (root|successful|derived)\ .*
    | ^(?![ \t]+\(\d+\)\ )[ \t]+.*      # frames and [[{{node ...}}]]; "  (0) ..." is one of several messages
    | \[\[\{\{node\ .*?\}\}.*?\]\]
    | \{\{function_node\ .*?\}\}
    | \[Op:\w+\]
    """,
    re.VERBOSE | re.MULTILINE,
)


def clean_message(message: str) -> str:
    """Reduces an error message of a graph to what it says about the input."""
    lines = (line.strip() for line in _NOISE.sub("", message).splitlines())
    return " ".join(line for line in lines if line) or "TensorFlow gave no reason."


def graph_error(error: tf.errors.OpError, model: str) -> ServingError:
    """Builds the error a client gets when the graph refused its input.

    Args:
        error: what TensorFlow raised.
        model: the model, for the message.
    """
    code = _CODE_NAMES.get(error.error_code, "UNKNOWN")
    return ServingError(f"{model} could not process the input: {clean_message(error.message)}", code)
