"""Commands with placeholders: `python plot.py {run.path}` becomes words, which are then filled in.

The text is divided into words first, as a shell does it, and values are put into words afterwards; no shell is called.
A value with spaces, quotes or a semicolon therefore stays inside its word.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Callable, Sequence


def words_of(command: str) -> list[str]:
    """The words of a command. Raises ValueError, in words for the user, if a quotation or a brace is left open."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be divided into words: {str(error).lower()}") from None
    for word in words:
        fields_of(word)
    return words


def fields_of(word: str) -> list[str]:
    """The names of the placeholders in a word. Raises ValueError for braces that are not closed, or hold nothing."""
    try:
        parts = list(string.Formatter().parse(word))
    except ValueError:
        raise ValueError(f"has a brace without its counterpart in {word!r}; write {{{{ and }}}} for braces") from None
    for _, name, form, conversion in parts:
        if name is not None and (not name or form or conversion):
            raise ValueError(f"has braces around no name in {word!r}; write {{{{ and }}}} for braces")
    return [name for _, name, _, _ in parts if name is not None]


def filled(words: Sequence[str], value: Callable[[str], str]) -> list[str]:
    """The words, each placeholder replaced by the value of its name."""
    return ["".join(before + ("" if name is None else value(name)) for before, name in _parts(word)) for word in words]


def _parts(word: str) -> list[tuple[str, str | None]]:
    return [(before, name) for before, name, _, _ in string.Formatter().parse(word)]
