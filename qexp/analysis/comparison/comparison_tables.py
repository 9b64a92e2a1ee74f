"""Tables of comparisons: rounded texts for readers, and plain numbers for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from qexp.analysis.comparison.compare import Comparison
from qexp.analysis.comparison.group_rows import GroupRow
from qexp.analysis.comparison.rounding import NONE, measured, number, rounding
from qexp.analysis.comparison.seed_comparison import Pair, PairRow, SeedComparison
from qexp.analysis.comparison.seed_groups import LeftOut
from qexp.analysis.comparison.typesetting import Table
from qexp.metrics.intervals import LEVEL, Estimate
from qexp.metrics.meaning import Meaning
from qexp.runs.record.calibration import SIGNIFICANT
from qexp.runs.record.calibration_columns import FIELD, PASSED, of_calibration

LONGEST = 48
"""Largest number of characters of a value in a table; JSON output has all."""

INTERVAL = f"{100 * LEVEL:.0f} % interval"


def differing_specs(comparison: Comparison | SeedComparison) -> Table | None:
    """Differences between the specs; None if there are none.

    If models or datasets have different names, only the names are listed. Long values are cut.
    """
    rows = []
    for kind, names in comparison.specs.items():
        if len(set(names)) > 1:
            rows.append([kind, *names])
    for path, values in comparison.differences.items():
        kind = path.partition(".")[0]
        if kind == "model" and len(set(comparison.specs[kind])) > 1:
            continue
        rows.append([path, *(value if len(value) <= LONGEST else value[: LONGEST - 1] + "…" for value in values)])
    return Table("Differences between the specs", ["spec", *comparison.names], rows) if comparison.differences else None


def results_of_runs(comparison: Comparison) -> Table:
    """A table of test metrics per run; the best value of each row is highlighted."""
    rows = [
        [row.output, row.metric, *(number(value, row.meaning) for value in row.values), row.unit]
        for row in comparison.results
    ]
    strong = {(i, 2 + j) for i, row in enumerate(comparison.results) for j in row.best}
    columns = ["output", _metric(comparison), *comparison.names, "unit"]
    return Table(f"Results {_on(comparison)}", columns, rows, frozenset(comparison.names), frozenset(strong))


def groups_of_seeds(comparison: SeedComparison) -> Table:
    rows = [
        [
            group.name,
            str(len(group.counted)),
            ranges(group.counted) or NONE,
            _left_out(group.left_out, comparison.missing(group)) or NONE,
        ]
        for group in comparison.groups
    ]
    return Table("Runs that differ by seed only", ["group", "n", "seeds", "not counted"], rows, frozenset({"n"}))


def results_of_groups(comparison: SeedComparison) -> Table:
    title = f"Results {_on(comparison)} over seeds"
    return _over_seeds(comparison.results, title, _metric(comparison))


def calibrations_of_groups(comparison: SeedComparison) -> Table | None:
    """Coverage and widths of intervals over seeds, and how many runs passed their tests; None without any."""
    rows = comparison.calibrations
    return _over_seeds(rows, "Calibration over seeds", "metric") if rows else None


def _over_seeds(of_groups: Sequence[GroupRow], title: str, metric: str) -> Table:
    rows = []
    for row in of_groups:
        of = row.estimate
        ends = [NONE, NONE] if of is None else _rounded(of, row.meaning, of.least, of.greatest)
        cells = [*_of_mean(of, row.meaning), *ends]
        if of is not None and _passed(row.metric):
            cells = [str(of.n), f"{sum(row.values.values()):.0f} of {of.n}", *[NONE] * 3]
        rows.append([row.output, row.metric, row.group, *cells, row.unit])
    columns = ["output", metric, "group", "n", "mean ± deviation", INTERVAL, "min", "max", "unit"]
    return Table(title, columns, rows, frozenset(columns[3:-1]))


def _passed(metric: str) -> bool:
    return of_calibration(metric) and metric.endswith(f".{PASSED}")


def _on(comparison: Comparison | SeedComparison) -> str:
    return "on the test part" if comparison.evaluation is None else f"on {comparison.evaluation}"


def _metric(comparison: Comparison | SeedComparison) -> str:
    """Title of the column of metrics."""
    return "test metric" if comparison.evaluation is None else f"metric {_on(comparison)}"


def differences_of(pair: Pair) -> Table:
    """The paired differences of two groups; the better group is named if the interval excludes 0."""
    rows = [
        [row.output, _name(row), *_of_mean(row.estimate, row.meaning), row.unit, row.better or NONE]
        for row in pair.rows
    ]
    title = f"{pair.first} minus {pair.second}, seed by seed ({ranges(pair.seeds)})"
    columns = ["output", "test metric", "n", "difference ± deviation", INTERVAL, "unit", "better"]
    return Table(title, columns, rows, frozenset(columns[2:5]))


def remarks(comparison: Comparison | SeedComparison) -> list[str]:
    """Remarks that a reader of the tables needs."""
    unknown = dict.fromkeys(
        row.metric for row in comparison.results if row.meaning.best is None and not of_calibration(row.metric)
    )
    said = [f"the runs do not say which values of {name} are better, or contradict each other" for name in unknown]
    if isinstance(comparison, Comparison):
        if not comparison.same_data:
            said.append(f"the evaluations '{comparison.evaluation}' of these runs are of different samples")
        return said
    said += [
        f"{pair.first} and {pair.second} are not paired: {pair.not_paired}"
        for pair in comparison.pairs
        if pair.not_paired
    ]
    if any(_passed(row.metric) for row in comparison.calibrations):
        said.append(
            f"{FIELD}.{PASSED}: runs in whose posteriors no test finds a fault; of those with right posteriors, "
            f"{100 * (1 - SIGNIFICANT):.0f} % pass"
        )
    for row in comparison.results:
        if row.not_finite:
            said.append(
                f"{row.group}: no finite {row.output} {row.metric} for {_seeds(row.not_finite)}; not counted there"
            )
    if any(pair.rows for pair in comparison.pairs):
        together = max(Counter(row.metric for pair in comparison.pairs for row in pair.rows).values())
        at_once = f"; the {together} intervals of a metric hold at once (Bonferroni)" if together > 1 else ""
        said.append(
            f"better: if the interval of the paired difference excludes 0{at_once}; between equal groups, any is "
            f"called better by chance in {100 * (1 - LEVEL):.0f} % of such comparisons of one metric"
        )
    return said


def tables(comparison: Comparison | SeedComparison) -> list[Table]:
    """All tables of a comparison."""
    specs = differing_specs(comparison)
    between = [specs] if specs else []
    if isinstance(comparison, Comparison):
        return [*between, results_of_runs(comparison)]
    paired = [differences_of(pair) for pair in comparison.pairs if pair.rows]
    calibrated = calibrations_of_groups(comparison)
    found = [results_of_groups(comparison), *([calibrated] if calibrated else [])]
    return [groups_of_seeds(comparison), *between, *found, *paired]


def plain_rows(comparison: Comparison | SeedComparison) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows for a program, with all digits. Rows with a `minus` are paired differences."""
    if isinstance(comparison, Comparison):
        rows: list[list[Any]] = [[row.output, row.metric, row.unit, *row.values] for row in comparison.results]
        return ["output", "metric", "unit", *comparison.names], rows
    columns = [
        "group", "minus", "output", "metric", "unit", "n", "mean", "standard_deviation", "interval_low",
        "interval_high", "min", "max", "better", "seeds", "not_counted",
    ]  # fmt: skip
    left_out = {group.name: _left_out(group.left_out, comparison.missing(group)) for group in comparison.groups}
    rows = []
    for of_group in (*comparison.results, *comparison.calibrations):
        told = "; ".join(filter(None, [left_out[of_group.group], _not_finite(of_group.not_finite)]))
        key = [of_group.group, "", of_group.output, of_group.metric, of_group.unit]
        rows.append([*key, *_plain(of_group.estimate), "", _listed(of_group.values), told])
    for group in comparison.groups:
        if not group.counted:
            rows.append([group.name, *[""] * 4, 0, *[""] * 8, left_out[group.name]])
    for pair in comparison.pairs:
        if pair.not_paired:
            rows.append([pair.first, pair.second, *[""] * 11, _listed(pair.seeds), pair.not_paired])
        for row in pair.rows:
            key = [pair.first, pair.second, row.output, _name(row), row.unit]
            rows.append([*key, *_plain(row.estimate), row.better or "", _listed(row.seeds), ""])
    return columns, rows


