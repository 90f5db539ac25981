"""The notebooks run from the first cell to the last, and show what they promise."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.example_files import ROOT, load_quickstart

QUICKSTART = ROOT / "notebooks" / "quickstart.ipynb"
EPOCHS = 2

Notebook = nbformat.NotebookNode


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    """The notebook after a run of few epochs, in a folder of its own with the examples in it; an error fails it."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "examples").symlink_to(ROOT / "examples")
    notebook = nbformat.read(QUICKSTART, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFXLM_NOTEBOOK_EPOCHS", str(EPOCHS))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("MPLBACKEND", raising=False)  # plots belong into the notebook
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs_of(notebook: Notebook, mime: str) -> list[Any]:
    found = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    return [data[mime] for data in found if mime in data]


def tables_of(notebook: Notebook) -> dict[str, list[list[str]]]:
    """The rows of the tables shown, by the title of the last column."""
    tables = {}
    for text in outputs_of(notebook, "text/markdown"):
        header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        tables[header[-1]] = rows
    return tables


def languages() -> list[str]:
    return list(load_quickstart().LANGUAGES.values())


def test_all_cells_run(executed: Notebook) -> None:
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}


def test_curves_and_bars_are_plotted(executed: Notebook) -> None:
    images = [base64.b64decode(text) for text in outputs_of(executed, "image/png")]
    assert len(images) == 2
    for image in images:
        assert image.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", image[16:24])
        assert width > 500
        assert height > 200


def test_the_accuracy_of_every_language_is_shown(executed: Notebook) -> None:
    rows = tables_of(executed)["chance"]
    assert [row[0] for row in rows] == languages()
    for _, sentences, *shares in rows:
        assert int(sentences) > 0
        assert all(0 <= float(share.removesuffix("%")) <= 100 for share in shares)
        assert shares[-1] == "16.7%"


def test_every_question_is_answered_the_same_over_rest_and_grpc(executed: Notebook) -> None:
    rows = tables_of(executed)["over gRPC"]
    assert [row[0] for row in rows] == languages()
    for _, text, rest, grpc in rows:
        assert text
        assert rest == grpc


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, cell.source
            assert cell.execution_count is None
