"""The results of a run or an evaluation for readers: tables, and the sentences that belong to them.

rows  results of `qexp.metrics.baselines.compared_estimators`, possibly read from JSON
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qexp.base import files
from qexp.base.quantities import in_words
from qexp.base.text import Table
from qexp.metrics.meaning import NONE, number, rounding
from qexp.metrics.recorded import NETWORK, SHOWN, best, meaning_of
from qexp.store.results import (
    INTERVAL,
    OVERALL,
    REGIONS,
    SIGNIFICANT,
    USUAL,
    WELL_ABOVE,
    WHOLE,
    BoundRatio,
    Calibration,
    CellShare,
    CoverageShare,
    ExactComparison,
    OutputCalibration,
    Regions,
)

if TYPE_CHECKING:
    from qexp.store.directory import RunDirectory
    from qexp.store.evaluations import EvaluationRecord
    from qexp.store.record import Record
    from qexp.store.results import Coverage, HeldOutIntervals, Limit

Row = Mapping[str, Any]

SKEWED = 20
"""Least share of an interval's width, 1 to this, that numbers are rounded by: its shorter side may be nothing."""


def estimator_tables(rows: Sequence[Row]) -> list[Table]:
    """A table per output, sorted by RMSE; the smallest is highlighted."""
    return [_estimators_of_output(output, list(of)) for output, of in groupby(rows, lambda row: str(row["output"]))]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Remarks that a reader of the tables needs."""
    noted: dict[str, list[str]] = {}
    for name, note in dict.fromkeys((row["estimator"], row["note"]) for row in rows):
        noted.setdefault(note, []).append(name)
    said = [f"{', '.join(names)}: {note}" for note, names in noted.items() if note]
    if any(row["rmse_interval"] for row in rows):
        counts = sorted({row["groups"] for row in rows if row["groups"]})
        left_out = f"{' or '.join(map(str, counts))} groups of held-out rows" if counts else "held-out rows"
        said.append(f"in brackets: 95 % intervals over {left_out}, by the jackknife")
    if any(row["difference"] is not None for row in rows):
        said.append(
            f"against the {NETWORK}: difference of the RMSE over the same rows, positive if the {NETWORK} is better; "
            "not significant if the interval in brackets includes 0"
        )
    for name in dict.fromkeys(row["estimator"] for row in rows if row["rmse"] is None):
        said.append(f"{name}: not evaluated, because some of its estimates are not finite")
    return said


def plain_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows for programs, with all digits."""
    numbers = (*SHOWN, "difference")
    columns = ["output", "unit", "estimator", "note", "n", "groups"]
    columns += [f"{name}{end}" for name in numbers for end in ("", "_low", "_high")]
    return columns, [
        [
            *("" if row[key] is None else row[key] for key in columns[:6]),
            *(value for name in numbers for value in _plain(row, name)),
        ]
        for row in rows
    ]


def _estimators_of_output(output: str, rows: Sequence[Row]) -> Table:
    unit = f" ({rows[0]['unit']})" if rows[0]["unit"] else ""
    ordered = sorted(rows, key=lambda row: float("inf") if row["rmse"] is None else row["rmse"])
    columns = ["estimator", f"RMSE{unit}", f"MAE{unit}", "R²", f"bias{unit}", f"against the {NETWORK}{unit}"]
    texts = [
        [
            f"{row['estimator']} ({row['note']})" if row["note"] else str(row["estimator"]),
            _with_interval(row, "rmse"),
            *(_rounded(row, metric) for metric in ("mae", "r2", "bias")),
            _with_interval(row, "difference"),
        ]
        for row in ordered
    ]
    strong = frozenset({(0, 1)} if best(ordered) else ())
    count = rows[0]["groups"]
    groups = f" in {count} group{'s' * (count != 1)}" if count else ""
    title = f"{output}, {rows[0]['n']} held-out rows{groups}"
    return Table(title, columns, texts, frozenset(columns[1:]), strong)


