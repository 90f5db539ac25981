"""Which tests come first; and what tests count, which is shown at the end of the output."""

from __future__ import annotations

from typing import Any

import pytest

# Files with the longest tests: with them first, no process is busy with one of them when the others have nothing left.
LONGEST = {
    *("test_quickstart.py", "test_readme.py", "test_notebooks.py", "test_texts.py"),
    *("test_devices.py", "test_jax.py", "test_keras_distribution.py"),
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them first, and leaves all others in their order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what fuzz tests recorded."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = sorted(value for report in reports for name, value in report.user_properties if name == "fuzz")
    if lines:
        terminalreporter.section("fuzz tests")
        for line in lines:
            terminalreporter.write_line(line)
