"""Loading and converting checkpoints of every source: time beside copying the file, memory beside the model's size."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import figures_of_fresh_process, interleaved, mapped_memory, memory_now, peak_memory
from benchmarks.sources import SOURCES, safetensors_file
from benchmarks.subjects import SUBJECTS
from benchmarks.table import Row, rows_beside

PARTS = tuple(SOURCES)
TIME_BOUND, MEMORY_BOUND = 2.0, 1.10
CONVERT_MB = 100
# Of the pages of a memory map, the part of one process of two: half, and what else a page holds at the ends.
SHARED_BOUND = 0.51
# What a fresh process is to do in place of loading: see `shared`.
BOTH, OTHER = "both", "other"
# What is loaded before memory is watched, so that the libraries' own memory does not count.
TINY = {
    "xlm": {"vocab_size": 99, "emb_dim": 16, "n_heads": 2, "n_layers": 1},
    "xlm-roberta": {"vocab_size": 99, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1},
}

Load = Callable[[str, Path], Any]


def load_ours(key: str, path: Path, **options: Any) -> Any:
    """Loads with tfxlm."""
    import tfxlm

    return SUBJECTS[key].model(tfxlm, SUBJECTS[key].language_model).from_pretrained(path, **options)


def load_mapped(key: str, path: Path) -> Any:
    """Opens with tfxlm as a memory map, which is all that is read."""
    return load_ours(key, path, memory_map=True)


def load_half(key: str, path: Path) -> Any:
    """Loads with tfxlm in bfloat16."""
    return load_ours(key, path, dtype="bfloat16")


def load_transformers_tf(key: str, path: Path) -> Any:
    """Loads with the TensorFlow class of transformers."""
    import transformers

    model = SUBJECTS[key].model(transformers, SUBJECTS[key].language_model)
    return model.from_pretrained(path, from_pt=path.name == "bin")


def load_transformers_torch(key: str, path: Path) -> Any:
    """Loads with the PyTorch class of transformers."""
    import transformers

    return SUBJECTS[key].model(transformers, SUBJECTS[key].language_model, tf=False).from_pretrained(path)


def convert(key: str, path: Path) -> None:
    """Converts with tfxlm, and removes the result."""
    import tfxlm

    target = path.parent / "converted"
    tfxlm.convert_checkpoint(path, target)
    shutil.rmtree(target)


# What can be done with a source, by name in the table; ours first.
OURS: dict[str, Load] = {"tfxlm": load_ours, "tfxlm, bfloat16": load_half, "tfxlm convert": convert}
PEERS: dict[str, dict[str, Load]] = {
    "safetensors": {"tfxlm, memory map": load_mapped, "transformers PyTorch": load_transformers_torch},
    "torch.save": {"transformers PyTorch": load_transformers_torch, "transformers TF": load_transformers_tf},
    "TensorFlow, tf_model.h5": {"transformers TF": load_transformers_tf},
}
# Those whose memory is measured in a fresh process.
LOADERS = OURS | {name: load for peers in PEERS.values() for name, load in peers.items()}


def as_new(load: Load, key: str, path: Path) -> Any:
    """Loads from files that seem to be new, so that nothing is known of them from an earlier call."""
    for file in weights_in(path):
        os.utime(file)
    return load(key, path)


def weights_in(path: Path) -> list[Path]:
    """Returns the files with weights."""
    if path.is_file():
        return [path]
    return [file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".h5")]


@contextmanager
def written(source: str, tiny: bool = False) -> Iterator[tuple[str, Path, float]]:
    """Yields the subject, where its weights are as a source, and the megabytes of its model; all is removed after.

    Args:
        source: in `SOURCES`.
        tiny: whether to write a tiny model instead, as safetensors.
    """
    import tfxlm

    key, write = SOURCES[source]
    write = safetensors_file if tiny else write
    subject = SUBJECTS[key]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "source")
        model = subject.model(tfxlm, subject.language_model)(subject.config_of(tfxlm, **(TINY[key] if tiny else {})))
        size = 4e-6 * model.num_parameters()
        model.save_pretrained(folder)
        del model
        gc.collect()
        yield key, write(folder), size


def shared(key: str, path: Path, *, with_another: bool) -> None:
    """Opens a memory map, reads all of its variables, and prints how much of it is in memory and this process's part.

    Args:
        key: the subject.
        path: its weights.
        with_another: whether to have another process do the same before, which stays until this one has looked.
    """
    import keras

    model = load_mapped(key, path)
    for weight in model.weights:
        keras.ops.sum(weight)
    if not with_another:
        print(*mapped_memory(str(path)), flush=True)
        sys.stdin.read()
        return
    command = [sys.executable, "-m", "benchmarks.loading", OTHER, key, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        print(*mapped_memory(str(path)))
        other.communicate()


def main(name: str, source: str, path: str) -> None:
    """The fresh process: prints the peak growth of resident and of anonymous memory, in MB."""
    if name in (BOTH, OTHER):
        shared(source, Path(path), with_another=name == BOTH)
        return
    with written(source, tiny=True) as (key, tiny, _):
        load_ours(key, tiny)
        convert(key, tiny)
    if "transformers" in name:
        import_peers(key, name)
    gc.collect()
    memory_now()
    with peak_memory() as peak:
        model = LOADERS[name](key, Path(path))
    print(peak.rss, peak.anonymous)
    del model


def import_peers(key: str, name: str) -> None:
    """Imports what a peer needs."""
    import transformers

    SUBJECTS[key].model(transformers, SUBJECTS[key].language_model, tf=name.endswith("TF"))


def copy_files(path: Path) -> None:
    """Copies the files with weights, and removes the copy."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for file in weights_in(path):
            shutil.copyfile(file, Path(folder, file.name))


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one source."""
    rows, source = [], part
    with written(source) as (key, path, size):
        works = OURS | PEERS.get(source, {})
        calls: dict[str, Callable[[], Any]] = {"a copy of the file": lambda: copy_files(path)}
        calls |= {name: partial(as_new, load, key, path) for name, load in works.items()}
        slow = {name: calls.pop(name) for name in list(calls) if name == "transformers TF"}
        seconds = interleaved(calls, rounds=rounds) | interleaved(slow, rounds=min(2, rounds), warmup=0)
        bounds = dict.fromkeys(OURS, TIME_BOUND)
        rows += rows_beside(f"{SUBJECTS[key].title}, {source}", seconds, "a copy of the file", bounds)
        # What memory is compared with: the model in its dtype, or what a conversion may take whatever its size.
        targets = {"tfxlm, bfloat16": (size / 2, "x the model"), "tfxlm convert": (CONVERT_MB, f"x {CONVERT_MB} MB")}
        bounds = {"tfxlm": MEMORY_BOUND, "tfxlm, bfloat16": MEMORY_BOUND, "tfxlm convert": 1.0}
        for name in works:
            figures = figures_of_fresh_process("benchmarks.loading", name, source, str(path))
            target, compared = targets.get(name, (size, "x the model"))
            for kind, megabytes in zip(("resident", "anonymous"), figures, strict=True):
                work = f"{SUBJECTS[key].title}, {source}, peak {kind} memory"
                rows.append(Row(work, name, megabytes, megabytes / target, compared, bounds.get(name), "MB"))
        if "tfxlm, memory map" in works:
            resident, own = figures_of_fresh_process("benchmarks.loading", BOTH, key, str(path))
            work = f"{SUBJECTS[key].title}, {source}, memory map in two processes, part of one"
            rows.append(Row(work, "tfxlm", own, own / resident, "x its resident pages", SHARED_BOUND, "MB"))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
