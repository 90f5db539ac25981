"""What a client is told when something went wrong."""

import logging

from tfxlm.errors import InputError, ServingError

_LOG = logging.getLogger("tfxlm.serve")

# gRPC sends the message as a header and drops answers whose headers exceed 8 KiB; requests can hold endless names.
_MAX_CHARACTERS = 1000


def serving_error(error: Exception) -> ServingError:
    """Turns whatever a request ran into into the error its client gets.

    An unforeseen exception is logged with its traceback; the client learns only that it happened.
    """
    if isinstance(error, ServingError):
        return ServingError(_shortened(str(error)), error.code)
    if isinstance(error, InputError):
        return ServingError(_shortened(str(error)), "INVALID_ARGUMENT")
    _LOG.error("a request failed", exc_info=error)
    return ServingError("The server failed to answer this request; its log says why.", "INTERNAL")


def _shortened(message: str) -> str:
    return message if len(message) <= _MAX_CHARACTERS else f"{message[:_MAX_CHARACTERS]}..."
