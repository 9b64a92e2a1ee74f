"""A comparison at a glance: what is compared, which group is better in what, and the main metric of
each output.

Groups and runs have letters here, so that tables stay narrow; a legend says whose.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from string import ascii_uppercase

from qexp.base.outputs import main_metric
from qexp.base.quantities import number_with_unit, with_unit
from qexp.base.text import RESULT, Table, measure
from qexp.comparison import compare
from qexp.comparison.seeds import GroupRow, Pair, PairRow, SeedComparison, same_samples
from qexp.errors import QexpError, suggestion
from qexp.metrics.meaning import HIGHEST, LOWEST, NONE, number, with_interval
from qexp.results.capabilities import is_of_capability

MOST_SAID = 6
"""Differences of an output that a sentence names; the others are in the tables of all."""

BEST_BY_VALIDATION = "* the best by validation, by which one chooses"

AnyComparison = compare.Comparison | SeedComparison

Star = tuple[str, str, str]
"""Output, metric and group of a mean that has one."""

Letters = dict[str, str]
"""Group or run → its letter."""


def only(
    comparison: AnyComparison, metrics: Sequence[str] = (), outputs: Sequence[str] = ()
) -> AnyComparison:
    """A comparison reduced to some metrics and outputs; all where none are named. Raises QexpError
    for unknown ones.

    Intervals of differences stay as wide as all of the comparison needs: it was made before some of
    it was chosen.
    """
    rows = _rows(comparison)
    for argument, names, known in (
        ("metrics", metrics, {row.metric for row in rows}),
        ("outputs", outputs, {row.output for row in rows}),
    ):
        for name in names:
            if name not in known:
                output, _, metric = name.rpartition(".")
                meant = suggestion(name, known)
                if any((row.output, row.metric) == (output, metric) for row in rows):
                    meant = f"write `metrics={metric}` `outputs={output}`"
                raise QexpError(
                    f"`{argument}={name}`: these runs have no such {argument[:-1]}; {meant}"
                )

    def chosen(row: compare.MetricRow | GroupRow | PairRow) -> bool:
        return (not metrics or row.metric in metrics) and (not outputs or row.output in outputs)

    if isinstance(comparison, compare.Comparison):
        return replace(comparison, results=[row for row in comparison.results if chosen(row)])
    return comparison.only(chosen)


def overview(
    comparison: AnyComparison, *, all_metrics: bool = False, more: str = ""
) -> Iterator[Table | str]:
    """What `qexp compare` prints: a summary, then a table for each output.

    all_metrics  show all metrics and paired differences; else the main metric of each output
    more         how others are shown, with {} for the name of one
    """
    called: Iterable[str] = ascii_uppercase
    if len(comparison.names) > len(ascii_uppercase):
        called = map(str, itertools.count(1))
    letters = dict(zip(comparison.names, called, strict=False))
    shown = comparison
    if not all_metrics:
        shown = only(comparison, outputs=[], metrics=_main_metrics(comparison))
    said = compare.remarks(shown, letters)
    if isinstance(comparison, compare.Comparison):
        if comparison.caveat:
            yield said.pop(0)
        yield from _of_runs(comparison, letters)
    else:
        yield from _of_groups(comparison, letters)
    specs = compare.differing_specs(comparison)
    if specs is not None:
        yield replace(specs, title="Where the specs differ", columns=["key", *letters.values()])
    elif len(comparison.names) > 1:
        yield "the specs are the same"
    has_best = False
    if not comparison.results:
        yield "none of these runs has results; qexp show lists their files"
    elif isinstance(shown, compare.Comparison):
        has_best = any(row.best for row in shown.results)
        yield from _tables_of_runs(shown, letters)
    else:
        best = _best_by_validation(shown)
        has_best = bool(best)
        yield from _tables_of_groups(shown, letters, best)
        if all_metrics:
            yield from _differences(shown, letters)
    if has_best:
        said.insert(0, BEST_BY_VALIDATION)
    yield from said
    named = {row.metric for row in _rows(shown)}
    hidden = sorted({row.metric for row in _rows(comparison)} - named)
    if hidden:
        yield f"not shown: {', '.join(hidden)}; {more.format(hidden[0])}"


def _rows(comparison: AnyComparison) -> Sequence[compare.MetricRow | GroupRow]:
    if isinstance(comparison, compare.Comparison):
        return comparison.results
    return [*comparison.results, *comparison.calibrations]


def _main_metrics(comparison: AnyComparison) -> list[str]:
    by_output: dict[str, list[str]] = {}
    for row in comparison.results:
        by_output.setdefault(row.output, []).append(row.metric)
    mains = dict.fromkeys(map(main_metric, by_output.values()))
    return [metric for metric in mains if metric is not None]


# Runs side by side.


def _of_runs(comparison: compare.Comparison, letters: Letters) -> Iterator[Table | str]:
    mains = set(_main_metrics(comparison))
    yield (
        f"{len(comparison.names)} runs {compare.on_part(comparison)}, one seed each: with other seeds"
        " the order may be another"
    )
    for row in comparison.results:
        if row.metric in mains and len(row.best) == 1 and row.meaning.best in (LOWEST, HIGHEST):
            best = row.best[0]
            said = number_with_unit(number(row.values[best], row.meaning), row.unit)
            if row.is_validated:
                validated = number_with_unit(number(row.validation[best], row.meaning), row.unit)
                said = f"{validated}; on the test part {said}"
            where = f"{row.meaning.best} in {letters[comparison.names[best]]} by validation"
            yield f"{measure(row.output, row.metric)}: {where}, {said}"
    yield Table("", ["", "run"], [[letter, name] for name, letter in letters.items()])


def _tables_of_runs(comparison: compare.Comparison, letters: Letters) -> Iterator[Table]:
    """A row per run: one table with a column per output for one metric, else a table per output."""
    tables: dict[tuple[str, bool], list[compare.MetricRow]] = {}
    single = len({row.metric for row in comparison.results}) == 1
    for row in comparison.results:
        table = "" if single else row.output, is_of_capability(row.metric)
        tables.setdefault(table, []).append(row)
    for (output, calibrated), rows in tables.items():
        columns = list[str]()
        numbers = list[list[str]]()
        for row in rows:
            title = measure(row.output, row.metric) if single else row.metric
            title = with_unit(title, row.unit)
            parts = {"validation": row.validation} if row.is_validated else {}
            parts[comparison.part] = row.values
            for part, values in parts.items():
                if calibrated or comparison.evaluation:
                    columns.append(title)
                else:
                    columns.append(f"{part} {title}")
                texts = [number(value, row.meaning) for value in values]
                if row.best and part == "validation":
                    for index, text in enumerate(texts):
                        texts[index] = f"{text} *" if index in row.best else f"{text}  "
                numbers.append(texts)
        cells = list(map(list, zip(letters.values(), *numbers, strict=True)))
        title = "Results" if single else output
        if comparison.evaluation and not calibrated:
            title += f" {compare.on_part(comparison)}"
        yield Table(title, ["", *columns], cells, frozenset(columns))


# Groups of runs that differ by their seed only.


def _of_groups(comparison: SeedComparison, letters: Letters) -> Iterator[Table | str]:
    counts = sorted({len(group.counted) for group in comparison.groups})
    seeds = f"{counts[0]} to {counts[-1]} seeds"
    if len(counts) == 1:
        seeds = f"{counts[0]} seed{'s' * (counts[0] != 1)} each"
    groups = f"{len(letters)} groups" if len(letters) > 1 else "1 group"
    if counts == [1] and len(letters) > 1:
        seeds += ": with other seeds the order may be another"
    yield f"{groups} of runs that differ by their seed only, {compare.on_part(comparison)}, {seeds}"
    mains = _main_metrics(comparison)
    for output, metric in dict.fromkeys((row.output, row.metric) for row in comparison.results):
        sentence = _verdict(comparison, letters, output, metric) if metric in mains else ""
        if sentence:
            yield sentence
    rows = []
    for group in comparison.groups:
        out = compare.left_out_words(group.left_out, comparison.missing(group))
        rows.append([letters[group.name], compare.ranges(group.counted) or NONE, out, group.name])
    columns = ["", "seeds", "not counted", "group"]
    if not any(row[2] for row in rows):
        for row in (columns, *rows):
            del row[2]
    yield Table("", columns, rows)


def _verdict(comparison: SeedComparison, letters: Letters, output: str, metric: str) -> str:
    """Which groups are better in one metric, with intervals; empty without a difference."""
    rows = [
        (pair, row)
        for pair in comparison.pairs
        for row in pair.rows
        if (row.output, row.metric) == (output, metric)
    ]
    if not rows:
        return ""
    said = []
    for pair, row in rows:
        if row.better is not None:
            worse = letters[_other(pair, row.better)]
            said.append(f"{letters[row.better]} better than {worse}, by {_difference(row)}")
    words = f"{measure(output, metric)}: "
    if said:
        more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
        rest = "; the others do not differ significantly" if len(said) < len(rows) else ""
        return words + "; ".join(said[:MOST_SAID]) + more + rest
    if len(rows) > 1:
        return f"{words}no two groups differ significantly"
    pair, row = rows[0]
    first = letters[pair.first]
    second = letters[pair.second]
    difference = f"{first} minus {second}: {_difference(row, signed=True)}"
    return f"{words}{first} and {second} do not differ significantly; {difference}"


def _difference(row: PairRow, *, signed: bool = False) -> str:
    """`0.0080 [0.0020, 0.0144] km`: a difference of means, and the ends of its interval."""
    mean = row.estimate.mean
    interval = row.estimate.interval or (row.estimate.mean, row.estimate.mean)
    if not signed and mean < 0:
        mean = -mean
        interval = (-interval[1], -interval[0])
    text, ends = with_interval(mean, interval)
    return number_with_unit(f"{text} {ends}" if interval[0] < interval[1] else text, row.unit)


def _other(pair: Pair, group: str) -> str:
    return pair.second if group == pair.first else pair.first


OTHER_PART = {"test": "validation", "validation": "test"}
"""Compared part → the part whose means stand beside it."""


def _best_by_validation(comparison: SeedComparison) -> set[Star]:
    """Output, metric and group best by validation if test is compared; none if samples differ."""
    if comparison.evaluation is not None or OTHER_PART.get(comparison.part) != "validation":
        return set()
    if any(same_samples(comparison.groups)):
        return set()
    best = set()
    for row in {(row.output, row.metric): row for row in comparison.results}.values():
        known = {}
        for group in comparison.groups:
            mean = group.mean("validation", row.output, row.metric)
            badness = None if mean is None else row.meaning.badness(mean)
            if badness is not None:
                known[group.name] = badness
        for name, badness in known.items():
            if len(known) > 1 and badness == min(known.values()):
                best.add((row.output, row.metric, name))
    return best


def _tables_of_groups(
    comparison: SeedComparison, letters: Letters, best: Collection[Star]
) -> Iterator[Table]:
    """A table per output, with a row per metric and group; beside the mean that of the part by
    which one chooses, or of the test part.
    """
    part = OTHER_PART.get(comparison.part) if comparison.evaluation is None else None
    groups = {group.name: group for group in comparison.groups}
    worse: dict[Star, list[str]] = {}
    for pair in comparison.pairs:
        for paired in pair.rows:
            if paired.better is not None:
                key = paired.output, paired.metric, paired.better
                worse.setdefault(key, []).append(letters[_other(pair, paired.better)])
    tables: dict[tuple[str, bool], list[GroupRow]] = {}
    for row in (*comparison.results, *comparison.calibrations):
        tables.setdefault((row.output, is_of_capability(row.metric)), []).append(row)
    for (output, calibrated), rows in tables.items():
        single = len({row.metric for row in rows}) == 1
        left_out = {"metric"} if single else set[str]()
        means = [groups[row.group].mean(part or "", output, row.metric) for row in rows]
        if all(mean is None for mean in means):
            left_out.add(f"{part} mean")
        lines = list[dict[str, str]]()
        for row, mean in zip(rows, means, strict=True):
            key = output, row.metric, row.group
            count, average, interval, least, greatest = compare.cells_of(row)
            lines.append(
                {
                    "metric": with_unit(row.metric, row.unit),
                    "": letters[row.group],
                    "n": count,
                    f"{part} mean": number(mean, row.meaning) + (" *" if key in best else "  "),
                    "mean ± deviation": average,
                    "better than": " ".join(worse.get(key, [])) or NONE,
                    compare.INTERVAL: interval,
                    "min": least,
                    "max": greatest,
                }
            )
        columns = [column for column in lines[0] if column not in left_out]
        cells = [[line[column] for column in columns] for line in lines]
        right = frozenset(columns) - {"metric", "", "better than"}
        title = with_unit(rows[0].metric, rows[0].unit)
        if output != RESULT or not single:
            title = f"{output}: {title}" if single else output
        if not calibrated:
            title += f" {compare.on_part(comparison)}"
        yield Table(title, columns, cells, right)


def _differences(comparison: SeedComparison, letters: Letters) -> Iterator[Table]:
    """A table per output, with a row per metric and pair."""
    tables: dict[str, list[list[str]]] = {}
    compared = [pair for pair in comparison.pairs if pair.rows]
    seeds = {compare.ranges(pair.seeds) for pair in compared}
    how = ", seed by seed"
    if len(seeds) == 1:
        how += f" ({next(iter(seeds))})"
    if any(pair.not_paired for pair in compared):
        how = ""
    for pair in comparison.pairs:
        for row in pair.rows:
            metric = with_unit(compare.compared_name(row), row.unit)
            count, mean, interval = compare.of_mean(row.estimate, row.meaning)
            better = NONE if row.better is None else letters[row.better]
            tables.setdefault(row.output, []).append(
                [
                    metric,
                    f"{letters[pair.first]} − {letters[pair.second]}",
                    count,
                    mean,
                    better,
                    interval,
                ]
            )
    for output, rows in tables.items():
        order = list(dict.fromkeys(row[0] for row in rows))
        rows.sort(key=lambda row: order.index(row[0]))
        columns = ["metric", "", "n", "difference ± deviation", "better", compare.AT_ONCE]
        right = frozenset({*columns[2:4], compare.AT_ONCE})
        yield Table(f"{output}: differences{how}", columns, rows, right)
