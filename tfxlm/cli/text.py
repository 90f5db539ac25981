"""What may be written to a terminal."""

from __future__ import annotations

import logging


def clean(text: str) -> str:
    """Returns a text with another character in place of those that a terminal takes for commands.

    Names and messages may come from files, and such characters could clear the screen, or turn what is read around.
    """
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


class CleanFormatter(logging.Formatter):
    """Messages of the log, made clean."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the message."""
        return clean(super().format(record))
