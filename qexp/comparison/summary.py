"""A comparison at a glance: what is compared, which group is better in what, and the main metric of
each output.

Groups and runs have letters here, so that tables stay narrow; a legend says whose.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from string import ascii_uppercase

from qexp.base.quantities import number_with_unit, with_unit
from qexp.base.text import RESULT, Table, measure
from qexp.comparison.compare import (
    AT_ONCE,
    INTERVAL,
    Comparison,
    MetricRow,
    cells_of,
    differing_specs,
    left_out_words,
    of_mean,
    on,
    ranges,
    remarks,
)
from qexp.comparison.seeds import GroupRow, PairRow, SeedComparison, same_samples
from qexp.errors import QexpError, suggestion
from qexp.metrics.meaning import HIGHEST, LOWEST, NONE, main_metric, number, with_interval
from qexp.results.capabilities import is_of_capability

MOST_SAID = 6
"""Differences of an output that a sentence names; the others are in the tables of all."""

BEST_BY_VALIDATION = "* the best by validation, by which one chooses"

AnyComparison = Comparison | SeedComparison


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
                parts = {(row.output, row.metric) for row in rows}
                meant = (
                    f"write `metrics={metric}` `outputs={output}`"
                    if (output, metric) in parts
                    else ""
                )
                raise QexpError(
                    f"`{argument}={name}`: these runs have no such {argument[:-1]};"
                    f" {meant or suggestion(name, known)}"
                )

    def chosen(row: MetricRow | GroupRow | PairRow) -> bool:
        return (not metrics or row.metric in metrics) and (not outputs or row.output in outputs)

    if isinstance(comparison, Comparison):
        return replace(comparison, results=[row for row in comparison.results if chosen(row)])
    return comparison.only(chosen)


def overview(
    comparison: AnyComparison, *, all_metrics: bool = False, more: str = ""
) -> Iterator[Table | str]:
    """What `qexp compare` prints: a summary, then a table for each output.

    all_metrics  show all metrics and paired differences; else the main metric of each output
    more         how others are shown, with {} for the name of one
    """
    # Numbers where there are more than letters.
    called = (
        ascii_uppercase
        if len(comparison.names) <= len(ascii_uppercase)
        else map(str, itertools.count(1))
    )
    letters = dict(zip(comparison.names, called, strict=False))
    shown = (
        comparison
        if all_metrics
        else only(comparison, outputs=[], metrics=_main_metrics(comparison))
    )
    said = remarks(shown, letters)
    if isinstance(comparison, Comparison) and comparison.caveat:
        yield said.pop(0)
    yield from (
        _of_runs(comparison, letters)
        if isinstance(comparison, Comparison)
        else _of_groups(comparison, letters)
    )
    if (specs := differing_specs(comparison)) is not None:
        yield replace(specs, title="Where the specs differ", columns=["key", *letters.values()])
    elif len(comparison.names) > 1:
        yield "the specs are the same"
    if not comparison.results:
        yield "none of these runs has results; qexp show lists their files"
    elif isinstance(shown, Comparison):
        yield from _tables_of_runs(shown, letters)
    else:
        best = _best_by_validation(shown)
        yield from _tables_of_groups(shown, letters, best)
        if all_metrics:
            yield from _differences(shown, letters)
    if any(row.best for row in shown.results) if isinstance(shown, Comparison) else best:
        said.insert(0, BEST_BY_VALIDATION)
    yield from said
    hidden = sorted(
        {row.metric for row in _rows(comparison)} - {row.metric for row in _rows(shown)}
    )
    if hidden:
        yield f"not shown: {', '.join(hidden)}; {more.format(hidden[0])}"


def _rows(comparison: AnyComparison) -> Sequence[MetricRow | GroupRow]:
    if isinstance(comparison, Comparison):
        return comparison.results
    return [*comparison.results, *comparison.calibrations]


def _main_metrics(comparison: AnyComparison) -> list[str]:
    of_outputs: dict[str, list[str]] = {}
    for row in comparison.results:
        of_outputs.setdefault(row.output, []).append(row.metric)
    return list(
        dict.fromkeys(
            main for metrics in of_outputs.values() if (main := main_metric(metrics)) is not None
        )
    )


# Runs side by side.


def _of_runs(comparison: Comparison, letters: dict[str, str]) -> Iterator[Table | str]:
    mains = set(_main_metrics(comparison))
    yield (
        f"{len(comparison.names)} runs {on(comparison)}, one seed each: with other seeds the order"
        " may be another"
    )
    for row in comparison.results:
        if row.metric in mains and len(row.best) == 1 and row.meaning.best in (LOWEST, HIGHEST):
            best = row.best[0]
            parts = [row.validation, row.values] if row.is_validated else [row.values]
            said = [
                number_with_unit(number(values[best], row.meaning), row.unit) for values in parts
            ]
            where = f"{row.meaning.best} in {letters[comparison.names[best]]} by validation"
            yield f"{measure(row.output, row.metric)}: {where}, {'; on the test part '.join(said)}"
    yield Table("", ["", "run"], [[letter, name] for name, letter in letters.items()])


def _tables_of_runs(comparison: Comparison, letters: dict[str, str]) -> Iterator[Table]:
    """A row per run: one table with a column per output for one metric, else a table per output."""
    tables: dict[tuple[str, bool], list[MetricRow]] = {}
    single = len({row.metric for row in comparison.results}) == 1
    for row in comparison.results:
        tables.setdefault(("" if single else row.output, is_of_capability(row.metric)), []).append(
            row
        )
    for (output, calibrated), rows in tables.items():
        columns, numbers = list[str](), list[list[str]]()
        for row in rows:
            title = with_unit(measure(row.output, row.metric) if single else row.metric, row.unit)
            validated = {"validation": row.validation} if row.is_validated else {}
            for part, values in {**validated, comparison.part: row.values}.items():
                columns.append(title if calibrated or comparison.evaluation else f"{part} {title}")
                of_runs = [number(value, row.meaning) for value in values]
                if row.best and part == "validation":
                    of_runs = [
                        f"{text} {'*' if at in row.best else ' '}"
                        for at, text in enumerate(of_runs)
                    ]
                numbers.append(of_runs)
        cells = [
            [letter, *of_run] for letter, *of_run in zip(letters.values(), *numbers, strict=True)
        ]
        title = "Results" if single else output
        title += f" {on(comparison)}" if comparison.evaluation and not calibrated else ""
        yield Table(title, ["", *columns], cells, frozenset(columns))


# Groups of runs that differ by their seed only.


def _of_groups(comparison: SeedComparison, letters: dict[str, str]) -> Iterator[Table | str]:
    counts = sorted({len(group.counted) for group in comparison.groups})
    seeds = (
        f"{counts[0]} seed{'s' * (counts[0] != 1)} each"
        if len(counts) == 1
        else f"{counts[0]} to {counts[-1]} seeds"
    )
    groups = f"{len(letters)} groups" if len(letters) > 1 else "1 group"
    alone = (
        ": with other seeds the order may be another" if counts == [1] and len(letters) > 1 else ""
    )
    yield f"{groups} of runs that differ by their seed only, {on(comparison)}, {seeds}{alone}"
    mains = _main_metrics(comparison)
    for output, metric in dict.fromkeys((row.output, row.metric) for row in comparison.results):
        if metric in mains and (sentence := _verdict(comparison, letters, output, metric)):
            yield sentence
    rows = []
    for group in comparison.groups:
        out = left_out_words(group.left_out, comparison.missing(group))
        rows.append([letters[group.name], ranges(group.counted) or NONE, out, group.name])
    columns = ["", "seeds", "not counted", "group"]
    shown = [at for at in range(4) if at != 2 or any(row[2] for row in rows)]
    yield Table("", [columns[at] for at in shown], [[row[at] for at in shown] for row in rows])


def _verdict(comparison: SeedComparison, letters: dict[str, str], output: str, metric: str) -> str:
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
            worse = pair.second if row.better == pair.first else pair.first
            said.append(
                f"{letters[row.better]} better than {letters[worse]}, by {_difference(row)}"
            )
    words = f"{measure(output, metric)}: "
    if said:
        more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
        rest = "; the others do not differ significantly" if len(said) < len(rows) else ""
        return words + "; ".join(said[:MOST_SAID]) + more + rest
    if len(rows) > 1:
        return f"{words}no two groups differ significantly"
    pair, row = rows[0]
    first, second = letters[pair.first], letters[pair.second]
    difference = f"{first} minus {second}: {_difference(row, signed=True)}"
    return f"{words}{first} and {second} do not differ significantly; {difference}"


def _difference(row: PairRow, *, signed: bool = False) -> str:
    """`0.0080 [0.0020, 0.0144] km`: a difference of means, and the ends of its interval."""
    mean = row.estimate.mean
    interval = row.estimate.interval or (row.estimate.mean, row.estimate.mean)
    if not signed and mean < 0:
        mean, interval = -mean, (-interval[1], -interval[0])
    text, between = with_interval(mean, interval)
    return number_with_unit(f"{text} {between}" if interval[0] < interval[1] else text, row.unit)


BESIDE = {"test": "validation", "validation": "test"}
"""Compared part → the part whose means stand beside it."""


def _best_by_validation(comparison: SeedComparison) -> set[tuple[str, str, str]]:
    """Output, metric and group best by validation if test is compared; none if samples differ."""
    if comparison.evaluation is not None or BESIDE.get(comparison.part) != "validation":
        return set()
    if any(same_samples(comparison.groups)):
        return set()
    best = set()
    for row in {(row.output, row.metric): row for row in comparison.results}.values():
        means = {
            group.name: group.mean("validation", row.output, row.metric)
            for group in comparison.groups
        }
        badness = {
            name: row.meaning.badness(mean) for name, mean in means.items() if mean is not None
        }
        known = [value for value in badness.values() if value is not None]
        if len(known) > 1:
            best |= {
                (row.output, row.metric, name)
                for name, value in badness.items()
                if value == min(known)
            }
    return best


def _tables_of_groups(
    comparison: SeedComparison, letters: dict[str, str], best: Collection[tuple[str, str, str]]
) -> Iterator[Table]:
    """A table per output, with a row per metric and group; beside the mean that of the part by
    which one chooses, or of the test part.

    best  output, metric and group that have a star
    """
    beside = BESIDE.get(comparison.part) if comparison.evaluation is None else None
    groups = {group.name: group for group in comparison.groups}
    of_outputs: dict[tuple[str, bool], list[GroupRow]] = {}
    for row in (*comparison.results, *comparison.calibrations):
        of_outputs.setdefault((row.output, is_of_capability(row.metric)), []).append(row)
    for (output, calibrated), rows in of_outputs.items():
        single = len({row.metric for row in rows}) == 1
        means = [groups[row.group].mean(beside or "", row.output, row.metric) for row in rows]
        columns = [
            "",
            "n",
            f"{beside} mean",
            "mean ± deviation",
            "better than",
            INTERVAL,
            "min",
            "max",
        ]
        shown = [
            at for at in range(len(columns)) if at != 2 or any(mean is not None for mean in means)
        ]
        cells = []
        for row, other in zip(rows, means, strict=True):
            count, mean, interval, least, greatest = cells_of(row)
            star = " *" if (output, row.metric, row.group) in best else "  "
            better = [
                letters[pair.second if paired.better == pair.first else pair.first]
                for pair in comparison.pairs
                for paired in pair.rows
                if (paired.output, paired.metric, paired.better) == (output, row.metric, row.group)
            ]
            metric = [] if single else [with_unit(row.metric, row.unit)]
            of_group = [
                letters[row.group],
                count,
                number(other, row.meaning) + star,
                mean,
                " ".join(better) or NONE,
            ]
            of_group += [interval, least, greatest]
            cells.append([*metric, *(of_group[at] for at in shown)])
        metrics = [] if single else ["metric"]
        what = with_unit(rows[0].metric, rows[0].unit)
        if output != RESULT or not single:
            what = f"{output}: {what}" if single else output
        right = frozenset(columns[1:]) - {"better than"}
        yield Table(
            what if calibrated else f"{what} {on(comparison)}",
            [*metrics, *(columns[at] for at in shown)],
            cells,
            right,
        )


def _differences(comparison: SeedComparison, letters: dict[str, str]) -> Iterator[Table]:
    """A table per output, with a row per metric and pair."""
    of_outputs: dict[str, list[list[str]]] = {}
    compared = [pair for pair in comparison.pairs if pair.rows]
    seeds = {ranges(pair.seeds) for pair in compared}
    which = f" ({next(iter(seeds))})" if len(seeds) == 1 else ""
    how = "" if any(pair.not_paired for pair in compared) else f", seed by seed{which}"
    for pair in comparison.pairs:
        for row in pair.rows:
            metric = with_unit(f"|{row.metric}|" if row.absolute else row.metric, row.unit)
            count, mean, interval = of_mean(row.estimate, row.meaning)
            better = NONE if row.better is None else letters[row.better]
            first, second = letters[pair.first], letters[pair.second]
            of_outputs.setdefault(row.output, []).append(
                [metric, f"{first} − {second}", count, mean, better, interval]
            )
    for output, rows in of_outputs.items():
        order = list(dict.fromkeys(row[0] for row in rows))
        rows.sort(key=lambda row: order.index(row[0]))
        columns = ["metric", "", "n", "difference ± deviation", "better", AT_ONCE]
        yield Table(
            f"{output}: differences{how}", columns, rows, frozenset({*columns[2:4], AT_ONCE})
        )
