"""Every notebook runs from its first cell to its last, and none carries the output of another time."""

import ast
from pathlib import Path

import nbclient
import nbformat
import pytest

from conftest import ROOT

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_notebooks_are_those_of_the_documentation():
    page = (ROOT / "docs/api.md").read_text()
    assert [path.stem for path in NOTEBOOKS] == ["01_detect", "02_own_data", "03_generate", "04_tables_and_sweeps"]
    assert all(f"../notebooks/{path.name}" in page for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs_and_defines_nothing(path):
    cells = code(path)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    python = "\n".join(cell.source for cell in cells if not cell.source.startswith("%%"))
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    found = [node.lineno for node in ast.walk(ast.parse(python)) if isinstance(node, defined)]
    assert not found, "what is worth a function belongs in the package"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_ends_with_a_picture(path, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("written")))  # where it writes its data and runs
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises the error of a cell, also of a command in a cell that starts with %%bash
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    assert any("image/png" in output.get("data", {}) for output in last.outputs)
    assert not list(tmp_path.iterdir()), "it leaves nothing behind where it is run"
