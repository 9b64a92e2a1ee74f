"""The steps of a page: shell commands with what they printed and drew, Python, or one after the
other for the same.

Pages are plain Markdown. What commands printed stands in a block ```output after them, folded where
it is long; their pictures follow, or stand where the page speaks of them; the Python for the same
purpose is folded. The notebook of the page has the Python alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PICTURE = re.compile(
    r"^!\[(?P<words>[^\]]*)\]\((?:\.\./)*pictures/(?P<folder>[\w-]+)/(?P<name>[\w.-]+)\)\n",
    re.MULTILINE,
)
"""A picture that a command of the page, or of another, drew."""

BLOCK = re.compile(
    r"^(?:<details>\n<summary>[^\n]*</summary>\n\n)?```(?P<language>console|python|output)\n(?P<text>.*?)^```\n"
    rf"(?:\n</details>\n)?|{PICTURE.pattern}",
    re.MULTILINE | re.DOTALL,
)

LONGEST = 25
"""Lines of an output that is not folded."""


@dataclass
class Step:
    """What a reader types: commands, Python, or either of them for the same purpose; and what came
    out.
    """

    commands: list[str] = field(default_factory=list)
    """Without their prompt."""

    python: str = ""

    printed: dict[int, str] = field(default_factory=dict)
    """By the number of the command, from 1, or 0 of Python alone."""

    pictures: dict[str, str] = field(default_factory=dict)
    """Name of a picture that follows at once → its Markdown."""

    def takes(self, block: re.Match[str]) -> bool:
        """Whether a block that follows at once belongs to this step."""
        return not self.python or not (self.commands or block["language"] in ("console", "python"))

    def add(self, block: re.Match[str]) -> None:
        if block["language"] == "python":
            self.python = block["text"]
        elif block["language"] == "output":
            self.printed[len(self.commands)] = block["text"]
        elif block["language"] == "console":
            self.commands += [
                line.removeprefix("$ ")
                for line in block["text"].splitlines()
                if line.startswith("$ ")
            ]
        else:
            self.pictures[block["name"]] = block[0]

    def markdown(self, after: dict[int, list[str]]) -> str:
        """The step as pages have it, with the pictures that stand after each command, as
        Markdown.
        """
        pieces, waiting = list[str](), ""
        for number, command in enumerate(self.commands, 1):
            waiting += f"$ {command}\n"
            if self.printed.get(number) or after.get(number) or number == len(self.commands):
                pieces += [
                    f"```console\n{waiting}```\n",
                    *self._printed(number),
                    *after.get(number, []),
                ]
                waiting = ""
        if self.python:
            block = f"```python\n{self.python}```\n"
            pieces.append(folded("The same in Python", block) if self.commands else block)
        return "\n".join([*pieces, *self._printed(0), *after.get(0, [])])

    def _printed(self, number: int) -> Iterator[str]:
        if text := self.printed.get(number):
            block, lines = f"```output\n{text}```\n", text.count("\n")
            yield folded(f"What it prints: {lines} lines", block) if lines > LONGEST else block


def folded(summary: str, block: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{block}\n</details>\n"


def parts(page: str) -> Iterator[str | Step]:
    """The texts of a page and its steps, in their order."""
    end, step = 0, None
    for block in BLOCK.finditer(page):
        between = page[end : block.start()]
        if step is None or between.strip() or not step.takes(block):
            if block["language"] not in ("console", "python"):  # a picture among the words
                continue
            if step is not None:
                yield step
            yield between
            step = Step()
        step.add(block)
        end = block.end()
    if step is not None:
        yield step
    yield page[end:]


def steps(page: str) -> list[Step]:
    return [part for part in parts(page) if isinstance(part, Step)]
