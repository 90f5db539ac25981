"""The parity job compares with its peers or fails: a skip counts as a failure here."""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from tests.parity.reference import CASES, SEED, Case, made_case


def pytest_report_header() -> str:
    """Prints the seed, so that a failure can be repeated."""
    return f"parity: TFXLM_SEED={SEED}, {CASES} random configurations of each class, in turns for shared heads"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of one configuration beside each other, so that it is made once."""

    def configuration(item: pytest.Item) -> tuple[str, int]:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        case = params.get("case")
        return case if isinstance(case, tuple) else ("", 0)  # tests of other folders have cases of their own

    items.sort(key=configuration)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Generator[Case, None, None]:
    """One random configuration of one class; see `cases`. Each test draws the same inputs whatever else runs."""
    print(f"TFXLM_SEED={SEED}")
    made = made_case(*request.param)
    config = made.model.config
    yield dataclasses.replace(made, rng=np.random.default_rng([SEED, zlib.crc32(request.node.name.encode())]))
    made.model.config = config
    made.model.base_model.remove_padding = True
    made.reference.config.problem_type = None
    made.reference.eval()


def _fail(report: Any, nodeid: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    if "TFXLM_DATA is not set" in str(reason) and "CI" not in os.environ:
        # Who has no copy of the text can still compare everything else; in CI it must be there.
        return
    report.outcome = "failed"
    report.longrepr = f"{nodeid} was skipped ({reason}), which the parity job does not allow."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Turns a skipped test into a failed one; an expected failure stays one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Turns a skipped module into a failed one."""
    report = yield
    if report.skipped:
        _fail(report, collector.nodeid)
    return report
