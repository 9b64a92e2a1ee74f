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

from qexp.base.outputs import main_metric
from qexp.base.quantities import in_words, label, number_with_unit, typeset
from qexp.base.text import Table, measure, without_end
from qexp.errors import DamagedError, NotFoundError, QexpError, some
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.jobs import states
from qexp.jobs.states import Watch
from qexp.kinds.calibration_figures import CALIBRATION_DRAWINGS, content_of
from qexp.kinds.figures import MissingNumbersError, fold_curves_of, learning_curve_of
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.meaning import NETWORK, NONE, number, printed, tells_nothing, with_interval
from qexp.results.calibration import calibrations_of
from qexp.results.calibration_report import Calibrations
from qexp.results.capabilities import Results, Section, sections_of, sections_of_evaluations
from qexp.results.errors import Errors
from qexp.runs.facts import facts
from qexp.spec.experiences import ABSENT, differences, type_of
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import EvaluationDirectory, evaluations_of
from qexp.store.record import meaning_of
from qexp.web.drawings import curves, fields, lines_of, matrices, points, system_panels
from qexp.web.html import Drawn, Piece, Values, View, drawn, pictures

if TYPE_CHECKING:
    from qexp.store.record import Record

Summaries = Sequence[Mapping[str, Any]]
"""Of runs, as listings have them."""

MOST_SPECS = 60

MOST_VALUES = 6
"""Values of the others that are shown for a key."""

NAMED_RUNS = 8
"""Runs that differ by seed only and are named."""

LONGEST_VALUE = 60
"""Characters of a value that are shown."""


def siblings(directory: RunDirectory, record: Record, others: Summaries) -> list[Table | str]:
    """A table of the differing keys, and a sentence on the runs that differ by seed only; empty if
    it is alone.

    others  summaries of the other runs of its workspace
    """
    by_digest: dict[str, list[Mapping[str, Any]]] = {}
    for run in others:
        if run["experience"] == record.experience and run["name"] != record.name:
            by_digest.setdefault(run["digest"], []).append(run)
    if not by_digest:
        return []
    same = [run["name"] for run in by_digest.pop(record.digest, [])]
    specs = []
    counts = []
    for runs in list(by_digest.values())[:MOST_SPECS]:
        with suppress(DamagedError, NotFoundError):
            specs.append(RunDirectory(Path(runs[0]["path"])).spec())
            counts.append(len(runs))
    rows = [
        [path, _short(values[0]), _of_others(values[1:], counts)]
        for path, values in differences([directory.spec(), *specs]).items()
    ]
    parts = list[Table | str]()
    if same:
        parts.append(f"Runs that differ by seed only: {some(same, NAMED_RUNS)}.")
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


def lineage(directory: RunDirectory, record: Record, others: Summaries) -> Table:
    """From data and weights to matrices, evaluations, and the runs that start from this one.

    others  summaries of the other runs of its workspace
    """
    rows = [*_origins(record), *_products(directory, record, others)]
    return Table("", ["how", "what", "name", "notes"], rows)


def _origins(record: Record) -> Rows:
    """What the run was made from; of the runs that its weights came from, the nearest first."""
    caution = record.caution if "data" in record.caution else ""
    yield ["data from", "dataset", record.dataset or "not named", caution]
    for ancestor in record.lineage:
        notes = [f"{ancestor.experience}, seed {ancestor.seed}"] if ancestor.experience else []
        notes += [f"trained on {ancestor.dataset}"] if ancestor.dataset else []
        notes += [f"taken: {', '.join(ancestor.operations)}"] if ancestor.operations else []
        notes += [f"digest {ancestor.digest[:16]}"] if ancestor.digest else []
        yield ["weights from", "run", ancestor.name, "; ".join(notes)]
    if record.code.commit is not None:
        changed = "with changes" if record.code.dirty else ""
        yield ["code from", "commit", record.code.commit[:12], changed]
    if record.rerun_of:
        yield ["spec from", "run", record.rerun_of, ""]
    if record.imported is not None:
        yield ["imported from", "archive", record.imported.archive, record.imported.time]
    origin = record.foreign_weights
    if origin is not None:
        notes = [origin.format, f"sha256 {origin.file.sha256[:16]}"]
        yield ["weights from", "file of another program", origin.file.name, "; ".join(notes)]


