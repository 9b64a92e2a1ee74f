"""Placeholders in commands: `python plot.py {run.path}`; `{{` and `}}` stand for braces.

A command is divided into words first, as a shell does it, and values are put into the words afterwards; no shell is
called. A value with spaces, quotes or a semicolon therefore stays inside its word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def words_of(command: str) -> list[str]:
    """The words of a command. Raises ValueError, in words for the user, if a quotation or a brace is left open."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be divided into words: {str(error).lower()}") from None
    for word in words:
        if (brace := single_brace(word)) is not None:
            raise ValueError(f"has a single '{brace}' in {word!r}; write '{brace * 2}' for a brace")
    return words


def names_in(text: str) -> list[str]:
    """The names of the placeholders in a text."""
    return [match[1] for match in PIECE.finditer(text) if match[1] is not None]


def single_brace(text: str) -> str | None:
    """The first brace that neither belongs to a placeholder nor is doubled; None if there is none."""
    return next((match[0] for match in PIECE.finditer(text) if match[0] in ("{", "}")), None)


def filled(text: str, value: Callable[[str], str]) -> str:
    """The text, with each placeholder replaced by the value of its name."""
    return PIECE.sub(lambda match: match[0][0] if match[1] is None else value(match[1]), text)
