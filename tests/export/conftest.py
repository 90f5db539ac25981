"""One export of every class, made when a test first asks for it and shared by all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.export.asked import Asked
from tests.export.support import CLASSES, Exported, export, make_model
from tests.models.families import FAMILIES
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


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """Tokenizers of all families, and models that are exported with them when a test first asks for one."""
    return {family.prefix: Asked(family, tmp_path_factory.mktemp(family.prefix)) for family in FAMILIES}


@pytest.fixture(params=CLASSES, ids=lambda kind: kind.__name__)
def exported(request: pytest.FixtureRequest, exports: Exports) -> Exported:
    return exports(request.param)
