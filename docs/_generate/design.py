"""Index of the design notes by room: number, title and first sentence of each."""

from __future__ import annotations

import re
from pathlib import Path

from _generate.markdown import table

FOLDER = Path(__file__).parents[1] / "design"

HEAD = """\
# Design notes

Half a page for each choice that is hard to undo: context, options, choice, price. A note stands under the rooms whose
code follows from it; who enters a room reads those of its heading, and the first ones. [The house](house.md) shows
the rooms, and follows an image, a row and a pixel through them.
"""


def notes() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.md"))


def rooms_of(note: Path) -> list[str]:
    """The rooms that a note names below its title: `all`, or folders of the repository."""
    line = note.read_text(encoding="utf-8").splitlines()[2]
    return re.findall(r"[a-z]+", line.removeprefix("Rooms:").removeprefix("Room:"))


def page() -> str:
    by_room: dict[str, list[list[str]]] = {}
    for note in notes():
        text = note.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        context = re.search(r"\*\*Context\.\*\*\s+(.*?[.!])(?=\s|$)", text, re.DOTALL)
        first = " ".join(context[1].split()) if context else ""
        row = [str(int(note.name[:4])), f"[{title}]({note.name})", first]
        for room in rooms_of(note):
            by_room.setdefault(room, []).append(row)
    sections = [
        f"## {'Every room' if room == 'all' else f'`{room}`'}\n\n"
        + table(["", "note", "context"], by_room[room])
        for room in sorted(by_room, key=lambda room: (room != "all", room))
    ]
    return "\n\n".join([HEAD.strip(), *sections]) + "\n"
