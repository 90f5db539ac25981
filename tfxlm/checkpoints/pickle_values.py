"""What stands for the classes and functions that a pickle names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Constructor:
    """A function of our own that stands for a callable named in a file.

    Attributes:
        build: takes the arguments from the file, which it must check, and raises TypeError, ValueError or an error
            of the tree if they are wrong.
    """

    build: Callable[..., Any]


@dataclass(frozen=True)
class RecordType:
    """A class named in a file, of which nothing but the attributes of its instances is of use."""

    name: str


@dataclass(eq=False)
class Record:
    """An instance of such a class, which it only resembles.

    Attributes:
        name: of the class.
        state: the attributes, as the file has them.
    """

    name: str
    state: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Takes the attributes."""
        # Classes with slots store a pair of dicts, one of which may be None.
        for part in state if type(state) is tuple else (state,):
            if type(part) is dict:
                self.state.update(part)
            elif part is not None:
                raise ValueError(f"the state of a {self.name} is not a dictionary")
