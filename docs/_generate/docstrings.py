"""Docstrings of this project as Markdown."""

from __future__ import annotations

import re

from _generate.markdown import prose

ARGUMENT = re.compile(r"(?P<names>[a-z]\w*(?:, \w+)*)  +(?P<meaning>\S.*)")
"""A line `name  meaning`, with two spaces or more."""


def as_markdown(docstring: str) -> str:
    """Paragraphs, and a list of the arguments."""
    made: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        found = ARGUMENT.fullmatch(line)
        if found:
            name = found["names"] if found["names"] in ("returns", "yields") else f"`{found['names']}`"
            made += [*([""] if made and made[-1] and not in_list else []), f"- {name}: {prose(found['meaning'])}"]
            in_list = True
        elif in_list and line.startswith(" "):
            made.append(f"  {prose(line.strip())}")
        else:
            made += [*([""] if in_list and line else []), prose(line)]
            in_list = False
    return "\n".join(made)