def _with_interval(row: Row, name: str) -> str:
    half_width = _half_width(row, name)
    if half_width is None:
        return _rounded(row, name)
    return f"{_rounded(row, name)} {rounding(row[name], half_width).interval(*row[f'{name}_interval'])}"


def _rounded(row: Row, name: str) -> str:
    """A value and its interval, rounded to the digits that are significant given the interval."""
    half_width = _half_width(row, name)
    return (
        number(row[name], meaning_of(name, ()))
        if half_width is None
        else rounding(row[name], half_width).number(row[name])
    )


def _half_width(row: Row, name: str) -> float | None:
    """The shorter side of an interval, by which numbers are rounded, if it is wider than floating-point errors."""
    ends = row[f"{name}_interval"]
    if row[name] is None or ends is None:
        return None
    half_width = max(min(row[name] - ends[0], ends[1] - row[name]), float(ends[1] - ends[0]) / SKEWED)
    return half_width if half_width > 1e-9 * (1 if name == "r2" else row["rmse"]) else None


def _plain(row: Row, name: str) -> list[Any]:
    ends = row[f"{name}_interval"] or ("", "")
    return ["" if row[name] is None else row[name], *ends]


# The results of a run or an evaluation for readers: tables, and sentences that belong to them, in their order.


Parts = Iterator[Table | str]

GROUPS = 40
"""Most lines of errors by group."""

MOST_WRITTEN = 40
"""Most lines of files that a program wrote."""


def results(record: Record) -> Parts:
    """A row per part and output, a column per metric; then the caution."""
    columns = list(
        dict.fromkeys(name for outputs in record.results.values() for metrics in outputs.values() for name in metrics)
    )
    rows = []
    for part, outputs in record.results.items():
        for output, metrics in outputs.items():
            cells = _cells(metrics, record.units.get(output, ""), record)
            rows.append([part, output, *(cells.get(name, NONE) for name in columns)])
    yield _table("", ["part", "output", *columns], rows, words=2)
    if record.caution:
        yield record.caution


def own_results(directory: RunDirectory, record: Record) -> Parts:
    """The numbers of a run; of a program that gave none the files that it wrote."""
    written = None if record.results else directory.written_by_program()
    if written is None:
        yield from results(record)
        return
    rows = [[name, files.in_bytes(one["bytes"]), one["sha256"][:16]] for name, one in written.items()]
    if rows:
        yield _table("", ["file", "size", "sha256"], rows[:MOST_WRITTEN], words=1)
        if len(rows) > MOST_WRITTEN:
            yield f"and {len(rows) - MOST_WRITTEN:,} more files"
    else:
        yield "The program gave no numbers and wrote no files into its run's folder; what it printed is in the log."
    if record.caution:
        yield record.caution


def estimators(record: Record) -> Parts:
    """The network among its baselines, on the rows that were held out."""
    if not record.comparison:
        return

    rows = [row.document() for row in record.comparison]
    yield from estimator_tables(rows)
    yield from remarks(rows)


def results_with_intervals(record: Record | EvaluationRecord) -> Parts:
    """A row per output and metric, with the 95 % interval where there is one; then the caution."""
    rows = []
    for part, outputs in record.results.items():
        for output, metrics in outputs.items():
            intervals = record.intervals.get(part, {}).get(output, {})
            for metric, value in metrics.items():
                of, ends = meaning_of(metric, [record.metrics]), intervals.get(metric)
                between = NONE if ends is None else f"[{number(ends[0], of)}, {number(ends[1], of)}]"
                cells = [output, metric, number(value, of), between, of.in_unit(record.units.get(output, ""))]
                rows.append([part, *cells] if len(record.results) > 1 else cells)
    columns = ["output", "metric", "value", "95 % interval", "unit"]
    yield Table("", ["part"] * (len(record.results) > 1) + columns, rows, frozenset(columns[2:4]))
    if record.caution:
        yield record.caution


