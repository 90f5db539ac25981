"""Files of torch.save, read without torch: what they hold, and what they may try."""

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints.arrays import DTYPES, one_of_each, random_array, same
from tests.checkpoints.torch_writer import (
    STORAGES,
    Call,
    Name,
    Persistent,
    Raw,
    State,
    archive,
    emit,
    pickled,
    save,
    state_archive,
    storage,
    tensor,
)
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError, TFXLMError, UnsafeFileError, UnsupportedFileError

NUMBERS = np.arange(24, dtype=np.float32)
ONE = {"0": NUMBERS.tobytes()}


def opened(tmp_path: Path, value: Any, storages: dict[str, bytes] = ONE, **options: Any) -> dict[str, np.ndarray]:
    with open_checkpoint(save(tmp_path, archive(value, storages, **options))) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


def test_state_dict_of_every_dtype(tmp_path: Path) -> None:
    arrays = one_of_each()
    with open_checkpoint(save(tmp_path, state_archive(arrays))) as checkpoint:
        assert checkpoint.names() == tuple(arrays)
        for name, array in arrays.items():
            assert same(checkpoint.read(name), array), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_big_endian(tmp_path: Path, dtype: str) -> None:
    array = random_array((3, 5), dtype)
    swapped = array.view(f"u{array.itemsize}").byteswap().tobytes()
    value = {"a": tensor(storage("0", 15, STORAGES[dtype]), (3, 5), (5, 1))}
    assert same(opened(tmp_path, value, {"0": swapped}, byteorder=b"big")["a"], array)


def test_byte_order_may_be_absent_but_not_unknown(tmp_path: Path) -> None:
    value = {"a": tensor(storage("0", 24), (24,), (1,))}
    assert same(opened(tmp_path, value, byteorder=None)["a"], NUMBERS)
    with pytest.raises(CorruptFileError, match="unknown byte order b'middle'"):
        opened(tmp_path, value, byteorder=b"middle")


def test_views_of_one_storage(tmp_path: Path) -> None:
    shared = storage("0", 24)
    value = {
        "whole": tensor(shared, (4, 6), (6, 1)),
        "transposed": tensor(shared, (6, 4), (1, 6)),
        "row": tensor(shared, (6,), (1,), 6),
        "column": tensor(shared, (4,), (6,), 2),
        "block": tensor(shared, (2, 3), (6, 1), 7),
        "repeated": tensor(shared, (5, 6), (0, 1)),
        "number": tensor(shared, (), (), 23),
        "nothing": tensor(shared, (0, 6), (6, 1), 24),
        "odd stride": tensor(shared, (1, 24), (99, 1)),
    }
    grid = NUMBERS.reshape(4, 6)
    expected = {
        "whole": grid,
        "transposed": grid.T,
        "row": grid[1],
        "column": grid[:, 2],
        "block": grid[1:3, 1:4],
        "repeated": np.broadcast_to(grid[0], (5, 6)),
        "number": grid[3, 5].reshape(()),
        "nothing": grid[:0],
        "odd stride": NUMBERS.reshape(1, 24),
    }
    read = opened(tmp_path, value)
    assert list(read) == list(expected)
    for name, array in expected.items():
        assert same(read[name], np.ascontiguousarray(array).reshape(array.shape)), name
        assert read[name].flags.c_contiguous
        assert not read[name].flags.writeable
    assert np.shares_memory(read["whole"], read["row"])


def test_parameters_and_older_spellings(tmp_path: Path) -> None:
    data = tensor(storage("0", 24), (24,), (1,))
    hooks = Call(Name("collections.OrderedDict"), ())
    size = Call(Name("torch.Size"), ((24,),))
    pairs = [["e", data]]
    value = {
        "a": Call(Name("torch._utils._rebuild_parameter"), (data, True, hooks)),
        "b": Call(Name("torch._utils._rebuild_parameter_with_state"), (data, True, hooks, {})),
        "c": Call(Name("torch._utils._rebuild_tensor"), (storage("0", 24), 0, size, (1,))),
        "d": tensor(storage("0", 24), (24,), (1,), 0, {}),
    }
    assert all(same(array, NUMBERS) for array in opened(tmp_path, value).values())
    assert same(opened(tmp_path, Call(Name("collections.OrderedDict"), (pairs,)))["e"], NUMBERS)


