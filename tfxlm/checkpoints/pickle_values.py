"""What stands for the classes and functions that a pickle names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Of keys in dictionaries, and of what a tuple that is a key has in it.
_PLAIN_KEYS = frozenset((str, int, float, bool, bytes, type(None)))
_LONGEST_KEY, _LARGEST_KEY = 16, 1 << 60
_MOST_SHOWN = 40
# The attribute that holds the value of one who has a single value; omegaconf calls it that.
VALUE = "_val"


@dataclass(frozen=True)
class Constructor:
    """A function of our own that stands for a callable named in a file.

    Attributes:
        build: takes the arguments from the file, which it must check, and raises TypeError, ValueError or an error
            of the tree if they are wrong.
    """

    build: Callable[..., Any]


@dataclass(eq=False)
class Record:
    """An instance of a class that a file names, which it only resembles.

    Attributes:
        name: of the class.
        state: the attributes, as the file has them.
    """

    name: str
    state: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Takes the attributes."""
        # Classes with slots store a pair of dicts, one of which may be None.
        for part in state if type(state) is tuple and len(state) == 2 else (state,):
            if type(part) is dict:
                self.state.update(part)
            elif part is not None:
                raise ValueError(f"the state of a {self.name} is not a dictionary")


@dataclass(frozen=True)
class RecordType:
    """A class named in a file, of which nothing but the attributes of its instances is of use.

    It is a name: no class is looked up, and what it seems to be called with is kept or dropped, never used.
    """

    name: str

    def build(self, *arguments: Any) -> Record:
        """Returns an instance; of arguments, the only one is kept where it is plain, as that of an enumeration is."""
        is_value = len(arguments) == 1 and type(arguments[0]) in _PLAIN_KEYS
        return Record(self.name, {VALUE: arguments[0]} if is_value else {})


def plain_key(key: Any) -> Any:
    """Returns what a dictionary or set may be given as a key.

    Raises:
        ValueError: it takes too long to hash, or can be made to collide with all others.
    """
    # Hashing a deeply nested tuple overflows the C stack, or takes for ever: such keys are not accepted.
    for item in key if type(key) is tuple and len(key) <= _LONGEST_KEY else (key,):
        if type(item) not in _PLAIN_KEYS:
            raise ValueError(f"a dictionary key is a {type(key).__name__}")
        # Multiples of 2**61 - 1 have the hash 0, every one of them.
        if type(item) is int and not -_LARGEST_KEY < item < _LARGEST_KEY:
            raise ValueError("a dictionary key is a number too large to be true")
    return key


def shown(value: Any) -> str:
    """Returns a value from a file for a message; what may be large or deep by its type only."""
    if type(value) is str:
        return repr(value[:_MOST_SHOWN])
    small = type(value) is int and -_LARGEST_KEY < value < _LARGEST_KEY
    return str(value) if small else f"of type {type(value).__name__}"