def beside_limit(record: Record, limit: Limit | None) -> Parts:
    """Test errors beside those of the exact posteriors of these samples, if they are known."""
    if limit is None:
        return
    rows = []
    for output, metrics in record.results.get("test", {}).items():
        if (least := limit.variables.get(output)) is None:
            continue
        for metric, of_best in (("mae", least.mae), ("rmse", least.rmse)):
            value = metrics.get(metric)
            ratio = NONE if value is None else f"{value / of_best:.2f}"
            rows.append([output, metric, number(value), number(of_best), ratio, least.unit])
    columns = ["output", "metric", "value", "limit", "ratio", "unit"]
    yield Table("errors beside the limit", columns, rows, frozenset(columns[2:5]))
    yield (
        "limit: errors of the exact posterior median (mae) and mean (rmse) of the same samples; the prior has the "
        f"dataset's whole distributions; {limit.meaning}"
        + (f"; known of each sample: {', '.join(limit.given)}" if limit.given else "")
    )


def limit_to_compute(record: Record, spec: dict[str, Any], limit: Limit | None) -> Parts:
    """The command that computes the limit, where there is one and it is not known yet."""
    from qexp.spec.experiences import type_of

    if limit is None and "test" in record.results and type_of(spec).has_limit(spec):
        yield f"errors of the exact posteriors of the same samples are not known yet: qexp limit --run {record.name}"


def field_errors(record: Record | EvaluationRecord) -> Parts:
    """Errors of vectors on whole test frames, and how long the network takes for one."""
    errors = record.errors
    if errors is None:
        return
    rows = []
    for vector, values in errors.vectors.items():
        unit = record.units.get(vector.partition(", ")[0], "")
        lengths = [f"{number(value)} {unit}".strip() for value in (values.mean_error, values.mean_speed)]
        rows.append([f"({vector})", *lengths, f"{number(values.percent)} %"])
    if rows:
        yield _table("", ["vector", "mean error", "mean speed", "error / speed"], rows, words=1)
    height, width = errors.frame
    threads = f", {errors.threads} thread{'s' if errors.threads != 1 else ''}" if errors.device == "cpu" else ""
    milliseconds = number(1000 * errors.seconds_per_frame)
    yield (
        f"whole test frames, {errors.cells:,} cells; the network takes {milliseconds} ms for a frame of "
        f"{height} x {width} cells ({errors.device}{threads})"
    )


def group_errors(record: Record | EvaluationRecord) -> Parts:
    """Errors by core, folder or group of rows, a line for each."""
    for of in dict.fromkeys(one.of for one in record.groups):
        groups = [one for one in record.groups if one.of == of]
        metrics = list(dict.fromkeys(name for one in groups for name in one.metrics))
        rows = []
        for one in groups[:GROUPS]:
            cells = _cells(one.metrics, record.units.get(one.output, ""), record)
            rows.append([one.name, one.output, f"{one.n:,}", *(cells.get(name, NONE) for name in metrics)])
        yield _table("", [of, "output", "n", *metrics], rows, words=2)
        if len(groups) > GROUPS:
            yield f"and {len(groups) - GROUPS:,} more in results/errors.csv"


def _table(title: str, columns: list[str], rows: list[list[str]], words: int) -> Table:
    """A table whose columns after the first `words` are numbers."""
    return Table(title, columns, rows, frozenset(columns[words:]))


def _cells(metrics: Mapping[str, float | None], unit: str, record: Record | EvaluationRecord) -> dict[str, str]:
    """Metric → its value with its unit."""
    cells = {}
    for metric, value in metrics.items():
        of = meaning_of(metric, [record.metrics])
        cells[metric] = NONE if value is None else f"{number(value, of)} {of.in_unit(unit)}".strip()
    return cells


# How many held-out rows their intervals cover, for readers: tables, and what to keep in mind.


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


# The calibrations of a run for readers: a table, and verdicts in sentences.
#
# Among the tests of a calibration the least p-value is small by chance: what is called a fault has a probability of at
# most `SIGNIFICANT` for all tests together (Bonferroni).


