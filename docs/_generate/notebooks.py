"""Tutorials as Jupyter notebooks: the same text and commands, to run instead of to type."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "tutorials"

TUTORIALS = ["volcano", "lunar", "ice", "spectra"]
"""In the order in which they are read."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

ABOUT = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_of(name: str) -> Callable[[], str]:
    return lambda: notebook((FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def notebook(page: str) -> str:
    """A page as a notebook (nbformat 4.5) without outputs."""
    cells = [_cell(number, kind, text) for number, (kind, text) in enumerate(_parts(page))]
    document = {"cells": cells, "metadata": ABOUT, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _parts(page: str) -> Iterator[tuple[str, str]]:
    """The kind of each cell, and what is in it."""
    kinds_and_texts = BLOCK.split(page)
    yield "markdown", kinds_and_texts[0]
    for kind, block, text in zip(*(kinds_and_texts[first::3] for first in (1, 2, 3)), strict=True):
        yield from (("code", commands) for commands in (_shell(block) if kind == "console" else [block]))
        yield "markdown", text


def _shell(block: str) -> Iterator[str]:
    """Commands after a prompt as cells; `cd` is one of its own, because a shell's folder ends with its cell."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    for moves, some in itertools.groupby(commands, lambda command: command.startswith("cd ")):
        text = "\n".join(some)
        yield f"%{text}" if moves else f"%%bash -e\n{text}"


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return {**cell, "source": text.strip("\n").splitlines(keepends=True)}
