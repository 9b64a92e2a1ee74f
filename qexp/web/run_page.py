"""The page of a run: all that its directory says, from what was asked to how to make it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from qexp.base.quantities import in_words, label, number_with_unit, typeset
from qexp.base.text import Table, measure, without_end
from qexp.errors import DamagedError, NotFoundError, some
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.jobs import states
from qexp.jobs.states import Watch
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.meaning import (
    NETWORK,
    NONE,
    main_metric,
    number,
    printed,
    tells_nothing,
    with_interval,
)
from qexp.results.calibration import Calibrations
from qexp.results.capabilities import Results, Section, sections_of, sections_of_evaluations
from qexp.results.errors import Errors
from qexp.runs.facts import facts
from qexp.spec.experiences import ABSENT, differences, type_of
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import EvaluationDirectory, evaluations_of
from qexp.store.record import meaning_of
from qexp.web.drawings import (
    calibration_drawings,
    curves,
    fields,
    lines_of,
    matrices,
    points,
    system_panels,
    training_drawn,
)
from qexp.web.html import Drawn, View, drawn, picture

if TYPE_CHECKING:
    from qexp.store.record import Record

MOST_SPECS = 60
"""Specs that are read at most."""

MOST_VALUES = 6
"""Values of the others that are shown for a key."""

NAMED_RUNS = 8
"""Runs that differ by seed only and are named."""

LONGEST_VALUE = 60
"""Characters of a value that are shown."""


def siblings(
    directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]
) -> list[Table | str]:
    """A table of the differing keys, and a sentence on the runs that differ by seed only; empty if
    it is alone.

    others  summaries of the other runs of its workspace
    """
    group = [
        run
        for run in others
        if run["experience"] == record.experience and run["name"] != record.name
    ]
    if not group:
        return []
    by_digest: dict[str, list[Mapping[str, Any]]] = {}
    for run in group:
        by_digest.setdefault(run["digest"], []).append(run)
    same = [run["name"] for run in by_digest.pop(record.digest, [])]
    specs, counts = [], []
    for runs in list(by_digest.values())[:MOST_SPECS]:
        with suppress(DamagedError, NotFoundError):
            specs.append(RunDirectory(Path(runs[0]["path"])).spec())
            counts.append(len(runs))
    rows = [
        [path, _short(values[0]), _of_others(values[1:], counts)]
        for path, values in differences([directory.spec(), *specs]).items()
    ]
    parts: list[Table | str] = (
        [f"Runs that differ by seed only: {some(same, NAMED_RUNS)}."] if same else []
    )
    if rows:
        number = sum(counts)
        words = f"{number} other run{'s' * (number != 1)} of {record.experience}"
        parts.append(Table(f"Differences from {words}", ["key", "this run", "others"], rows))
    return parts


def _of_others(values: Sequence[str], counts: Sequence[int]) -> str:
    counted: Counter[str] = Counter()
    for value, count in zip(values, counts, strict=True):
        counted[value] += count
    words = [
        f"{_short(value)} ({count} run{'s' * (count != 1)})"
        for value, count in counted.most_common(MOST_VALUES)
    ]
    more = len(counted) - len(words)
    return ", ".join([*words, *([f"{more} other values"] if more > 0 else [])])


def _short(value: str) -> str:
    return without_end("not set" if value == ABSENT else value.strip('"'), LONGEST_VALUE)


# Where a run came from and what was made of it.


MOST_OF_A_KIND = 6
"""Things of one kind; the others are counted."""

Rows = Iterator[list[str]]
"""How something belongs to the run, what it is, its name, and notes on it."""


def lineage(directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]) -> Table:
    """From data and weights to matrices, evaluations, and the runs that start from this one.

    others  summaries of the other runs of its workspace
    """
    return Table(
        "",
        ["how", "what", "name", "notes"],
        [*_origins(record), *_products(directory, record, others)],
    )


def _origins(record: Record) -> Rows:
    """What the run was made from; of the runs that its weights came from, the nearest first."""
    yield [
        "data from",
        "dataset",
        record.dataset or "not named",
        record.caution if "data" in record.caution else "",
    ]
    for ancestor in record.lineage:
        notes = [f"{ancestor.experience}, seed {ancestor.seed}"] if ancestor.experience else []
        notes += [f"trained on {ancestor.dataset}"] if ancestor.dataset else []
        notes += [f"taken: {', '.join(ancestor.operations)}"] if ancestor.operations else []
        notes += [f"digest {ancestor.digest[:16]}"] if ancestor.digest else []
        yield ["weights from", "run", ancestor.name, "; ".join(notes)]
    if record.code.commit is not None:
        yield [
            "code from",
            "commit",
            record.code.commit[:12],
            "with changes" if record.code.dirty else "",
        ]
    if record.rerun_of:
        yield ["spec from", "run", record.rerun_of, ""]
    if record.imported is not None:
        yield ["imported from", "archive", record.imported.archive, record.imported.time]
    if (origin := record.foreign_weights) is not None:
        notes = [origin.format, f"sha256 {origin.file.sha256[:16]}"]
        yield ["weights from", "file of another program", origin.file.name, "; ".join(notes)]


def _products(directory: RunDirectory, record: Record, others: Sequence[Mapping[str, Any]]) -> Rows:
    if record.folds is not None and record.folds.of:
        failed = f", {len(record.folds.failed)} failed" if record.folds.failed else ""
        yield [
            "holds out",
            "cross-validation",
            f"{record.folds.of} folds",
            f"{record.folds.done} done{failed}",
        ]
    yield from _some([["was made", "matrix", name, ""] for name in directory.matrix_names()])
    evaluations = map(EvaluationDirectory.evaluation, evaluations_of(directory))
    yield from _some([["was made", "evaluation", made.name, made.caution] for made in evaluations])
    descendants = [run for run in others if record.name in run["parents"]]
    yield from _some(
        [
            ["weights to", "run", run["name"], f"{run['experience']}, seed {run['seed']}"]
            for run in descendants
        ]
    )


def _some(rows: list[list[str]]) -> Rows:
    yield from rows[:MOST_OF_A_KIND]
    if len(rows) > MOST_OF_A_KIND:
        yield [*rows[0][:2], f"{len(rows) - MOST_OF_A_KIND:,} more", ""]


LOG_LINES = 60
"""Last lines of the log that are shown."""

IN_HEAD = ("run", "state", "error", "caution", "note", "tags")
"""Facts that the page shows elsewhere than in its list."""

PRIVATE = ("path", "machine", "settings", "attempts")
"""Facts about the machine, which are not for those to whom a report is sent."""

MOST_KEY_NUMBERS = 3
"""Outputs whose error stands on top."""


def key_numbers(record: Record, done: int) -> list[dict[str, str]]:
    """What one asks first: the main error of each output on the test part with its interval, and
    the time it took.

    done  epochs, see `epochs_done`
    """
    part = next(iter([part for part in ("test", *record.results) if part in record.results]), "")
    numbers = []
    for output, metrics in list(record.results.get(part, {}).items())[:MOST_KEY_NUMBERS]:
        metric = main_metric(metrics)
        if metric is None:
            continue
        meaning, unit = meaning_of(metric, [record.metrics]), record.units.get(output, "")
        ends = record.intervals.get(part, {}).get(output, {}).get(metric)
        value = metrics[metric]
        text, interval = (NONE, NONE) if value is None else with_interval(value, ends, meaning)
        notes = (
            []
            if interval == NONE or tells_nothing(ends, meaning)
            else [f"95 % interval {printed(interval)}"]
        )
        share = metrics.get("r2")
        notes += [f"R² {printed(number(share, meaning_of('r2', [])))}"] if share is not None else []
        words = f"{measure(in_words(output), metric_in_words(metric))}, {part}"
        with_its_unit = number_with_unit(printed(text), meaning.in_unit(unit))
        numbers.append({"words": words, "value": with_its_unit, "notes": ", ".join(notes)})
    if done:
        best = f"best {record.epochs.best}" if record.epochs.best else ""
        of = f" of {record.epochs.of}" if record.epochs.of else ""
        epochs = (
            f"{done}{of} epochs" if record.epochs.step is None else f"step {record.epochs.step:g}"
        )
        head, *others = [in_time(record.seconds), epochs, best] if record.ended else [epochs, best]
        numbers.append(
            {"words": "training", "value": head, "notes": ", ".join(filter(None, others))}
        )
    return numbers


def epochs_done(directory: RunDirectory, record: Record) -> int:
    """By the file that grows with each epoch; the record is written only now and then. Of folds, by
    the record.
    """
    with suppress(DamagedError, NotFoundError, OSError):
        lines = [] if record.ended else directory.metrics()
        return max(record.epochs.done, lines[-1]["epoch"] if lines else 0)
    return record.epochs.done


def progress_in_words(directory: RunDirectory, record: Record, done: int) -> str:
    """`epoch 8 of 400, 23 a minute, 17 min left`; empty for a run without epochs of its own.

    done  epochs, by the file that grows with each of them
    """
    of = record.epochs.of
    if not (of or done) or record.folds:
        return ""
    if record.epochs.step is not None:
        return f"step {record.epochs.step:g}"
    words = f"epoch {done} of {of}" if of else f"epoch {done}"
    seconds = _seconds_of_epoch(directory, record, done)
    if not seconds:
        return words
    pace = f"{60 / seconds:,.0f} a minute" if seconds <= 30 else f"{in_time(seconds)} each"
    return f"{words}, {pace}, {in_time((of - done) * seconds)} left"


def _seconds_of_epoch(directory: RunDirectory, record: Record, done: int) -> float | None:
    """Of a run at work, on average: the record has the time of earlier attempts, the file of epochs
    that of this.
    """
    if not 2 <= done < record.epochs.of or not record.attempts or not record.attempts[-1].started:
        return None
    with suppress(OSError, ValueError):
        begun = datetime.fromisoformat(record.attempts[-1].started).timestamp()
        return (
            record.seconds + max(directory.metrics_file.stat().st_mtime - begun, 0.0)
        ) / done or None
    return None


def in_time(seconds: float) -> str:
    """A time for readers: `8 s`, `3 min`, `2 h 10 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def run_page(
    directory: RunDirectory,
    others: Sequence[Mapping[str, Any]] = (),
    *,
    pictures_elsewhere: bool = False,
    private: bool = True,
) -> dict[str, Any]:
    """What the template `run.html` needs. Raises DamagedError for a run that cannot be read.

    others              summaries of the other runs of its workspace, among which those of its
                        experience and its descendants are
    pictures_elsewhere  whether the page has the pictures that are kept in the run in another place
    private             whether it shows the machine and its settings, and where the run is
    """
    record, spec, state = directory.record(), directory.spec(), Watch().state(directory)
    warnings: list[str] = []
    about = facts(directory, record, str(state), warnings.append)
    hidden = IN_HEAD if private else (*IN_HEAD, *PRIVATE)
    log = ""
    with suppress(NotFoundError):  # it has no attempt yet
        log = "".join(states.read_log(directory))
    return {
        "name": record.name,
        "state": str(state).replace("_", " "),
        "failed": not state.unfinished and str(state) != "done",
        "error": record.error,
        "cautions": cautions_of(directory, record),
        "note": record.note,
        "tags": record.tags,
        "warnings": warnings,
        "key_numbers": key_numbers(record, epochs_done(directory, record)),
        "facts": [(key, text) for key, text in about if key not in hidden],
        "asked": list(type_of(spec).lines(spec).items()),
        "overrides": record.overrides,
        "siblings": [] if directory.is_fold else siblings(directory, record, others),
        "lineage": lineage(directory, record, others),
        "spec": orjson.dumps(directory.spec_as_written(), option=orjson.OPT_INDENT_2).decode(),
        "results": [
            _on_page(section, pictures_elsewhere) for section in sections_of(directory, record)
        ],
        "evaluations": [_on_page(section) for section in sections_of_evaluations(directory)],
        "curves": curves(lines_of(directory), record.units, all_metrics=True),
        "system": system_panels(directory.system()),
        "estimates": points(directory),
        "fields": list(fields(directory)),
        "matrices": matrices(directory),
        "log": "\n".join(log.splitlines()[-LOG_LINES:]),
        "again": shlex.join(directory.whole.record().command),
    }


def _on_page(section: Section, pictures_elsewhere: bool = False) -> dict[str, Any]:
    """A title, and tables, sentences and drawings below it."""
    drawn_here = [
        results for results in section.results if not (pictures_elsewhere and results.figures())
    ]
    return {
        "title": section.title,
        "parts": [*section.tables_of_page(), *drawings_of_all(drawn_here)],
    }


def drawings_of(results: Results) -> list[Drawn]:
    """What is drawn of the results of a capability, else the pictures that are kept in the run."""
    draw = DRAWINGS.get(type(results))
    if draw is not None:
        return draw(results.directory)
    return [picture(path.stem.replace("_", " "), path) for path in results.figures()]


def drawings_of_all(several: Iterable[Results]) -> list[Drawn]:
    return [drawing for results in several for drawing in drawings_of(results)]


def cautions_of(directory: RunDirectory, record: Record) -> list[str]:
    """All that a reader must know before any number: of the run, and of its evaluations."""
    cautions = [record.caution] if record.caution else []
    for evaluation in map(EvaluationDirectory.evaluation, evaluations_of(directory)):
        cautions += (
            [f"evaluation {evaluation.name}: {evaluation.caution}"] if evaluation.caution else []
        )
    return cautions


def baselines_drawn(directory: RunDirectory) -> list[Drawn]:
    """The network among its baselines: RMSE with its interval, a drawing per output."""
    comparison, rmse, drawings = directory.record().comparison, meaning_of("rmse", ()), []
    for output in dict.fromkeys(row.output for row in comparison):
        rows = [row for row in comparison if row.output == output and row.rmse is not None]
        rows.sort(key=lambda row: row.rmse or 0.0)
        telling = {
            row.estimator: None if tells_nothing(row.rmse_interval, rmse) else row.rmse_interval
            for row in rows
        }
        values = {
            row.estimator: OfSeeds((), row.rmse or 0.0, telling[row.estimator]) for row in rows
        }
        if values:
            axis = label(f"{output} RMSE", typeset(rows[0].unit))
            title = f"{in_words(output)}: the network among its baselines, 95 % intervals"
            words = "; ".join(
                f"{row.estimator} {number_with_unit(printed(number(row.rmse)), row.unit)}"
                for row in rows
            )
            drawings.append(drawn(title, partial(values_in_rows, values, axis, NETWORK), words))
    return drawings


DRAWINGS: Mapping[type[Results], Callable[[RunDirectory], list[Drawn]]] = {
    Errors: baselines_drawn,
    Calibrations: calibration_drawings,
}
"""Results → what is drawn of them in place of the pictures that are kept in the run."""


# A run at a glance, for notebooks and terminals: what its page shows, without what takes a mouse.


def run_view(directory: RunDirectory) -> View:
    """Results, baselines and curves; the spec, the origin and the command are unfolded. Raises
    DamagedError.
    """
    record, state = directory.record(), Watch().state(directory)
    warnings: list[str] = []
    about = [
        [key, text]
        for key, text in facts(directory, record, str(state), warnings.append)
        if key not in IN_HEAD
    ]
    parts: list[Table | Drawn | str] = [record.note] if record.note else []
    folded: dict[str, Sequence[Table | Drawn | str]] = {}
    for results in (
        results for section in sections_of(directory, record) for results in section.results
    ):
        parts += results.tables_of_page()
        if results.folded and (drawings := drawings_of(results)):
            folded[results.folded] = drawings
        elif not results.folded:
            parts += drawings_of(results)
    folded |= {
        section.title: _on_page(section)["parts"] for section in sections_of_evaluations(directory)
    }
    if curve := training_drawn(directory):
        folded["how training went"] = curve
    asked = type_of(directory.spec()).lines(directory.spec())
    folded["what was asked"] = [Table("", ["", ""], [[key, text] for key, text in asked.items()])]
    folded["where it came from"] = [lineage(directory, record, ()), Table("", ["", ""], about)]
    folded["how to make it again"] = [shlex.join(record.command)]
    cautions = [*cautions_of(directory, record), *warnings]
    return View(record.name, state.words, cautions, record.error or "", parts, folded)
