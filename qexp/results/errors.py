"""The errors of a run or an evaluation: by metric, beside baselines, on whole frames, by group."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from qexp.base import files
from qexp.base.outputs import REPORTED, Number
from qexp.base.quantities import QUANTITIES, number_with_unit, quantity, with_unit
from qexp.base.text import Table
from qexp.errors import some
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.meaning import (
    NETWORK,
    NONE,
    OUTPUT,
    Meaning,
    number,
    tells_nothing,
    with_interval,
)
from qexp.results.capabilities import MOST_GROUPS, Parts, Results
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import EvaluationDirectory, EvaluationRecord
from qexp.store.record import Record, meaning_of

MOST_FILES = 40
"""Most lines of files that a program wrote."""


class Errors(Results):
    def tables(self) -> Parts:
        if not isinstance(self.directory, EvaluationDirectory):
            return chain(own_results(self.directory, self.record), self._further())
        evaluation = self.directory.evaluation()
        words = (
            f"evaluation {evaluation.name}: {evaluation_in_words(evaluation)}",
            independence_in_words(evaluation),
        )
        return chain(
            words,
            evaluation.warnings,
            results_with_intervals(self.record),
            self._on_frames_and_by_group(),
        )

    def tables_of_page(self) -> Parts:
        """With the intervals of metrics, where there are any."""
        if self.directory.held_out and self.record.intervals:
            return chain(results_with_intervals(self.record), self._further())
        return self.tables()

    def _further(self) -> Parts:
        return chain(estimators(self.record), self._on_frames_and_by_group())

    def _on_frames_and_by_group(self) -> Parts:
        return chain(field_errors(self.record), group_errors(self.record))


# Errors by part, output and metric.


def own_results(directory: RunDirectory, record: Record) -> Parts:
    """The numbers of a run; of a program without any the files that it wrote; or nothing yet."""
    if record.results:
        lines = []
        for part, outputs in record.results.items():
            for output, metrics in outputs.items():
                # What the experience asks for has no room last: a terminal leaves out the columns
                # on the right.
                names = sorted(metrics, key=REPORTED.__contains__)
                lines.append(([part, output], output, {name: metrics[name] for name in names}))
        yield _of_metrics(["part", "output"], lines, record)
        if record.caution:
            yield record.caution
        select = directory.spec().get("select")
        if select:
            folds = [fold.record().fold for fold in directory.all_folds()]
            chosen = [fold.chosen for fold in folds if fold and fold.chosen]
            yield from choices_in_words(select, chosen)
        yield from _hard_to_read(directory, record)
    elif (written := directory.written_by_program()) is not None:
        rows = []
        for name, file in written.items():
            rows.append([name, files.in_bytes(file["bytes"]), file["sha256"][:16]])
        if rows:
            columns = ["file", "size", "sha256"]
            yield Table("", columns, rows[:MOST_FILES], frozenset(columns[1:]))
            if len(rows) > MOST_FILES:
                yield f"and {len(rows) - MOST_FILES:,} more files"
        else:
            yield (
                "The program gave no numbers and wrote no files into its run's folder; what it"
                " printed is in the log."
            )
        if record.caution:
            yield record.caution


MOST_CHOICES = 12
"""Values of a key, by the number of folds that chose them, that are told."""


def choices_in_words(
    select: Mapping[str, Sequence[Any]], chosen: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """How many folds chose which value, for each key with several; a value that ends the list may
    not be the best.

    select  key → values to choose from
    chosen  per fold key → value
    """
    for key, values in select.items():
        counts = Counter(json.dumps(fold[key]) for fold in chosen if key in fold)
        if len(values) < 2 or not counts:
            continue
        shown = counts.most_common(MOST_CHOICES)
        words = ", ".join(f"{value} in {count} fold{'s' * (count != 1)}" for value, count in shown)
        others = counts.total() - sum(count for _, count in shown)
        if others:
            words += f", others in {others}"
        lists = []
        ends = []
        for value in values:
            lists.append(value if isinstance(value, list) else [value])
        if "," not in key and all(type(number) in (int, float) for number in chain(*lists)):
            ends = [json.dumps(values[lists.index(end(lists))]) for end in (min, max)]
        most = counts.most_common(1)[0][0]
        hint = f"; {most} ends the list, and values beyond it may be better" if most in ends else ""
        yield f"{key}, chosen on inner folds: {words}{hint}"


def _hard_to_read(directory: RunDirectory, record: Record) -> Parts:
    """Which numbers of held-out intervals look worse than they are, and where that is explained."""
    dataset = directory.spec().get("dataset")
    tested = record.results.get("test", {})
    if not isinstance(dataset, dict) or not any(dataset.get("varyings", {}).values()):
        return
    narrow = [name for name, metrics in tested.items() if (metrics.get("r2") or 0) < 0]
    if narrow:
        words = (
            f"R² of {some(narrow)} may be below 0 with small errors, as held-out intervals are"
            " narrow"
        )
        yield f"{words}: see 'Held-out intervals' in the documentation's explanations"


def results_with_intervals(record: Record) -> Parts:
    """A row per output and metric, with the 95 % interval where there is one; then the caution."""
    rows = []
    # rows of a file are single ones
    groups = {(group.of, group.name) for group in record.groups if group.of != "file"}
    few = _groups(len(groups)) if groups else ""
    for part, outputs in record.results.items():
        for output, metrics in outputs.items():
            intervals = record.intervals.get(part, {}).get(output, {})
            for metric, value in metrics.items():
                meaning = meaning_of(metric, [record.metrics])
                ends = intervals.get(metric)
                unit = meaning.in_unit(record.units.get(output, ""))
                text = shown(output, metric, value, meaning)
                texts = (NONE, NONE)
                if text != NONE and value is not None:
                    texts = with_interval(value, ends, meaning, few)
                cells = [output, metric, unit, *map(str, texts)]
                if len(record.results) > 1:
                    cells = [part, *cells]
                rows.append(cells)
    columns = ["output", "metric", "unit", "value", "95 % interval"]
    yield Table("", ["part"] * (len(record.results) > 1) + columns, rows, frozenset(columns[3:]))
    if record.caution:
        yield record.caution


RELATIVE = ("mre", "median_relative_error")
"""Metrics that say nothing of outputs whose zero is arbitrary, such as positions."""


def shown(output: str, metric: str, value: float | None, meaning: Meaning) -> str:
    """A metric of an output for readers."""
    if metric in RELATIVE and not quantity(output, QUANTITIES).natural_zero:
        return NONE
    return number(value, meaning)


def _groups(count: int) -> str:
    return f"{count} group{'s' * (count != 1)}"


def field_errors(record: Record) -> Parts:
    """Errors of vectors on whole test frames, and how long the network takes for one."""
    errors = record.errors
    if errors is None:
        return
    rows = []
    for vector, values in errors.vectors.items():
        unit = record.units.get(vector.partition(", ")[0], "")
        error = number_with_unit(number(values.mean_error), unit)
        speed = number_with_unit(number(values.mean_speed), unit)
        rows.append([f"({vector})", error, speed, f"{number(values.percent)} %"])
    if rows:
        columns = ["vector", "mean error", "mean speed", "error / speed"]
        yield Table("", columns, rows, frozenset(columns[1:]))
    height, width = errors.frame
    called = "thread" if errors.threads == 1 else "threads"
    threads = f", {errors.threads} {called}" if errors.device == "cpu" else ""
    milliseconds = number(1000 * errors.seconds_per_frame)
    yield (
        f"whole test frames, {errors.cells:,} cells; the network takes {milliseconds} ms for a"
        f" frame of {height} x {width} cells ({errors.device}{threads})"
    )


def group_errors(record: Record) -> Parts:
    """Errors by core, folder or group of rows, a line for each."""
    for kind in dict.fromkeys(group.of for group in record.groups):
        groups = [group for group in record.groups if group.of == kind]
        lines = []
        for group in groups[:MOST_GROUPS]:
            cells = [group.name, f"{group.n:,}", group.output]
            lines.append((cells, group.output, group.metrics))
        yield _of_metrics([kind, "n", "output"], lines, record)
        if len(groups) > MOST_GROUPS:
            yield f"and {len(groups) - MOST_GROUPS:,} more in results/errors.csv"


def _of_metrics(
    words: list[str],
    rows: Sequence[tuple[list[str], str, Mapping[str, float | None]]],
    record: Record,
) -> Table:
    """A column per metric, whose unit stands in the title where it is that of all rows, else in the
    column `unit`.

    words  titles of the columns before the metrics
    rows   their cells, an output, and its metrics
    """
    names = dict.fromkeys(chain.from_iterable(metrics for _, _, metrics in rows))
    meanings = {name: meaning_of(name, [record.metrics]) for name in names}
    for name in RELATIVE:  # left out where all come from true values near zero
        if name in meanings:
            numbers = [number(metrics.get(name), meanings[name]) for _, _, metrics in rows]
            if all(text.startswith(">") for text in numbers):
                del meanings[name]
    units = [record.units.get(output, "") for _, output, _ in rows]
    in_titles = len(set(units)) == 1
    titles = []
    for name, meaning in meanings.items():
        unit = meaning.in_unit(units[0]) if in_titles or OUTPUT not in meaning.unit else ""
        titles.append(with_unit(name, unit))
    cells = []
    for (first, output, metrics), unit in zip(rows, units, strict=True):
        numbers = []
        for name, meaning in meanings.items():
            text = shown(output, name, metrics.get(name), meaning)
            own = OUTPUT in meaning.unit and meaning.unit != OUTPUT and not in_titles
            if own and metrics.get(name) is not None:
                text = f"{text} {meaning.in_unit(unit)}"
            numbers.append(text)
        if in_titles:
            cells.append([*first, *numbers])
        else:
            cells.append([*first, unit, *numbers])
    columns = [*words, *titles] if in_titles else [*words, "unit", *titles]
    return Table("", columns, cells, frozenset([*titles, *({"n"} & {*words})]))


# What was evaluated on other data, and whether these are independent.


def evaluation_in_words(evaluation: EvaluationRecord) -> str:
    """`the part 'test' of mogi_test, 100 samples, seed 0`."""
    words = [
        f"the part '{evaluation.part}' of {evaluation.dataset}",
        f"{evaluation.samples:,} samples",
    ]
    words += [f"{evaluation.left_out:,} left out"] if evaluation.left_out else []
    words += [f"mean of {evaluation.networks} networks"] if evaluation.networks > 1 else []
    return ", ".join([*words, f"seed {evaluation.seed}"])


def independence_in_words(evaluation: EvaluationRecord) -> str:
    """Whether the results say how the run does on new data, and why not."""
    words = {
        True: "independent of the training data",
        False: "the data are not independent of those that the run was trained on",
        None: "it is unknown whether the data are independent of those that the run was trained on",
    }
    return f"{words[evaluation.independent]}: {'; '.join(evaluation.reasons)}"


# The network among its baselines, on the rows that were held out: rows of
# `qexp.metrics.baselines.compared_estimators`, possibly read from JSON.

Row = Mapping[str, Any]


def estimators(record: Record) -> Parts:
    """The network among its baselines, if there are any."""
    if record.comparison:
        rows = [row.document() for row in record.comparison]
        yield from estimator_tables(rows)
        yield from remarks(rows)


def estimator_tables(rows: Sequence[Row]) -> list[Table]:
    """A table per output, sorted by RMSE or log score; the smallest is highlighted."""
    outputs = groupby(rows, lambda row: str(row["output"]))
    return [_estimators_of_output(output, list(members)) for output, members in outputs]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Remarks that a reader of the tables needs."""
    estimators_by_note: dict[str, list[str]] = {}
    for name, note in dict.fromkeys((row["estimator"], row["note"]) for row in rows):
        estimators_by_note.setdefault(note, []).append(name)
    texts = [f"{', '.join(names)}: {note}" for note, names in estimators_by_note.items() if note]
    firsts = [_first(row) for row in rows]
    called = " or ".join(dict.fromkeys(map(metric_in_words, firsts)))
    if any(_number(row, first)[1] for row, first in zip(rows, firsts, strict=True)):
        counts = sorted({row["groups"] for row in rows if row["groups"]})
        units = "held-out rows"
        if counts:
            units = f"{' or '.join(map(str, counts))} groups of held-out rows"
        texts.append(f"in brackets: 95 % intervals over {units}, by the jackknife")
        unclear = dict.fromkeys(row["estimator"] for row in rows if _unclear(row, _first(row)))
        if unclear:
            texts.append(
                f"{', '.join(unclear)}: too few {'groups' if counts else 'rows'} for an interval of"
                f" the {called}"
            )
    if any(row["difference"] is not None for row in rows):
        texts.append(
            f"against the {NETWORK}: difference of the {called} over the same rows, positive if the"
            f" {NETWORK} is better; not significant if the interval in brackets includes 0"
        )
    for name in dict.fromkeys(row["estimator"] for row in rows if not _known(row)):
        texts.append(f"{name}: not evaluated, because some of its estimates are not finite")
    return texts