def test_protocol_4_spelling(tmp_path: Path) -> None:
    named = Raw(emit("torch._utils") + emit("_rebuild_tensor_v2") + b"\x93\x94")  # STACK_GLOBAL MEMOIZE
    arguments = (storage("0", 24), 0, (24,), (1,), False, {})
    data = b"\x80\x04\x95" + bytes(8) + emit({"a": Call(named, arguments), "b": Call(Raw(b"h\x00"), arguments)}) + b"."
    assert list(opened(tmp_path, data)) == ["a", "b"]


def unsafe_pickles() -> dict[str, Any]:
    system = Name("os.system")
    touch = ("touch executed",)
    return {
        "os.system": {"a": Call(system, touch)},
        "posix.system": {"a": Call(Name("posix.system"), touch)},
        "builtins.eval": {"a": Call(Name("builtins.eval"), ("open('executed', 'w')",))},
        "__builtin__.eval": {"a": Call(Name("__builtin__.eval"), ("open('executed', 'w')",))},
        "builtins.getattr": {"a": Call(Call(Name("builtins.getattr"), (Name("os"), "system")), touch)},
        "torch.load": {"a": Call(Name("torch.load"), ("x",))},
        "torch._utils._rebuild_tensor_v2.__globals__": {"a": Name("torch._utils._rebuild_tensor_v2.__globals__")},
        "torch.nn.modules.linear.Linear": {"a": Name("torch.nn.modules.linear.Linear")},
        "numpy.load": {"a": Call(Name("numpy.load"), ("x",))},
        "tfxlm.checkpoints.open_checkpoint": {"a": Name("tfxlm.checkpoints.open_checkpoint")},
        "subprocess.Popen": {"a": Raw(emit("subprocess") + emit("Popen") + b"\x93" + emit(touch) + b"R")},
        "nt.system": {"a": Raw(b"(cnt\nsystem\n" + emit("x") + b"o")},  # OBJ
        "runpy.run_path": {"a": Raw(b"(" + emit("x") + b"irunpy\nrun_path\n")},  # INST
    }


@pytest.mark.parametrize("name", unsafe_pickles())
def test_only_known_names_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFileError, match=r"Nothing was executed. Get the weights as safetensors") as caught:
        opened(tmp_path / "model", unsafe_pickles()[name])
    assert name in str(caught.value)
    assert not (tmp_path / "executed").exists()


FUNCTION = Name("torch._utils._rebuild_tensor_v2")
STORAGE_TYPE = Name("torch.FloatStorage")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call(STORAGE_TYPE, ()), "calls a value of type StorageType, which saved weights never do"),
        (Call("os.system", ("x",)), "calls a value of type str"),
        (Call(storage("0", 1), ()), "calls a value of type Storage"),
        (State(FUNCTION, {"build": 1}), "sets the state of an object"),
        (State(STORAGE_TYPE, (None, {"dtype": 1})), "sets the state of an object"),
        (State(storage("0", 1), {"file": "x"}), "sets the state of an object"),
        (State({}, (None, {"x": 1})), "sets the state of an object"),
        (Raw(emit(STORAGE_TYPE) + b")\x81"), "makes an instance of a value of type StorageType"),
        (Raw(emit("os.system") + b")\x81"), "makes an instance of a value of type str"),
        (Raw(emit(STORAGE_TYPE) + b")}\x92"), "uses the pickle operation NEWOBJ_EX"),
        (Raw(b"\x82\x01"), "uses the pickle operation EXT1"),
        (Raw(b"Pstorage\n"), "uses the pickle operation PERSID"),
        (Raw(b"\x97"), "uses the pickle operation NEXT_BUFFER"),
        (Raw(b"I1\n"), "uses the pickle operation INT"),
        (Raw(b"\x8b\x01\x00\x00\x00\x01"), "uses the pickle operation LONG4"),
    ],
)
def test_only_known_operations_are_accepted(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(UnsafeFileError, match=message):
        opened(tmp_path, {"a": value})


def memo_bomb() -> Raw:
    """A tuple of two of the one before, a hundred times over: hashing or printing it would not end."""
    return Raw(b"N" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(100)))


