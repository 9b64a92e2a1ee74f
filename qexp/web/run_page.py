"""The page of a run: all that its directory says, from what was asked to how to make it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from qexp.base.quantities import in_words
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
from qexp.jobs import states
from qexp.jobs.states import Watch
from qexp.metrics.recorded import NETWORK
from qexp.runs.facts import facts
from qexp.spec.experiences import type_of
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import find_evaluation, of_run
from qexp.store.record import State
from qexp.store.results import calibrations_of, intervals_of, limit_of
from qexp.web.drawings import calibration_drawings, curves, fields, lines_of, matrices, points
from qexp.web.html import Arrow, Box, Drawn, Measured, View, graph, intervals, lines

if TYPE_CHECKING:
    from markupsafe import Markup

    from qexp.store.evaluations import EvaluationRecord
    from qexp.store.record import ComparisonRow, Record

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


# Where a run came from and what was made of it, as a graph.


MOST = 6
"""Boxes of one kind; the others are counted."""

RUN = "run"
"""Key of the run's own box."""

Boxes = Iterator[Box | Arrow]


def lineage(directory: RunDirectory, record: Record, state: State, others: Sequence[Mapping[str, Any]]) -> Markup:
    """A drawing from data and weights over the run to its matrices, evaluations, and the runs that start from it.

    others  summaries of the other runs of its workspace
    """
    parts = [
        _of_the_run(record, state), *_data(record), *_weights(record), *_origins(record), *_folds(record),
        *_made(directory), *_descendants(record, others),
    ]  # fmt: skip
    boxes = [part for part in parts if isinstance(part, Box)]
    arrows = [part for part in parts if isinstance(part, Arrow)]
    names = {box.key: f"{box.kind} {box.name}" for box in boxes}
    said = "; ".join(f"{names[one.start]} to {names[one.end]}" for one in arrows)
    return graph(boxes, arrows, f"lineage of {record.name}: {said}")


def _of_the_run(record: Record, state: State) -> Box:
    epochs = f"{record.epochs.done} of {record.epochs.of} epochs" if record.epochs.of else ""
    lines = [f"{record.experience}, seed {record.seed}", state.words, epochs, f"digest {record.digest[:16]}"]
    return Box(RUN, "this run", record.name, [line for line in lines if line], strong=True)


def _data(record: Record) -> Boxes:
    yield Box("data", "dataset", record.dataset, [record.caution] if "data" in record.caution else [])
    yield Arrow("data", RUN, "data")


def _weights(record: Record) -> Boxes:
    """The runs that the weights came from, the nearest first."""
    after = RUN
    for number, one in enumerate(record.lineage):
        key = f"ancestor {number}"
        lines = [f"{one.experience}, seed {one.seed}"] if one.experience else []
        lines += [f"trained on {one.dataset}"] if one.dataset else []
        lines += [f"taken: {', '.join(one.operations)}"] if one.operations else []
        lines += [f"digest {one.digest[:16]}"] if one.digest else []
        yield Box(key, "run", one.name, lines)
        yield Arrow(key, after, "weights")
        after = key


def _origins(record: Record) -> Boxes:
    if record.code.commit is not None:
        yield Box("code", "code", record.code.commit[:12], ["with changes"] if record.code.dirty else [])
        yield Arrow("code", RUN, "code")
    if record.rerun_of:
        yield Box("rerun", "run", record.rerun_of)
        yield Arrow("rerun", RUN, "spec")
    if record.imported is not None:
        yield Box("archive", "archive", record.imported.archive, [record.imported.time])
        yield Arrow("archive", RUN, "imported")
    if (origin := record.foreign_weights) is not None:
        lines = [origin.format, f"sha256 {origin.file.sha256[:16]}"]
        yield Box("foreign", "weights of another program", origin.file.name, lines)
        yield Arrow("foreign", RUN, "weights")


def _folds(record: Record) -> Boxes:
    if record.folds is not None and record.folds.of:
        failed = [f"{len(record.folds.failed)} failed"] if record.folds.failed else []
        yield Box("folds", "cross-validation", f"{record.folds.of} folds", [f"{record.folds.done} done", *failed])
        yield Arrow(RUN, "folds", "holds out")


def _made(directory: RunDirectory) -> Boxes:
    matrices = [Box(f"matrix {name}", "matrix", name) for name in directory.matrix_names()]
    evaluations = [
        Box(f"evaluation {one.name}", "evaluation", one.name, [one.caution] if one.caution else [])
        for one in of_run(directory)
    ]
    for boxes, what in ((matrices, "matrices"), (evaluations, "evaluations")):
        yield from _some(boxes, what, "")


def _descendants(record: Record, others: Sequence[Mapping[str, Any]]) -> Boxes:
    started = [
        Box(f"run {one['name']}", "run", one["name"], [f"{one['experience']}, seed {one['seed']}"])
        for one in others
        if record.name in one["parents"]
    ]
    yield from _some(started, "runs", "weights")


def _some(boxes: Sequence[Box], what: str, words: str) -> Boxes:
    shown = list(boxes[:MOST])
    if len(boxes) > MOST:
        shown.append(Box(f"more {what}", what, f"{len(boxes) - MOST:,} more"))
    for box in shown:
        yield box
        yield Arrow(RUN, box.key, words)


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
    drawn = [Drawn(panel["title"], lines(panel)) for panel in curves(lines_of(directory), record.units)]
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
            **({"how training went": drawn} if drawn else {}),
            "what was asked": [Table("", ["", ""], [[key, text] for key, text in asked.items()])],
            "where it came from": [Drawn("", lineage(directory, record, state, ())), Table("", ["", ""], known)],
            "how to make it again": [shlex.join(record.command)],
        },
    )
