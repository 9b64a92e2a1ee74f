"""How many held-out rows their intervals cover, for readers: tables, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qexp.analysis.comparison.result_tables import GROUPS, Parts
from qexp.analysis.comparison.rounding import NONE
from qexp.analysis.comparison.typesetting import Table
from qexp.runs.record.held_out_intervals import OVERALL, USUAL

if TYPE_CHECKING:
    from qexp.runs.record.held_out_intervals import Coverage, HeldOutIntervals


def held_out_intervals(found: HeldOutIntervals | None, units: Mapping[str, str]) -> Parts:
    """Coverage and width of the intervals of held-out rows: of all, then by group.

    units  output → unit
    """
    if found is None or not found.coverages:
        return
    yield _overall(
        found,
        units,
        f"intervals of held-out estimates, each from the errors of the other {found.units - 1} {of_unit(found)}",
    )
    yield from _around_quantiles(found)
    yield _meaning(found)
    yield from _short(found, f"{found.units - 1} other")
    yield from _by_group(found, units)


def evaluated_intervals(found: HeldOutIntervals | None, units: Mapping[str, str]) -> Parts:
    """The same of an evaluation on other data, whose intervals are those that predictions have."""
    if found is None or not found.coverages:
        return
    yield _overall(found, units, f"intervals from the errors of {found.units} held-out {of_unit(found)} of the run")
    yield from _around_quantiles(found)
    yield from _short(found, str(found.units))
    yield from _by_group(found, units)


def _overall(found: HeldOutIntervals, units: Mapping[str, str], title: str) -> Table:
    columns = ["output", "interval", "covered", "share", "95 % range", "mean width"]
    rows = [_row(one, units) for one in found.coverages if one.of == OVERALL]
    return Table(title, columns, rows, frozenset(columns[1:]))


def _around_quantiles(found: HeldOutIntervals) -> Parts:
    if found.heads:
        yield (
            f"the intervals of {' and '.join(found.heads)} are those of the network's posterior, moved outwards or "
            f"inwards by what the {of_unit(found)} demand: where it is less sure, they are wider"
        )


def _short(found: HeldOutIntervals, known: str) -> Parts:
    """Which coverages the number of known units is too small to promise."""
    if short := [one for one in found.coverages if one.of == OVERALL and one.promised < one.interval]:
        named = ", ".join(dict.fromkeys(percent(one.interval) for one in short))
        yield (
            f"{named}: {known} {of_unit(found)} are too few to promise that; these intervals are as wide as their "
            f"largest error and promise {percent(short[0].promised)}"
        )


def _by_group(found: HeldOutIntervals, units: Mapping[str, str]) -> Parts:
    groups = [one for one in found.coverages if one.of != OVERALL and one.interval == USUAL]
    if not groups:
        return
    columns = [groups[0].of, "output", "n", "covered", "mean width"]
    rows = [[one.name, one.output, f"{one.n:,}", f"{one.covered:,}", _width(one, units)] for one in groups[:GROUPS]]
    yield Table(f"{percent(USUAL)} intervals by {groups[0].of}", columns, rows, frozenset(columns[2:]))
    if len(groups) > GROUPS:
        yield f"and {len(groups) - GROUPS:,} more in results/intervals.json"


def of_unit(found: HeldOutIntervals) -> str:
    """The units in the plural, such as `rows`, or `groups (mission)`."""
    return "rows" if found.unit == "row" else f"groups ({found.unit})"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _row(one: Coverage, units: Mapping[str, str]) -> list[str]:
    low, high = (f"{100 * end:.0f}" for end in one.range)
    covered = f"{one.covered:,} of {one.n:,}"
    return [
        one.output,
        percent(one.interval),
        covered,
        percent(one.covered / one.n),
        f"{low} to {high} %",
        _width(one, units),
    ]


def _width(one: Coverage, units: Mapping[str, str]) -> str:
    return NONE if one.mean_width is None else f"{one.mean_width:.3g} {units.get(one.output, '')}".strip()


def _meaning(found: HeldOutIntervals) -> str:
    """What the coverage is that of, and what it does not show."""
    if found.unit != "row":
        return (
            f"the intervals are for rows of a new {found.unit}: each has its interval from other groups alone; the "
            "range takes rows as independent, and is too narrow where those of a group are alike"
        )
    of_known = next((one.of for one in found.coverages if one.of != OVERALL), None)
    new = f", not for a new {of_known}: for that, hold out whole groups" if of_known else ""
    return (
        f"the intervals are for new rows like these{new}; the share over all rows follows by counting, whatever the "
        "errors are, so look at widths and groups"
    )
