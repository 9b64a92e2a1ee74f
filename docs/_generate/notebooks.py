"""Tutorials as Jupyter notebooks: the same text, with the Python of each step to run instead of to
type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _generate.steps import PICTURE, parts

FOLDER = Path(__file__).parents[1] / "tutorials"

TUTORIALS = ["volcano", "interferograms", "mechanism", "emulator", "lunar", "ice", "spectra"]
"""In the order in which they are read."""

ABOUT = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_of(name: str) -> Callable[[], str]:
    return lambda: notebook((FOLDER / f"{name}.md").read_text(encoding="utf-8"), kept(name))


def kept(name: str) -> list[list[Any]]:
    """The outputs of each cell with Python, as the notebook has them."""
    path = FOLDER / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


def notebook(page: str, outputs: list[list[Any]]) -> str:
    """A page as a notebook (nbformat 4.5) with the outputs of its Python."""
    cells, waiting = [], iter(outputs)
    for number, (kind, text) in enumerate(_cells(page)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": next(waiting, [])}
        cells.append({**cell, "source": text.strip("\n").splitlines(keepends=True)})
    document = {"cells": cells, "metadata": ABOUT, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str) -> Iterator[tuple[str, str]]:
    """The kind of each cell, and what is in it; commands without Python stay text, and pictures are
    those of cells.
    """
    text = ""
    for part in parts(page):
        if isinstance(part, str):
            text += PICTURE.sub("", part)
        elif not part.python:
            text += (
                "```console\n" + "".join(f"$ {command}\n" for command in part.commands) + "```\n"
            )
        else:
            yield "markdown", text
            yield "code", part.python
            text = ""
    yield "markdown", text