def numpy_array(shape: tuple[int, ...]) -> State:
    """An array of numpy without numbers, of a shape that it cannot have."""
    made = Call(Name("numpy.core.multiarray._reconstruct"), ())
    return State(made, (1, shape, Call(Name("numpy.dtype"), ("f4",)), False, Raw(b"C\x00")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        # Persistent ids.
        (Persistent("storage"), "a persistent id is not that of a storage"),
        (Persistent(("module", STORAGE_TYPE, "0", "cpu", 1)), "a persistent id is not that of a storage"),
        (Persistent(("storage", STORAGE_TYPE, "0", "cpu")), "a persistent id is not that of a storage"),
        (storage("0", 1, FUNCTION), "the persistent id of a storage has a field of the wrong type"),
        (storage("0", 1, "float32"), "has a field of the wrong type"),
        (storage(0, 1), "has a field of the wrong type"),
        (storage("0", -1), "has a field of the wrong type"),
        (storage("0", True), "has a field of the wrong type"),
        (storage("0", 1.0), "has a field of the wrong type"),
        (storage("1", 1), "there is no storage '1'"),
        (storage("../version", 1), "there is no storage"),
        (storage("0", 25), "storage '0' should have 25 elements, but has 96 bytes"),
        (storage("0", 2**70), "storage '0' should have"),
        # Tensors.
        (tensor("0", (1,), (1,)), "a tensor has no storage or no offset"),
        (tensor(storage("0", 24), (1,), (1,), "0"), "a tensor has no storage or no offset"),
        (tensor(storage("0", 24), (1,), (1,), None), "a tensor has no storage or no offset"),
        (tensor(storage("0", 24), (1,), (1,), True), "a tensor has no storage or no offset"),
        (tensor(storage("0", 24), (25,), (1,)), "a tensor needs element 24 of a storage of 24"),
        (tensor(storage("0", 24), (1,), (1,), 24), "a tensor needs element 24 of a storage of 24"),
        (tensor(storage("0", 24), (1,), (1,), -1), "a tensor needs element -1"),
        (tensor(storage("0", 24), (2, 2), (23, 1)), "a tensor needs element 24"),
        (tensor(storage("0", 24), (2,), (2**63,)), "a tensor needs element"),
        (tensor(storage("0", 24), (2**64, 2**64), (1, 1)), "a tensor needs element"),
        (tensor(storage("0", 24), (2,), (-1,)), "a shape or its strides are not a tuple of sizes"),
        (tensor(storage("0", 24), (-2,), (1,)), "a shape or its strides are not a tuple of sizes"),
        (tensor(storage("0", 24), (2.0,), (1,)), "a shape or its strides are not a tuple of sizes"),
        (tensor(storage("0", 24), "2", (1,)), "a shape or its strides are not a tuple of sizes"),
        (tensor(storage("0", 24), (2, 2), (1,)), "2 dimensions and 1 strides"),
        (tensor(storage("0", 24), (1,) * 65, (1,) * 65), "65 dimensions and 65 strides"),
        (tensor(storage("0", 24), (2**40,), (0,)), r"tensor 'a' of shape \(1099511627776,\) repeats a few stored"),
        (tensor(storage("0", 24), (0, 2**62, 4), (0, 0, 0)), "the shape of tensor 'a' is too large to be true"),
        (tensor(storage("0", 24), (2,), (1,), 0, {"neg": True}), "a tensor has lazy bits; save its clone"),
        (Call(FUNCTION, ()), "missing 4 required positional arguments"),
        (Call(FUNCTION, {}), "the arguments of a call are not a tuple"),
        (Call(Name("torch._utils._rebuild_parameter"), (1, True, {})), "a parameter is not a tensor"),
        (Call(Name("torch.Size"), (("1",),)), "a torch.Size is not made from integers"),
        (Call(Name("collections.OrderedDict"), (1,)), "a dictionary is not made from a list"),
        (Call(Name("collections.OrderedDict"), ([[memo_bomb(), 1]],)), "not made from pairs of names and values"),
        # The machine.
        (Raw(b"00"), "a value is missing on the stack"),
        (Raw(b"h\x07"), "there is no value number 7"),
        (Raw(b"(N" + b"a"), "a list is missing on the stack"),
        (Raw(b"}(Nu"), "a key has no value"),
        (Raw(emit(1) + emit(2) + b"\x93"), "a global has a name that is not a string"),
        (Raw(b"}" + memo_bomb().data + b"Ns"), "a dictionary key is a tuple"),
        (Raw(b"}" + emit((1,) * 17) + b"Ns"), "a dictionary key is a tuple"),
        (Raw(b"}" + emit(2**61 - 1) + b"Ns"), "a dictionary key is a number too large to be true"),
        (Call(Name("builtins.set"), ([2**61 - 1],)), "a dictionary key is a number too large to be true"),
        (Call(Name("numpy.dtype"), (memo_bomb(),)), "numpy's dtype of type tuple is none of numbers"),
        (Call(Name("numpy.dtype"), ("O8",)), "numpy's dtype 'O8' is none of numbers"),
        (numpy_array((1,) * 65), "the state of numpy's array is not what it should be"),
        (numpy_array((2**63,)), "the state of numpy's array is not what it should be"),
        (Raw(b"B\xff\xff\xff\x7f"), "pickle"),
        (Raw(b"\x8d" + b"\xff" * 7 + b"\x7f"), "pickle"),
        (Raw(b"\x8e" + b"\xff" * 7 + b"\x7f"), "pickle"),
        (Raw(b"\xff"), "pickle"),
    ],
)
def test_malformed_pickles(tmp_path: Path, value: Any, message: str) -> None:
    data = pickled({"a": value})
    tracemalloc.start()
    with pytest.raises((CorruptFileError, UnsupportedFileError), match=message) as caught:
        opened(tmp_path, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
    assert "pytorch_model.bin" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "operation", [b"t", b"u", b"a", b"e", b"s", b"0", b"1", b"R", b"Q", b"q\x00", b"\x94", b"\x86", b""]
)
def test_operations_on_an_empty_stack(tmp_path: Path, operation: bytes) -> None:
    with pytest.raises(CorruptFileError, match="is missing on the stack"):
        opened(tmp_path, b"\x80\x02" + operation + b".")