def ranges(seeds: Iterable[int]) -> str:
    """Numbers as ranges: `0-4, 7` for 0, 1, 2, 3, 4, 7."""
    runs = [[seed for _, seed in run] for _, run in groupby(enumerate(sorted(seeds)), lambda one: one[1] - one[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _name(row: PairRow) -> str:
    return f"|{row.metric}|" if row.absolute else row.metric


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {ranges(seeds)}"


def _listed(seeds: Iterable[int]) -> str:
    return " ".join(map(str, seeds))


def _left_out(runs: Iterable[LeftOut], missing: Sequence[int]) -> str:
    told = [f"{one.seed} {one.why} ({one.run})" for one in runs]
    return "; ".join([*told, *([f"{ranges(missing)} missing"] if missing else [])])


def _not_finite(seeds: Sequence[int]) -> str:
    return f"{ranges(seeds)} not finite" if seeds else ""


def _of_mean(of: Estimate | None, meaning: Meaning) -> list[str]:
    """The cells n, mean ± standard deviation, and interval."""
    if of is None:
        return ["0", NONE, NONE]
    if of.interval is None:
        return [str(of.n), number(of.mean, meaning), NONE]
    half_width = (of.interval[1] - of.interval[0]) / 2
    finer = min(half_width, of.standard_deviation or 0)
    written = rounding(of.mean, finer).interval(*of.interval) if finer > 0 else f"[{of.mean:.4g}, {of.mean:.4g}]"
    return [str(of.n), measured(of.mean, of.standard_deviation), written]


def _rounded(of: Estimate, meaning: Meaning, *values: float) -> list[str]:
    """Values rounded to the digits that are significant given their standard deviation."""
    if not of.standard_deviation:
        return [number(value, meaning) for value in values]
    return [rounding(of.mean, of.standard_deviation).number(value) for value in values]


def _plain(of: Estimate | None) -> list[Any]:
    if of is None:
        return [0, *[""] * 6]
    return [of.n, of.mean, of.standard_deviation, *(of.interval or ("", "")), of.least, of.greatest]
