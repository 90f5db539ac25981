"""Files of other programs whose settings and dictionaries are not what they should be."""

from __future__ import annotations

import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.test_torch_files import memo_bomb
from tests.checkpoints.torch_writer import Name, Raw, State, archive, emit, storage, tensor
from tfxlm.checkpoints import Origin, open_checkpoint
from tfxlm.checkpoints.layouts.torch_objects import _Last
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.origin import Contents
from tfxlm.errors import CorruptFileError, UnsupportedFileError

PLACE = storage("0", 64)
SQUARE = tensor(PLACE, (4, 4), (4, 1))
BODY = "encoder.sentence_encoder."
FAIRSEQ = {
    f"{BODY}embed_tokens.weight": SQUARE,
    f"{BODY}embed_positions.weight": SQUARE,
    f"{BODY}layers.0.fc1.weight": SQUARE,
    f"{BODY}layernorm_embedding.weight": tensor(PLACE, (4,), (1,)),
    f"{BODY}layernorm_embedding.bias": tensor(PLACE, (4,), (1,)),
}


def record(name: str, state: Any) -> State:
    module, _, kind = name.rpartition(".")
    return State(Raw(f"c{module}\n{kind}\n)\x81".encode("latin-1")), state)


def read(folder: Path, value: Any) -> Origin:
    (folder / "model.pt").write_bytes(archive(value, {"0": bytes(256)}))
    with open_checkpoint(folder / "model.pt") as checkpoint:
        assert checkpoint.origin is not None
        return checkpoint.origin


def fair(folder: Path, params: Any = None, **more: Any) -> Origin:
    """Reads a checkpoint of the original XLM."""
    state = {"embeddings.weight": SQUARE, "position_embeddings.weight": SQUARE}
    return read(folder, {"model": state, "params": {"n_heads": 2, "mlm_steps": [1], **(params or {})}, **more})


def fairseq(folder: Path, tensors: Any = None, **more: Any) -> Origin:
    """Reads a checkpoint of fairseq."""
    return read(folder, {"model": FAIRSEQ | (tensors or {}), **more})


def test_words_by_id_and_ids_by_word(tmp_path: Path) -> None:
    assert fair(tmp_path, dico_word2id={"b": 1, "a": 0}).words == ["a", "b"]
    assert fair(tmp_path, dico_id2word={1: "b", 0: "a"}).words == ["a", "b"]
    assert fair(tmp_path).words is None


@pytest.mark.parametrize(
    "index",
    [[], memo_bomb(), Raw(b"N" + b"\x85" * 150_000), True, -1, 2, 2**61 - 1, 0.0],
    ids=["list", "memo bomb", "deep", "bool", "negative", "too large", "hash of 0", "float"],
)
def test_ids_that_are_none(tmp_path: Path, index: Any) -> None:
    with pytest.raises(CorruptFileError, match="a word for each id from 0 on, but has none for 0"):
        fair(tmp_path, dico_word2id={"a": index})


def test_settings_that_are_not_plain(tmp_path: Path) -> None:
    for value, kind in ((memo_bomb(), "tuple"), ({"en": [1]}, "list"), (SQUARE, "TensorEntry")):
        with pytest.raises(UnsupportedFileError, match=f"has a {kind} in the setting 'lang2id', where numbers, texts"):
            fair(tmp_path, {"lang2id": value})
    with pytest.raises(UnsupportedFileError, match=r"has a list in the setting 'dropout'"):
        fairseq(tmp_path, args={"arch": memo_bomb(), "encoder_attention_heads": 2, "dropout": [[1]]})
    assert fair(tmp_path, {"lang2id": {"en": 0}}).config["lang2id"] == {"en": 0}


def test_cutoffs(tmp_path: Path) -> None:
    assert fair(tmp_path, {"asm": True, "asm_cutoffs": "1, 2,3"}).config["asm_cutoffs"] == [1, 2, 3]
    for text in ("9" * 5000, "1,x", "1,,2", "-1", "\u0661"):
        with pytest.raises(CorruptFileError, match=r"under 'asm_cutoffs' numbers with commas between them, but has '"):
            fair(tmp_path, {"asm": True, "asm_cutoffs": text})


def test_empty_tables(tmp_path: Path) -> None:
    """A row as long as such a table's would be written as zeros, though the file has none of them."""
    for shape in ((0, 50_000_000), (4, 0)):
        table = tensor(PLACE, shape, (shape[1], 1))
        with pytest.raises(UnsupportedFileError, match=r"should hold a matrix '.*', but holds one of shape \("):
            fairseq(tmp_path, {f"{BODY}embed_tokens.weight": table}, args={"encoder_attention_heads": 2})


def test_settings_of_omegaconf(tmp_path: Path) -> None:
    def node(value: Any) -> State:
        return record("omegaconf.nodes.AnyNode", {"_metadata": Name("__builtin__.long"), "_val": value})

    def container(content: dict[str, Any]) -> State:
        return record("omegaconf.dictconfig.DictConfig", {"_parent": None, "_content": content})

    model = {"encoder_attention_heads": node(2), "activation_fn": node("gelu_fast"), "pooler_dropout": node(None)}
    origin = fairseq(tmp_path, cfg=container({"model": container(model)}))
    assert (origin.config["num_attention_heads"], origin.config["hidden_act"]) == (2, "gelu_new")
    assert "classifier_dropout" not in origin.config


def test_names_that_are_not_text(tmp_path: Path) -> None:
    half = Raw(b"X\x03\x00\x00\x00\xed\xa0\x80")
    (tmp_path / "pytorch_model.bin").write_bytes(
        archive(Raw(b"}(" + half.data + emit(SQUARE) + b"u"), {"0": bytes(256)})
    )
    with pytest.raises(CorruptFileError, match="has a name that is not text"):
        open_checkpoint(tmp_path)


def test_contents_are_kept_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    file, contents = MappedFile(tmp_path / "file"), Contents({}, "format")
    last = _Last(seconds=0)
    last.keep(file, contents)
    gone = weakref.ref(contents)
    del contents
    deadline = time.monotonic() + 20
    while gone() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert last.inside(file) is None
    file.close()
