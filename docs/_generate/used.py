"""Where the pages for readers use a command or a function, so that the reference can lead there.

What stands in a block on these pages is run by tests/documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DOCS = Path(__file__).parents[1]

OTHER_CODES = "coming-from"

FOLDERS = ("how-to", "tutorials", "explanation", OTHER_CODES)
"""In the order in which their pages are named."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

MOST_PAGES = 6
"""To which the page of a command or a function leads."""


@dataclass(frozen=True)
class Page:
    path: str
    title: str
    commands: tuple[str, ...]
    scripts: str

    def link(self) -> str:
        """From a page two folders down."""
        return f"[{self.title}](../../{self.path})"


@cache
def pages() -> list[Page]:
    """In the order of their folder's index."""
    files = [
        DOCS / folder / name
        for folder in FOLDERS
        for name in re.findall(
            r"\]\(([\w-]+\.md)\)", (DOCS / folder / "index.md").read_text(encoding="utf-8")
        )
    ]
    return [_page(file) for file in dict.fromkeys(files)]


def _page(file: Path) -> Page:
    text = file.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    return Page(
        path=file.relative_to(DOCS).as_posix(),
        title=text.splitlines()[0].removeprefix("# "),
        commands=tuple(
            line
            for kind, block in blocks
            if kind not in ("python", "output")
            for line in _commands(block)
        ),
        scripts="\n".join(block for kind, block in blocks if kind == "python"),
    )


def _commands(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", "").splitlines():
        if re.match(r"(\$ )?qexp ", line) and "<<" not in line:
            yield " ".join(line.removeprefix("$ ").split())


def lines_of(command: str) -> Iterator[tuple[str, Page]]:
    """The lines that use a command, such as `data show`, and their pages."""
    called = re.compile(rf"qexp (--workspace \S+ )?{command}(\s|$)")
    return ((line, page) for page in pages() for line in page.commands if called.match(line))


def pages_with_command(command: str) -> list[Page]:
    """Those that use it most often."""
    return _most(Counter(page for _, page in lines_of(command)))


def pages_with_function(name: str) -> list[Page]:
    """Those that use it most often."""
    called = re.compile(rf"\bqexp\.(api\.)?{name}\b")
    return _most(Counter({page: len(called.findall(page.scripts)) for page in pages()}))


def _most(times: Counter[Page]) -> list[Page]:
    using = [page for page, number in times.most_common() if number]
    return sorted(using, key=lambda page: page.path.startswith(OTHER_CODES))[:MOST_PAGES]
