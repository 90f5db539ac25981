"""Versions: which one answers, and the states they pass through."""

from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tfxlm.client.transport import ModelRef
from tfxlm.errors import ExportError, ServingError
from tfxlm.serve.models import ModelManager, version_folders
from tfxlm.serve.servable import Servable


def test_version_folders_are_whole_numbers(tiny_folder: Path) -> None:
    assert version_folders(tiny_folder) == {9: tiny_folder / "9", 10: tiny_folder / "10"}


def test_the_newest_version_is_the_highest_number_not_the_last_name(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": tiny_folder})
    models.load_newest()
    servable = models.find(ModelRef("tiny"))
    assert (servable.version, servable.status.state) == (10, "AVAILABLE")
    assert [status.version for status in models.statuses(ModelRef("tiny"))] == [10]
    models.unload_all()
    assert servable.status.state == "END"
    with pytest.raises(ServingError, match="Model 'tiny' is not served here") as caught:
        models.find(ModelRef("tiny"))
    assert caught.value.code == "NOT_FOUND"


def test_states_of_a_version(tiny_folder: Path) -> None:
    servable = Servable("tiny", 10, tiny_folder / "10")
    assert servable.status.state == "START"
    servable.load()
    assert servable.status.state == "AVAILABLE"
    servable.unload()
    assert servable.status.state == "END"


def test_calling_an_unloaded_version(tiny_folder: Path) -> None:
    servable = Servable("tiny", 10, tiny_folder / "10")
    servable.load()
    servable.unload()
    with pytest.raises(ServingError, match="Model 'tiny' version 10 is not available; its state is END") as caught:
        servable.predict("half_plus_three", {"x": np.zeros(1, np.float32)})
    assert caught.value.code == "UNAVAILABLE"


def test_a_version_that_cannot_be_loaded_keeps_the_reason(tmp_path: Path) -> None:
    servable = Servable("tiny", 1, tmp_path)
    with pytest.raises(ExportError, match=r"saved_model\.pb is missing"):
        servable.load()
    assert servable.status.state == "END"
    assert (servable.status.error_code, servable.status.error_message) == ("DATA_LOSS", "saved_model.pb is missing")


def test_a_graph_without_the_tag_for_serving(tmp_path: Path) -> None:
    saved_model = saved_model_pb2.SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    with pytest.raises(ExportError, match=r"saved_model\.pb holds no graph with the tag 'serve'\. Export the model"):
        Servable("tiny", 1, tmp_path).load()


def test_versions_that_are_not_there(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": tiny_folder})
    models.load_newest()
    with pytest.raises(ServingError, match=r"Model 'tiny' has no version 9 here; served: 10\.") as caught:
        models.find(ModelRef("tiny", version=9))
    assert caught.value.code == "NOT_FOUND"


def test_a_model_of_which_no_version_is_available(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": tiny_folder})
    models.load_newest()
    models.find(ModelRef("tiny")).unload()
    with pytest.raises(ServingError, match=r"No version of model 'tiny' is available\.") as caught:
        models.find(ModelRef("tiny"))
    assert caught.value.code == "UNAVAILABLE"


def test_a_failing_model_unloads_the_others(tiny_folder: Path, tmp_path: Path) -> None:
    models = ModelManager({"good": tiny_folder, "bad": tmp_path})
    with pytest.raises(ExportError, match="No version of a model"):
        models.load_newest()
    with pytest.raises(ServingError, match="Model 'good' is not served here"):
        models.find(ModelRef("good"))
