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


# Assertions print their text with the escapes of a C string, and bytes beyond ASCII in octal.
_ASSERTION = re.compile(r"assertion failed: .*", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:([0-3][0-7]{2})|(.))", re.DOTALL)
_CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def clean_message(message: str) -> str:
    """Reduces an error message of a graph to what it says about the input."""
    said = _ASSERTION.sub(lambda match: _unescaped(match[0]), _NOISE.sub("", message))
    lines = (line.strip() for line in said.splitlines())
    return " ".join(line for line in lines if line) or "TensorFlow gave no reason."


def _unescaped(text: str) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        octal, other = match.groups()
        return bytes([int(octal, 8)]) if octal else _CONTROL.get(other, other)

    return _ESCAPE.sub(character, text.encode("utf-8")).decode("utf-8", errors="replace")


def graph_error(error: tf.errors.OpError, model: str) -> ServingError:
    """Builds the error a client gets when the graph refused its input.

    Args:
        error: what TensorFlow raised.
        model: the model, for the message.
    """
    code = _CODE_NAMES.get(error.error_code, "UNKNOWN")
    return ServingError(f"{model} could not process the input: {clean_message(error.message)}", code)
