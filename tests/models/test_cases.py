"""That what habits are tried with leaves out no class: what pytest collects in a sweep is counted, and in every run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.cases import CASES, LANGUAGE_MODELS, Case
from tests.models.families import FAMILIES
from tests.models.table import HABITS, lines

ROOT = Path(__file__).parents[2]


def has_own_loss(case: Case) -> bool:
    return not case.loss_function


def has_one_label(case: Case) -> bool:
    return has_own_loss(case) and len(case.targets) == 1


def has_several_labels(case: Case) -> bool:
    return len(case.targets) > 1


# Functions that are not for all classes, and for which they are.
EXCEPTIONS: dict[str, Callable[[Case], bool]] = {
    # What only several outputs, or several labels, can be given.
    "fit: test_several_outputs": has_several_labels,
    "fit: test_labels_that_do_not_fit": has_several_labels,
    "weights: test_weights_of_each_label": has_several_labels,
    # Keras has classes to weigh and to be accurate in where a model has one kind of label, which is an id.
    "weights: test_weights_of_classes": has_one_label,
    "weights: test_metrics_leave_out_ignored_labels": has_one_label,
    # The numbers that the classes without a head learn are all there.
    "weights: test_nothing_that_counts": has_own_loss,
    # One id for each row can stand in a column.
    "weights: test_labels_in_a_column": lambda case: has_one_label(case) and case.cls.labels.rank == 1,
    # One class with a compiled loss alone stands for those without a head.
    "distribution: test_two_devices_learn_as_one": lambda case: has_own_loss(case) or str(case) == "TFXLMModel",
    # A table that is looked up and multiplied with is that of a language model; decoders share its layers.
    "lora: test_the_tied_table_has_lora_at_both_ends": lambda case: case in LANGUAGE_MODELS,
    "quantize: test_the_tied_table_is_quantized_at_both_ends": lambda case: case in LANGUAGE_MODELS,
    # The body is one for all classes of a family; beside it, the head with a product of its own.
    "quantize: test_lora_on_top": lambda case: case in LANGUAGE_MODELS or str(case) == "TFXLMForQuestionAnswering",
}


@pytest.fixture(scope="module", params=["1", "0"], ids=["sweep", "every run"])
def table(request: pytest.FixtureRequest) -> tuple[bool, Any]:
    """Whether it is that of a sweep, and the table."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.table", "--json"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TFXLM_SWEEP": request.param},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-5000:]
    return request.param == "1", json.loads(run.stdout)


def test_every_habit_meets_every_class(table: tuple[bool, Any]) -> None:
    """All classes in a sweep; in every run one of each family that there is, and each class of XLM with some habits."""
    is_sweep, functions = table
    assert {name.partition(":")[0] for name in functions} == set(HABITS) and set(EXCEPTIONS) <= set(functions)
    for name, counts in functions.items():
        meant = [case for case in CASES if EXCEPTIONS.get(name, lambda case: True)(case)]
        if is_sweep:
            assert set(counts) == set(map(str, meant)), name
        else:
            met = {case.family for case in meant if str(case) in counts}
            assert met == {case.family for case in meant}, name
    tried = {name for counts in functions.values() for name in counts}
    assert tried >= {str(case) for case in CASES if is_sweep or case.family is FAMILIES[0]}


def test_the_printed_table(table: tuple[bool, Any]) -> None:
    _, functions = table
    *numbered, empty, head = lines(functions)[: len(CASES) + 2]
    assert numbered[0].split() == ["1", "TFXLMModel"] and not empty and head.split()[-1] == str(len(CASES))
    row = lines({"habit: test": {"TFXLMModel": 3, "TFXLMForMultipleChoice": 1}})[-1].split()
    assert row[:7] == ["habit:", "test", "3", ".", ".", "1", "."] and set(row[7:]) == {"."}
