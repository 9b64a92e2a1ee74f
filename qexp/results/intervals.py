"""How many held-out rows the intervals of the other rows' errors cover: `results/intervals.json` of
a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qexp.base.quantities import number_with_unit, with_unit
from qexp.base.text import Table
from qexp.metrics.meaning import NONE
from qexp.results.capabilities import MOST_GROUPS, Parts, Results
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

INTERVALS, INTERVALS_OF_ROWS = "intervals.json", "intervals.csv"
"""In `results`: coverages; and the interval of every row."""

USUAL_COVERAGE = 0.9
"""Coverage of intervals for which none is asked for."""

OVERALL = "overall"
"""Kind of the group of all rows."""


@dataclass(frozen=True, kw_only=True)
class Coverage(Part):
    """How many rows of a group lie in their intervals."""

    output: str
    """Name of the output."""
    interval: float
    """Coverage by which the interval is named: 0.9 from the 5 % to the 95 % quantile."""
    promised: float
    """Coverage that the number of units allows; less than `interval` if they are too few."""
    of: str
    """Kind of the group, such as `core`, or `overall`."""
    name: str
    """Name of the group; empty for all rows."""
    n: int
    """Number of its rows."""
    covered: int
    """Number of its rows that lie in their intervals."""
    range: tuple[float, float]
    """95 % Clopper–Pearson interval of the share that is covered, as if rows were independent."""
    mean_width: float | None
    """Mean width of the intervals, in the output's unit; null if one is infinite."""


@dataclass(frozen=True, kw_only=True)
class HeldOutIntervals(Part):
    """Intervals of held-out rows, each from the errors of all other units."""

    unit: str
    """What is exchangeable: `row`, or the kind of group that is held out, such as `mission`."""
    units: int
    """Number of units."""
    heads: tuple[str, ...] = ()
    """Outputs whose intervals are laid around quantiles of a posterior head; those of others around
    the estimate.
    """
    sets: tuple[str, ...] = ()
    """Outputs that are classes: in place of intervals they have sets, whose width is the number of
    classes.
    """
    coverages: tuple[Coverage, ...]
    """By output and interval: of all rows, then by group."""

    @property
    def unit_in_words(self) -> str:
        """The units in the plural, such as `rows`, or `groups (mission)`."""
        return "rows" if self.unit == "row" else f"groups ({self.unit})"

    def counted(self, count: int, which: str) -> str:
        """`3 other groups (mission)`, or `1 held-out row`."""
        single = "row" if self.unit == "row" else f"group ({self.unit})"
        return f"{count} {which} {single if count == 1 else self.unit_in_words}"

    @property
    def promise(self) -> float:
        """By what intervals are named: `USUAL_COVERAGE`, or what the number of units allows."""
        usual = [one.promised for one in self.overall if one.interval == USUAL_COVERAGE]
        return min(usual, default=USUAL_COVERAGE)

    @property
    def overall(self) -> list[Coverage]:
        """The coverages of all rows together."""
        return [coverage for coverage in self.coverages if coverage.of == OVERALL]


def intervals_of(directory: RunDirectory) -> HeldOutIntervals | None:
    """The intervals that a run or an evaluation has, if it does. Raises DamagedError."""
    file = directory.results / INTERVALS
    return HeldOutIntervals.read(file) if file.is_file() else None


class IntervalsOfRows(Results):
    """Intervals of held-out rows; or of the rows of an evaluation, as predictions have them."""

    folded = "how many rows lie in their intervals"

    @cached_property
    def intervals(self) -> HeldOutIntervals | None:
        return intervals_of(self.directory)

    def document(self) -> dict[str, Any]:
        return {"held_out_intervals": self.intervals and self.intervals.document()}

    def tables(self) -> Parts:
        if self.intervals is None:
            return iter(())
        return interval_tables(self.intervals, self.record.units, held_out=self.directory.held_out)

    def figures(self) -> Sequence[Path]:
        return sorted(self.directory.results.glob("figures/coverage*.png"))


