"""Tutorials run as notebooks, too, in a real kernel; what they train is made smaller."""

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.documents.reader import CONTINUED, ROOT, Reader, smaller

MAKE_SMALLER = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.documents.reader import make_smaller
make_smaller(Path.cwd())
"""


@pytest.fixture
def beside_python(monkeypatch):
    """Kernels find the command `qexp`, and no workspace but their own."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)


@pytest.mark.heavy
@pytest.mark.parametrize("path", sorted((ROOT / "docs/tutorials").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_of_a_tutorial_runs(path, tmp_path, beside_python):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = []
    for cell in notebook.cells:
        cells.append({**cell, "source": smaller(cell.source)} if cell.cell_type == "code" else cell)
        if cell.source.startswith("%cd "):
            cells.append(nbformat.v4.new_code_cell(MAKE_SMALLER))
    notebook.cells = [nbformat.from_dict(cell) for cell in cells]
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    page = path.with_suffix(".md").relative_to(ROOT).as_posix()
    if page in CONTINUED:
        (specs,) = tmp_path.glob("*/specs")
        Reader(specs.parent).go_on(CONTINUED[page])
