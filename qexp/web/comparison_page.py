"""The page of several runs: results over seeds, sweeps, curves, a table; and in notebooks."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from qexp.base.options import is_number
from qexp.base.outputs import main_metric
from qexp.base.quantities import in_words, label, number_with_unit, typeset, with_unit
from qexp.base.text import Table, measure
from qexp.comparison import compare
from qexp.comparison.groups import ComparedRun, seed_groups
from qexp.comparison.seeds import (
    GroupRow,
    SeedComparison,
    common_seeds,
    compare_across_seeds,
    results_across_seeds,
    same_samples,
    unpaired_difference,
)
from qexp.errors import some
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.intervals import LEVEL, Estimate, quantile, simultaneous
from qexp.metrics.meaning import HIGHEST, UNKNOWN, Meaning, number, printed
from qexp.spec.experiences import ABSENT
from qexp.store.record import State
from qexp.web import drawings
from qexp.web.html import Drawn, Piece, Titled, Values, View, drawn, fields_of, pictures
from qexp.web.run_page import NAMED_RUNS

Metric = tuple[str, str]
"""An output, and a metric of it."""

MOST_DRAWN = 40
"""Groups in one drawing of results; of more the best by validation are drawn."""


def cautions(runs: Sequence[ComparedRun]) -> list[str]:
    by_caution: dict[str, list[str]] = {}
    for run in runs:
        if run.summary["caution"]:
            by_caution.setdefault(run.summary["caution"], []).append(run.name)
    return [f"{caution}: {some_of(names, len(runs))}" for caution, names in by_caution.items()]


def some_of(names: Sequence[str], count: int) -> str:
    """Some of the names of runs; "all runs" if there are no others."""
    return "all runs" if len(names) == count else some(names, NAMED_RUNS)


def short_names(comparison: SeedComparison) -> dict[str, str]:
    """Group → its name without the words all groups share; the first word of a single group."""
    words = {name: name.split() for name in comparison.names}
    shared = set.intersection(*map(set, words.values()))
    if len(words) == 1:
        return {name: split[0] for name, split in words.items()}
    short = {}
    for name, split in words.items():
        own = [word for word in split if word not in shared]
        short[name] = " ".join(own) or name
    return short


def results_drawn(comparison: SeedComparison) -> Iterator[Drawn]:
    """Means and intervals of groups, a drawing for each output's MAE or first metric."""
    names = short_names(comparison)
    order = list[str]()
    estimated = [row for row in comparison.results if row.estimate is not None]
    for output in dict.fromkeys(row.output for row in estimated):
        rows = [row for row in estimated if row.output == output]
        metric = main_metric(row.metric for row in rows) or ""
        rows = [row for row in rows if row.metric == metric]
        if not rows:
            continue
        order = order or _order(comparison, rows)  # one in all drawings
        rows.sort(key=lambda row: order.index(row.group) if row.group in order else len(order))
        values = {}
        for row in rows[:MOST_DRAWN]:
            if row.estimate:
                values[names[row.group]] = OfSeeds(
                    values=list(row.values.values()),
                    mean=row.estimate.mean,
                    interval=row.estimate.interval,
                )
        unit = rows[0].unit
        title = f"{measure(in_words(output), metric)} on the {comparison.part} part,"
        title += f" mean and {100 * LEVEL:.0f} % interval over {_seeds_in_words(rows)}"
        if len(rows) > MOST_DRAWN:
            title += f", the best {MOST_DRAWN} of {len(rows)} groups by validation"
        words = []
        for name, group in values.items():
            mean = printed(number(group.mean))
            words.append(f"{name} {number_with_unit(mean, unit)}")
        axis = label(measure(output, metric), typeset(unit))
        draw = partial(values_in_rows, values, axis)
        yield drawn(title, draw, f"{title}: {'; '.join(words)}")


