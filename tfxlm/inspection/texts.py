"""Lists in messages."""

from collections.abc import Sequence

# Of a kind, in a message.
_MOST_LISTED = 3


def some(texts: Sequence[str]) -> str:
    """Returns the first of some texts."""
    return ", ".join(texts[:_MOST_LISTED]) + (", ..." if len(texts) > _MOST_LISTED else "")