def test_memory_is_not_taken_for_large_memo_indices(tmp_path: Path) -> None:
    value = {"a": Raw(emit(tensor(storage("0", 24), (24,), (1,))) + b"r\xff\xff\xff\xff" + b"0j\xff\xff\xff\xff")}
    tracemalloc.start()
    assert same(opened(tmp_path, value)["a"], NUMBERS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_deep_nesting_and_memo_bombs_end(tmp_path: Path) -> None:
    deep = Raw(b"N" + b"\x85" * 150_000)
    for value in (memo_bomb(), Raw(b"]" * 150_000 + b"a" * 149_999), deep):
        with pytest.raises(
            UnsupportedFileError, match=r"1 of its 1 entries are something else \(first: 'a'; keys: 'a'"
        ):
            opened(tmp_path, {"a": value})
    for value in (memo_bomb(), deep):
        with pytest.raises(CorruptFileError, match="a dictionary is not made from pairs of names and values"):
            opened(tmp_path, {"a": Call(Name("builtins.dict"), ([[value, 1]],))})


def test_nested_state_dict(tmp_path: Path) -> None:
    inner = {"w": tensor(storage("0", 24), (24,), (1,))}
    value = {"w": inner["w"], "model": inner, "epoch": 3}
    message = (
        r"2 of its 3 entries are something else \(first: 'model'; keys: 'w', 'model', 'epoch'\).*checkpoint\['model'\]"
    )
    with pytest.raises(UnsupportedFileError, match=message):
        opened(tmp_path, value)
    with pytest.raises(UnsupportedFileError, match="holds a list instead of a mapping from names to tensors"):
        opened(tmp_path, [inner["w"]])
    with pytest.raises(UnsupportedFileError, match=r"\(first: 0;"):
        opened(tmp_path, {0: inner["w"]})


def test_other_archives_are_named(tmp_path: Path) -> None:
    value = {"a": tensor(storage("0", 24), (24,), (1,))}
    with pytest.raises(UnsupportedFileError, match="a TorchScript archive, a program rather than weights"):
        opened(tmp_path, value, extra={"constants.pkl": b""})
    for names, count in ((["readme.txt"], 0), (["a/data.pkl", "b/data.pkl"], 2)):
        with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as file:
            for name in names:
                file.writestr(name, "x")
        with pytest.raises(UnsupportedFileError, match=f"is a zip archive, but not one of torch.save: it has {count}"):
            open_checkpoint(tmp_path)
    with pytest.raises(UnsupportedFileError, match=r"is compressed or encrypted, which torch.save never does"):
        opened(tmp_path, value, compression=zipfile.ZIP_DEFLATED)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="two entries of one name"):
        opened(tmp_path, {"a": tensor(storage("0", 24), (24,), (1,))}, extra={"data/0": bytes(96)})


