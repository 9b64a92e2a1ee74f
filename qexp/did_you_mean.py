"""Suggestions for a name that is not known: "did you mean …?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant; None if none is similar."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=len(known) or 1, cutoff=0.6)
    if close:
        return min(close, key=lambda other: edits(name, other))  # of equally many edits, difflib's first
    squeezed = {other.lower().replace("_", "").replace("-", ""): other for other in known}
    return squeezed.get(name.lower().replace("_", "").replace("-", ""))


def edits(one: str, other: str) -> int:
    """The edit distance of two words: letters left out, added or replaced, and neighbours swapped.

    Damerau (1964), Commun. ACM 7, 171-176, in the form that edits no letter twice (optimal string alignment).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], above[j - 2] + 1)
    return row[-1]


def hint(name: str, names: Iterable[str], separator: str = "; ") -> str:
    """The nearest known name as a question, after the separator; empty if none is similar."""
    guess = nearest(name, names)
    return "" if guess is None else f"{separator}did you mean '{guess}'?"


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, else the first 16 of them."""
    known = sorted(names)
    if question := hint(name, known, ""):
        return question
    if not known:
        return "there are none"
    shown = ", ".join(known[:16]) + (", …" if len(known) > 16 else "")
    return f"known: {shown}"
