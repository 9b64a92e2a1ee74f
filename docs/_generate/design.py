"""Index of the design notes: number, title and first sentence of each."""

from __future__ import annotations

import re
from pathlib import Path

from _generate.markdown import table

FOLDER = Path(__file__).parents[1] / "design"


def notes() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.md"))


def page() -> str:
    rows = []
    for note in notes():
        text = note.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        context = re.search(r"\*\*Context\.\*\*\s+(.*?[.!])(?=\s|$)", text, re.DOTALL)
        first = " ".join(context[1].split()) if context else ""
        rows.append([str(int(note.name[:4])), f"[{title}]({note.name})", first])
    return (
        "# Design notes\n\nHalf a page for each choice that is hard to undo: context, options,"
        " choice, price.\n\n" + table(["", "note", "context"], rows) + "\n"
    )
