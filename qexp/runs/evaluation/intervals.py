"""Intervals of held-out rows and how many rows they cover, written beside a run's results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.estimates import estimate_of, high_of, low_of
from qexp.metrics import conformal
from qexp.runs.evaluation.held_out import HeldOut, held_out, opened
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import INTERVALS, INTERVALS_OF_ROWS, OVERALL, USUAL, Coverage, HeldOutIntervals

log = logging.getLogger("qexp.run")

Array = NDArray[np.float64]

COVERAGES = (0.5, 0.68, 0.9, 0.95)
"""Coverages that are counted."""

LEVEL = 0.95
"""Of the range of a share."""


def keep_intervals(directory: RunDirectory) -> HeldOutIntervals:
    """Write the intervals of a run's held-out rows into its results, and how many rows they cover.

    Each row gets its interval from the errors of all other units: it is a row that is new to the rule.
    Raises QexpError if the run has no held-out estimates.
    """
    outputs = held_out(directory)
    coverages = [
        one
        for rows in outputs
        if rows.count > 1  # else there are no other errors
        for coverage in COVERAGES
        for one in coverages_of(rows, coverage, conformal.promised(rows.count - 1), intervals_of_rows(rows, coverage))
    ]
    made = HeldOutIntervals(
        unit=outputs[0].unit, units=outputs[0].count, heads=heads_among(outputs), coverages=tuple(coverages)
    )
    if coverages:
        write_intervals(directory, {rows.output: intervals_of_rows(rows, USUAL) for rows in outputs})
    files.write_json(directory.results / INTERVALS, made.document())
    for one in made.coverages:
        if one.of == OVERALL and one.interval == USUAL:
            log.info("intervals of 90 %% cover %d of %d held-out rows of %s", one.covered, one.n, one.output)
    return made


def intervals_of_rows(rows: HeldOut, coverage: float) -> tuple[Array, Array]:
    """Lower and upper end of each row's interval, (row,), from the scores of all other units.

    If these are too few for the coverage, it is the largest that they allow: that of their largest error.
    """
    attained = min(coverage, conformal.promised(rows.count - 1))
    radius = conformal.of_others(rows.scores(attained), rows.units, attained)
    return rows.scale.around(*rows.start(attained), radius)


def heads_among(outputs: Sequence[HeldOut]) -> tuple[str, ...]:
    """The outputs whose intervals are laid around quantiles of a posterior head."""
    return tuple(rows.output for rows in outputs if rows.quantiles)


class Judged(Protocol):
    """Rows with known truth; all of them (row,)."""

    @property
    def output(self) -> str: ...
    @property
    def truth(self) -> Array: ...
    @property
    def by(self) -> str | None: ...
    @property
    def groups(self) -> NDArray[np.str_]: ...


def coverages_of(rows: Judged, coverage: float, most: float, ends: tuple[Array, Array]) -> Iterator[Coverage]:
    """How many rows lie in their intervals: of all, then by group.

    most  the largest coverage that can be promised
    """
    low, high = ends
    covered = (low <= rows.truth) & (rows.truth <= high)
    parts: list[tuple[str, str, NDArray[np.bool_]]] = [(OVERALL, "", np.ones(len(low), dtype=bool))]
    if rows.by is not None:
        parts += [(rows.by, str(name), rows.groups == name) for name in np.unique(rows.groups)]
    for of, name, own in parts:
        width = float((high[own] - low[own]).mean())
        yield Coverage(
            output=rows.output,
            interval=coverage,
            promised=min(coverage, most),
            of=of,
            name=name,
            n=int(own.sum()),
            covered=int(covered[own].sum()),
            range=_range(int(covered[own].sum()), int(own.sum())),
            mean_width=width if np.isfinite(width) else None,
        )


def _range(covered: int, of: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(covered, of).proportion_ci(LEVEL, method="exact")
    return float(found.low), float(found.high)


def write_intervals(directory: RunDirectory, ends: Mapping[str, tuple[Array, Array]]) -> None:
    """Write a line per test row: what names it, then every output with its estimate and interval.

    ends  output → lower and upper end of the interval of each row
    """
    rows = opened(directory)
    texts = [name for name in rows.data_vars if rows[name].dtype.kind in "OUST"]
    index = rows[next(iter(ends))].dims[0]
    table = {str(name): rows[name].values.tolist() for name in (index, *texts)}
    for output, (low, high) in ends.items():
        table |= {name: rows[name].values.tolist() for name in (output, estimate_of(output))}
        table |= {low_of(output): low.tolist(), high_of(output): high.tolist()}
    if caution := rows.attrs.get("caution"):
        table["caution"] = [caution] * rows.sizes[index]
    files.write_csv(directory.results / INTERVALS_OF_ROWS, table, zip(*table.values(), strict=True))
