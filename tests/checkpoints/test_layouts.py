"""Files of other programs whose settings and dictionaries are not what they should be."""

from __future__ import annotations

import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.test_torch_files import memo_bomb
from tests.checkpoints.torch_writer import Call, Name, Raw, State, archive, emit, storage, tensor
from tfxlm.checkpoints import Origin, open_checkpoint
from tfxlm.checkpoints.layouts.torch_objects import _Last
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.origin import Contents
from tfxlm.errors import CorruptFileError, UnsafeFileError, UnsupportedFileError

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


SETTINGS = Path(__file__).parents[1] / "golden" / "settings"


@pytest.mark.parametrize("name", ["structured", "dictionary", "dataclass", "namespace"])
def test_settings_of_fairseq(name: str, tmp_path: Path) -> None:
    """As omegaconf and pickle wrote them, with fairseq's own classes in them."""
    settings = Raw((SETTINGS / f"{name}.pkl").read_bytes().removesuffix(b"."))
    config = fairseq(tmp_path, **{"args" if name == "namespace" else "cfg": settings}).config
    found = [config[field] for field in ("num_attention_heads", "hidden_act", "hidden_dropout_prob")]
    assert found == [2, "relu", 0.25] and "classifier_dropout" not in config


def test_classes_of_fairseq_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is imported or called, even where there is such a package."""
    package = tmp_path / "packages" / "fairseq"
    package.mkdir(parents=True)
    trace = tmp_path / "was here"
    code = f"open({str(trace)!r}, 'w')\nrun = lambda *a: open({str(trace)!r}, 'w')"
    (package / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(package.parent)
    call = Call(Name("fairseq.run"), (str(trace),))
    more = [call, Name("fairseq.os.system"), record("fairseq.os", {"a": call}), State(call, {"b": 1})]
    settings = record("argparse.Namespace", {"encoder_attention_heads": 2, "task": more})
    origin = fairseq(tmp_path, args=settings, extra_state=more)
    assert origin.config["num_attention_heads"] == 2 and origin.holds == ("extra_state",)
    assert not trace.exists() and "fairseq" not in sys.modules
    for kind in ("structured", "plain"):
        wrong: Any = {f"{BODY}x.weight": call} if kind == "structured" else call
        with pytest.raises(UnsupportedFileError, match="should hold a state dict under 'model'"):
            read(tmp_path, {"model": wrong, "args": settings})


@pytest.mark.parametrize("name", ["fairseqs.run", "fairseq", "posix.system", "my.fairseq.run", "omegaconf_x.y"])
def test_names_of_other_packages(name: str, tmp_path: Path) -> None:
    called = Call(Name(name) if "." in name else Raw(b"cfair\nseq\n"), ("true",))
    with pytest.raises(UnsafeFileError, match="which saved weights never need: it may try to run code"):
        fairseq(tmp_path, args={"encoder_attention_heads": 2, "task": called})


def test_many_names(tmp_path: Path) -> None:
    """Each takes more memory than its few bytes."""
    names = Raw(b"](" + b"cfairseq\na\n" * 200_000 + b"e")
    with pytest.raises(CorruptFileError, match="more lists, dictionaries and tuples than its length accounts for"):
        fairseq(tmp_path, args={"encoder_attention_heads": 2, "task": names})


def test_values_without_end(tmp_path: Path) -> None:
    """A value that is in itself, and in itself again."""
    endless = Raw(b"comegaconf.nodes\nAnyNode\n)\x81q\x07}(X\x04\x00\x00\x00_valh\x07ub")
    with pytest.raises(UnsupportedFileError, match="has a Record in the setting 'dropout'"):
        fairseq(tmp_path, args={"encoder_attention_heads": 2, "dropout": endless})


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
