"""Folders, JSON and writes that leave nothing half done."""

import json
import os
import stat
from pathlib import Path

import pytest

from tfxlm import files
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, InputError, OutputExistsError, UnsafeFileError
from tfxlm.files import writing


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_local_folder_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    assert files.resolve_folder(tmp_path, patterns=["*.json"]) == tmp_path
    assert files.resolve_folder(str(tmp_path), patterns=[], subfolder="models/base") == tmp_path / "models" / "base"


@pytest.mark.parametrize("subfolder", ["../other", "a/../../other", "/etc", "..\\other", "a\0b"])
def test_subfolder_stays_inside(tmp_path: Path, subfolder: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(UnsafeFileError, match=r"leads out of the folder. Give a relative path"):
        files.resolve_folder(tmp_path / "model", patterns=[], subfolder=subfolder)


def test_subfolder_link_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UnsafeFileError, match="is a link that leads out of the folder"):
        files.resolve_folder(tmp_path / "model", patterns=[], subfolder="link")


def test_missing_subfolder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"has no subfolder 'base'. Check the spelling"):
        files.resolve_folder(tmp_path, patterns=[], subfolder="base")


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointNotFoundError, match=r"Expected a folder, but .* is a file. Pass the folder"):
        files.resolve_folder(tmp_path / "config.json", patterns=[])


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "two words"])
def test_neither_folder_nor_hub_name(name: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"There is no folder .* and it is not a hub name such as"):
        files.resolve_folder(name, patterns=["*.json"])


def test_read_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": [1, null], "ключ": "é"}', encoding="utf-8")
    assert files.read_json(path) == {"a": [1, None], "ключ": "é"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": tru}', "is not valid JSON: Expecting value at line 2, column 7"),
        (b'{"a": "\xff"}', "is not UTF-8 text: invalid start byte at byte 7"),
        (b"[1, 2]", "should hold a JSON object, but holds a list"),
        (b"[" * 90_000, "is nested too deeply"),
        (b'{"a":' * 90_000, "is nested too deeply"),
        (b'{"a": [' + b"[]," * 400_000 + b"[]]}", "has more lists and objects than files of this project have"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON: Exceeds the limit"),
        (b"", r"is empty \(0 bytes\): download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a git-LFS pointer.*`git lfs pull`"),
        (b"  <!DOCTYPE html><html>", "is an HTML page.*download the file again"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
    ],
)
def test_malformed_json(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=message) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_large_json_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"a": "x" * 100}))
    with pytest.raises(CorruptFileError, match="is larger than 50 bytes"):
        files.read_json(path, max_bytes=50)


def test_no_json(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"There is no file .*config.json"):
        files.read_json(tmp_path / "config.json")
    with pytest.raises(CheckpointNotFoundError, match=r"Expected a JSON file, but .* is a folder"):
        files.read_json(tmp_path)


def test_write_json_keeps_order_and_letters(tmp_path: Path) -> None:
    path = tmp_path / "new" / "vocab.json"
    files.write_json(path, {"слово</w>": 1, "a": 0})
    assert path.read_text(encoding="utf-8") == '{\n  "слово</w>": 1,\n  "a": 0\n}\n'
    assert list(files.read_json(path)) == ["слово</w>", "a"]
    assert listing(path.parent) == ["vocab.json"]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800"])
def test_write_json_refuses_what_json_cannot_hold(tmp_path: Path, value: object) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="cannot be written as JSON"):
        files.write_json(path, {"a": value})
    assert path.read_text() == "{}"


def test_atomic_file_replaces_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("old")
    with files.atomic_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["weights"]