OF_NUMBERS = ("rmse", Number.main, "r2", "bias")
"""Metrics of an output of numbers in the table of its estimators."""


def _first(row: Row) -> str:
    """The metric by which estimators of a row's output are compared."""
    return next(iter(row.get("metrics") or OF_NUMBERS))


def _number(row: Row, name: str) -> tuple[float | None, Sequence[float] | None]:
    """A value of a row and its interval."""
    if name in (row.get("metrics") or ()):
        return row["metrics"][name], row["intervals"][name]
    return row[name], row[f"{name}_interval"]


def _known(row: Row) -> bool:
    return _number(row, _first(row))[0] is not None


def _estimators_of_output(output: str, rows: Sequence[Row]) -> Table:
    first, *others = rows[0].get("metrics") or OF_NUMBERS
    known = [row for row in rows if _known(row)]
    known.sort(key=lambda row: _number(row, first)[0] or 0.0)
    ordered = [*known, *(row for row in rows if not _known(row))]
    unit = rows[0]["unit"]
    titles = []
    for name in (first, *others):
        own = meaning_of(name, ()).in_unit(unit)
        titles.append(with_unit(metric_in_words(name), own))
    columns = [
        "estimator",
        titles[0],
        with_unit(f"against the {NETWORK}", unit),
        *titles[1:],
    ]
    texts = []
    for row in ordered:
        called = f"{row['estimator']} ({row['note']})" if row["note"] else str(row["estimator"])
        error = _with_interval(row, first)
        difference = _with_interval(row, "difference")
        numbers = [_texts(row, name)[0] for name in others]
        texts.append([called, error, difference, *numbers])
    strong = frozenset({(0, 1)} if known else ())
    count = rows[0]["groups"]
    title = f"{output}, {rows[0]['n']} held-out rows"
    title += f" in {_groups(count)}" if count else ""
    return Table(title, columns, texts, frozenset(columns[1:]), strong)


def _with_interval(row: Row, name: str) -> str:
    """A value and its interval; without the interval if that tells nothing."""
    text, interval = _texts(row, name)
    return f"{text} {interval}" if interval != NONE and not _unclear(row, name) else text


def _texts(row: Row, name: str) -> tuple[str, str]:
    value, ends = _number(row, name)
    if value is None:
        return NONE, NONE
    # wide by floating-point errors
    size = _number(row, _first(row))[0] or 0.0
    nothing = ends is not None and ends[1] - ends[0] <= 1e-9 * size
    return with_interval(value, None if nothing else ends, meaning_of(name, ()))


def _unclear(row: Row, name: str) -> bool:
    return tells_nothing(_number(row, name)[1], meaning_of(name, ()))