def _products(directory: RunDirectory, record: Record, others: Summaries) -> Rows:
    if record.folds is not None and record.folds.of:
        notes = f"{record.folds.done} done"
        notes += f", {len(record.folds.failed)} failed" if record.folds.failed else ""
        yield ["holds out", "cross-validation", f"{record.folds.of} folds", notes]
    yield from _some([["was made", "matrix", name, ""] for name in directory.matrix_names()])
    evaluations = map(EvaluationDirectory.evaluation, evaluations_of(directory))
    yield from _some([["was made", "evaluation", made.name, made.caution] for made in evaluations])
    descendants = [
        ["weights to", "run", run["name"], f"{run['experience']}, seed {run['seed']}"]
        for run in others
        if record.name in run["parents"]
    ]
    yield from _some(descendants)


def _some(rows: list[list[str]]) -> Rows:
    yield from rows[:MOST_OF_A_KIND]
    if len(rows) > MOST_OF_A_KIND:
        yield [*rows[0][:2], f"{len(rows) - MOST_OF_A_KIND:,} more", ""]


LOG_LINES = 60

IN_HEAD = ("run", "state", "error", "caution", "note", "tags")
"""Facts that the page shows elsewhere than in its list."""

PRIVATE = ("path", "machine", "settings", "attempts")
"""Facts about the machine, which are not for those to whom a report is sent."""

MOST_KEY_NUMBERS = 3
"""Outputs whose error stands on top."""


def key_numbers(record: Record, done: int) -> list[Values]:
    """What one asks first: the main error of each output on the test part with its interval, and
    the time it took.

    done  epochs, see `epochs_done`
    """
    part = "test" if "test" in record.results else next(iter(record.results), "")
    numbers = []
    for output, metrics in list(record.results.get(part, {}).items())[:MOST_KEY_NUMBERS]:
        metric = main_metric(metrics)
        if metric is None:
            continue
        meaning = meaning_of(metric, [record.metrics])
        unit = record.units.get(output, "")
        ends = record.intervals.get(part, {}).get(output, {}).get(metric)
        value = metrics[metric]
        text, interval = (NONE, NONE) if value is None else with_interval(value, ends, meaning)
        notes = []
        share = metrics.get("r2")
        if interval != NONE and not tells_nothing(ends, meaning):
            notes.append(f"95 % interval {printed(interval)}")
        if share is not None:
            notes.append(f"R² {printed(number(share, meaning_of('r2', [])))}")
        words = f"{measure(in_words(output), metric_in_words(metric))}, {part}"
        with_its_unit = number_with_unit(printed(text), meaning.in_unit(unit))
        numbers.append({"words": words, "value": with_its_unit, "notes": ", ".join(notes)})
    if done:
        epochs = record.epochs
        words = f"{done} of {epochs.of} epochs" if epochs.of else f"{done} epochs"
        if epochs.step is not None:
            words = f"step {epochs.step:g}"
        texts = [in_time(record.seconds)] if record.ended else []
        texts += [words, f"best {epochs.best}"] if epochs.best else [words]
        further = ", ".join(texts[1:])
        numbers.append({"words": "training", "value": texts[0], "notes": further})
    return numbers


def epochs_done(directory: RunDirectory, record: Record) -> int:
    """By the file that grows with each epoch, as the record lags; of folds, by the record."""
    with suppress(DamagedError, NotFoundError, OSError):
        lines = [] if record.ended else directory.metrics()
        return max(record.epochs.done, lines[-1]["epoch"] if lines else 0)
    return record.epochs.done


