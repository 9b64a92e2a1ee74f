"""Parts of comparisons that pages and notebooks share: cautions, names, and results drawn over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from qexp.analysis.comparison.seed_comparison import SeedComparison
from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.fragments.intervals import Measured, intervals
from qexp.fragments.svg import Drawn
from qexp.metrics.intervals import LEVEL
from qexp.metrics.meaning import HIGHEST
from qexp.quantities import in_words

NAMED = 8
"""Runs that a sentence names."""

MOST_DRAWN = 40
"""Groups in one drawing of results; of more the best are drawn."""


def cautions(runs: Sequence[ComparedRun]) -> list[str]:
    by_caution: dict[str, list[str]] = {}
    for one in runs:
        if one.summary["caution"]:
            by_caution.setdefault(one.summary["caution"], []).append(one.name)
    return [f"{caution}: {some_of(names, len(runs))}" for caution, names in by_caution.items()]


def some_of(names: Sequence[str], count: int) -> str:
    """Some of the names of runs; "all runs" if there are no others."""
    if len(names) == count:
        return "all runs"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def short_names(comparison: SeedComparison) -> dict[str, str]:
    """Group → its name without the words that all groups share; the first word alone of a single group."""
    words = {name: name.split() for name in comparison.names}
    shared = set.intersection(*map(set, words.values()))
    if len(words) == 1:
        return {name: split[0] for name, split in words.items()}
    return {name: " ".join(word for word in split if word not in shared) or name for name, split in words.items()}


def results_drawn(comparison: SeedComparison) -> Iterator[Drawn]:
    """The mean and interval of each group, a drawing for each output's mean absolute error, or its first metric."""
    names = short_names(comparison)
    for output in dict.fromkeys(row.output for row in comparison.results):
        of_output = [row for row in comparison.results if row.output == output and row.estimate is not None]
        metric = main_metric(row.metric for row in of_output)
        rows = [row for row in of_output if row.metric == metric]
        if not rows:
            continue
        rows.sort(key=lambda row: row.estimate.mean if row.estimate else 0.0, reverse=rows[0].meaning.best == HIGHEST)
        lines = [
            Measured(
                names[row.group], row.estimate.mean, row.estimate.interval, list(row.values.values()),
                f"{row.estimate.mean:.4g} {row.unit}, {len(row.values)} seed{'s' * (len(row.values) != 1)}",
            )
            for row in rows[:MOST_DRAWN]
            if row.estimate is not None
        ]  # fmt: skip
        unit = f" ({rows[0].unit})" if rows[0].unit else ""
        best = f", the best {MOST_DRAWN} of {len(rows)} groups" if len(rows) > MOST_DRAWN else ""
        counts = sorted({len(row.values) for row in rows})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seed{'s' * (counts[0] != 1)}"
        mean = f"mean and {100 * LEVEL:.0f} % interval over {seeds}"
        title = f"{in_words(output)}: {metric} on the test part, {mean}{best}"
        yield Drawn(title, intervals(lines, f"{in_words(output)} {metric}{unit}"))


def main_metric(metrics: Iterable[str]) -> str | None:
    """The metric of an output that is drawn: the mean absolute error, or the first one."""
    known = list(metrics)
    return "mae" if "mae" in known else next(iter(known), None)