def test_a_pickle_too_large_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.checkpoints.torch_zip.MAX_PICKLE_BYTES", 10)
    with pytest.raises(CorruptFileError, match=r"holds a pickle of \d+ bytes, more than the 10 that are read"):
        opened(tmp_path, {"a": tensor(storage("0", 24), (24,), (1,))})


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    data = state_archive(one_of_each())
    for size in [*range(0, len(data), len(data) // 20), len(data) - 1]:
        with pytest.raises(CorruptFileError, match=r"truncated|empty"):
            open_checkpoint(save(tmp_path, data[:size]))


def test_every_truncation_of_the_pickle_is_noticed(tmp_path: Path) -> None:
    data = pickled({"a": tensor(storage("0", 24), (24,), (1,)), "b": tensor(storage("0", 24), (4, 6), (6, 1))})
    for size in range(len(data)):
        with pytest.raises(CorruptFileError, match=r"truncated or corrupt pickle|pickle without an end"):
            opened(tmp_path, data[:size])


def test_flipped_bytes_never_escape_the_error_tree(tmp_path: Path) -> None:
    whole = state_archive({"a": NUMBERS.reshape(4, 6), "b": NUMBERS[:3]})
    pickle = pickled({"a": tensor(storage("0", 24), (24,), (1,)), "b": tensor(storage("0", 24), (4, 6), (6, 1))})
    generator = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for attempt in range(600):
        broken = bytearray(whole if attempt % 2 else pickle)
        for at in generator.integers(0, len(broken), 2):
            broken[at] = generator.integers(0, 256)
        save(tmp_path, bytes(broken) if attempt % 2 else archive(bytes(broken), ONE))
        try:
            with open_checkpoint(tmp_path) as checkpoint:
                for name in checkpoint:
                    checkpoint.read(name)
                    checkpoint.release(name)
            outcomes["read"] += 1
        except TFXLMError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20
