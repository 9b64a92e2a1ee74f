"""Columns of a listing, groups of its runs, and cells as texts."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.files import in_bytes
from qexp.base.options import is_number
from qexp.base.outputs import MAIN_METRICS, main_metric
from qexp.base.quantities import with_unit
from qexp.base.text import NOTHING, RESULT, Table, measure, output_and_metric, value_at
from qexp.errors import DamagedError, NotFoundError, QexpError, nearest, shortened, some, suggestion
from qexp.metrics.meaning import NONE, UNKNOWN, Meaning, measured, number
from qexp.results.capabilities import CAPABILITIES, class_of, possible_columns
from qexp.runs.options import ListOptions
from qexp.store.directory import EVALUATIONS, RunDirectory
from qexp.store.provenance import Summary
from qexp.store.record import LISTED, Record, meaning_of


def compared(column: str, value: Any) -> Any:
    """What a column is compared, sorted and grouped by: of `epochs` their number in the spec."""
    if column == "epochs" and isinstance(value, dict):
        return value["of"] or None
    return value


def field(summary: Summary, path: str) -> Any:
    """A dotted field of a summary; None if missing. Raises QexpError if none has such a field."""
    first, *rest = steps(path)
    if first not in summary:
        raise QexpError(f"no field '{first}'; {suggestion(first, summary)}")
    value = value_at(summary[first], rest, None)
    return None if value is NOTHING else value


BRACKETS = re.compile(r"""\[(?:"([^"]*)"|'([^']*)')\]""")


def steps(path: str) -> list[str]:
    """The keys of a dotted path; one in brackets may hold dots: `evaluations["core.2"].test`."""
    start, *pieces = BRACKETS.split(path)
    keys = start.split(".") if start or not pieces else []
    for in_double, in_single, rest in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        keys.append(in_single if in_double is None else in_double)
        if rest:
            keys += rest.removeprefix(".").split(".")
    return keys


def newest(summaries: list[Summary], count: int) -> list[Summary]:
    """The summaries of the runs that were created last, in the order in which they are given.

    count  how many there are to be

    >>> len(qexp.api.newest(qexp.runs(), 1))
    1
    """
    last = sorted(summaries, key=lambda run: run["created"] or "")[-count:]
    names = {run["name"] for run in last}
    return [run for run in summaries if run["name"] in names]


def unknown_tags(summaries: Sequence[Summary], tags: Iterable[str]) -> str:
    """The end of a message about tags that no run has; empty if there are none."""
    known = {tag for run in summaries for tag in run["tags"]}
    unknown = [tag for tag in tags if tag not in known]
    return "".join(f"; no run has the tag '{tag}', {suggestion(tag, known)}" for tag in unknown)


def ordered(
    summaries: list[Summary], field: str, reverse: bool, values: Sequence[Any]
) -> list[Summary]:
    """The runs sorted by a field with these values, without it last. Raises QexpError."""
    values = [compared(field, value) for value in values]
    having = list[tuple[Any, Summary]]()
    lacking = list[Summary]()
    for value, run in zip(values, summaries, strict=True):
        if isinstance(value, int | float | str):
            having.append((value, run))
        else:
            lacking.append(run)
    mixed = len({isinstance(value, str) for value, _ in having}) > 1
    if mixed or (not having and any(value is not None for value in values)):
        raise QexpError(
            f"`sort={field}`: the values are neither all numbers nor all texts; "
            "name a field inside, as in results.test.depth.mae"
        )
    having.sort(key=lambda pair: pair[0], reverse=reverse)
    return [run for _, run in having] + lacking


PARTS = ("test", "validation", "train")

SHOWN_PARTS = ("validation", "test")
"""The parts in a listing: the one to choose by, and what the choice is worth."""

LOSS = "validation.loss"
"""The column of the validation loss by which the best epoch was chosen, from `metrics.jsonl`."""

FIELDS = frozenset(field.name for field in fields(Record)) - {"others"}

TEXTS = ("name", "state", "experience", "dataset", "model")
"""Fields of a summary that are texts, which one may forget to put into quotation marks."""