PARTS = {"all": "whole prior", "train": "training part", "validation": "validation part", "test": "test part"}


def calibrated(found: Collection[Calibration]) -> Parts:
    """All that is said of the calibrations of a run: verdicts, one table, and each in turn; nothing without any."""
    for one in found:
        yield f"{kind_in_words(one)}: {one.verdict}" if len(found) > 1 else one.verdict
    if found:
        yield _calibration_table(found)
    for one in found:
        yield from _sentences(one)


def calibrated_runs(found: Mapping[str, Calibration]) -> Table:
    """A line for each run: its 90 % intervals, and whether a test finds a fault."""
    names = list(dict.fromkeys(name for of in found.values() for name in of.outputs))
    ratios = _ratios(found.values())
    columns = ["run"]
    for name in names:
        columns += [f"{name} in {100 * INTERVAL:g} %", f"{name} width", *(f"{name} / {ratio}" for ratio in ratios)]
    columns += [*(["C2ST"] if any(of.exact for of in found.values()) else []), "tests"]
    rows = []
    for run, of in found.items():
        cells = [cell for name in names for cell in _cells_of_output(of.outputs.get(name), ratios)]
        if "C2ST" in columns:
            cells.append(NONE if of.exact is None else f"{100 * of.exact.accuracy:.1f} %")
        verdict = f"{of.faults} of {len(of.p_values)} find a fault" if of.faults else "passed"
        rows.append([run, *cells, verdict])
    title = f"calibration: {', '.join(dict.fromkeys(kind_in_words(of) for of in found.values()))}"
    return Table(title, columns, rows, frozenset(columns[1:-1]))


def _cells_of_output(one: OutputCalibration | None, ratios: Sequence[str]) -> list[str]:
    if one is None:
        return [NONE] * (2 + len(ratios))
    width = f"{number(one.width)} {one.unit}".strip()
    return [f"{100 * _verdict(one.coverage).share:.1f} %", width, *_widths_beside(one, ratios)]


def _ratios(found: Collection[Calibration]) -> list[str]:
    """What widths of any of the calibrations are compared with."""
    outputs = [one for of in found for one in of.outputs.values()]
    exact, bound = any(one.width_ratio for one in outputs), any(one.bound_ratio for one in outputs)
    return [*(["exact"] if exact else []), *(["bound"] if bound else [])]


def _widths_beside(one: OutputCalibration, ratios: Sequence[str]) -> list[str]:
    known = {"exact": one.width_ratio, "bound": one.bound_ratio}
    return [NONE if (of := known[ratio]) is None else f"{of.median:.3g}" for ratio in ratios]


def kind_in_words(of: Calibration) -> str:
    """`head`, `refined`, `head, training part`: whose posteriors, and where they were tested."""
    whose = "refined" if of.refined else "head"
    return whose if of.part == WHOLE else f"{whose}, {PARTS.get(of.part, of.part)}"


def _sentences(of: Calibration) -> Iterator[str]:
    by = "the likelihood, from the network's estimates" if of.refined else "the network's posterior head"
    yield (
        f"calibration: {of.draws:,} new observations of {of.dataset}, drawn from the {PARTS.get(of.part, of.part)} "
        f"(seed {of.seed}), {of.samples:,} draws from the posterior of each, "
        f"by {by}"
    )
    if of.caution:
        yield of.caution
    if of.doubted:
        yield f"of {of.doubted:,} observations the samples are not to be trusted, by the diagnostics of their method"
    for name, one in of.outputs.items():
        yield _of_intervals(name, _verdict(one.coverage), of.draws)
        yield _of_ranks(name, one, of.draws, of.least)
        yield _of_places(name, of, of.least)
        if one.width_ratio is not None:
            yield _of_width(name, one)
        if one.bound_ratio is not None:
            yield _beside_bound(name, one.bound_ratio)
    if any(one.bound_ratio for one in of.outputs.values()):
        yield "this bound is asymptotic and knows no prior: ratios below one are possible"
    yield from _jointly({REGIONS[name]: region for name, region in of.regions.items()}, of.least)
    if of.exact is not None:
        yield _beside_exact(of.exact)
    yield what_would_be_noticed(of)


