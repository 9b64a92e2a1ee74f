"""The changelog and the advice to contributors as pages of the site, from the files beside
`README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {"project/changes": "CHANGELOG.md", "project/contributing": "CONTRIBUTING.md"}
"""Page → the file that it shows."""


def page_of(name: str) -> Callable[[], str]:
    return lambda: links_moved((ROOT / PAGES[name]).read_text(encoding="utf-8"))


def links_moved(text: str) -> str:
    """A text whose links into docs/ lead there from a folder of docs/."""
    return re.sub(r"\]\(docs/design\)", "](../design/index.md)", text).replace("](docs/", "](../")
