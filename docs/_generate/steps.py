"""The steps of a page: a block of shell commands, a block of Python, or one after the other for the same step.

Pages stay plain Markdown. Where both blocks follow each other, a reader of the site chooses between two tabs, and the
notebook of the page has the Python alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

STEP = re.compile(
    r"^```console\n(?P<shell>.*?)^```\n(?:\n*^```python\n(?P<same>.*?)^```\n)?|^```python\n(?P<python>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """What a reader types: commands, Python, or either of them for the same purpose."""

    shell: str
    python: str

    @property
    def commands(self) -> list[str]:
        """The commands without their prompt."""
        return [line.removeprefix("$ ") for line in self.shell.splitlines() if line.startswith("$ ")]


def parts(page: str) -> Iterator[str | Step]:
    """The texts of a page and its steps, in their order."""
    end = 0
    for block in STEP.finditer(page):
        yield page[end : block.start()]
        yield Step(block["shell"] or "", block["same"] or block["python"] or "")
        end = block.end()
    yield page[end:]


def steps(page: str) -> list[Step]:
    return [part for part in parts(page) if isinstance(part, Step)]