def _calibration_table(found: Collection[Calibration]) -> Table:
    """A row per output and kind of calibration, then one for each kind of region of all outputs."""
    several, ratios = len(found) > 1, _ratios(found)
    shares = [f"in {100 * one.probability:g} %" for of in list(found)[:1] for one in of.balls.coverage]
    texts = ["of", *(["posteriors"] if several else [])]
    columns = [*texts, *shares, "p", "median width", *(f"width / {name}" for name in ratios)]
    rows = []
    for name in dict.fromkeys(name for of in found for name in of.outputs):
        for of in (of for of in found if name in of.outputs):
            one = of.outputs[name]
            width = f"{number(one.width)} {one.unit}".strip()
            ratio = _widths_beside(one, ratios)
            kind = [kind_in_words(of)] if several else []
            rows.append([f"intervals of {name}", *kind, *_percents(one.coverage), chance(one.p_value), width, *ratio])
    for name, words in REGIONS.items():
        for of in (of for of in found if name in of.regions):
            region, kind = of.regions[name], [kind_in_words(of)] if several else []
            rows.append(
                [words, *kind, *_percents(region.coverage), chance(region.p_value), *[NONE] * (1 + len(ratios))]
            )
    title = "true values in intervals and regions (%), by their probability"
    return Table(title, columns, rows, frozenset(columns[len(texts) :]))


def _percents(coverage: Sequence[CoverageShare]) -> list[str]:
    return [f"{100 * one.share:.1f}" for one in coverage]


def _verdict(coverage: Sequence[CoverageShare]) -> CoverageShare:
    return min(coverage, key=lambda one: abs(one.probability - INTERVAL))


def _of_intervals(name: str, one: CoverageShare, draws: int) -> str:
    low, high = (100 * end for end in one.expected)
    said = f"the {100 * one.probability:g} % intervals of {in_words(name)} hold the truth in {100 * one.share:.1f} %"
    right = f"(95 % of calibrated ones: {low:.1f} to {high:.1f} %)"
    if one.expected[0] <= one.share <= one.expected[1]:
        return f"{said} of {draws:,} observations, as calibrated ones do {right}"
    return f"{said} of {draws:,} observations: too {'narrow' if one.share < one.expected[0] else 'wide'} {right}"


def _of_ranks(name: str, one: OutputCalibration, draws: int, least: float) -> str:
    words = f"the ranks of the true {in_words(name)} among the draws"
    if one.p_value >= least:
        return f"{words} are uniform, as in calibrated posteriors ({equals(one.p_value, least)})"
    faults = "; ".join(_faults(one, draws)) or "the shape of the posteriors is wrong"
    return f"{words} are not uniform ({equals(one.p_value, least)}): {faults}"


def _faults(one: OutputCalibration, draws: int) -> Iterator[str]:
    """What makes ranks not uniform."""
    if fault := one.median_fault(draws):
        below = f"{100 * one.mean_position:.1f} % of the draws are below the truth"
        yield f"medians tend to be too {fault}, as {below}"
    if fault := one.width_fault(draws):
        yield f"posteriors tend to be too {fault}"


def _of_places(name: str, of: Calibration, least: float) -> str:
    """Where an output's intervals are wrong, by where the estimates lie."""
    local, words = of.outputs[name].local, f"the 90 % intervals of {in_words(name)}"
    cells = f"{local.cells} cells of estimated {' and '.join(in_words(axis) for axis in local.axes)}"
    chances = equals(local.p_value, least)
    if not local.cells:
        return f"where {words} are wrong is unknown: no cell has enough observations"
    wrong = [f"too {kind} in {count}" for kind, count in local.wrong.items() if count]
    clearly = f"{' and '.join(wrong)} of {cells}" if wrong else f"clearly wrong in none of {cells}"
    if local.p_value >= least:
        return f"whether {words} hold the truth does not visibly depend on the estimates ({chances}; {clearly})"
    said = f"whether {words} hold the truth depends on the estimates ({chances}; {clearly})"
    if local.fewest is None or local.most is None:
        return said
    return f"{said}: in single cells from {_cell(local.fewest, of)} to {_cell(local.most, of)}"


