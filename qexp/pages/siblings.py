"""A run among the other runs of its experience: in what its spec differs from theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.analysis.comparison.spec_diff import ABSENT, differences
from qexp.analysis.comparison.typesetting import Table
from qexp.errors import DamagedError, NotFoundError
from qexp.runs.record.directory import RunDirectory

if TYPE_CHECKING:
    from qexp.runs.record.record import Record

MOST_SPECS = 60
"""Specs that are read at most."""

MOST_VALUES = 6
"""Values of the others that are shown for a key."""

NAMED = 8
"""Runs that differ by seed only and are named."""

LONGEST = 60
"""Characters of a value that are shown."""


def siblings(directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    """A table of the differing keys, and a sentence on the runs that differ by seed only; empty if it is alone.

    others  summaries of the other runs of its workspace
    """
    group = [one for one in others if one["experience"] == record.experience and one["name"] != record.name]
    if not group:
        return []
    same = [one["name"] for one in group if one["digest"] == record.digest]
    by_digest: dict[str, list[Mapping[str, Any]]] = {}
    for one in group:
        if one["digest"] != record.digest:
            by_digest.setdefault(one["digest"], []).append(one)
    specs, counts = [], []
    for runs in list(by_digest.values())[:MOST_SPECS]:
        try:
            specs.append(RunDirectory(Path(runs[0]["path"])).spec())
        except (DamagedError, NotFoundError):
            continue
        counts.append(len(runs))
    rows = [
        [path, _short(values[0]), _of_others(values[1:], counts)]
        for path, values in differences([directory.spec(), *specs]).items()
    ]
    parts: list[Table | str] = [_by_seed(same)] if same else []
    if rows:
        number = sum(counts)
        said = f"{number} other run{'s' * (number != 1)} of {record.experience}"
        parts.append(Table(f"Differences from {said}", ["key", "this run", "others"], rows))
    return parts


def _by_seed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Runs that differ by seed only: {', '.join(names[:NAMED])}{more}."


def _of_others(values: Sequence[str], counts: Sequence[int]) -> str:
    known: Counter[str] = Counter()
    for value, count in zip(values, counts, strict=True):
        known[value] += count
    shown = [f"{_short(value)} ({count} run{'s' * (count != 1)})" for value, count in known.most_common(MOST_VALUES)]
    more = len(known) - len(shown)
    return ", ".join([*shown, *([f"{more} other values"] if more > 0 else [])])


def _short(value: str) -> str:
    if value == ABSENT:
        return "not set"
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