def _order(comparison: SeedComparison, rows: Sequence[GroupRow]) -> list[str]:
    """The groups of a metric's rows, the best on the validation part first."""
    sign = -1 if rows[0].meaning.best == HIGHEST else 1
    validated = {}
    for group in comparison.groups:
        mean = group.mean("validation", rows[0].output, rows[0].metric)
        validated[group.name] = math.inf if mean is None else sign * mean
    return sorted((row.group for row in rows), key=validated.__getitem__)


def _seeds_in_words(rows: Sequence[GroupRow]) -> str:
    counts = sorted({len(row.values) for row in rows})
    words = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"{words} seed{'s' * (counts != [1])}"


# The learning curves of a comparison; the page draws each run in the colour of its group, and means
# of groups.


MOST_CURVES = 120

MOST_FILES = 1200
"""Files of learning curves that are read: one per run, or per fold."""


def curves_of_groups(
    runs: Sequence[ComparedRun], comparison: SeedComparison
) -> list[drawings.Panel]:
    folds = {}
    paces = {}
    for run in runs:
        folds[run.name] = list(drawings.lines_of(run.directory).values())
        epochs = sum(map(len, folds[run.name]))
        seconds = run.summary["seconds"]
        paces[run.name] = seconds / epochs if seconds and epochs else None

    def paced(series: drawings.Series, several: bool) -> drawings.Series:
        words = series.words
        band = None if several else series.band
        if series.band:
            words += f", median of {len(folds[series.run])} folds"
        return replace(series, words=words, band=band, pace=paces[series.run])

    panels = []
    for panel in drawings.curves_of_runs(folds, comparison.units, all_metrics=True):
        several = len({series.run for series in panel.series}) > drawings.MOST_COLOURS
        validated = [series for series in panel.series if not series.dashed] if several else []
        series = [paced(each, several) for each in validated or panel.series]
        panels.append(replace(panel, series=series))
    return panels


