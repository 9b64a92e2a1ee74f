"""The results of a run or an evaluation for readers: tables, and sentences that belong to them, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qexp import files
from qexp.analysis.comparison.rounding import NONE, number
from qexp.analysis.comparison.typesetting import Table
from qexp.metrics.recorded import meaning_of

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.evaluations import EvaluationRecord
    from qexp.runs.record.limit import Limit
    from qexp.runs.record.record import Record

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
    from qexp.analysis.comparison.estimator_tables import estimator_tables, remarks

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
