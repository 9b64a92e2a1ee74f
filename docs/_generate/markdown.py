"""Pieces of Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """A word in the font of code; empty for an empty one."""
    return f"`{text}`" if text else ""


def json_block(document: Any) -> str:
    return f"```json\n{json.dumps(document, indent=2, ensure_ascii=False)}\n```"


def prose(text: str) -> str:
    """A plain text as Markdown: words such as `--set`, *.csv and runs/ stay as they are."""
    pieces = text.split("`")
    for index in range(0, len(pieces), 2):
        escaped = re.sub(r"([*_\[\]])", r"\\\1", pieces[index]).replace("<", "&lt;")
        pieces[index] = re.sub(r"(?<!\w)(--[a-z][\w-]*)", r"`\1`", escaped)
    return "`".join(pieces)
