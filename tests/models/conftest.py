"""Models that the tests of this folder share, none of which changes its weights, and the cases that habits meet."""

from __future__ import annotations

import pytest

from tests.models.battery import perturb
from tests.models.cases import Case, sampled
from tests.models.families import XLM
from tfxlm import TFXLMForSequenceClassification, TFXLMModel, TFXLMWithLMHeadModel, XLMConfig


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each test with a `case` of no other origin those that it is to be tried with."""
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "case" in metafunc.fixturenames and not any("case" in names for names in given):
        cases = sampled(metafunc.function.__name__)
        metafunc.parametrize("case", cases, ids=str, indirect=True, scope="module")


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session")
def config() -> XLMConfig:
    return XLM.config


@pytest.fixture(scope="session")
def base() -> TFXLMModel:
    return perturb(TFXLMModel(XLM.config))


@pytest.fixture(scope="session")
def language_model() -> TFXLMWithLMHeadModel:
    return perturb(TFXLMWithLMHeadModel(XLM.config))


@pytest.fixture(scope="session")
def classifier() -> TFXLMForSequenceClassification:
    return perturb(TFXLMForSequenceClassification(XLM.config))
