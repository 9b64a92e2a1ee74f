"""Numbers of groups of runs that differ by seed only: their mean over the seeds, and how far the seeds differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qexp.analysis.comparison.seed_groups import ComparedRun, SeedGroup
from qexp.metrics.intervals import Estimate, estimate
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.metrics.recorded import meaning_of
from qexp.runs.record.calibration_columns import FIELD, Columns, compared_columns, of_width
from qexp.runs.record.evaluations import find


@dataclass(frozen=True)
class GroupRow:
    """One metric of one output in one group."""

    group: str
    output: str
    metric: str
    meaning: Meaning
    unit: str
    estimate: Estimate | None
    """None if no seed has a number."""
    values: dict[int, float]
    """Seed → value."""
    not_finite: list[int]
    """Seeds that count in the group, but whose value is not finite."""


def units_of_groups(groups: Sequence[SeedGroup]) -> dict[str, str]:
    """Output → its unit in the runs' records."""
    return {name: unit for group in groups for one in group.runs for name, unit in one.summary["units"].items()}


def rows_of_results(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Of the test part, or of an evaluation."""
    tests = [one.test for group in groups for one in group.counted.values()]
    records = [one.directory.record() for group in groups for one in group.counted.values()]
    units = units_of_groups(groups)
    for output in dict.fromkeys(output for test in tests for output in test):
        for name in dict.fromkeys(metric for test in tests for metric in test.get(output, {})):
            of = meaning_of(name, [record.metrics for record in records])
            for group in groups:
                found = {seed: one.test.get(output, {}).get(name) for seed, one in group.counted.items()}
                if not any(name in one.test.get(output, {}) for one in group.counted.values()):
                    continue
                values = {seed: value for seed, value in found.items() if value is not None and math.isfinite(value)}
                yield GroupRow(
                    group.name,
                    output,
                    name,
                    of,
                    of.in_unit(units.get(output, "")),
                    estimate(list(values.values()), of.limits(values.values())) if values else None,
                    values,
                    [seed for seed in found if seed not in values],
                )


def rows_of_calibrations(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Coverage and widths of the intervals of runs that were calibrated, and whether they passed; see `qexp calibrate`.

    Runs that were not are no part of the mean. p-values have none.
    """
    units = units_of_groups(groups)
    found = {group.name: {seed: _columns(one) for seed, one in group.counted.items()} for group in groups}
    runs = [columns for of_group in found.values() for columns in of_group.values()]
    for output in dict.fromkeys(output for columns in runs for output in columns):
        named = dict.fromkeys(name for columns in runs for name in columns.get(output, {}))
        for name in (name for name in named if not name.endswith("p_value")):
            unit = units.get(output, "") if of_width(name) else ""
            for group, of_group in found.items():
                known = {seed: columns.get(output, {}).get(name) for seed, columns in of_group.items()}
                values = {seed: value for seed, value in known.items() if value is not None}
                if values:
                    of = estimate(list(values.values()))
                    yield GroupRow(group, output, f"{FIELD}.{name}", UNKNOWN, unit, of, values, [])


def _columns(one: ComparedRun) -> Columns:
    return compared_columns(one.directory if one.evaluation is None else find(one.directory, one.evaluation))
