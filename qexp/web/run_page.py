"""The page of a run: all that its directory says, from what was asked to how to make it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from qexp.base.quantities import in_words, label, typeset
from qexp.base.text import Table
from qexp.comparison.result_tables import (
    Parts,
    beside_limit,
    calibrated,
    estimators,
    evaluated_intervals,
    field_errors,
    group_errors,
    held_out_intervals,
    own_results,
    results,
    results_with_intervals,
)
from qexp.comparison.seeds import ABSENT, differences
from qexp.errors import DamagedError, NotFoundError
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.jobs import states
from qexp.jobs.states import Watch
from qexp.metrics.recorded import NETWORK
from qexp.runs.facts import facts
from qexp.spec.experiences import type_of
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import find_evaluation, of_run
from qexp.store.results import calibrations_of, intervals_of, limit_of
from qexp.web.drawings import calibration_drawings, curves, fields, lines_of, matrices, points, training_drawn
from qexp.web.html import Drawn, View, drawn

if TYPE_CHECKING:
    from qexp.store.evaluations import EvaluationRecord
    from qexp.store.record import Record

MOST_SPECS = 60
"""Specs that are read at most."""

MOST_VALUES = 6
"""Values of the others that are shown for a key."""

NAMED = 8
"""Runs that differ by seed only and are named."""

LONGEST = 60
"""Characters of a value that are shown."""


def siblings(directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    """A table of the differing keys, and a sentence on the runs that differ by seed only; empty if it is alone.

    others  summaries of the other runs of its workspace
    """
    group = [one for one in others if one["experience"] == record.experience and one["name"] != record.name]
    if not group:
        return []
    same = [one["name"] for one in group if one["digest"] == record.digest]
    by_digest: dict[str, list[Mapping[str, Any]]] = {}
    for one in group:
        if one["digest"] != record.digest:
            by_digest.setdefault(one["digest"], []).append(one)
    specs, counts = [], []
    for runs in list(by_digest.values())[:MOST_SPECS]:
        try:
            specs.append(RunDirectory(Path(runs[0]["path"])).spec())
        except (DamagedError, NotFoundError):
            continue
        counts.append(len(runs))
    rows = [
        [path, _short(values[0]), _of_others(values[1:], counts)]
        for path, values in differences([directory.spec(), *specs]).items()
    ]
    parts: list[Table | str] = [_by_seed(same)] if same else []
    if rows:
        number = sum(counts)
        said = f"{number} other run{'s' * (number != 1)} of {record.experience}"
        parts.append(Table(f"Differences from {said}", ["key", "this run", "others"], rows))
    return parts


def _by_seed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Runs that differ by seed only: {', '.join(names[:NAMED])}{more}."


def _of_others(values: Sequence[str], counts: Sequence[int]) -> str:
    known: Counter[str] = Counter()
    for value, count in zip(values, counts, strict=True):
        known[value] += count
    shown = [f"{_short(value)} ({count} run{'s' * (count != 1)})" for value, count in known.most_common(MOST_VALUES)]
    more = len(known) - len(shown)
    return ", ".join([*shown, *([f"{more} other values"] if more > 0 else [])])


def _short(value: str) -> str:
    if value == ABSENT:
        return "not set"
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


# Where a run came from and what was made of it.


MOST = 6
"""Things of one kind; the others are counted."""

Rows = Iterator[list[str]]
"""How something belongs to the run, what it is, its name, and notes on it."""


def lineage(directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]) -> Table:
    """From data and weights to matrices, evaluations, and the runs that start from this one.

    others  summaries of the other runs of its workspace
    """
    rows = chain(_origins(record), _products(directory, record), _descendants(record, others))
    return Table("", ["how", "what", "name", "notes"], list(rows))


def _origins(record: Record) -> Rows:
    """What the run was made from; of the runs that its weights came from, the nearest first."""
    yield ["data from", "dataset", record.dataset, record.caution if "data" in record.caution else ""]
    for ancestor in record.lineage:
        notes = [f"{ancestor.experience}, seed {ancestor.seed}"] if ancestor.experience else []
        notes += [f"trained on {ancestor.dataset}"] if ancestor.dataset else []
        notes += [f"taken: {', '.join(ancestor.operations)}"] if ancestor.operations else []
        notes += [f"digest {ancestor.digest[:16]}"] if ancestor.digest else []
        yield ["weights from", "run", ancestor.name, "; ".join(notes)]
    if record.code.commit is not None:
        yield ["code from", "commit", record.code.commit[:12], "with changes" if record.code.dirty else ""]
    if record.rerun_of:
        yield ["spec from", "run", record.rerun_of, ""]
    if record.imported is not None:
        yield ["imported from", "archive", record.imported.archive, record.imported.time]
    if (origin := record.foreign_weights) is not None:
        notes = [origin.format, f"sha256 {origin.file.sha256[:16]}"]
        yield ["weights from", "file of another program", origin.file.name, "; ".join(notes)]


def _products(directory: RunDirectory, record: Record) -> Rows:
    if record.folds is not None and record.folds.of:
        failed = f", {len(record.folds.failed)} failed" if record.folds.failed else ""
        yield ["holds out", "cross-validation", f"{record.folds.of} folds", f"{record.folds.done} done{failed}"]
    yield from _some([["was made", "matrix", name, ""] for name in directory.matrix_names()])
    yield from _some(
        [["was made", "evaluation", evaluation.name, evaluation.caution or ""] for evaluation in of_run(directory)]
    )


def _descendants(record: Record, others: Sequence[Mapping[str, Any]]) -> Rows:
    yield from _some(
        [
            ["weights to", "run", run["name"], f"{run['experience']}, seed {run['seed']}"]
            for run in others
            if record.name in run["parents"]
        ]
    )


def _some(rows: list[list[str]]) -> Rows:
    yield from rows[:MOST]
    if len(rows) > MOST:
        yield [*rows[0][:2], f"{len(rows) - MOST:,} more", ""]


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
        "lineage": lineage(directory, record, others),
        "spec": orjson.dumps(directory.spec_as_written(), option=orjson.OPT_INDENT_2).decode(),
        "results": list(results_of(directory, record)),
        "baselines": baselines_drawn(record),
        "calibration": list(calibrated(calibrations_of(directory).values())),
        "calibration_drawn": calibration_drawings(directory),
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
    yield from evaluated_intervals(intervals_of(find_evaluation(directory, record.name)), record.units)


def cautions_of(record: Record, evaluations: Sequence[EvaluationRecord]) -> list[str]:
    """All that a reader must know before any number: of the run, and of its evaluations."""
    own = [record.caution] if record.caution else []
    return [*own, *(f"evaluation {one.name}: {one.caution}" for one in evaluations if one.caution)]


def baselines_drawn(record: Record | EvaluationRecord) -> list[Drawn]:
    """The network among its baselines: RMSE with its interval, a drawing per output."""
    drawings = []
    for output in dict.fromkeys(row.output for row in record.comparison):
        rows = [row for row in record.comparison if row.output == output and row.rmse is not None]
        rows.sort(key=lambda row: row.rmse or 0.0)
        values = {row.estimator: OfSeeds((), row.rmse or 0.0, row.rmse_interval) for row in rows}
        if values:
            unit = rows[0].unit
            drawings.append(
                drawn(
                    in_words(output),
                    partial(values_in_rows, values, label(f"{output} RMSE", typeset(unit)), NETWORK),
                    "; ".join(f"{row.estimator} {row.rmse:.4g} {unit}" for row in rows),
                )
            )
    return drawings


def _log(directory: RunDirectory) -> str:
    """The end of the last attempt's log."""
    try:
        text = "".join(states.read_log(directory))
    except NotFoundError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])


# A run at a glance, for notebooks and terminals: what its page shows, without what takes a mouse.


def run_view(directory: RunDirectory) -> View:
    """Results, baselines and curves; the spec, the origin and the command are unfolded. Raises DamagedError."""
    record, state = directory.record(), Watch().state(directory)
    warnings: list[str] = []
    known = [(key, text) for key, text in facts(directory, record, str(state), warnings.append) if key not in IN_HEAD]
    curve = training_drawn(directory)
    asked = type_of(directory.spec()).lines(directory.spec())
    return View(
        record.name,
        state.words,
        [*cautions_of(record, list(of_run(directory))), *warnings],
        record.error or "",
        [
            *([record.note] if record.note else []),
            *results_of(directory, record),
            *baselines_drawn(record),
            *calibrated(calibrations_of(directory).values()),
        ],
        {
            **({"how sure its posteriors may be": sure} if (sure := calibration_drawings(directory)) else {}),
            **({"how training went": curve} if curve else {}),
            "what was asked": [Table("", ["", ""], [[key, text] for key, text in asked.items()])],
            "where it came from": [lineage(directory, record, ()), Table("", ["", ""], known)],
            "how to make it again": [shlex.join(record.command)],
        },
    )
