"""Versions: which one answers, and the states they pass through."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tests.serve.tiny_models import save_plus_model
from tfxlm.client.transport import ModelRef
from tfxlm.errors import ExportError, ServingError
from tfxlm.serve.model_config import ALL, ServedModel, VersionPolicy
from tfxlm.serve.models import ModelManager, version_folders
from tfxlm.serve.servable import Servable
from tfxlm.serve.warmup import replay_warmup


def test_version_folders_are_whole_numbers(tiny_folder: Path) -> None:
    assert version_folders(tiny_folder) == {9: tiny_folder / "9", 10: tiny_folder / "10"}


def test_numbers_that_fit_into_no_message_are_no_versions(tmp_path: Path) -> None:
    for name in (str(2**63 - 1), str(2**63), "9" * 200):
        (tmp_path / name).mkdir()
    assert version_folders(tmp_path) == {2**63 - 1: tmp_path / str(2**63 - 1)}


def test_the_newest_version_is_the_highest_number_not_the_last_name(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": ServedModel(tiny_folder)})
    models.load()
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
    servable.load(replay_warmup)
    assert servable.status.state == "AVAILABLE"
    servable.unload()
    assert servable.status.state == "END"


def test_calling_an_unloaded_version(tiny_folder: Path) -> None:
    servable = Servable("tiny", 10, tiny_folder / "10")
    servable.load(replay_warmup)
    servable.unload()
    with pytest.raises(ServingError, match="Model 'tiny' version 10 is not available; its state is END") as caught:
        servable.predict("half_plus_three", {"x": np.zeros(1, np.float32)})
    assert caught.value.code == "UNAVAILABLE"


def test_a_version_that_cannot_be_loaded_keeps_the_reason(tmp_path: Path) -> None:
    servable = Servable("tiny", 1, tmp_path)
    with pytest.raises(ExportError, match=r"saved_model\.pb is missing"):
        servable.load(replay_warmup)
    assert servable.status.state == "END"
    assert (servable.status.error_code, servable.status.error_message) == ("DATA_LOSS", "saved_model.pb is missing")


def test_a_graph_without_the_tag_for_serving(tmp_path: Path) -> None:
    saved_model = saved_model_pb2.SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    with pytest.raises(ExportError, match=r"saved_model\.pb holds no graph with the tag 'serve'\. Export the model"):
        Servable("tiny", 1, tmp_path).load(replay_warmup)


def write_warmup_logs(folder: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    (folder / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def write_warmup(folder: Path, *requests: predict_pb2.PredictRequest) -> None:
    other = prediction_log_pb2.PredictionLog()  # of another kind
    logs = [prediction_log_pb2.PredictionLog(predict_log={"request": request}) for request in requests]
    write_warmup_logs(folder, *logs, other)


def warmup_request(**inputs: list[float]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.float32))
    return request


def test_warmup_requests_are_replayed_before_a_version_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = []
    predict = Servable.predict

    def noted(servable: Servable, signature: str, inputs: dict[str, np.ndarray]) -> None:
        replayed.append((servable.status.state, signature, predict(servable, signature, inputs)["y"].tolist()))

    monkeypatch.setattr(Servable, "predict", noted)
    folder = save_plus_model(tmp_path / "1", 1)
    write_warmup(folder, warmup_request(x=[1, 2]), warmup_request(x=[5]))
    Servable("plus", 1, folder).load(replay_warmup)
    assert replayed == [("LOADING", "serving_default", [2, 3]), ("LOADING", "serving_default", [6])]


def test_a_version_that_cannot_answer_its_warmup_requests(tmp_path: Path) -> None:
    folder = save_plus_model(tmp_path / "1", 1)
    write_warmup(folder, warmup_request(z=[1]))
    servable = Servable("plus", 1, folder)
    with pytest.raises(ExportError, match=r"Model 'plus' version 1 in .* cannot be loaded: The inputs do not fit sign"):
        servable.load(replay_warmup)
    assert servable.status.state == "END"


def test_versions_that_are_not_there(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": ServedModel(tiny_folder)})
    models.load()
    with pytest.raises(ServingError, match=r"Model 'tiny' has no version 9 here; served: 10\.") as caught:
        models.find(ModelRef("tiny", version=9))
    assert caught.value.code == "NOT_FOUND"


def test_a_model_of_which_no_version_is_available(tiny_folder: Path) -> None:
    models = ModelManager({"tiny": ServedModel(tiny_folder)})
    models.load()
    models.find(ModelRef("tiny")).unload()
    with pytest.raises(ServingError, match=r"No version of model 'tiny' is available: version 10 is END\.") as caught:
        models.find(ModelRef("tiny"))
    assert caught.value.code == "UNAVAILABLE"


def test_a_failing_model_unloads_the_others(tiny_folder: Path, tmp_path: Path) -> None:
    models = ModelManager({"good": ServedModel(tiny_folder), "bad": ServedModel(tmp_path)})
    with pytest.raises(ExportError, match="No version of a model"):
        models.load()
    with pytest.raises(ServingError, match="Model 'good' is not served here"):
        models.find(ModelRef("good"))


def states(models: ModelManager, name: str = "plus") -> dict[int, str]:
    return {status.version: status.state for status in models.statuses(ModelRef(name))}


def answer(models: ModelManager, name: str = "plus", **which: object) -> float:
    with models.serving(ModelRef(name, **which)) as servable:
        return servable.predict("serving_default", {"x": np.zeros(1, np.float32)})["y"].tolist()[0]


@pytest.fixture
def plus(tmp_path: Path) -> Path:
    """A model with the versions 1 to 3, each of which adds its number."""
    for version in (1, 2, 3):
        save_plus_model(tmp_path / "plus" / str(version), version)
    return tmp_path / "plus"


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (VersionPolicy(latest=1), {3}),
        (VersionPolicy(latest=2), {2, 3}),
        (VersionPolicy(latest=9), {1, 2, 3}),
        (ALL, {1, 2, 3}),
        (VersionPolicy(specific=frozenset({1, 3})), {1, 3}),
    ],
)
def test_policies_and_versions_side_by_side(policy: VersionPolicy, versions: set[int], plus: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus, policy)})
    models.load()
    assert states(models) == dict.fromkeys(versions, "AVAILABLE")
    assert answer(models) == max(versions)
    assert [answer(models, version=version) for version in sorted(versions)] == sorted(versions)


def test_labels_lead_to_versions(plus: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus, ALL, {"stable": 1, "canary": 3})})
    models.load()
    assert (answer(models, label="stable"), answer(models, label="canary"), answer(models)) == (1, 3, 3)
    assert [status.version for status in models.statuses(ModelRef("plus", label="stable"))] == [1]
    message = (
        r"Version label 'old' is unknown: model 'plus' has 'stable', 'canary'\. Ask for a version number, or for one"
    )
    with pytest.raises(ServingError, match=message) as caught:
        answer(models, label="old")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_labels_and_versions_that_are_not_there_stop_the_start(plus: Path) -> None:
    for model, message in (
        (
            ServedModel(plus, labels={"stable": 1}),
            r"'plus' gives the label 'stable' to version 1, which is not available",
        ),
        (ServedModel(plus, VersionPolicy(specific=frozenset({2, 8, 9}))), r"^No version 8, 9 of a model in .*plus\.$"),
    ):
        with pytest.raises(ExportError, match=message):
            ModelManager({"plus": model}).load()


def test_versions_come_and_go(plus: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus, VersionPolicy(latest=2))})
    models.load()
    save_plus_model(plus / "4", 4)
    models.refresh()
    assert states(models) == {4: "AVAILABLE", 3: "AVAILABLE", 2: "END"}
    with pytest.raises(ServingError, match=r"Model 'plus' version 2 is END, so it cannot answer\.") as caught:
        answer(models, version=2)
    assert caught.value.code == "NOT_FOUND"
    for version in (4, 3):  # back to the versions before
        shutil.rmtree(plus / str(version))
    models.refresh()
    assert states(models) == {4: "END", 3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert answer(models) == 2
    shutil.rmtree(plus)
    models.refresh()  # a disk that is away
    assert answer(models) == 2
    plus.mkdir()
    models.refresh()
    assert set(states(models).values()) == {"END"}


def test_a_broken_version_is_reported_once_and_the_old_one_answers(
    plus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    (plus / "4").mkdir()
    for _ in range(3):
        models.refresh()
    (record,) = caplog.records
    assert "version 4 in" in record.getMessage() and "saved_model.pb is missing" in record.getMessage()
    assert states(models) == {4: "END", 3: "AVAILABLE"}
    assert models.statuses(ModelRef("plus", 4))[0].error_message == "saved_model.pb is missing"
    assert answer(models) == 3
    save_plus_model(plus / "4", 4)  # complete now
    models.refresh()
    assert states(models) == {4: "AVAILABLE", 3: "END"}


def test_an_unchanged_broken_version_is_not_loaded_again(plus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    (plus / "4").mkdir()
    models.refresh()
    monkeypatch.setattr(Servable, "load", lambda servable: pytest.fail("loaded again"))
    models.refresh()


def test_a_version_goes_when_its_last_request_is_answered(plus: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    save_plus_model(plus / "4", 4)
    with ThreadPoolExecutor(1) as pool:
        with models.serving(ModelRef("plus")) as old:
            change = pool.submit(models.refresh)
            while old.status.state != "UNLOADING":
                assert not change.done()
            assert answer(models) == 4  # new requests have the new version
            assert old.predict("serving_default", {"x": np.zeros(1, np.float32)})["y"].tolist() == [3]
            assert not change.done()
        change.result(30)
    assert old.status.state == "END"


def test_a_version_of_the_same_number_in_another_folder_takes_over(plus: Path) -> None:
    elsewhere = plus / "elsewhere"
    save_plus_model(elsewhere / "3", 30)
    (plus / "broken" / "3").mkdir(parents=True)
    models = ModelManager({"plus": ServedModel(plus, labels={"stable": 3})})
    models.load()
    (problem,) = models.refresh({"plus": ServedModel(plus / "broken")})
    assert "saved_model.pb is missing" in problem
    assert (answer(models), states(models)) == (3, {3: "AVAILABLE"})
    with ThreadPoolExecutor(1) as pool:
        with models.serving(ModelRef("plus")) as old:
            change = pool.submit(models.refresh, {"plus": ServedModel(elsewhere, labels={"stable": 3})})
            while old.status.state != "UNLOADING":
                assert not change.done()
            assert (answer(models), answer(models, version=3)) == (30, 30)  # new requests have the new folder
            assert old.predict("serving_default", {"x": np.zeros(1, np.float32)})["y"].tolist() == [3]
            assert not change.done()
        assert change.result(30) == ()
    assert (old.status.state, states(models), answer(models, label="stable")) == ("END", {3: "AVAILABLE"}, 30)
    new = models.find(ModelRef("plus"))
    models.refresh({"plus": ServedModel(plus / "2" / ".." / "elsewhere")})  # the same place
    assert models.find(ModelRef("plus")) is new


def test_models_follow_a_new_configuration(plus: Path, tiny_folder: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus, ALL, {"stable": 1}), "old": ServedModel(plus)}, [tiny_folder])
    models.load()
    models.refresh(
        {
            "plus": ServedModel(plus, VersionPolicy(specific=frozenset({2, 3})), {"stable": 2}),
            "tiny": ServedModel(tiny_folder),
        }
    )
    assert models.names == ("plus", "tiny")
    assert (answer(models, label="stable"), states(models)[1]) == (2, "END")
    assert states(models, "tiny") == {10: "AVAILABLE"}
    with pytest.raises(ServingError, match="Model 'old' is not served here"):
        answer(models, "old")


def test_a_label_for_a_version_that_is_not_there_stays_where_it_was(
    plus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = ModelManager({"plus": ServedModel(plus, ALL, {"stable": 1, "gone": 2})})
    models.load()
    models.refresh({"plus": ServedModel(plus, ALL, {"stable": 9})})
    assert "label 'stable' to version 9, which is not available" in caplog.text
    assert answer(models, label="stable") == 1
    with pytest.raises(ServingError, match="label 'gone' is unknown"):
        answer(models, label="gone")


def test_models_elsewhere_are_not_loaded(plus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    (tmp_path / "link").symlink_to(tiny_folder)
    for path in (tiny_folder, tiny_folder.parent, plus / ".." / ".." / "tiny", tmp_path / "link", plus.parent):
        with pytest.raises(
            ServingError, match=r"^Model 'tiny' is in .*, which is in no folder that this ser"
        ) as caught:
            models.refresh({"tiny": ServedModel(path)})
        assert caught.value.code == "PERMISSION_DENIED"
    assert models.names == ("plus",)
    assert answer(models) == 3


def test_a_version_that_is_a_link_elsewhere_is_not_loaded(plus: Path, tiny_folder: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    (plus / "9").symlink_to(tiny_folder / "9")
    (problem,) = models.refresh()
    assert problem.startswith(f"Version 9 of model 'plus', {plus / '9'}, is a link out of the folders that this server")
    assert states(models) == {3: "AVAILABLE"}
    (plus / "8").symlink_to(plus / "1")  # a link inside
    models.refresh()
    assert answer(models) == 1
    assert answer(models, version=8) == 1


def test_only_so_many_versions_that_are_gone_are_remembered(plus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.serve.models._REMEMBERED", 1)
    models = ModelManager({"plus": ServedModel(plus, ALL)})
    models.load()
    for version in (1, 2):
        shutil.rmtree(plus / str(version))
    models.refresh()
    assert states(models) == {3: "AVAILABLE", 2: "END"}


def test_links_inside_a_version_must_not_lead_elsewhere(plus: Path, tmp_path: Path) -> None:
    models = ModelManager({"plus": ServedModel(plus)})
    models.load()
    shutil.copytree(plus / "2", tmp_path / "elsewhere")
    save_plus_model(plus / "7", 7)
    (plus / "shared").mkdir()
    links = {
        plus / "7" / "saved_model.pb": tmp_path / "elsewhere" / "saved_model.pb",
        plus / "7" / "variables": tmp_path / "elsewhere" / "variables",
        plus / "7" / "assets": plus / "shared",  # a link inside, behind which one leads out
    }
    (plus / "shared" / "vocab.txt").symlink_to(tmp_path / "elsewhere" / "saved_model.pb")
    for link, target in links.items():
        kept = link.rename(tmp_path / "kept")
        link.symlink_to(target)
        (problem,) = models.refresh()
        stray = link / "vocab.txt" if target == plus / "shared" else link
        assert problem == (
            f"Version 7 of model 'plus', {plus / '7'}, holds a link out of the folders that this server was given: "
            f"{stray}. Put the file itself there, or start the server with a model root that holds it."
        )
        assert answer(models) == 3
        link.unlink()
        kept.rename(link)
    (plus / "7" / "assets" / "again").symlink_to(plus / "7")  # inside, and in a circle
    assert models.refresh() == ()
    assert answer(models) == 7
    models.unload_all()
