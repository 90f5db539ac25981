"""Work that processes share, where they cannot begin or are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tfxlm.data.processes import in_order
from tfxlm.errors import TFXLMError

PROGRAM = """
from operator import pow
from tfxlm.data.processes import in_order

print(list(in_order(pow, 2, range(5), {workers})))
"""


def run_from_standard_input(workers: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable], input=PROGRAM.format(workers=workers), capture_output=True, text=True)


def test_a_program_from_standard_input_works_alone() -> None:
    assert run_from_standard_input(1).stdout == "[1, 2, 4, 8, 16]\n"


def test_a_program_from_standard_input_is_told_why_it_cannot_have_others() -> None:
    found = run_from_standard_input(2)
    assert found.returncode == 1
    assert "standard input" in found.stderr
    assert "workers=1" in found.stderr


def ended_at(last: int, item: int) -> int:
    if item == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_process_that_is_ended_is_told_of() -> None:
    results = in_order(ended_at, 40, range(50), 2)
    assert next(results) == 0
    with pytest.raises(TFXLMError, match="was ended, perhaps for want of memory"):
        list(results)
