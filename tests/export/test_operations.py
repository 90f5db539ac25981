"""Exports have no operations but those that TensorFlow Serving is linked with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.asked import MORE_TASKS, SIGNATURES, Asked
from tests.models.families import FAMILIES, XLM

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    path = tmp_path_factory.mktemp("operations") / "names.txt"
    command = [sys.executable, str(Path(__file__).with_name("operations.py")), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return set(path.read_text().split())


def operations_of(folder: Path) -> set[str]:
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes} - {function.signature.name for function in graph.library.function}


def test_the_list_is_that_of_the_library(operations: set[str]) -> None:
    assert {"MatMul", "StaticRegexReplace", "TFText>FastSentencepieceTokenize", "StatefulPartitionedCall"} <= operations
    assert not {"PyFunc", "PyFuncStateless", "EagerPyFunc"} & operations


# Each task of XLM, and what XLM-RoBERTa's pieces are looked for with.
ASKED = [(XLM.prefix, task) for task in SIGNATURES]
ASKED += [(FAMILIES[1].prefix, task) for task in ("ForSequenceClassification", *MORE_TASKS) if "beam" not in task]


def test_only_operations_that_servers_have(families: dict[str, Asked], operations: set[str]) -> None:
    for prefix, task in ASKED:
        found = operations_of(families[prefix].export(task)[1])
        assert found <= operations, (prefix, task)
        of_text = {"TFText>FastSentencepieceTokenize"}
        if task in MORE_TASKS:  # where pieces stand
            of_text |= {"SentencepieceOp", "SentencepieceTokenizeWithOffsetsOp"}
        assert {name for name in found if "Sentencepiece" in name} == (of_text if prefix != XLM.prefix else set())
