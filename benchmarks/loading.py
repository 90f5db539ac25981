"""Loading a 570 MB checkpoint: time beside a plain copy of its tensors, and memory beside its size."""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import figures_of_fresh_process, interleaved, median, memory_now, peak_memory
from benchmarks.subjects import XLM
from benchmarks.table import Row


def plain_copy(folder: Path) -> list[np.ndarray]:
    """Copies every tensor of the file into memory of its own, and does nothing else."""
    from tfxlm.checkpoints import open_checkpoint

    with open_checkpoint(folder) as checkpoint:
        return [np.array(checkpoint.read(name)) for name in checkpoint]


def load_ours(folder: Path) -> Any:
    """Loads with tfxlm."""
    from tfxlm import TFXLMWithLMHeadModel

    return TFXLMWithLMHeadModel.from_pretrained(folder)


def load_mapped(folder: Path) -> Any:
    """Opens with tfxlm as a memory map, which is all that is read."""
    from tfxlm import TFXLMWithLMHeadModel

    return TFXLMWithLMHeadModel.from_pretrained(folder, memory_map=True)


def load_transformers_tf(folder: Path) -> Any:
    """Loads with the TensorFlow class of transformers, from ``pytorch_model.bin``.

    Its way from safetensors fails with current releases of that library, whose files cannot be iterated any more.
    """
    from transformers import TFXLMWithLMHeadModel

    return TFXLMWithLMHeadModel.from_pretrained(folder / "bin", from_pt=True)


def write_bin(folder: Path) -> None:
    """Writes the checkpoint in `folder` a second time, as PyTorch saves it, into ``folder/bin``."""
    import torch
    from safetensors.torch import load_file

    (folder / "bin").mkdir()
    shutil.copy(folder / "config.json", folder / "bin")
    torch.save(load_file(folder / "model.safetensors"), folder / "bin" / "pytorch_model.bin")


LOADERS: dict[str, Callable[[Path], Any]] = {
    "tfxlm": load_ours,
    "tfxlm, memory map": load_mapped,
    "transformers TF": load_transformers_tf,
}


def main(name: str, folder: str) -> None:
    """The fresh process, which loads a tiny model first: prints the peak growth of resident and of anonymous MB."""
    from tfxlm import TFXLMWithLMHeadModel, XLMConfig

    with tempfile.TemporaryDirectory() as tiny:
        TFXLMWithLMHeadModel(XLMConfig(**{**XLM.config, "vocab_size": 99, "emb_dim": 16})).save_pretrained(tiny)
        write_bin(Path(tiny))
        LOADERS[name](Path(tiny))
    gc.collect()
    memory_now()
    with peak_memory() as peak:
        model = LOADERS[name](Path(folder))
    print(peak.rss, peak.anonymous)
    del model


def run(rounds: int = 15) -> list[Row]:
    """Measures, and returns the rows of the table."""
    from tfxlm import TFXLMWithLMHeadModel, XLMConfig

    work = "load a 570 MB checkpoint"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = TFXLMWithLMHeadModel(XLMConfig(**XLM.config))
        size = 4e-6 * model.num_parameters()
        model.save_pretrained(folder)
        write_bin(folder)
        del model
        gc.collect()
        fast = interleaved(
            {
                "plain copy": lambda: plain_copy(folder),
                "tfxlm": lambda: load_ours(folder),
                "tfxlm, memory map": lambda: load_mapped(folder),
            },
            rounds=rounds,
        )
        slow = interleaved({"transformers TF": lambda: load_transformers_tf(folder)}, rounds=3, warmup=0)
        base = median(fast["plain copy"])
        rows = [
            Row(work, name, median(values), median(values) / base, "x a plain copy", 2.0 if name == "tfxlm" else None)
            for name, values in {**fast, **slow}.items()
        ]
        for name in LOADERS:
            rss, anonymous = figures_of_fresh_process("benchmarks.loading", name, str(folder))
            bound = 1.15 if name == "tfxlm" else None
            rows.append(Row(work + ", anonymous memory", name, anonymous, anonymous / size, "x the model", bound, "MB"))
            rows.append(Row(work + ", resident memory", name, rss, rss / size, "x the model", bound, "MB"))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
