"""Tutorials as Jupyter notebooks: the same text, with the Python of each step to run instead of to type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _generate.steps import parts

FOLDER = Path(__file__).parents[1] / "tutorials"

TUTORIALS = ["volcano", "interferograms", "lunar", "ice", "spectra"]
"""In the order in which they are read."""

ABOUT = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_of(name: str) -> Callable[[], str]:
    return lambda: notebook((FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def notebook(page: str) -> str:
    """A page as a notebook (nbformat 4.5) without outputs."""
    cells = [_cell(number, kind, text) for number, (kind, text) in enumerate(_cells(page))]
    document = {"cells": cells, "metadata": ABOUT, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str) -> Iterator[tuple[str, str]]:
    """The kind of each cell, and what is in it; commands without Python stay text."""
    text = ""
    for part in parts(page):
        if isinstance(part, str):
            text += part
        elif not part.python:
            text += f"```console\n{part.shell}```\n"
        else:
            yield "markdown", text
            yield "code", part.python
            text = ""
    yield "markdown", text


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return {**cell, "source": text.strip("\n").splitlines(keepends=True)}
