"""What tests count is shown at the end of the output."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what fuzz tests recorded."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = sorted(value for report in reports for name, value in report.user_properties if name == "fuzz")
    if lines:
        terminalreporter.section("fuzz tests")
        for line in lines:
            terminalreporter.write_line(line)
