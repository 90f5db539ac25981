"""Mixtures of objectives, written as a short text.

```
mixture   = part (white space part)*
part      = objective ["*" weight] ":" name ["*" weight] ("," name ["*" weight])*
objective = "mlm" | "clm" | "tlm"
name      = a language, of `tlm` a pair such as "en-de", either language first; or "all"
```

So `mlm:en,de*2 tlm*0.5:en-de` takes two steps of three for `mlm`, and in those German twice as often as by its size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfxlm.errors import InputError

#: Objectives, and how many languages an example has.
OBJECTIVES = {"mlm": 1, "clm": 1, "tlm": 2}
ALL = "all"
_PART = re.compile(r"\S+")
_WEIGHT = re.compile(r"\d{1,9}(\.\d{1,9})?")
_GRAMMAR = "A mixture is written like 'mlm:en,de*2 clm:fr tlm*0.5:en-de'."


@dataclass(frozen=True)
class Entry:
    """One objective on one language or pair.

    Args:
        objective: "mlm", "clm" or "tlm".
        name: the language or pair, as the store has it.
        share: how often it is chosen, of 1.
    """

    objective: str
    name: str
    share: float


@dataclass(frozen=True)
class _Wanted:
    objective: str
    weight: float
    names: dict[str, float]


def parse(text: str, languages: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[_Wanted]:
    """Reads a mixture.

    Args:
        text: the mixture.
        languages: the languages that there are.
        pairs: the pairs that there are.

    Returns:
        Objectives with their weights and names.

    Raises:
        InputError: the text does not follow the grammar, or names what there is not; the message says where.
    """
    found = []
    by_name = {1: {language: language for language in languages}, 2: _both_ways(pairs)}
    for match in _PART.finditer(text):
        part, place = match.group(), match.start()
        head, colon, tail = part.partition(":")
        if not colon:
            raise _wrong(text, place, f"{part!r} has no colon between an objective and its languages")
        objective, weight = _weighted(text, head, place)
        if objective not in OBJECTIVES:
            raise _wrong(text, place, f"there is no objective {objective!r}, but {', '.join(OBJECTIVES)}")
        known = by_name[OBJECTIVES[objective]]
        names: dict[str, float] = {}
        place += len(head) + 1
        for one in tail.split(","):
            name, own = _weighted(text, one, place)
            is_all = name == ALL and ALL not in known
            for each in dict.fromkeys(known.values()) if is_all else [_find(text, place, name, objective, known)]:
                if each in names:
                    raise _wrong(text, place, f"{each!r} stands twice in {part!r}")
                names[each] = own
            place += len(one) + 1
        found.append(_Wanted(objective, weight, names))
    objectives = [wanted.objective for wanted in found]
    repeated = next((one for one in objectives if objectives.count(one) > 1), None)
    if repeated:
        raise InputError(f"The mixture {text!r} has {repeated!r} twice. Put its languages into one list. {_GRAMMAR}")
    if not any(wanted.names for wanted in found):
        raise InputError(f"The mixture {text!r} has nothing to learn from. {_GRAMMAR}")
    return [wanted for wanted in found if wanted.names]


def entries(wanted: Sequence[_Wanted], sizes: Sequence[dict[str, int]], alpha: float) -> list[Entry]:
    """Returns what there is to choose from, and how often it is chosen.

    An objective's share is its weight. Within it, a language's is its weight times its share of the tokens to the power
    of `alpha`.

    Args:
        wanted: as `parse` returns it.
        sizes: for each of these the tokens of each name.
        alpha: 1 for shares by size, 0 for equal ones.

    Raises:
        InputError: all weights are 0.
    """
    total = sum(one.weight for one in wanted)
    found = []
    for one, size in zip(wanted, sizes, strict=True):
        whole = sum(size.values())
        powers = {name: weight * (size[name] / whole) ** alpha for name, weight in one.names.items()}
        if not total or not sum(powers.values()):
            raise InputError("All weights of the mixture, or of one of its objectives, are 0. Give one of them more.")
        for name, power in powers.items():
            found.append(Entry(one.objective, name, one.weight / total * power / sum(powers.values())))
    return found


def _weighted(text: str, part: str, place: int) -> tuple[str, float]:
    name, star, weight = part.partition("*")
    if star and not _WEIGHT.fullmatch(weight):
        raise _wrong(text, place + len(name) + 1, f"{weight!r} is no weight, a number such as 2 or 0.5")
    if not name:
        raise _wrong(text, place, "a name is missing")
    return name, float(weight) if star else 1.0


def _both_ways(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns the names of pairs by themselves and by the same turned around, unless that is another pair."""
    return {"-".join(pair[::-1]): "-".join(pair) for pair in pairs} | {name: name for name in map("-".join, pairs)}


def _find(text: str, place: int, name: str, objective: str, known: Mapping[str, str]) -> str:
    if name not in known:
        kind = "language" if OBJECTIVES[objective] == 1 else "pair of languages"
        there = ", ".join(dict.fromkeys(known.values())) or "none"
        raise _wrong(text, place, f"{objective} needs a {kind} of the store, which {name!r} is not. It has {there}")
    return known[name]


def _wrong(text: str, place: int, what: str) -> InputError:
    return InputError(f"In the mixture {text!r}, at character {place + 1}: {what}. {_GRAMMAR}")
