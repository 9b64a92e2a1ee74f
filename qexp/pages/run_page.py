"""The page of a run: all that its directory says, from what was asked to how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from qexp.analysis.comparison.calibration_tables import calibrated
from qexp.analysis.comparison.interval_tables import evaluated_intervals, held_out_intervals
from qexp.analysis.comparison.result_tables import (
    Parts,
    beside_limit,
    estimators,
    field_errors,
    group_errors,
    own_results,
    results,
    results_with_intervals,
)
from qexp.analysis.comparison.typesetting import Table
from qexp.baselines.comparison import NETWORK
from qexp.errors import NotFoundError
from qexp.fragments.intervals import Measured, intervals
from qexp.fragments.svg import Drawn
from qexp.pages import calibration
from qexp.pages.curves import curves, lines_of
from qexp.pages.estimates import fields, points
from qexp.pages.lineage import lineage
from qexp.pages.matrices import matrices
from qexp.pages.siblings import siblings
from qexp.quantities import in_words
from qexp.runs.facts import facts
from qexp.runs.record.calibration import calibrations_of
from qexp.runs.record.evaluations import find, of_run
from qexp.runs.record.held_out_intervals import intervals_of
from qexp.runs.record.limit import limit_of
from qexp.runs.state import logs
from qexp.runs.state.waiting import Watch
from qexp.spec.experiences import type_of

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.evaluations import EvaluationRecord
    from qexp.runs.record.record import ComparisonRow, Record

LOG_LINES = 60
"""Last lines of the log that are shown."""

IN_HEAD = ("run", "state", "error", "caution", "note", "tags")
"""Facts that the page shows elsewhere than in its list."""


@dataclass(frozen=True)
class Section:
    """Tables, sentences and drawings under a title."""

    title: str
    parts: Sequence[Table | str]
    baselines: Sequence[Drawn]


def run_page(directory: RunDirectory, others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What the template `run.html` needs. Raises DamagedError for a run that cannot be read.

    others  summaries of the other runs of its workspace, among which those of its experience and its descendants are
    """
    record, spec, state = directory.record(), directory.spec(), Watch().state(directory)
    evaluations = list(of_run(directory))
    warnings: list[str] = []
    known = facts(directory, record, str(state), warnings.append)
    return {
        "name": record.name,
        "state": str(state).replace("_", " "),
        "failed": not state.unfinished and str(state) != "done",
        "error": record.error,
        "cautions": cautions_of(record, evaluations),
        "note": record.note,
        "tags": record.tags,
        "warnings": warnings,
        "facts": [(key, text) for key, text in known if key not in IN_HEAD],
        "asked": list(type_of(spec).lines(spec).items()),
        "overrides": record.overrides,
        "siblings": [] if directory.is_fold else siblings(directory, record, others),
        "lineage": lineage(directory, record, state, others),
        "spec": orjson.dumps(directory.spec_as_written(), option=orjson.OPT_INDENT_2).decode(),
        "results": list(results_of(directory, record)),
        "baselines": baselines_drawn(record),
        "calibration": list(calibrated(calibrations_of(directory).values())),
        "calibration_drawn": calibration.drawings(directory),
        "evaluations": [
            Section(one.name, list(_evaluation(directory, one)), baselines_drawn(one)) for one in evaluations
        ],
        "curves": curves(lines_of(directory), record.units),
        "estimates": points(directory),
        "fields": list(fields(directory)),
        "matrices": matrices(directory, spec),
        "log": _log(directory),
        "again": shlex.join(directory.whole.record().command),
    }


def results_of(directory: RunDirectory, record: Record) -> Parts:
    """Tables and sentences on the run's own results; nothing before there are any."""
    if record.results:
        yield from (results_with_intervals if record.intervals else results)(record)
        yield from chain(beside_limit(record, limit_of(directory)), estimators(record), field_errors(record))
        yield from group_errors(record)
        yield from held_out_intervals(intervals_of(directory), record.units)
    elif directory.written_by_program() is not None:
        yield from own_results(directory, record)


def _evaluation(directory: RunDirectory, record: EvaluationRecord) -> Parts:
    yield from chain(results_with_intervals(record), field_errors(record), group_errors(record))
    yield from evaluated_intervals(intervals_of(find(directory, record.name)), record.units)


def cautions_of(record: Record, evaluations: Sequence[EvaluationRecord]) -> list[str]:
    """All that a reader must know before any number: of the run, and of its evaluations."""
    own = [record.caution] if record.caution else []
    return [*own, *(f"evaluation {one.name}: {one.caution}" for one in evaluations if one.caution)]


def baselines_drawn(record: Record | EvaluationRecord) -> list[Drawn]:
    """The network among its baselines: RMSE with its interval, a drawing per output."""
    made = []
    for output in dict.fromkeys(row.output for row in record.comparison):
        rows = [row for row in record.comparison if row.output == output and row.rmse is not None]
        rows.sort(key=lambda row: row.rmse or 0.0)
        lines = [
            Measured(row.estimator, row.rmse, row.rmse_interval, words=_in_words(row), strong=row.estimator == NETWORK)
            for row in rows
        ]
        unit = f" ({rows[0].unit})" if rows and rows[0].unit else ""
        if lines:
            made.append(Drawn(in_words(output), intervals(lines, f"{in_words(output)}: RMSE{unit}")))
    return made


def _in_words(row: ComparisonRow) -> str:
    between = f", 95 % interval {row.rmse_interval[0]:.4g} to {row.rmse_interval[1]:.4g}" if row.rmse_interval else ""
    return f"{row.rmse:.4g} {row.unit}{between}"


def _log(directory: RunDirectory) -> str:
    """The end of the last attempt's log."""
    try:
        text = "".join(logs.read(directory))
    except NotFoundError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])
