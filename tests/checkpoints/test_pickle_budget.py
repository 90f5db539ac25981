"""What a pickle may take, by its length."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.test_torch_files import NUMBERS, ONE
from tests.checkpoints.torch_writer import Name, Raw, archive, emit, save, state_archive, storage
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError


def copies(name: str, argument: bytes, times: int) -> Raw:
    """Calls of a function on one argument, which is in the file once."""
    return Raw(b"(" + emit(Name(name)) + b"q\x00" + argument + b"\x85q\x01" + b"h\x00h\x01R" * times + b"t")


NUMBERED = b"N" + b"".join(b"r" + index.to_bytes(4, "little") for index in range(400_000))
SETTINGS = b"}(" + b"".join(emit(index) + b"N" for index in range(5000)) + b"u"


@pytest.mark.parametrize(
    "value",
    [
        copies("_codecs.encode", emit("a" * 1_000_000), 1000),
        copies("builtins.list", b"](" + b"\x88" * 50_000 + b"e", 1000),
        copies("builtins.set", b"](" + b"\x88" * 50_000 + b"e", 1000),
        copies("torch.Size", b"](" + b"K\x01" * 50_000 + b"e", 1000),
        copies("collections.OrderedDict", b"](" + emit(("a", 1)) * 50_000 + b"e", 1000),
        Raw(emit(Name("argparse.Namespace")) + b"q\x00" + SETTINGS + b"q\x01(" + b"h\x00)\x81h\x01b" * 500 + b"t"),
        Raw(emit(Name("argparse.Namespace")) + b"q\x00(" + b"h\x00)\x81" * 100_000 + b"t"),
        Raw(emit(storage("0", 24).value) + b"q\x00(" + b"h\x00Q" * 100_000 + b"t"),
        Raw(emit((1, 2)) + b"q\x00\x8f(" + b"h\x00" * 100_000 + b"\x90"),
        Raw(NUMBERED),
    ],
    ids=["encode", "list", "set", "size", "dictionary", "state", "records", "storages", "tuples", "numbered"],
)
def test_little_that_makes_much(tmp_path: Path, value: Raw) -> None:
    path = save(tmp_path, archive({"a": value}, ONE))
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match="more lists, dictionaries and tuples than its length accounts for"):
        open_checkpoint(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (64 << 20)


def test_honest_files_of_many_tensors(tmp_path: Path) -> None:
    arrays = {f"model.layers.{index}.weight": NUMBERS[:4] for index in range(6000)}
    with open_checkpoint(save(tmp_path, state_archive(arrays))) as checkpoint:
        assert checkpoint.names() == tuple(arrays)


def test_memory_that_runs_out_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, state_archive({"a": NUMBERS}))
    for error in (RecursionError, MemoryError):

        def fail(*_: Any, error: type[Exception] = error) -> None:
            raise error

        with monkeypatch.context() as changed, pytest.raises(CorruptFileError, match="nested too deeply or too large"):
            changed.setattr("tfxlm.checkpoints.layouts.torch_objects.flat_tensors", fail)
            open_checkpoint(path)
        with monkeypatch.context() as changed, pytest.raises(CorruptFileError, match="truncated or corrupt pickle"):
            changed.setattr("tfxlm.checkpoints.pickle_machine.Machine.run", fail)
            open_checkpoint(path)
