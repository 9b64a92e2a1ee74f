"""Names of an experience's baselines in its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qexp.tables import Table

Description = Mapping[str, Any]
"""`type`, and all `parameters` including defaults."""


def names(baselines: Sequence[Description], table: Table) -> list[str]:
    """The types; if one occurs several times, with the parameters that are not defaults: `ridge (penalties 1, 0.1)`.

    Two names are equal only if the baselines are; see `repeated`.
    """
    types = [one["type"] for one in baselines]
    return [_told_apart(one, table) if types.count(one["type"]) > 1 else one["type"] for one in baselines]


def repeated(baselines: Sequence[Description]) -> Iterator[tuple[int, int]]:
    """Duplicate baselines: the position of each, and that of its first occurrence."""
    for position, one in enumerate(baselines):
        if (first := list(baselines).index(one)) < position:
            yield position, first


def _told_apart(baseline: Description, table: Table) -> str:
    defaults = table[baseline["type"]].defaults
    own = [
        f"{name} {_said(value)}"
        for name, value in baseline["parameters"].items()
        if name not in defaults or _said(value) != _said(defaults[name])
    ]
    return f"{baseline['type']} ({'; '.join(own)})" if own else str(baseline["type"])


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
