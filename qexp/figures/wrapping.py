"""Names typed by users, as labels of a figure."""

from __future__ import annotations

import textwrap


def wrapped(text: str, width: int) -> str:
    """A text in lines of at most `width` characters; a dollar sign is shown as such and does not start a formula."""
    return "\n".join(line.replace("$", r"\$") for line in textwrap.wrap(text, width))