def interval_tables(
    intervals: HeldOutIntervals, units: Mapping[str, str], *, held_out: bool = True
) -> Parts:
    """Coverage and width of the intervals of rows: of all, then by group.

    units     output → unit
    held_out  whether each interval is from the errors of the other rows among them; false: from
              those of the run
    """
    if not intervals.coverages:
        return
    if held_out:
        others = intervals.counted(intervals.units - 1, "other")
        title = f"intervals of held-out estimates, each from the errors of {others}"
    else:
        others = intervals.counted(intervals.units, "held-out")
        title = f"intervals from the errors of {others} of the run"
    units = {**units, **dict.fromkeys(intervals.sets, "classes")}
    of_outputs = {units.get(coverage.output, "") for coverage in intervals.coverages}
    # In the title, where all have the same.
    width, units = (
        ("mean width", units) if len(of_outputs) > 1 else (with_unit("mean width", *of_outputs), {})
    )
    columns = ["output", "interval", "covered", "share", "95 % range", width]
    named = {(coverage.output, coverage.promised): coverage for coverage in intervals.overall}
    # wider ones than can be promised are all the same
    rows = [_row(coverage, units) for coverage in named.values()]
    yield Table(title, columns, rows, frozenset(columns[1:]))
    if intervals.heads:
        yield (
            f"the intervals of {' and '.join(intervals.heads)} are those of the network's"
            " posterior, widened or narrowed until they hold as many of the"
            f" {intervals.unit_in_words} as they should; where it is less sure, they are wider"
        )
    if intervals.sets:
        yield (
            f"those of {' and '.join(intervals.sets)} are sets of classes, whose width is their"
            " number of classes; the likeliest one always belongs to them, so that sets may hold"
            " more than they promise"
        )
    if held_out:
        yield _meaning(intervals)
    short = [coverage for coverage in intervals.overall if coverage.promised < coverage.interval]
    if short:
        yield (
            f"{others} can promise only {percent(short[0].promised)}: these intervals are as wide"
            " as the largest error"
        )
    groups = [group for group in intervals.coverages if group.of != OVERALL]
    groups = [group for group in groups if group.interval == USUAL_COVERAGE]
    if groups:
        columns = [groups[0].of, "output", "n", "covered", width]
        rows = []
        for group in groups[:MOST_GROUPS]:
            counts = f"{group.n:,}", f"{group.covered:,}"
            rows.append([group.name, group.output, *counts, _width(group, units)])
        title = f"{percent(groups[0].promised)} intervals by {groups[0].of}"
        yield Table(title, columns, rows, frozenset(columns[2:]))
    if len(groups) > MOST_GROUPS:
        yield f"and {len(groups) - MOST_GROUPS:,} more in results/intervals.json"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _row(coverage: Coverage, units: Mapping[str, str]) -> list[str]:
    low, high = (f"{100 * end:.0f}" for end in coverage.range)
    return [
        coverage.output,
        percent(coverage.promised),
        f"{coverage.covered:,} of {coverage.n:,}",
        percent(coverage.covered / coverage.n),
        f"{low} to {high} %",
        _width(coverage, units),
    ]


def _width(coverage: Coverage, units: Mapping[str, str]) -> str:
    if coverage.mean_width is None:
        return NONE
    return number_with_unit(
        f"{coverage.mean_width:#.3g}".rstrip("."), units.get(coverage.output, "")
    )


def _meaning(intervals: HeldOutIntervals) -> str:
    """What the coverage is that of, and what it does not show."""
    if intervals.unit != "row":
        return (
            f"these intervals hold for rows of a new {intervals.unit}: that of each row is from the"
            " errors of other groups; the 95 % range is that of independent rows, and should be"
            " wider where rows of a group are alike"
        )
    group = next((coverage.of for coverage in intervals.coverages if coverage.of != OVERALL), None)
    new = f", and not for those of a new {group}; for that, hold out whole groups" if group else ""
    return (
        f"these intervals hold for new rows like these{new}; over all rows together the share is"
        " right by construction, so look at the widths and at single groups"
    )