def test_atomic_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with files.atomic_file(tmp_path / "weights") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_file_leaves_the_old_one_on_error(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(error), files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["weights"]


def test_atomic_file_replaces_a_link_without_following_it(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("shared")
    (tmp_path / "weights").symlink_to(tmp_path / "blob")
    with files.atomic_file(tmp_path / "weights") as temporary:
        temporary.write_text("mine")
    assert (tmp_path / "blob").read_text() == "shared"
    assert (tmp_path / "weights").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/new", "file/new/folder"])
def test_folders_are_not_made_in_place_of_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    message = r"Nothing can be saved in '.*file.*': '.*file' is a file. Give a folder to save to, or remove the file"
    with pytest.raises(OutputExistsError, match=message):
        files.make_folder(tmp_path / name)
    with pytest.raises(OutputExistsError, match=message), files.atomic_file(tmp_path / name / "config.json"):
        pytest.fail("entered")
    with pytest.raises(OutputExistsError, match=message), files.atomic_folder(tmp_path / name / "1"):
        pytest.fail("entered")
    assert (tmp_path / "file").read_text() == "x"
    assert listing(tmp_path) == ["file"]


def test_atomic_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with (
        pytest.raises(OutputExistsError, match=r"config.json' is a folder. Choose another name for the file, or"),
        files.atomic_file(tmp_path / "config.json"),
    ):
        pytest.fail("entered")
    assert listing(tmp_path) == ["config.json"]


def test_atomic_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "intent" / "1"
    with files.atomic_folder(path) as temporary:
        (temporary / "assets").mkdir()
        (temporary / "assets" / "vocab").write_text("x")
        assert temporary.parent == path.parent
        assert not temporary.name.isdigit()  # a server that watches for version numbers must not see it
        assert not path.exists()
    assert (path / "assets" / "vocab").read_text() == "x"
    assert listing(path.parent) == ["1"]


def test_leftovers_are_known_by_their_names(tmp_path: Path) -> None:
    for name in (".new.0123456789ab.tmp", ".new.backup.tmp", ".new.bf16.0123456789ab.tmp", ".new.0123456789AB.tmp"):
        (tmp_path / name).mkdir()
    with files.atomic_folder(tmp_path / "new"):
        pass
    assert listing(tmp_path) == [".new.0123456789AB.tmp", ".new.backup.tmp", ".new.bf16.0123456789ab.tmp", "new"]


def test_what_killed_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.remove_leftovers(tmp_path / "nowhere")
    (tmp_path / "kept").mkdir()
    kept = [".new.tmp", "a.0123456789ab.tmp", "kept"]
    for name in (*kept[:2], ".x.json.0123456789ab.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".new.0123456789ab.tmp/inside").mkdir(parents=True)
    (tmp_path / ".link.0123456789ab.tmp").symlink_to(tmp_path / "kept")
    files.remove_leftovers(tmp_path)
    assert listing(tmp_path) == kept
    being_made = pytest.raises(OutputExistsError, match=r"other' is being made by another process")
    with files.atomic_folder(tmp_path / "other"), being_made:
        files.remove_leftovers(tmp_path)
    # A removal that is interrupted leaves nothing under the name of the folder.
    monkeypatch.setattr(writing.shutil, "rmtree", lambda *_, **__: None)
    files.remove_folder(tmp_path / "other")
    monkeypatch.undo()
    assert len(listing(tmp_path)) == 4 and not (tmp_path / "other").exists()
    files.remove_leftovers(tmp_path)
    assert listing(tmp_path) == kept


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_folder_that_another_process_takes_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    lock = writing._lock

    def late(folder: Path) -> int | None:
        if is_locked:
            return None
        folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(writing, "_lock", late)
    with (
        pytest.raises(OutputExistsError, match="is being made by another process"),
        files.atomic_folder(tmp_path / "a"),
    ):
        pytest.fail("entered")
    assert listing(tmp_path) == []


def test_work_folder(tmp_path: Path) -> None:
    with files.work_folder(tmp_path / "model.keras") as folder:
        (folder / "model.keras").write_text("x")
        (folder / "more").write_text("y")
    assert listing(tmp_path) == ["model.keras"] and (tmp_path / "model.keras").read_text() == "x"
    with pytest.raises(OutputExistsError, match="exists already"), files.work_folder(tmp_path / "model.keras"):
        pytest.fail("entered")


def test_links_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    folder = tmp_path / "models--x" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "models--x" / "blobs").mkdir()
    (tmp_path / "models--x" / "blobs" / "1").touch()
    (folder / "file").touch()
    for name, target in (("blob", "../../blobs/1"), ("inner", "file"), ("out", "../../../secret"), ("loop", "loop")):
        (folder / name).symlink_to(target)
    for name in ("file", "blob", "inner", "loop", "missing"):
        assert files.inside(folder, name) == folder / name
    with pytest.raises(
        UnsafeFileError, match=r"out' is a link that leads out of its folder.*Put the file itself there"
    ):
        files.inside(folder, "out")


def test_atomic_folder_is_removed_on_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "1") as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_atomic_folder_refuses_an_existing_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1"
    if kind == "file":
        path.write_text("x")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(OutputExistsError, match=r"exists already. Choose another name, or remove it first"),
        files.atomic_folder(path),
    ):
        pytest.fail("entered")
    assert listing(tmp_path) == ["1"]


def test_atomic_folder_refuses_a_path_made_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "1"
    with pytest.raises(OutputExistsError, match="exists already"), files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("x")
        path.mkdir()
    assert listing(tmp_path) == ["1"]
    assert listing(path) == []
