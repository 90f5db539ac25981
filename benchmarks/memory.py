"""Peak memory of masked language modeling: the model and its first steps, each library in a fresh process."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.measure import figures_of_fresh_process, memory_now, peak_memory
from benchmarks.subjects import BATCH, LENGTH, MODES, SUBJECTS, full_inputs
from benchmarks.table import Row, best, rows_beside
from benchmarks.training import steps

STEPS = 3
PARTS = tuple(SUBJECTS)
# Libraries are loaded before memory is watched.
LIBRARIES = {
    "tfxlm": ("tfxlm.models",),
    **dict.fromkeys(
        MODES,
        (
            "tf_keras",
            "transformers.models.xlm.modeling_tf_xlm",
            "transformers.models.xlm_roberta.modeling_tf_xlm_roberta",
        ),
    ),
}


def main(name: str, key: str) -> None:
    """The fresh process: prints the peak growth of resident and of anonymous memory, in MB."""
    for library in LIBRARIES[name]:
        import_module(library)
    memory_now()
    with peak_memory() as peak:
        step = steps(SUBJECTS[key], full_inputs(SUBJECTS[key]))[name]()
        for _ in range(STEPS):
            step()
    print(peak.rss, peak.anonymous)


def rows_of(part: str) -> list[Row]:
    """Measures one subject once, as memory does not scatter like time."""
    rows = []
    peaks = {name: figures_of_fresh_process("benchmarks.memory", name, part) for name in LIBRARIES}
    for index, kind in enumerate(("resident", "anonymous")):
        megabytes = {name: [figures[index]] for name, figures in peaks.items()}
        work = f"MLM training, {SUBJECTS[part].title}, {BATCH} x {LENGTH}, peak {kind} memory"
        rows += rows_beside(work, megabytes, best(megabytes, MODES), {"tfxlm": 1.0}, unit="MB")
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