class Columns:
    """The values of columns for some runs.

    A column is a field of the summary or of the record (`seed`, `epochs.best`, `code.commit`), a
    metric (`test.depth.mae`, with or without `results.` before it, or
    `evaluations.NAME.test.depth.mae`), a key of the spec (`learning_rate`, `dataset.fixed.noise`,
    with or without `spec.` before it), of a calibration (`calibration.depth.coverage_90`), or
    `size`, the bytes of the directory. Files are read only for values that are not in the
    summaries.
    """

    def __init__(self, runs: Sequence[Summary]) -> None:
        self.runs = runs
        self.warnings: list[str] = []
        """Messages about runs that could not be read; their cells are empty."""
        self._of_specs: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        """Path and digest of a run, and keys of its spec → value: a spec is never changed."""
        self._has_value: dict[str, bool | None] = {}
        """Column of `one_by_one` → whether a run has it; None if no run was looked at."""
        self._spec = cache(partial(self._read, RunDirectory.spec_as_written))
        self._record = cache(partial(self._read, lambda directory: directory.record().document()))
        self._loss = cache(partial(self._read, _loss_of_best))

        def results(capability: str, path: str) -> Any:
            return self._read(lambda directory: class_of(capability)(directory).columns(), path)

        self._results = cache(results)

    def for_runs(self, runs: Sequence[Summary]) -> Columns:
        """The columns of other runs, which share the values of specs that have been read."""
        columns = Columns(runs)
        columns._of_specs = self._of_specs
        return columns

    def values(self, column: str) -> list[Any]:
        """A value per run, None if missing. Raises QexpError if no run can have the column."""
        look = self._lookup(column)
        values = [look(run) for run in self.runs]
        if values and all(value is NOTHING for value in values):
            self._require_possible(column)
        return [None if value is NOTHING else value for value in values]

    def one_by_one(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value to compare, None if missing, that reads files of that run only.

        If it finds no value for any run, `require_found` says so.
        """
        if self._in_summaries(column):
            return lambda run: compared(column, field(run, column))
        look = self._lookup(column)
        self._has_value[column] = None

        def value_of(run: Summary) -> Any:
            value = look(run)
            self._has_value[column] = self._has_value[column] or value is not NOTHING
            return None if value is NOTHING else value

        return value_of

    def require_found(self) -> None:
        """Raise QexpError if `one_by_one` looked for a column that no run can have."""
        for column, has_value in self._has_value.items():
            if has_value is False:
                self._require_possible(column, in_condition=True)

    def _require_possible(self, column: str, *, in_condition: bool = False) -> None:
        """Raise QexpError, with similar names, unless one of the runs can have the column once it
        is done, or calibrated.

        in_condition  it may be a text without its quotation marks
        """
        if self._is_possible(column):
            return
        meant = self._meant(column, in_condition)
        unread = f"\nsome runs could not be read: {self.warnings[0]}" if self.warnings else ""
        raise QexpError(f"no field '{shortened(column)}'; {meant}{unread}")

    def _is_possible(self, column: str) -> bool:
        units = units_of(self.runs)
        in_results = column.removeprefix("results.")
        changed = column.removeprefix("spec.") in changed_keys(self.runs)
        if in_results == LOSS or changed or column in possible_columns(units):
            return True
        part, _, rest = in_results.partition(".")
        output, metric = output_and_metric(rest)
        return part in PARTS and output in units and self.meaning(metric) != UNKNOWN

    def _meant(self, column: str, in_condition: bool) -> str:
        """What to write instead of a column that no run can have."""
        if column in ("parameters", "params"):
            return "the number of weights of the network is 'weights'"
        if column in ("loss", "val_loss"):
            return f"did you mean '{LOSS}'?"
        if column.startswith("-"):
            return "for the other order: `reverse`"
        if column == "set":
            return "what --set changed is 'overrides'"
        if in_condition and column == "tag":
            return "for runs with a tag, write 'TAG' in tags"
        texts = {text for run in self.runs for text in (*run["tags"], *map(run.get, TEXTS))}
        if in_condition and column in texts:
            return f"a text has quotation marks: '{column}'"
        fields = {*FIELDS, *self.runs[0], "size"}
        of_capabilities = possible_columns(units_of(self.runs))
        paths = fields | set(of_capabilities)
        prefix = "spec." if column.startswith("spec.") else ""
        for run in self.runs[:20]:
            paths |= {f"{prefix}{path}" for path in _paths(self._spec(run["path"]))}
        for run in self.runs:
            paths |= {*_paths(run), *_paths(run["results"])}
        if in_condition:
            paths = {re.sub(r"\.([^.]*[^\w.][^.]*)", r"['\1']", path) for path in paths}
        part, _, rest = column.removeprefix("results.").partition(".")
        if rest:
            start = f"{part}."
            end = f".{rest}"
            outputs = [path for path in paths if path.startswith(start) and path.endswith(end)]
            if outputs:
                return f"each output has its own: {some(sorted(outputs))}"
        found = _fields_with(column, paths - {*of_capabilities}) or _fields_with(column, paths)
        if found:
            others = f" Others with {column}: {some(found[1:])}" if found[1:] else ""
            return f"did you mean '{found[0]}'?{others}"
        return suggestion(column, paths if nearest(column, paths) else fields)

    def _in_summaries(self, column: str) -> bool:
        first, *rest = steps(column)
        summary = self.runs[0] if self.runs else {}
        # `dataset` and `model` in the summary are names; paths below them refer to the spec.
        return first in summary and not (rest and isinstance(summary[first], str))

    def _lookup(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value, from the first of summary, record and spec that has it."""
        first, *rest = path = steps(column)
        summary = self.runs[0] if self.runs else {}
        if column == "size":
            return lambda run: files.size_of(Path(run["path"]))
        if first == "spec":
            return lambda run: self._in_spec(run, rest)
        if self._in_summaries(column):
            return lambda run: value_at(run, path, None)
        if column.removeprefix("results.") == LOSS:
            return lambda run: self._loss(run["path"])
        if first in PARTS:
            return lambda run: _result(run["results"], path)
        if first in CAPABILITIES:
            return lambda run: value_at(self._results(first, run["path"]), rest, None)
        # The record's `metrics` tell how results are read; the column `metrics` is of the spec.
        if first in FIELDS and first not in (*summary, "metrics"):
            return lambda run: value_at(self._record(run["path"]), path, None)
        return lambda run: self._in_spec(run, path)

    def _in_spec(self, run: Summary, path: Sequence[str]) -> Any:
        key = run["path"], run["digest"], tuple(path)
        if key not in self._of_specs:
            self._of_specs[key] = value_at(self._spec(run["path"]), path, None)
        return self._of_specs[key]

    def _read(self, read: Callable[[RunDirectory], Any], path: str) -> Any:
        try:
            return read(RunDirectory(Path(path)))
        except (DamagedError, NotFoundError) as error:
            self.warnings.append(str(error))
            return NOTHING

    def unit(self, column: str) -> str:
        """The unit of a metric of runs or evaluations; empty for other columns and numbers."""
        path = steps(column)
        units = units_of(self.runs)
        if path[0] in ("results", EVALUATIONS):
            path = path[1:] if path[0] == "results" else path[2:]
        elif path[0] in CAPABILITIES:
            return possible_columns(units).get(column, "")
        output, metric = output_and_metric(".".join(path[1:]))
        output = output or RESULT
        return self.meaning(metric).in_unit(units[output]) if output in units else ""

    def cautions(self, column: str) -> list[str]:
        """The run's name and the caution, per value that is of an evaluation with a caution."""
        path = steps(column)
        cautions = list[str]()
        if len(path) > 2 and path[0] == EVALUATIONS:
            for run in self.runs:
                caution = run["evaluations"].get(path[1], {}).get("caution")
                if caution:
                    cautions.append(f"{run['name']} on {path[1]}: {caution}")
        return cautions

    def meaning(self, metric: str) -> Meaning:
        """Direction and unit of a metric; the runs' records tell those of custom metrics."""
        from qexp.metrics.built_in import METRICS

        records = [] if metric in METRICS else [self._record(run["path"]) for run in self.runs]
        metrics = [record["metrics"] for record in records if isinstance(record, dict)]
        return meaning_of(metric, metrics)


def _result(results: Mapping[str, Any], path: Sequence[str]) -> Any:
    """A number of the results; `test.mse` is that of a program's only output without a name."""
    found = value_at(results, path, None)
    if found in (None, NOTHING) and path[1:]:
        return value_at(results, [path[0], RESULT, *path[1:]], None)
    return found


def _loss_of_best(directory: RunDirectory) -> Any:
    best = [line for line in directory.metrics() if line.get("best")]
    return value_at(best[-1], LOSS.split("."), None) if best else NOTHING


def changed_keys(runs: Sequence[Summary]) -> list[str]:
    """The keys that some of the runs override, and not all of them alike."""
    values: dict[str, list[str]] = {}
    by_run = changes(runs).values()
    for text in itertools.chain(*by_run):
        key, _, value = text.partition("=")
        values.setdefault(key, []).append(value)
    return [key for key, found in values.items() if found != found[:1] * len(by_run)]


def changed_columns(runs: Sequence[Summary]) -> list[str]:
    """The columns of these keys: `learning_rate`, but `spec.epochs` where summaries have one."""
    columns = changed_keys(runs)
    for index, key in enumerate(columns):
        if key.partition(".")[0] in runs[0]:
            columns[index] = f"spec.{key}"
    return columns


def _fields_with(word: str, paths: Collection[str]) -> list[str]:
    """The innermost fields with a word in their path, the errors on test data first."""
    parents = {path.rpartition(".")[0] for path in paths}
    found = list[tuple[bool, bool, int, str]]()
    for path in paths:
        has_word = word in re.split(r"[\W_]+", path) or word in path.split(".")
        if has_word and path not in parents and not path.startswith(("results.", "spec.")):
            is_test = path.startswith("test")
            is_main = path.endswith(MAIN_METRICS)
            found.append((not is_test, not is_main, len(path), path))
    return [path for *_, path in sorted(found)]


def _paths(document: Any, prefix: str = "") -> Iterator[str]:
    """All dotted paths in nested dictionaries."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")


# Listings, for the shell and for pages: chosen runs, columns, groups, and cells as texts.


def choose(
    columns: Columns, options: ListOptions, names: Collection[str] | None = None
) -> list[Summary]:
    """The runs with a state, all of the tags and one of the names that match an expression.

    Raises QexpError for an invalid expression or an unknown state.
    """
    where = options.where
    status = options.status
    if status is not None and status not in LISTED:
        raise QexpError(f"`status={status}`: no such state; {suggestion(status, LISTED)}")
    wanted = set(options.tags)
    runs = [run for run in columns.runs if wanted <= {*run["tags"]}]
    if status is not None:
        runs = [run for run in runs if run["state"] == status]
    if where is not None:
        from qexp.runs.where import selected

        runs = selected(runs, where, columns.one_by_one)
        columns.require_found()
    return runs if names is None else [run for run in runs if run["name"] in names]


@dataclass(frozen=True)
class Column:
    """A column with a cell for each run."""

    title: str
    field: str
    """The field that it shows, by which runs can be sorted."""
    text: Callable[[Summary], str]
    numeric: bool = False


def changes(runs: Sequence[Summary]) -> dict[str, list[str]]:
    """Run → what was set in it or in another run with the same spec, so that equals read alike."""
    by_spec: dict[str, dict[str, str]] = {}
    by_run: dict[str, dict[str, str]] = {}
    for run in runs:
        spec = run.get("digest") or run["name"]
        of_spec = by_spec.setdefault(spec, {})
        by_run[run["name"]] = of_spec
        for change in run["overrides"]:
            key, _, _ = change.partition("=")
            of_spec[key] = change
    return {name: list(of_spec.values()) for name, of_spec in by_run.items()}


def usual_columns(runs: Sequence[Summary], left_out: Collection[str] = ()) -> list[Column]:
    """Name and changes, state and progress, the main metric of each output on the validation part,
    which runs are chosen by, with that on the test part beside it, and labels if a run has any.

    left_out  changes that are not shown
    """
    changed = changes(runs) if any(run["overrides"] for run in runs) else {}

    def set_in(run: Summary) -> str:
        return str(in_csv([change for change in changed[run["name"]] if change not in left_out]))

    def seed(run: Summary) -> str:
        return NONE if run["seed"] is None else str(run["seed"])

    units = units_of(runs)
    columns = [Column("name", "name", lambda run: str(run["name"]))]
    if any(run["overrides"] for run in runs):
        columns.append(Column("set", "overrides", set_in))
    columns += [
        Column("state", "state", lambda run: str(run["state"])),
        Column("seed", "seed", seed, numeric=True),
        Column("epochs", "epochs.done", progress, numeric=True),
    ]
    for path in main_metrics_of([run["results"] for run in runs]):
        text = partial(_error, *path)
        columns.append(Column(error_title(*path, units), ".".join(path), text, numeric=True))
    columns.append(Column("created", "created", lambda run: time(run["created"])))
    for key in ("tags", "caution"):
        if any(run[key] for run in runs):
            columns.append(Column(key, key, partial(_label, key)))
    return columns


def _label(key: str, run: Summary) -> str:
    return str(in_csv(run[key]))


def _error(part: str, output: str, metric: str, run: Summary) -> str:
    return number(_metric(run, part, output, metric))


def _metric(run: Summary, part: str, output: str, metric: str) -> float | None:
    found: float | None = run["results"].get(part, {}).get(output, {}).get(metric)
    return found


def column_of(field: str, columns: Columns) -> Column:
    """The column of any field, with its unit. Raises QexpError if no run can have it."""
    values = columns.values(field)
    unit = columns.unit(field)
    by_run = {run["name"]: value for run, value in zip(columns.runs, values, strict=True)}
    numeric = all(value is None or is_number(value) for value in values)

    def text(run: Summary) -> str:
        return cell(field, by_run[run["name"]])

    return Column(with_unit(field, unit), field, text, numeric)


def groups(
    runs: Sequence[Summary],
    fields: Sequence[str],
    values: Sequence[Sequence[Any]],
    means: Mapping[str, Sequence[Any]] | None = None,
) -> list[dict[str, Any]]:
    """Groups of runs with the same values, in order of first appearance.

    values   those of the fields of each run, by which to group
    means    column → values of the runs, whose means are wanted besides: `means` of a group, column
             → n, mean, std
    returns  for each group `values`, `runs`, `n`, `states` (state → count), `validation` and `test`
             (output → mae, or the main metric of a program → n, mean, std)
    """
    shown = main_metrics_of([run["results"] for run in runs])
    members: dict[str, list[int]] = {}
    values = [[*map(compared, fields, of_run)] for of_run in values]
    for index, of_run in enumerate(values):
        members.setdefault(json.dumps(of_run, sort_keys=True), []).append(index)
    made = list[dict[str, Any]]()
    for indices in members.values():
        group = [runs[index] for index in indices]
        made.append(
            {
                "values": values[indices[0]],
                "runs": group,
                "n": len(group),
                "states": dict(Counter(run["state"] for run in group).most_common()),
                **_mean_errors(group, shown),
            }
        )
        if means:
            made[-1]["means"] = _means(means, indices)
    return made


def _mean_errors(
    runs: Sequence[Summary], shown: Sequence[tuple[str, str, str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Part → output → its main metric → n, mean, std over the runs."""
    means: dict[str, dict[str, dict[str, Any]]] = {part: {} for part in SHOWN_PARTS}
    for part, output, metric in shown:
        found = [_metric(run, part, output, metric) for run in runs]
        values = [value for value in found if value is not None]
        if values:
            means[part][output] = {metric: _mean(values)}
    return means


def _means(means: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, dict[str, Any]]:
    found = {}
    for column, of_runs in means.items():
        values = [of_runs[index] for index in indices if of_runs[index] is not None]
        for value in values:
            if not is_number(value):
                raise QexpError(
                    f"`columns={column}`: a group has means of numbers, and"
                    f" {shortened(str(value))} is none; leave out the column, or name it in `group`"
                )
        found[column] = _mean(values)
    return found


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {
        "n": len(values),
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def group_table(
    groups: Sequence[dict[str, Any]],
    fields: Sequence[str],
    units: Mapping[str, str],
    shown: Mapping[str, str] | None = None,
) -> Table:
    """A row per group: the values of the fields, how many runs, in which states, and their mean
    errors; or the means of columns that are shown instead.

    shown  column → its title
    """
    outputs = main_metrics_of(groups) if shown is None else []
    titles = [error_title(*path, units) for path in outputs] + [*(shown or {}).values()]
    rows = list[list[str]]()
    for group in groups:
        states = ", ".join(f"{count} {state}" for state, count in group["states"].items())
        row = [*map(cell, fields, group["values"]), str(group["n"]), states]
        for part, output, metric in outputs:
            row.append(_shown_mean(group[part].get(output, {}).get(metric)))
        row += [_shown_mean(group["means"][column]) for column in shown or ()]
        rows.append(row)
    return Table("", [*fields, "n", "states", *titles], rows, frozenset(["n", *titles]))


def _shown_mean(mean: Mapping[str, Any] | None) -> str:
    return NONE if mean is None or mean["mean"] is None else measured(mean["mean"], mean["std"])


def main_metrics_of(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Part, output and the output's main metric, or another one that a program has, of an output
    both parts beside each other.

    results  of runs or groups, by part
    """
    known: dict[tuple[str, str], dict[str, None]] = {}
    for of_run in results:
        for part in SHOWN_PARTS:
            for output, metrics in of_run.get(part, {}).items():
                known.setdefault((output, part), {}).update(dict.fromkeys(metrics))
    found = list[tuple[str, str, str]]()
    outputs = dict.fromkeys(output for output, _ in known)
    for output, part in itertools.product(outputs, SHOWN_PARTS):
        if (output, part) in known:
            found.append((part, output, main_metric(known[output, part]) or MAIN_METRICS[0]))
    return found


def cell(column: str, value: Any) -> str:
    """The value of a field as a reader wants it, in one line."""
    if value is None:
        return NONE
    if column in ("created", "started", "ended"):
        return time(value)
    if column == "epochs" and isinstance(value, dict):
        return _epochs(value)
    if column == "size":
        return in_bytes(value)
    if column == "weights" and isinstance(value, int):
        return f"{value:,}"
    if is_number(value):
        return number(value)
    return value if isinstance(value, str) else str(in_csv(value))


def in_csv(value: Any) -> Any:
    """Numbers and texts as they are; lists of words as words; all else as JSON."""
    if value is None or isinstance(value, str) or is_number(value):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)


def time(stamp: str | None) -> str:
    return (stamp or "")[:16].replace("T", " ")


def progress(run: Summary) -> str:
    """Epochs, or folds, that are done, and their total number."""
    return f"{_epochs(run['folds'])} folds" if run["folds"] else _epochs(run["epochs"])


def _epochs(epochs: Summary | None) -> str:
    if not epochs or not (epochs["of"] or epochs["done"]):
        return NONE
    if epochs.get("step") is not None:
        return f"step {epochs['step']:g}"
    return f"{epochs['done']}/{epochs['of']}" if epochs["of"] else str(epochs["done"])


def units_of(runs: Sequence[Summary]) -> dict[str, str]:
    """Output → unit."""
    return {output: unit for run in runs for output, unit in run["units"].items()}


def error_title(part: str, output: str, metric: str, units: Mapping[str, str]) -> str:
    return with_unit(f"{part} {measure(output, metric)}", units.get(output, ""))
