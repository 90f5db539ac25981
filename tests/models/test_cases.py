"""That what habits are tried with leaves out no class."""

from __future__ import annotations

import collections
import importlib
import inspect
from typing import Any

from tests.models.cases import CASES, Case, sampled
from tests.models.families import FAMILIES

HABITS = ("fit", "weights", "lora", "optimizers", "quantize", "saving")


def cases_of(test: Any) -> list[Case]:
    """What a test is tried with: what it says itself, or what it is given."""
    marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    said = [list(values) for names, values in marks if names == "case"]
    ways = [[parameter.values[0] for parameter in values] for names, values in marks if names == ("case", "way")]
    return [*said, *ways, sampled(test.__name__)][0]


def test_every_class_meets_several_habits_and_every_habit_each_family() -> None:
    met = collections.Counter[str]()
    for habit in HABITS:
        module = importlib.import_module(f"tests.models.test_keras_{habit}")
        for name, test in vars(module).items():
            if name.startswith("test_") and "case" in inspect.signature(test).parameters:
                cases = cases_of(test)
                assert {case.family for case in cases} >= set(FAMILIES) or len(cases) == 1, name
                met.update({str(case) for case in cases})
    assert set(met) == set(map(str, CASES))
    assert min(met.values()) >= 3, met
