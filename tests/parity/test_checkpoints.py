"""Checkpoints against torch and transformers: what they write we read bit for bit, and the reverse."""

import os
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from tfxlm.checkpoints import Lazy, open_checkpoint, plan, write_checkpoint
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.errors import UnsafeFileError, UnsupportedFileError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
CLASSES = [
    transformers.XLMModel,
    transformers.XLMWithLMHeadModel,
    transformers.XLMForSequenceClassification,
    transformers.XLMForMultipleChoice,
    transformers.XLMForTokenClassification,
    transformers.XLMForQuestionAnsweringSimple,
    transformers.XLMForQuestionAnswering,
]


def bits(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if dtype == torch.bfloat16 else torch.empty(0, dtype=dtype).numpy().dtype


def check_same(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.names() == tuple(tensors)
        for name, tensor in tensors.items():
            info, array = checkpoint.info(name), checkpoint.read(name)
            assert info.shape == array.shape == tuple(tensor.shape), name
            assert info.dtype == array.dtype == numpy_dtype(tensor.dtype), name
            assert array.tobytes() == bits(tensor), name
            if tensor.is_contiguous() and tensor.numel():
                assert np.shares_memory(array, checkpoint.read(name)), name  # a view of the file, not a copy


def all_kinds() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(6, 8, generator=generator)
    shared = torch.randn(64, generator=generator).to(torch.bfloat16)
    return {
        **{f"dtype.{dtype}": (torch.randn(3, 5, generator=generator) * 9).to(dtype) for dtype in DTYPES},
        "grid": grid,
        "transposed": grid.T,
        "row": grid[2],
        "column": grid[:, 3],
        "block": grid[1:4, 2:5],
        "steps": grid[::2, ::3],
        "expanded": grid[0].expand(4, 8),
        "permuted": torch.randn(2, 3, 4, generator=generator).permute(2, 0, 1),
        "number": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "empty view": grid[6:],
        "parameter": torch.nn.Parameter(grid[1]),
        "frozen": torch.nn.Parameter(torch.arange(4.0), requires_grad=False),
        "half of a storage": shared[32:],
        "other half": shared[:32],
        "buffer": torch.arange(5).expand((1, -1)),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(tmp_path: Path, protocol: int) -> None:
    tensors = all_kinds()
    torch.save(tensors, tmp_path / "pytorch_model.bin", pickle_protocol=protocol)
    check_same(tmp_path, tensors)


def test_what_torch_saves_without_checksums(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(all_kinds(), tmp_path / "pytorch_model.bin")
    finally:
        torch.serialization.set_crc32_options(before)
    check_same(tmp_path, all_kinds())


def test_state_dict_of_a_module(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to(torch.float16)
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    check_same(tmp_path, module.state_dict())


def test_other_files_of_torch_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    cases: list[tuple[Any, type[Exception], str]] = [
        ({"model": {"w": torch.ones(2)}, "epoch": 3}, UnsupportedFileError, r"keys: 'model', 'epoch'\)"),
        ({"model": torch.nn.Linear(2, 2)}, UnsafeFileError, r"names 'torch\.nn\.modules\.linear\.Linear'"),
        ({"w": torch.ones(2).numpy()}, UnsupportedFileError, r"more than a flat mapping .*\(first: 'w'; keys: 'w'\)"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, UnsafeFileError, r"names 'torch\.ComplexFloatStorage'"),
    ]
    for value, error, message in cases:
        torch.save(value, path)
        with pytest.raises(error, match=message):
            open_checkpoint(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit itself, which old files still come from
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(UnsupportedFileError, match="TorchScript archive"):
        open_checkpoint(tmp_path)


class Attack:
    """Runs a command wherever it is unpickled for real."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_code_in_a_file_of_torch_does_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.ones(2), "x": Attack(f"touch {witness}")}, path)
    with pytest.raises(UnsafeFileError, match=r"names '(posix|nt)\.system'"):
        open_checkpoint(tmp_path)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists()  # the file was a real one


def tiny(model_class: type, **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.XLMConfig(
        vocab_size=31, emb_dim=8, n_layers=3, n_heads=2, n_langs=3, max_position_embeddings=16, **options
    )
    return model_class(config).eval()


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("shard", ["10GB", "4KB"])
@pytest.mark.parametrize("model_class", CLASSES)
def test_every_tensor_of_transformers_has_a_variable(tmp_path: Path, model_class: type, shard: str, safe: bool) -> None:
    model = tiny(model_class)
    model.save_pretrained(tmp_path, safe_serialization=safe, max_shard_size=shard)
    state = model.state_dict()
    with open_checkpoint(tmp_path) as checkpoint:
        assert (len(checkpoint.files) > 1) == (shard == "4KB")
        variables = {}
        for name, tensor in state.items():
            match = XLM.match_tensor(name)
            if match is None:
                assert name in XLM.tied, name
                continue
            assert XLM.tensor_name(match.variable) == match.tensor
            variables[match.variable] = match.transform.shape(tensor.shape)
        result = plan(XLM, checkpoint, variables)
        report = result.report.check()
        assert (report.new, report.unused, report.ignored) == ((), (), ())
        assert result.sources.keys() == variables.keys()
        for source in result.sources.values():
            assert checkpoint.read(source.tensor).tobytes() == bits(state[source.tensor])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard", ["10GB", "4KB"])
@pytest.mark.parametrize("model_class", CLASSES)
def test_transformers_reads_what_is_written(tmp_path: Path, model_class: type, shard: str, dtype: torch.dtype) -> None:
    model = tiny(model_class).to(dtype)
    model.config.save_pretrained(tmp_path)
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in XLM.tied}
    tensors = []
    for name, tensor in state.items():
        array = np.frombuffer(bits(tensor), numpy_dtype(dtype)).reshape(tensor.shape)
        tensors.append(Lazy(name, array.shape, array.dtype, lambda array=array: array))
    paths = write_checkpoint(tmp_path, tensors, max_shard_size=shard)
    if shard == "10GB":
        assert load_file(paths[0]).keys() == state.keys()
    loaded, info = model_class.from_pretrained(tmp_path, torch_dtype=dtype, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert all(bits(loaded.state_dict()[name]) == bits(tensor) for name, tensor in state.items())


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_bare_and_head_files_load_both_ways(tmp_path: Path, safe: bool) -> None:
    bare, head = tiny(transformers.XLMModel), tiny(transformers.XLMWithLMHeadModel)
    shapes = {}
    for name, model in (("bare", bare), ("head", head)):
        model.save_pretrained(tmp_path / name, safe_serialization=safe)
        matches = [(XLM.match_tensor(tensor), value.shape) for tensor, value in model.state_dict().items()]
        shapes[name] = {match.variable: match.transform.shape(shape) for match, shape in matches if match}
    for file in shapes:
        for model in shapes:
            with open_checkpoint(tmp_path / file) as checkpoint:
                report = plan(XLM, checkpoint, shapes[model]).report.check()
            assert report.loaded == min(len(shapes[file]), len(shapes[model]))
            assert report.new == (("pred_layer/bias",) if (file, model) == ("bare", "head") else ())
            assert len(report.unused) == ((file, model) == ("head", "bare"))
