"""Comparison of runs: differences between their specs, and their results. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.analysis.comparison.seed_comparison import SeedComparison, compare_across_seeds, with_figures
from qexp.analysis.comparison.seed_groups import differ_by_seed, runs_to_compare, seed_groups
from qexp.analysis.comparison.spec_diff import differences
from qexp.errors import QexpError
from qexp.files import make_folder, read_json, read_netcdf
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.metrics.recorded import meaning_of
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.record.calibration_columns import FIELD, compared_columns, of_width
from qexp.runs.record.directory import MATRIX, MATRIX_RECORD, RunDirectory, with_caution
from qexp.runs.record.evaluations import EvaluationDirectory, find
from qexp.runs.record.record import Record
from qexp.workspace import Workspace


@dataclass(frozen=True)
class MetricRow:
    """One metric of one output with a value per run; `best` are the indices of the runs with the best value."""

    output: str
    metric: str
    meaning: Meaning
    unit: str
    values: list[float | None]
    best: list[int]
    """Empty if it is unknown which values are better."""

    def document(self) -> dict[str, Any]:
        return {
            "output": self.output, "metric": self.metric, "direction": self.meaning.best, "unit": self.unit,
            "values": self.values, "best": self.best,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    names: list[str]
    specs: dict[str, list[str]]
    """model and dataset → name in each run."""
    differences: dict[str, list[str]]
    """Path in the spec → value in each run."""
    results: list[MetricRow]
    figures: list[Path]
    evaluation: str | None = None
    """The evaluation whose results are compared; None for those of the runs' own test parts."""
    same_data: bool = True
    """Whether the evaluations are of the same samples."""

    def document(self) -> dict[str, Any]:
        return {
            "runs": self.names,
            "evaluation": self.evaluation,
            "specs": self.specs,
            "differences": self.differences,
            "results": [row.document() for row in self.results],
            "figures": [str(path) for path in self.figures],
        }


def compare_named(
    arguments: Sequence[str], catalog: Catalog, evaluation: str | None = None
) -> Comparison | SeedComparison:
    """Compare the named runs, or groups of runs that differ by seed only; see `differ_by_seed`.

    evaluation  whose results are compared, instead of those of the runs' own test parts
    """
    chosen = runs_to_compare(arguments, catalog, evaluation)
    if differ_by_seed(chosen):
        return with_figures(compare_across_seeds(seed_groups(chosen)), catalog.workspace)
    return compare([one.directory for one in chosen], catalog.workspace, evaluation)


def compare(directories: Sequence[RunDirectory], workspace: Workspace, evaluation: str | None = None) -> Comparison:
    """Compare two or more runs; the figures are saved in `comparisons/` in the workspace.

    Raises NotFoundError if a run has no such evaluation.
    """
    names = [directory.name for directory in directories]
    if len(set(names)) < len(names):
        raise QexpError("the same run is named twice")
    evaluated = directories if evaluation is None else [find(directory, evaluation) for directory in directories]
    records = [directory.record() for directory in evaluated]
    units = {output: unit for record in records for output, unit in record.units.items()}
    return Comparison(
        [with_caution(record.name, record.caution) for record in records],
        {kind: [getattr(record, kind) for record in records] for kind in ("model", "dataset")},
        differences([directory.spec() for directory in directories]),
        [*_rows(records, [directory.part for directory in evaluated]), *_of_calibrations(evaluated, units)],
        _draw(directories, workspace.root / "comparisons" / "--".join(names)[:200]),
        evaluation,
        len({one.evaluation().content for one in evaluated if isinstance(one, EvaluationDirectory)}) <= 1,
    )


def _rows(records: Sequence[Record], parts: Sequence[str]) -> Iterator[MetricRow]:
    tests = [record.results.get(part, {}) for record, part in zip(records, parts, strict=True)]
    outputs = dict.fromkeys(output for test in tests for output in test)
    for output in outputs:
        units = [record.units[output] for record in records if output in record.units]
        for name in dict.fromkeys(metric for test in tests for metric in test.get(output, {})):
            values = [test.get(output, {}).get(name) for test in tests]
            of = meaning_of(name, [record.metrics for record in records])
            badness = [None if value is None else of.badness(value) for value in values]
            least = min((value for value in badness if value is not None), default=None)
            comparable = sum(value is not None for value in values) > 1
            best = [index for index, value in enumerate(badness) if comparable and value is not None and value == least]
            yield MetricRow(output, name, of, of.in_unit(units[0] if units else ""), values, best)


def _of_calibrations(directories: Sequence[RunDirectory], units: Mapping[str, str]) -> Iterator[MetricRow]:
    """Coverage and widths of the posteriors of runs that were calibrated; which are better depends on both."""
    columns = [compared_columns(directory) for directory in directories]
    for output in dict.fromkeys(name for of_run in columns for name in of_run):
        for name in dict.fromkeys(name for of_run in columns for name in of_run.get(output, {})):
            values = [of_run.get(output, {}).get(name) for of_run in columns]
            unit = units.get(output, "") if of_width(name) else ""
            yield MetricRow(output, f"{FIELD}.{name}", UNKNOWN, unit, values, [])


def _draw(directories: Sequence[RunDirectory], folder: Path) -> list[Path]:
    from qexp.figures.canvas import save
    from qexp.figures.curves import learning_curves
    from qexp.figures.matrix import side_by_side

    make_folder(folder)
    drawn = []
    records = [directory.record() for directory in directories]
    names = {
        directory: with_caution(record.name, record.caution)
        for directory, record in zip(directories, records, strict=True)
    }
    curves = {names[directory]: directory.metrics() for directory in directories}
    if all(curves.values()):
        drawn.append(folder / "learning_curves.png")
        units = {output: unit for record in records for output, unit in record.units.items()}
        save(learning_curves(curves, units), drawn[-1])
    shared = set.intersection(*(set(directory.matrix_names()) for directory in directories))
    for matrix in sorted(shared):
        first, *others = [read_json(directory.matrices / matrix / MATRIX_RECORD) for directory in directories]
        if all((other["axes"], other["fixed"]) == (first["axes"], first["fixed"]) for other in others):
            tables = {names[directory]: read_netcdf(directory.matrices / matrix / MATRIX) for directory in directories}
            drawn.append(folder / f"matrix_{matrix}.png")
            save(side_by_side(tables, matrix, first.get("views", ())), drawn[-1])
    return drawn
