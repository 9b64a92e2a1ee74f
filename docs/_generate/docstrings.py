"""Docstrings of this project as reStructuredText: their lists of arguments become lists there."""

from __future__ import annotations

import re
from typing import Any

ARGUMENT = re.compile(r"(?P<names>[a-z]\w*(?:, \w+)*)  +(?P<meaning>\S.*)")
"""A line `name  meaning`, with two spaces or more."""


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    made: list[str] = []
    in_list = False
    for line in lines:
        found = ARGUMENT.fullmatch(line)
        if found:
            role = found["names"] if found["names"] in ("returns", "yields") else f"param {found['names']}"
            made += [*([] if in_list else [""]), f":{role}: {found['meaning']}"]
            in_list = True
        elif in_list and line.startswith(" "):
            made.append(f"   {line.strip()}")
        else:
            made += [""] * in_list + [line]
            in_list = False
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).replace("*.", r"\*.") for line in made]
