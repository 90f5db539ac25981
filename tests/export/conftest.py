"""One export of every class, made when a test first asks for it and shared by all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.export.support import CLASSES, Exported, export, make_model
from tfxlm.models import TFPreTrainedModel

Exports = Callable[[type[TFPreTrainedModel]], Exported]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    made: dict[type, Exported] = {}
    folder = tmp_path_factory.mktemp("exports")

    def get(kind: type[TFPreTrainedModel]) -> Exported:
        if kind not in made:
            made[kind] = export(make_model(kind), folder / kind.__name__)
        return made[kind]

    return get


@pytest.fixture(params=CLASSES, ids=lambda kind: kind.__name__)
def exported(request: pytest.FixtureRequest, exports: Exports) -> Exported:
    return exports(request.param)
