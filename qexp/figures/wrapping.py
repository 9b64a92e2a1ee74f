"""Names that somebody typed, as labels of a figure."""

from __future__ import annotations

import textwrap


def wrapped(text: str, width: int) -> str:
    """In lines of so many characters; a dollar sign is one, and begins no formula."""
    return "\n".join(line.replace("$", r"\$") for line in textwrap.wrap(text, width))