def _cell(one: CellShare, of: Calibration) -> str:
    """`84 % (of 51 with depth 1.2 to 1.4 km, delta volume 0.3 to 0.5 10⁶ m³)`."""
    ends = ", ".join(
        f"{in_words(name)} {low:.3g} to {high:.3g} {of.outputs[name].unit}".rstrip()
        for name, (low, high) in one.between.items()
    )
    return f"{100 * one.share:.0f} % (of {one.observations:,} with {ends})"


def _of_width(name: str, one: OutputCalibration) -> str:
    assert one.width_ratio is not None
    low, high = one.width_ratio.interval
    return (
        f"the 90 % intervals of {in_words(name)} are {_ratio(one.width_ratio.median)} times as wide as those of exact "
        f"posteriors (median, with 95 % interval {_ratio(low)} to {_ratio(high)})"
    )


def _beside_bound(name: str, of: BoundRatio) -> str:
    low, high = of.interval
    return (
        f"the 90 % intervals of {in_words(name)} are {_ratio(of.median)} times as wide as 3.29 standard deviations of "
        f"the Cramér–Rao bound (median of the {of.observations:,} of {of.of:,} observations with a signal-to-noise "
        f"ratio above {WELL_ABOVE:g}, with 95 % interval {_ratio(low)} to {_ratio(high)})"
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _jointly(regions: Mapping[str, Regions], least: float) -> Iterator[str]:
    """What is wrong with all outputs together although, or because, something is with one."""
    wrong = {words: region for words, region in regions.items() if region.p_value < least}
    for words, region in wrong.items():
        yield (
            f"{words} hold the truth {region.fault} than they should ({equals(region.p_value, least)}): those of "
            f"{100 * region.worst.probability:g} % in {100 * region.worst.share:.1f} % of observations"
        )
    if regions and not wrong:
        chances = ", ".join(f"{words}: {equals(region.p_value, least)}" for words, region in regions.items())
        yield f"in how the outputs depend on each other no fault is seen ({chances})"


def _beside_exact(exact: ExactComparison) -> str:
    share, error, most = (100 * one for one in (exact.accuracy, exact.standard_error, exact.largest))
    return (
        f"a classifier distinguishes the draws of {exact.observations} posteriors from those of exact ones in "
        f"{share:.1f} ± {error:.1f} % of cases (C2ST: 50 % if they are equal; for the worst {most:.0f} %; "
        f"{exact.classifier})"
    )


def what_would_be_noticed(of: Calibration) -> str:
    """Which faults this number of draws would show, so that nobody takes silence for soundness."""
    if not of.notices_narrow or of.notices_shift is None:
        return f"{of.draws:,} observations would show hardly any fault, so that silence means little; take more"
    return (
        f"power of the test: had posteriors been {100 * (1 - of.notices_narrow):.0f} % too narrow, or their "
        f"medians off by {of.notices_shift:.2g} of their standard deviations, the ranks of {of.draws:,} observations "
        "would show it in nine of ten cases; smaller faults can stay unseen"
    )


def chance(p_value: float) -> str:
    """A p-value: `0.42`, `0.004`, `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.1g}" if p_value < 0.01 else f"{p_value:.2f}"


def equals(p_value: float, least: float) -> str:
    """`p = 0.42`; of a small one that is no fault, why it is none.

    least  the p-value below which something is called a fault
    """
    words = chance(p_value)
    said = f"p {words}" if words.startswith("<") else f"p = {words}"
    if p_value < least or p_value >= SIGNIFICANT:
        return said
    return f"{said}, as among {SIGNIFICANT / least:.0f} tests by chance"