def thinned(runs: Sequence[ComparedRun]) -> Sequence[ComparedRun]:
    """As many of the runs, evenly, as can be drawn and read."""
    files = sum((run.summary["folds"] or {}).get("of") or 1 for run in runs)
    return runs[:: max(-(-len(runs) // MOST_CURVES), -(-files // MOST_FILES), 1)]


# Differences of the groups of a comparison from one of them that a reader chooses, seed by seed if
# seeds are common.


@dataclass(frozen=True)
class PairedMetric:
    """A metric of an output: of each group the values by seed and the interval of their mean.

    least     the least possible value; −∞ without one, which is null in JSON
    together  number of seeds → quantile for intervals that hold for so many comparisons at once
    unpaired  `FIRST SECOND` → the difference of the means of groups without two common seeds, its
              interval, and that for so many comparisons at once
    """

    words: str
    unit: str
    best: str | None
    main: bool
    metric: str
    values: Sequence[Mapping[int, float]]
    intervals: Sequence[tuple[float, float] | None]
    least: float
    comparisons: int
    together: Mapping[int, float]
    unpaired: Mapping[str, tuple[float, tuple[float, float] | None, tuple[float, float] | None]]


@dataclass(frozen=True)
class Paired:
    """Groups seed by seed; `base` is the one that is as the experience has it, if there is one.

    samples    a number of each group, the same for those with the same test samples
    quantiles  number of seeds → quantile for an interval that holds by itself
    level      of intervals [%]
    """

    groups: Sequence[str]
    base: int | None
    samples: Sequence[int]
    metrics: Sequence[PairedMetric]
    quantiles: Mapping[int, float]
    level: int


def paired(comparison: SeedComparison) -> Paired | None:
    """The values of each seed, their mean with its interval, and the quantiles that intervals of
    differences need; None without a metric.

    Intervals that hold for m comparisons at once have a level of 1 − (1 − LEVEL) / m each
    (Bonferroni; Dunn 1961, J. Am. Stat. Assoc. 56, 52-64): as in `compare`, for all of a metric, of
    every two groups and of all outputs.
    """
    rows: dict[Metric, dict[str, GroupRow]] = {}
    for row in comparison.results:
        rows.setdefault((row.output, row.metric), {})[row.group] = row
    if not rows:
        return None
    samples = same_samples(comparison.groups)
    unpaired, at_once = _unpaired(rows, comparison, samples)
    most = max(len(group.counted) for group in comparison.groups)

    def quantiles(comparisons: int) -> dict[int, float]:
        return {n: quantile(1 - (1 - LEVEL) / comparisons / 2, n - 1) for n in range(2, most + 1)}

    metrics = []
    for (output, metric), by_group in rows.items():
        row = next(iter(by_group.values()))
        values: list[Mapping[int, float]] = []
        intervals = []
        for name in comparison.names:
            group = by_group.get(name)
            estimate = group.estimate if group else None
            values.append(group.values if group else {})
            intervals.append(estimate.interval if estimate else None)
        lowest = min(chain.from_iterable(of_seeds.values() for of_seeds in values), default=0.0)
        metrics.append(
            PairedMetric(
                words=measure(in_words(output), metric_in_words(metric)),
                unit=row.unit,
                best=row.meaning.best,
                main=metric == main_metric(name for other, name in rows if other == output),
                metric=metric_in_words(metric),
                values=values,
                intervals=intervals,
                least=row.meaning.limits([lowest])[0],
                comparisons=at_once[metric],
                together=quantiles(max(at_once[metric], 1)),
                unpaired={
                    pair: (each.mean, each.interval, simultaneous(each, at_once[metric]).interval)
                    for pair, each in unpaired[output, metric].items()
                },
            )
        )
    changes = [len(group.runs[0].summary["overrides"]) for group in comparison.groups]
    base = changes.index(min(changes)) if changes.count(min(changes)) == 1 else None
    names = list(short_names(comparison).values())
    level = round(100 * LEVEL)
    return Paired(names, base, samples, metrics, quantiles(1), level)


def _unpaired(
    rows: Mapping[Metric, Mapping[str, GroupRow]],
    comparison: SeedComparison,
    samples: Sequence[int],
) -> tuple[dict[Metric, dict[str, Estimate]], Counter[str]]:
    """Output and metric → `FIRST SECOND` → the difference of groups without two common seeds.

    Beside it the number of comparisons of each metric, paired by seed or not.
    """
    unpaired: dict[Metric, dict[str, Estimate]] = {key: {} for key in rows}
    at_once = Counter[str]()
    for (one, first), (other, second) in combinations(enumerate(comparison.groups), 2):
        if samples[one] != samples[other]:
            continue
        by_seed = len(common_seeds(first, second)) > 1
        for (output, metric), by_group in rows.items():
            row_of_first = by_group.get(first.name)
            row_of_second = by_group.get(second.name)
            if row_of_first is None or row_of_second is None:
                continue
            if by_seed:
                at_once[metric] += bool(row_of_first.values.keys() & row_of_second.values)
                continue
            difference = unpaired_difference(row_of_first, row_of_second)
            if difference is not None:
                unpaired[output, metric][f"{one} {other}"] = difference
                at_once[metric] += 1
    return unpaired, at_once


# A table of runs with the keys in which they differ and their results, and the same for drawings.


MOST_KEYS = 12
"""Keys of the specs that get a column; the others are in the table of differences."""

Value = float | str | None


@dataclass(frozen=True)
class Column:
    """A value per run."""

    words: str
    values: Sequence[Value]
    key: bool
    """Whether it is a key of the specs that was changed, and no result."""
    unit: str = ""
    meaning: Meaning = UNKNOWN
    main: bool = False
    """Whether it is the one result by which an output is judged at a glance."""
    numeric: bool = True
    raw: str = ""
    """Its name as it is typed, if that is not in `words`."""

    def cells(self) -> list[str]:
        cells = []
        for value in self.values:
            if isinstance(value, float):
                cells.append(number(value, self.meaning))
            else:
                cells.append(value or "")
        return cells


def columns(runs: Sequence[ComparedRun], comparison: SeedComparison) -> list[Column]:
    """Seeds, the keys in which the groups differ, and the results on the compared part."""
    groups = _groups_of_runs(comparison)
    columns_of_runs = [Column("seed", [float(run.seed) for run in runs], key=True)]
    specs = compare.differing_specs(comparison)
    for path, *texts in (specs.rows if specs else [])[:MOST_KEYS]:
        values = [_value(text) for text in texts]
        numeric = all(isinstance(value, float) for value in values)
        if not numeric:
            values = [text.strip('"') for text in texts]
        values = [values[groups[run.name]] for run in runs]
        columns_of_runs.append(Column(path, values, key=True, numeric=numeric))
    rows: dict[Metric, GroupRow] = {}
    for row in comparison.results:
        rows.setdefault((row.output, row.metric), row)
    for (output, metric), row in rows.items():
        main = metric == main_metric(name for other, name in rows if other == output)
        words = measure(in_words(output), metric_in_words(metric))
        values = [_result(run, output, metric) for run in runs]
        columns_of_runs.append(
            Column(
                words,
                values,
                False,
                row.unit,
                row.meaning,
                main,
                raw=f"{output}.{metric}",
            )
        )
    return columns_of_runs


def _result(run: ComparedRun, output: str, metric: str) -> float | None:
    """A result of a run; None if the run is not done."""
    if State(run.summary["state"]) is not State.DONE:
        return None
    value = run.numbers.get(output, {}).get(metric)
    return None if value is None else float(value)


def _groups_of_runs(comparison: SeedComparison) -> dict[str, int]:
    """Name of a run → the number of its group."""
    return {run.name: index for index, group in enumerate(comparison.groups) for run in group.runs}


def _value(text: str) -> Value:
    """A number, where the text is one that a drawing can show; else the text."""
    try:
        read = json.loads(text)
        value = float(read) if is_number(read) else math.nan
    except (ValueError, OverflowError, RecursionError):  # hundreds of digits, or of brackets
        return text
    return value if math.isfinite(value) else text


@dataclass(frozen=True)
class Grouping:
    """The groups of a page, the number of each run's, and keys that can join them, with values."""

    names: Sequence[str]
    runs: Mapping[str, int]
    keys: Mapping[str, Sequence[Value]]


def grouping(
    runs: Sequence[ComparedRun], comparison: SeedComparison, of_runs: Sequence[Column]
) -> Grouping:
    positions = {run.name: index for index, run in enumerate(runs)}
    firsts = [positions[group.runs[0].name] for group in comparison.groups]
    keys = {}
    for column in of_runs:
        if column.key and column.words != "seed":
            keys[column.words] = [column.values[index] for index in firsts]
    names = list(short_names(comparison).values())
    return Grouping(names, _groups_of_runs(comparison), keys)


@dataclass(frozen=True)
class Sweep:
    """What is drawn of a sweep: values against each other, and all of them as parallel lines."""

    runs: Sequence[str]
    columns: Sequence[Column]
    """Those that have not one value for all runs."""


def sweep(runs: Sequence[ComparedRun], of_runs: Sequence[Column]) -> Sweep:
    varying = [column for column in of_runs if len({*column.values} - {None}) > 1]
    return Sweep([run.name for run in runs], varying)


def comparison_page(
    title: str, runs: Sequence[ComparedRun], notices: Sequence[str], in_a_file: bool = True
) -> Values:
    """What the template `comparison.html` needs.

    in_a_file  whether pictures must be in the page, and not on a server
    notices    what a reader must know besides the cautions of the runs, such as which runs cannot
               be read
    """
    groups = seed_groups(runs)
    done = any(group.counted for group in groups)
    comparison = (
        compare_across_seeds(groups) if done and len(groups) <= 2 else results_across_seeds(groups)
    )
    of_runs = columns(runs, comparison)
    drawn_runs = thinned(runs)
    pairs = [pair for pair in comparison.pairs if pair.rows]
    in_groups = [(run.directory, i) for i, group in enumerate(groups) for run in group.runs]
    return {
        "title": title,
        "count": len(runs),
        "cautions": cautions(runs),
        "at_work": _not_done(runs, unfinished=True),
        "notices": [*_not_done(runs, unfinished=False), *notices],
        "groups": compare.groups_of_seeds(comparison),
        "specs": _specs(comparison),
        "grouping": grouping(runs, comparison, of_runs),
        "results": compare.results_of_groups(comparison) if comparison.results else None,
        "calibrations": compare.calibrations_of_groups(comparison),
        "pairs": [compare.differences_of(pair, comparison) for pair in pairs],
        "remarks": compare.remarks(comparison) if done else [],
        "paired": paired(comparison),
        "sweep": sweep(runs, of_runs),
        "curves": curves_of_groups(drawn_runs, comparison),
        "shown_curves": len(drawn_runs),
        "matrices": drawings.matrices_of_runs(in_groups),
        "pictures": drawings.pictures_of_runs([directory for directory, _ in in_groups], in_a_file),
        "table": _table(runs, of_runs),
        "commands": [_command(group.runs) for group in groups],
    }


def _not_done(runs: Sequence[ComparedRun], *, unfinished: bool) -> list[str]:
    """Sentences on the runs that may still be done, or on those that will not."""
    by_state: dict[str, list[str]] = {}
    for run in runs:
        state = State(run.summary["state"])
        if state is not State.DONE and state.unfinished == unfinished:
            by_state.setdefault(state.words, []).append(run.name)
    return [
        f"{words}, and not counted: {some_of(names, len(runs))}"
        for words, names in by_state.items()
    ]


def _specs(comparison: SeedComparison) -> Table | None:
    """The differing keys, and what is inside of models that differ; a row for each group where that
    makes the smaller table.
    """
    table = compare.differing_specs(comparison)
    if table is None:
        return None
    keys = [[path, *map(_in_words, values)] for path, *values in table.rows]
    table = Table(table.title, table.columns, [*keys, *_inside_of_models(comparison)])
    if len(table.rows) >= len(comparison.groups):
        return table
    paths, *values = zip(*table.rows, strict=True)
    rows = [[name, *texts] for name, texts in zip(comparison.names, values, strict=True)]
    return Table(table.title, ["group", *paths], rows)


def _table(runs: Sequence[ComparedRun], of_runs: Sequence[Column]) -> Table:
    """The runs with what is known of them; columns without any text are left out."""
    columns = [
        ("run", [run.name for run in runs]),
        ("state", [State(run.summary["state"]).words for run in runs]),
    ]
    numeric = set[str]()
    for column in of_runs:
        title = with_unit(column.raw or column.words, column.unit)
        columns.append((title, column.cells()))
        if column.numeric:
            numeric.add(title)
    columns += [
        ("caution", [run.summary["caution"] for run in runs]),
        ("tags", [", ".join(run.summary["tags"]) for run in runs]),
        ("note", [run.summary["note"] for run in runs]),
    ]
    columns = [*columns[:2], *(column for column in columns[2:] if any(column[1]))]
    titles = [title for title, _ in columns]
    rows = list(map(list, zip(*(cells for _, cells in columns), strict=True)))
    return Table("", titles, rows, frozenset(numeric))


def _in_words(value: str) -> str:
    """A value of a spec, as JSON, for readers."""
    words = {ABSENT: "not set", "true": "yes", "false": "no", "null": "none"}
    return words.get(value, value.strip('"'))


def _inside_of_models(comparison: SeedComparison) -> list[list[str]]:
    """The layers of the models, if they differ between groups."""
    firsts = [group.runs[0].directory for group in comparison.groups]
    layers = [layers_in_words(directory.spec().get("model")) for directory in firsts]
    return [["layers", *layers]] if len(set(layers)) > 1 else []


def layers_in_words(model: Any) -> str:
    """The operations of a model with sizes: `convolution (conv 8), dense (denses 128, 64)`."""
    words = []
    operations = model.get("operations", {}) if isinstance(model, dict) else {}
    for name, operation in operations.items():
        parameters = operation.get("parameters", {})
        known = filter(None, map(parameters.get, ("filters", "units", "pool_size")))
        sizes = next(known, "")
        written = ", ".join(map(str, sizes)) if isinstance(sizes, list) else str(sizes)
        words.append(f"{name} ({operation.get('module', '')} {written}".rstrip() + ")")
    return ", ".join(words)


def _command(runs: Sequence[ComparedRun]) -> str:
    """The command that makes the runs of a group."""
    words = runs[0].directory.record().command
    seeds = sorted({run.seed for run in runs})
    if len(seeds) > 1 and "--seed" in words:
        texts = []
        for stretch in compare.ranges(seeds).split(", "):
            first, _, last = stretch.partition("-")
            texts.append(f"{first}:{int(last) + 1}" if last else first)
        position = words.index("--seed")
        words[position : position + 2] = ["--seeds", ",".join(texts)]
    return shlex.join(words)


# Comparisons that show themselves in notebooks and terminals.


MOST_TABLES, MOST_ROWS = 3, 16
"""Tables of a comparison that are shown at once, and their rows."""


class ShownComparison(Titled, compare.Comparison):
    def __repr__(self) -> str:
        return f"<comparison of {', '.join(self.names)}>"

    def text_view(self) -> View:
        return _as_printed(self, [])

    def view(self) -> View:
        first, *further = reversed(compare.tables(self))
        parts: list[Piece] = [first, *compare.remarks(self), *further]
        title = f"Comparison of {len(self.names)} runs"
        return View(title, parts=parts, more=_pictures(self.figures))


class ShownSeedComparison(Titled, SeedComparison):
    """A comparison of groups of runs over their seeds."""

    def __repr__(self) -> str:
        return f"<comparison over seeds of {', '.join(self.names)}>"

    def text_view(self) -> View:
        return _as_printed(self, cautions([run for group in self.groups for run in group.runs]))

    def view(self) -> View:
        runs = [run for group in self.groups for run in group.runs]
        all_tables = compare.tables(self)
        short = [table for table in all_tables if len(table.rows) <= MOST_ROWS][:MOST_TABLES]
        further = [table for table in all_tables if table not in short]
        more: dict[str, Sequence[Piece]] = {}
        if further:
            more["more tables"] = further
        more |= _pictures(self.figures)
        parts: list[Piece] = [*results_drawn(self), *short, *compare.remarks(self)]
        count = len(self.groups)
        title = f"{count} group{'s' * (count != 1)} of runs over their seeds"
        return View(title, cautions=cautions(runs), parts=parts, more=more)


def _as_printed(comparison: compare.Comparison | SeedComparison, doubts: Sequence[str]) -> View:
    """What `qexp compare` prints: all of one metric, or the main metric of each output."""
    from qexp.comparison.summary import overview

    single = len({row.metric for row in comparison.results}) == 1
    parts = overview(comparison, all_metrics=single, more="metrics=['{}'] shows it")
    return View(f"Comparison of {', '.join(comparison.names)}", cautions=doubts, parts=list(parts))


def _pictures(figures: Sequence[Path]) -> dict[str, Sequence[Piece]]:
    found = pictures(figures)
    return {"pictures": found} if found else {}


def compared(
    comparison: compare.Comparison | SeedComparison,
) -> ShownComparison | ShownSeedComparison:
    if isinstance(comparison, compare.Comparison):
        return ShownComparison(**fields_of(comparison))
    return ShownSeedComparison(**fields_of(comparison))