def progress_in_words(directory: RunDirectory, record: Record, done: int) -> str:
    """`epoch 8 of 400, 23 a minute, 17 min left`; empty for a run without epochs of its own.

    done  epochs, by the file that grows with each of them
    """
    planned = record.epochs.of
    if not (planned or done) or record.folds:
        return ""
    if record.epochs.step is not None:
        return f"step {record.epochs.step:g}"
    words = f"epoch {done} of {planned}" if planned else f"epoch {done}"
    seconds = _seconds_of_epoch(directory, record, done)
    if not seconds:
        return words
    pace = f"{60 / seconds:,.0f} a minute" if seconds <= 30 else f"{in_time(seconds)} each"
    return f"{words}, {pace}, {in_time((planned - done) * seconds)} left"


def _seconds_of_epoch(directory: RunDirectory, record: Record, done: int) -> float | None:
    """On average; the record has the time of earlier attempts, the epochs' file that of this."""
    if not 2 <= done < record.epochs.of or not record.attempts or not record.attempts[-1].started:
        return None
    with suppress(OSError, ValueError):
        begun = datetime.fromisoformat(record.attempts[-1].started).timestamp()
        at_work = max(directory.metrics_file.stat().st_mtime - begun, 0.0)
        return (record.seconds + at_work) / done or None
    return None


