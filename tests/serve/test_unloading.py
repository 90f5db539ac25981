"""Versions that go: for good, while another is loaded, and while another takes over."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.serve.tiny_models import save_plus_model
from tfxlm.client.transport import ModelRef
from tfxlm.errors import ServingError
from tfxlm.serve.model_config import ServedModel
from tfxlm.serve.models import ModelManager
from tfxlm.serve.responses import metadata_response
from tfxlm.serve.servable import Servable


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "plus"
    save_plus_model(folder / "2", 2)
    return folder


def test_what_was_unloaded_stays_unloaded(plus: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    models.unload_all()
    for change in (models.refresh, models.load, lambda: models.refresh({"other": ServedModel(plus)})):
        with pytest.raises(ServingError, match=r"^The models of this server were unloaded; make a new one") as caught:
            change()
        assert caught.value.code == "UNAVAILABLE"
    assert not models.is_ready
    with pytest.raises(ServingError, match="Model 'plus' is not served here"):
        models.find(ModelRef("plus"))


def test_what_is_being_loaded_while_all_is_unloaded_goes_too(plus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelManager({"plus": ServedModel(plus), "other": ServedModel(plus)})
    started, go = threading.Event(), threading.Event()
    load, loaded = Servable.load, []

    def slow(servable: Servable, warm_up: Any) -> None:
        loaded.append(servable)
        started.set()
        assert go.wait(30)
        load(servable, warm_up)

    monkeypatch.setattr(Servable, "load", slow)
    loading = threading.Thread(target=models.load)
    loading.start()
    assert started.wait(30)
    models.unload_all(0.01)
    go.set()
    loading.join(30)
    assert [servable.status.state for servable in loaded] == ["END"]  # and the other was never begun


def test_metadata_of_a_version_that_goes_meanwhile_is_that_of_the_next(
    plus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    new = models.find(ModelRef("plus"))
    old = Servable("plus", 1, plus / "2")
    old.load(lambda _: None)
    old.unload()
    found = iter([old, new])
    monkeypatch.setattr(models, "find", lambda _: next(found))
    spec, signatures = metadata_response(models, ModelRef("plus"))
    assert (spec.version.value, list(signatures.signature_def)) == (2, list(new.signature_defs))
    assert signatures.signature_def
    models.unload_all()


def test_a_version_is_found_while_it_takes_over(plus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that sees the new version before it came and the old one after it went is repeated."""
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    (new,) = models._versions(ModelRef("plus"))
    old = Servable("plus", 1, plus / "1")
    looks = iter([[old], [old, new]])
    monkeypatch.setattr(models, "_versions", lambda _: next(looks))
    assert models.find(ModelRef("plus")) is new
    models.unload_all()
