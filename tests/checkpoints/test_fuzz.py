"""Files that were damaged or made up: each is refused with an error of ours or read, in little time and memory.

How many of each there were stands at the end of the output of the tests.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoints.arrays import one_of_each, random_array
from tests.checkpoints.child import in_child
from tests.checkpoints.torch_writer import (
    Name,
    Raw,
    State,
    archive,
    emit,
    legacy,
    pickled,
    state_archive,
    storage,
    tensor,
)
from tests.tokenizers.test_originals import write as write_original
from tfxlm import AutoConfig
from tfxlm.checkpoints import open_checkpoint
from tfxlm.checkpoints.pickle_values import Constructor, RecordType
from tfxlm.checkpoints.restricted_pickle import load_pickle
from tfxlm.checkpoints.torch_values import NAMES
from tfxlm.errors import CorruptFileError, TFXLMError

TIMES = 60 if os.environ.get("TFXLM_SWEEP", "") not in ("", "0") else 1
# What reading may take: some memory, and a number of times the size of the file; and of the processor, in seconds.
MOST_MEMORY, MOST_TIMES, MOST_SECONDS = 48 << 20, 64, 10
CHILD_SECONDS = 240  # for all files of a test


def fuzz(
    examples: int,
    record_property: Callable[[str, object], None],
    what: str,
    strategy: Any,
    make: Callable[[Any], bytes],
    read: Callable[[bytes], Any],
) -> Counter[str]:
    """Makes files of examples, reads them in a process of limited time and memory, and counts how it ends."""
    counts: Counter[str] = Counter()

    # The same examples every time, but for the sweep.
    options: dict[str, Any] = {"derandomize": TIMES == 1, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=TIMES * examples, deadline=None, database=None, **options)
    @given(strategy)
    def run(example: Any) -> None:
        data = make(example)
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            read(data)
        except TFXLMError as error:
            counts[type(error).__name__] += 1
        else:
            counts["read"] += 1
        assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY + MOST_TIMES * len(data)
        assert time.process_time() - start < MOST_SECONDS

    def run_all() -> None:
        tracemalloc.start()
        run()

    in_child(run_all, counts, CHILD_SECONDS * TIMES)
    found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    record_property("fuzz", f"{what}: {sum(counts.values())} examples, {found}")
    return counts


def open_all(path: Path) -> None:
    """Opens a checkpoint and reads all of it."""
    with open_checkpoint(path) as checkpoint:
        for name in checkpoint:
            checkpoint.read(name)


def h5_file(folder: Path) -> bytes:
    path = folder / "whole.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        for layer in range(3):
            file[f"model/tfxlm_model/transformer/attentions_._{layer}/q_lin/kernel:0"] = random_array(
                (6, 4), seed=layer
            )
            file[f"model/tfxlm_model/transformer/attentions_._{layer}/q_lin/bias:0"] = random_array((4,), seed=layer)
    return path.read_bytes()


def contents() -> dict[str, tuple[str, bytes]]:
    """Honest files by what they are: a name that is right for them, and their bytes."""
    arrays = {name: array for name, array in one_of_each().items() if array.dtype.name != "bfloat16"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        safetensors.numpy.save_file(arrays, path / "model.safetensors")
        return {
            "safetensors": ("model.safetensors", (path / "model.safetensors").read_bytes()),
            "torch zip": ("pytorch_model.bin", state_archive(one_of_each())),
            "torch before 1.6": ("pytorch_model.bin", legacy(one_of_each())),
            "original XLM": ("mine.pth", write_original(path).read_bytes()),
            "HDF5": ("tf_model.h5", h5_file(path)),
        }


CONTENTS = contents()

# Where in a file (as a share of its length), how much of it goes, and what comes in its place.
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9)), min_size=1, max_size=4)


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    changed = bytearray(data)
    for share, length, new in edits:
        at = int(share * len(changed))
        changed[at : at + length] = new
    return bytes(changed)


@pytest.mark.parametrize("kind", CONTENTS)
def test_damaged_files(kind: str, tmp_path: Path, record_property: Any) -> None:
    name, data = CONTENTS[kind]
    path = tmp_path / name

    def read(changed: bytes) -> None:
        path.write_bytes(changed)
        open_all(path)

    counts = fuzz(80, record_property, f"damaged, {kind}", EDITS, lambda edits: edited(data, edits), read)
    assert sum(counts.values()) - counts["read"] > 20


@pytest.mark.parametrize("kind", CONTENTS)
def test_every_hundredth_of_a_truncation(kind: str, tmp_path: Path, record_property: Any) -> None:
    name, data = CONTENTS[kind]
    refused = 0
    for share in range(100):
        (tmp_path / name).write_bytes(data[: len(data) * share // 100])
        with pytest.raises(TFXLMError):
            open_all(tmp_path / name)
        refused += 1
    record_property("fuzz", f"truncated, {kind}: {refused} lengths, all refused")


@pytest.mark.parametrize("kind", CONTENTS)
def test_flipped_bits(kind: str, tmp_path: Path, record_property: Any) -> None:
    name, data = CONTENTS[kind]

    def flip(places: list[int]) -> bytes:
        changed = bytearray(data)
        for place in places:
            changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    def read(changed: bytes) -> None:
        (tmp_path / name).write_bytes(changed)
        open_all(tmp_path / name)

    bits = st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=3)
    fuzz(80, record_property, f"flipped bits, {kind}", bits, flip, read)


# Operations with their arguments, honest ones more often than others.
NAMES_IN_PICKLES = [*NAMES, "os.system", "builtins.eval", "posix.system", "torch.load", "numpy.load"]
OPERATIONS = st.one_of(
    st.sampled_from([bytes([code]) for code in b"()0N}]tue.sabRQ\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94"]),
    st.sampled_from(["c{}\n{}\n".format(*name.rsplit(".", 1)).encode() for name in NAMES_IN_PICKLES]),
    st.integers(-(2**31), 2**31 - 1).map(lambda number: b"J" + number.to_bytes(4, "little", signed=True)),
    st.text(max_size=5).map(lambda text: b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()),
    st.tuples(st.sampled_from(b"XBTrj"), st.integers(0, 2**32 - 1)).map(
        lambda item: bytes([item[0]]) + item[1].to_bytes(4, "little")
    ),
    st.tuples(st.sampled_from([b"\x8d", b"\x8e", b"\x96", b"\x95"]), st.integers(0, 2**64 - 1)).map(
        lambda item: item[0] + item[1].to_bytes(8, "little")
    ),
    st.integers(0, 5).map(lambda index: b"q" + bytes([index])),
    st.integers(0, 5).map(lambda index: b"h" + bytes([index])),
    st.binary(min_size=1, max_size=3),
)  # fmt: skip


def test_made_up_pickles(record_property: Any) -> None:
    def make(parts: list[tuple[list[bytes], int]]) -> bytes:
        return b"\x80\x02" + b"".join(b"".join(operations) * times for operations, times in parts) + b"."

    def read(data: bytes) -> None:
        load_pickle(data, path=Path("x"), names=NAMES, persistent_load=lambda identifier: identifier)

    # Some operations, which may be repeated thousands of times.
    times = st.one_of(st.just(1), st.just(1), st.integers(1, 20_000))
    parts = st.lists(st.tuples(st.lists(OPERATIONS, max_size=12), times), max_size=4)
    counts = fuzz(400, record_property, "made up pickles", parts, make, read)
    assert counts["UnsafeFileError"] > 5 and counts["CorruptFileError"] > 20 and counts["read"] > 5


def doubled(count: int) -> Raw:
    """A tuple of two of the one before, many times over."""
    return Raw(b"N" + b"q\x09h\x09\x86" * count)


def repeated(value: Any, count: int) -> Raw:
    """A list of one value, which the file has once."""
    return Raw(b"](" + emit(value) + b"q\x08" + b"h\x08" * count + b"e")


def copied(name: str, value: Any, count: int) -> Raw:
    """A list of what a function makes of one value."""
    again = b"h\x06h\x07R" * count
    return Raw(b"](" + emit(Name(name)) + b"q\x06" + emit(value) + b"\x85q\x07R" + again + b"e")


def with_state(name: str, state: Any) -> State:
    """An instance of a class that is known."""
    return State(Raw("c{}\n{}\n)\x81".format(*name.rsplit(".", 1)).encode()), state)


PLACE = storage("0", 64)
KNOWN = st.sampled_from(sorted(name for name, value in NAMES.items() if isinstance(value, Constructor)))
RECORDS = st.sampled_from(
    [
        *sorted(name for name, value in NAMES.items() if isinstance(value, RecordType)),
        *("omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode", "fairseq.dataclass.Config"),
    ]
)
KEYS = ("n_heads", "lang2id", "id2lang", "asm", "asm_cutoffs", "model", "arch", "dropout", "_content", "_val", "a")
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(), st.text(max_size=5),
    st.sampled_from([PLACE, tensor(PLACE, (4, 4), (4, 1)), tensor(PLACE, (0, 2**40), (2**40, 1))]),
    st.integers(0, 100_000).map(lambda count: Raw(b"N" + b"\x85" * count)), st.integers(1, 200).map(doubled),
)  # fmt: skip
COUNTS = st.one_of(st.integers(1, 5), st.integers(1, 20_000))
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
        st.builds(repeated, inner, COUNTS),
        st.builds(copied, st.one_of(KNOWN, RECORDS), inner, COUNTS),
        st.builds(copied, KNOWN, st.builds(repeated, inner, COUNTS), COUNTS),
        st.builds(with_state, RECORDS, inner),
    ),
    max_leaves=4,
)
SQUARE, ROW, BODY = tensor(PLACE, (4, 4), (4, 1)), tensor(PLACE, (4,), (1,)), "encoder.sentence_encoder."
SQUARES = ("embed_tokens.weight", "embed_positions.weight", "layers.0.fc1.weight")
STATES = [
    dict.fromkeys(("embeddings.weight", "position_embeddings.weight"), SQUARE),
    {
        **dict.fromkeys([BODY + name for name in SQUARES], SQUARE),
        **dict.fromkeys([BODY + name for name in ("layernorm_embedding.weight", "layernorm_embedding.bias")], ROW),
    },
]
PARTS = st.fixed_dictionaries(
    {"model": st.one_of(st.sampled_from(STATES), st.sampled_from(STATES), VALUES)},
    optional=dict.fromkeys(("params", "args", "cfg", "dico_id2word", "dico_word2id", "more"), VALUES),
)


@pytest.mark.parametrize("is_legacy", [False, True], ids=["zip", "before 1.6"])
def test_made_up_checkpoints_of_other_programs(is_legacy: bool, tmp_path: Path, record_property: Any) -> None:
    def make(content: Any) -> bytes:
        if not is_legacy:
            return archive(content, {"0": bytes(256)})
        machine = (119547037146038801333356, 1001, {}, content, ["0"])
        return b"".join(map(pickled, machine)) + (64).to_bytes(8, "little") + bytes(256)

    def read(data: bytes) -> None:
        (tmp_path / "model.pt").write_bytes(data)
        open_all(tmp_path / "model.pt")
        AutoConfig.from_pretrained(tmp_path)

    what = f"made up checkpoints, {'before 1.6' if is_legacy else 'zip'}"
    counts = fuzz(100, record_property, what, PARTS, make, read)
    assert counts["CorruptFileError"] > 5 and counts["UnsupportedFileError"] > 5


SIZES = st.one_of(st.integers(-3, 40), st.integers(-(2**70), 2**70), st.floats(), st.none(), st.booleans())
PLACES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(["F32", "BF16", "I64", "F8_E4M3", "X"]), st.integers()),
        "shape": st.one_of(st.lists(SIZES, max_size=4), st.integers()),
        "data_offsets": st.one_of(st.lists(SIZES, min_size=1, max_size=3), st.text(max_size=2)),
        "more": st.none(),
    },
)
HEADERS = st.dictionaries(st.text(max_size=4), PLACES, max_size=4)


def test_made_up_headers_of_safetensors(tmp_path: Path, record_property: Any) -> None:
    def make(example: tuple[dict[str, Any], int, bytes]) -> bytes:
        header, wrong, data = example
        text = json.dumps(header).encode()
        return (max(0, len(text) + wrong)).to_bytes(8, "little") + text + data

    def read(data: bytes) -> None:
        (tmp_path / "model.safetensors").write_bytes(data)
        open_all(tmp_path)

    lengths = st.one_of(st.just(0), st.just(0), st.integers(-5, 2**40))
    strategy = st.tuples(HEADERS, lengths, st.binary(max_size=40))
    fuzz(150, record_property, "made up headers of safetensors", strategy, make, read)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = ("vocab_size", "emb_dim", "n_heads", "n_layers", "lang2id", "id2lang", "id2label", "pruned_heads", "asm")
CONFIGS = st.dictionaries(st.one_of(st.sampled_from((*FIELDS, "architectures", "dtype")), st.text(max_size=6)), JSON)


def test_made_up_configurations(tmp_path: Path, record_property: Any) -> None:
    def make(example: tuple[str, dict[str, Any]]) -> bytes:
        family, values = example
        return json.dumps({"model_type": family, **values}).encode()

    def read(data: bytes) -> None:
        (tmp_path / "config.json").write_bytes(data)
        AutoConfig.from_pretrained(tmp_path)

    families = st.sampled_from(["xlm", "xlm-roberta", "xlm-roberta-xl", "bert"])
    counts = fuzz(150, record_property, "made up configurations", st.tuples(families, CONFIGS), make, read)
    assert counts["ConfigError"] > 20 and counts["read"] > 5


def test_made_up_indices(tmp_path: Path, record_property: Any) -> None:
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "outside").symlink_to("/")
    names = st.one_of(
        st.sampled_from(["a.safetensors", "../a.safetensors", "/etc/passwd", "outside/etc/passwd", "outside", ".", ""]),
        st.text(max_size=6),
        st.none(),
    )

    def make(weight_map: dict[str, Any]) -> bytes:
        return json.dumps({"weight_map": weight_map}).encode()

    def read(data: bytes) -> None:
        (tmp_path / "model.safetensors.index.json").write_bytes(data)
        open_all(tmp_path)

    maps = st.dictionaries(st.sampled_from(["a", "b"]), names, max_size=2)
    counts = fuzz(150, record_property, "made up indices", maps, make, read)
    assert counts["read"] and counts["UnsafeFileError"]


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"(", b"t"), (b"]", b"a"), (b"", b"\x85"), (b"\x8f", b""), (b"N\x94", b"")]
)
def test_deep_nesting_and_many_parts(opening: bytes, closing: bytes) -> None:
    """Millions of lists, tuples, sets or numbered values in as many bytes, one inside the other where they can be."""

    def load(count: int) -> None:
        data = b"\x80\x02" + opening * count + b"N" + closing * count + b"."
        load_pickle(data, path=Path("x"), names=NAMES, persistent_load=lambda identifier: identifier)

    load(15_000)
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match=r"more lists, dictionaries and tuples than its length accounts for"):
        load(2_000_000)
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()


def test_little_that_stands_for_much(tmp_path: Path) -> None:
    """A file of some kilobytes that claims to hold terabytes, in several ways."""
    wide = {f"a{index}": tensor(storage("0", 4), (1 << 20, 1 << 18), (0, 0)) for index in range(3)}
    many = {f"a{index}": tensor(storage("0", 4096), (64, 64), (64, 1)) for index in range(3000)}
    for value in (wide, many):
        (tmp_path / "pytorch_model.bin").write_bytes(archive(value, {"0": bytes(4 * 4096)}))
        tracemalloc.start()
        with pytest.raises(TFXLMError, match=r"repeats a few stored numbers|many of them are the same"):
            open_all(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        tracemalloc.stop()
