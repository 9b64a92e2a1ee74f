"""Docstrings of this project as Markdown."""

from __future__ import annotations

import re

from _generate.markdown import prose

ARGUMENT = re.compile(r"(?P<names>[a-z]\w*(?:, \w+)*)  +(?P<meaning>\S.*)")
"""A line `name  meaning`, with two spaces or more."""


def as_markdown(docstring: str) -> str:
    """Paragraphs, and a list of the arguments."""
    lines: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        match = ARGUMENT.fullmatch(line)
        if match:
            name = match["names"] if match["names"] in ("returns", "yields") else f"`{match['names']}`"
            lines += [*([""] if lines and lines[-1] and not in_list else []), f"- {name}: {prose(match['meaning'])}"]
            in_list = True
        elif in_list and line.startswith(" "):
            lines.append(f"  {prose(line.strip())}")
        else:
            lines += [*([""] if in_list and line else []), prose(line)]
            in_list = False
    return "\n".join(lines)
