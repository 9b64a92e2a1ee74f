"""Comparisons that show themselves in notebooks and terminals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from qexp.analysis.comparison.compare import Comparison
from qexp.analysis.comparison.comparison_tables import remarks, tables
from qexp.analysis.comparison.seed_comparison import SeedComparison
from qexp.analysis.comparison.typesetting import Table
from qexp.fragments.pictures import picture
from qexp.fragments.svg import Drawn
from qexp.fragments.view import Shown, View
from qexp.pages.comparison_parts import cautions, results_drawn

MOST_TABLES, MOST_ROWS = 3, 16
"""Tables of a comparison that are shown at once, and their rows."""


class ShownComparison(Shown, Comparison):
    """A comparison of runs."""

    def __repr__(self) -> str:
        return f"<comparison of {', '.join(self.names)}>"

    def view(self) -> View:
        first, *further = reversed(tables(self))
        pictures = [picture(path.stem.replace("_", " "), path) for path in self.figures if path.is_file()]
        parts: list[Table | Drawn | str] = [first, *remarks(self), *further]
        return View(
            f"Comparison of {len(self.names)} runs", parts=parts, more={"pictures": pictures} if pictures else {}
        )


class ShownSeedComparison(Shown, SeedComparison):
    """A comparison of groups of runs over their seeds."""

    def __repr__(self) -> str:
        return f"<comparison over seeds of {', '.join(self.names)}>"

    def view(self) -> View:
        runs = [one for group in self.groups for one in group.runs]
        shown = tables(self)
        pictures = [picture(path.stem.replace("_", " "), path) for path in self.figures if path.is_file()]
        more: dict[str, Sequence[Table | Drawn | str]] = {}
        short = [one for one in shown if len(one.rows) <= MOST_ROWS][:MOST_TABLES]
        if further := [one for one in shown if one not in short]:
            more["more tables"] = further
        if pictures:
            more["pictures"] = pictures
        parts: list[Table | Drawn | str] = [*results_drawn(self), *short, *remarks(self)]
        title = f"{len(self.groups)} group{'s' * (len(self.groups) != 1)} of runs over their seeds"
        return View(title, cautions=cautions(runs), parts=parts, more=more)


def compared(made: Comparison | SeedComparison) -> ShownComparison | ShownSeedComparison:
    if isinstance(made, Comparison):
        return ShownComparison(**fields_of(made))
    return ShownSeedComparison(**fields_of(made))


def fields_of(made: Any) -> dict[str, Any]:
    """The fields of a dataclass, to make another of a type below it."""
    return {one.name: getattr(made, one.name) for one in fields(made)}
