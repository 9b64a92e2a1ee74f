"""Docstrings of this project as Markdown.

An example is the last paragraph, lines as Python shows them after `>>> `, with what they print. It may use `qexp`,
which is imported, in a workspace as `qexp init` makes it; tests/documents/test_examples.py runs all of them.
"""

from __future__ import annotations

import re

from _generate.markdown import prose

ARGUMENT = re.compile(r"(?P<names>[a-z]\w*(?:, \w+)*)  +(?P<meaning>\S.*)")
"""A line `name  meaning`, with two spaces or more."""


def as_markdown(docstring: str) -> str:
    """Paragraphs, a list of the arguments, and the example as a block of code."""
    text, prompt, example = docstring.partition("\n\n>>> ")
    lines: list[str] = []
    in_list = False
    for line in text.splitlines():
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
    lines += ["", "```pycon", f">>> {example}", "```"] if prompt else []
    return "\n".join(lines)