def in_time(seconds: float) -> str:
    """A time for readers: `8 s`, `3 min`, `2 h 10 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def run_page(
    directory: RunDirectory,
    others: Summaries = (),
    *,
    pictures_elsewhere: bool = False,
    private: bool = True,
) -> Values:
    """What the template `run.html` needs. Raises DamagedError for a run that cannot be read.

    others              summaries of the other runs of its workspace, among which those of its
                        experience and its descendants are
    pictures_elsewhere  whether the page has the pictures that are kept in the run in another place
    private             whether it shows the machine and its settings, and where the run is
    """
    record = directory.record()
    spec = directory.spec()
    state = Watch().state(directory)
    warnings: list[str] = []
    about = facts(directory, record, str(state), warnings.append)
    hidden = IN_HEAD if private else (*IN_HEAD, *PRIVATE)
    sections = sections_of(directory, record)
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
        "results": [_on_page(section, pictures_elsewhere) for section in sections],
        "evaluations": [_on_page(section) for section in sections_of_evaluations(directory)],
        "curves": curves(lines_of(directory), record.units, all_metrics=True),
        "system": system_panels(directory.system()),
        "estimates": points(directory),
        "fields": list(fields(directory)),
        "network": [],
        "matrices": matrices(directory),
        "log": "\n".join(log.splitlines()[-LOG_LINES:]),
        "again": shlex.join(directory.whole.record().command),
    }


def network_parts(directory: RunDirectory) -> list[Drawn | Table | str]:
    """The drawing and the table of a run's network, or why it cannot be laid out; empty for a
    program.
    """
    if not type_of(directory.spec()).trains:
        return []
    from qexp.kinds.layouts import layout_of_run  # loads torch

    try:
        layout = layout_of_run(directory)
    except QexpError as error:
        return [str(error)]
    return [layout.in_words, drawn("", layout.figure, layout.in_words), layout.table()]


def _on_page(section: Section, pictures_elsewhere: bool = False) -> Values:
    """A title, and tables, sentences and drawings below it."""
    shown = section.results
    if pictures_elsewhere:
        shown = [results for results in shown if not results.figures()]
    return {
        "title": section.title,
        "parts": [*section.tables_of_page(), *drawings_of_all(shown)],
    }


def drawings_of(results: Results) -> list[Drawn]:
    """What is drawn of the results of a capability, else the pictures that are kept in the run."""
    draw = DRAWINGS.get(type(results))
    if draw is not None:
        return draw(results.directory)
    return pictures(results.figures())


def drawings_of_all(several: Iterable[Results]) -> list[Drawn]:
    return [drawing for results in several for drawing in drawings_of(results)]


def cautions_of(directory: RunDirectory, record: Record) -> list[str]:
    """All that a reader must know before any number: of the run, and of its evaluations."""
    cautions = [record.caution] if record.caution else []
    for evaluation in map(EvaluationDirectory.evaluation, evaluations_of(directory)):
        if evaluation.caution:
            cautions.append(f"evaluation {evaluation.name}: {evaluation.caution}")
    return cautions


def calibration_drawings(directory: RunDirectory) -> list[Drawn]:
    """None before the run was calibrated; those whose numbers are gone are left out."""
    drawings = list[Drawn]()
    calibrations = calibrations_of(directory).values()
    for calibration in calibrations:
        kind = f" ({calibration.kind_in_words})" if len(calibrations) > 1 else ""
        with suppress(MissingNumbersError):
            content = content_of(directory, calibration)
            drawings += [
                drawn(f"{words}{kind}", partial(draw, *content))
                for words, draw in CALIBRATION_DRAWINGS.items()
            ]
    return drawings


def training_drawn(directory: RunDirectory) -> list[Drawn]:
    """The learning curves of a run or of its folds, as pictures; none before the first epoch."""
    if not any(lines_of(directory).values()):
        return []
    draw = fold_curves_of if directory.all_folds() else learning_curve_of
    return [drawn("learning curves", partial(draw, directory))]


def baselines_drawn(directory: RunDirectory) -> list[Drawn]:
    """The network among its baselines: RMSE with its interval, a drawing per output."""
    meaning = meaning_of("rmse", ())
    drawings = []
    known = [row for row in directory.record().comparison if row.rmse is not None]
    for output in dict.fromkeys(row.output for row in known):
        rows = [row for row in known if row.output == output]
        values = {}
        words = []
        for row in sorted(rows, key=lambda row: row.rmse or 0.0):
            interval = None if tells_nothing(row.rmse_interval, meaning) else row.rmse_interval
            values[row.estimator] = OfSeeds((), row.rmse or 0.0, interval)
            error = number_with_unit(printed(number(row.rmse)), row.unit)
            words.append(f"{row.estimator} {error}")
        axis = label(f"{output} RMSE", typeset(rows[0].unit))
        title = f"{in_words(output)}: the network among its baselines, 95 % intervals"
        draw = partial(values_in_rows, values, axis, NETWORK)
        drawings.append(drawn(title, draw, "; ".join(words)))
    return drawings


DRAWINGS: Mapping[type[Results], Callable[[RunDirectory], list[Drawn]]] = {
    Errors: baselines_drawn,
    Calibrations: calibration_drawings,
}
"""Results → what is drawn of them in place of the pictures that are kept in the run."""


# A run at a glance, for notebooks and terminals: what its page shows, without what takes a mouse.


def run_view(directory: RunDirectory) -> View:
    """Results, baselines, curves; spec, origin and command unfold. Raises DamagedError."""
    record = directory.record()
    state = Watch().state(directory)
    warnings: list[str] = []
    all_facts = facts(directory, record, str(state), warnings.append)
    about = [[key, text] for key, text in all_facts if key not in IN_HEAD]
    parts: list[Piece] = [record.note] if record.note else []
    folded: dict[str, Sequence[Piece]] = {}
    for section in sections_of(directory, record):
        for results in section.results:
            parts += results.tables_of_page()
            drawings = drawings_of(results)
            if not results.folded:
                parts += drawings
            elif drawings:
                folded[results.folded] = drawings
    for section in sections_of_evaluations(directory):
        folded[section.title] = _on_page(section)["parts"]
    curve = training_drawn(directory)
    if curve:
        folded["how training went"] = curve
    asked = type_of(directory.spec()).lines(directory.spec())
    folded["what was asked"] = [Table("", ["", ""], [[key, text] for key, text in asked.items()])]
    folded["where it came from"] = [lineage(directory, record, ()), Table("", ["", ""], about)]
    folded["how to make it again"] = [shlex.join(record.command)]
    cautions = [*cautions_of(directory, record), *warnings]
    return View(
        record.name,
        state.words,
        cautions,
        record.error or "",
        parts,
        folded,
    )
