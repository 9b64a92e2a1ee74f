"""Comparison of experiences by runs with several seeds: mean results, and which one is better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from qexp.comparison.groups import PARTS, Numbers, SeedGroup
from qexp.errors import QexpError, some
from qexp.metrics.intervals import LEVEL, Estimate, difference_of_means, estimate, simultaneous
from qexp.metrics.meaning import HIGHEST, NONE, UNKNOWN, ZERO, Meaning
from qexp.results.capabilities import compared_columns, unit_of
from qexp.spec.experiences import differences, type_name, type_of
from qexp.spec.reading import Document
from qexp.store.evaluations import find_evaluation
from qexp.store.record import Record, meaning_of

# Numbers of groups of runs that differ by seed only: their mean over the seeds, and how far the
# seeds differ.


@dataclass(frozen=True)
class GroupRow:
    """One metric of one output in one group."""

    group: str
    output: str
    metric: str
    meaning: Meaning
    unit: str
    estimate: Estimate | None
    """None if no seed has a number."""
    values: dict[int, float]
    """Seed → value."""
    not_finite: list[int]
    """Seeds that count in the group, but whose value is not finite."""

    def document(self) -> Document:
        return {
            "group": self.group,
            "output": self.output,
            "metric": self.metric,
            "direction": self.meaning.best,
            "unit": self.unit,
            **_numbers(self.estimate),
            "values": {str(seed): value for seed, value in self.values.items()},
            "not_finite": self.not_finite,
        }


def units_of_groups(groups: Sequence[SeedGroup]) -> dict[str, str]:
    """Output → its unit in the runs' records."""
    return {
        name: unit
        for group in groups
        for run in group.runs
        for name, unit in run.summary["units"].items()
    }


def outputs_and_metrics(runs: Sequence[Numbers]) -> list[tuple[str, str]]:
    """Every output with every metric that one of the runs has of it, in the order of outputs."""
    metrics: dict[str, dict[str, None]] = {}
    for numbers in runs:
        for output, values in numbers.items():
            metrics.setdefault(output, {}).update(dict.fromkeys(values))
    return [(output, name) for output, names in metrics.items() for name in names]


def rows_of_results(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Of the compared part, or of an evaluation."""
    runs = [run for group in groups for run in group.counted.values()]
    recorded = [run.directory.record().metrics for run in runs]
    units = units_of_groups(groups)
    for output, name in outputs_and_metrics([run.numbers for run in runs]):
        meaning = meaning_of(name, recorded)
        for group in groups:
            metrics = {seed: run.numbers.get(output, {}) for seed, run in group.counted.items()}
            if not any(name in known for known in metrics.values()):
                continue
            values = {}
            not_finite = []
            for seed, known in metrics.items():
                value = known.get(name)
                if value is None or not math.isfinite(value):
                    not_finite.append(seed)
                else:
                    values[seed] = value
            mean = None
            if values:
                mean = estimate(list(values.values()), meaning.limits(values.values()))
            unit = meaning.in_unit(units.get(output, ""))
            yield GroupRow(group.name, output, name, meaning, unit, mean, values, not_finite)


def rows_of_capabilities(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Such as coverage and widths of the intervals of calibrated runs, and whether they passed; see
    `qexp calibrate`.

    Runs without them are no part of the mean. p-values have none.
    """
    units = units_of_groups(groups)
    columns: dict[str, dict[int, Numbers]] = {}
    for group in groups:
        columns[group.name] = {}
        for seed, run in group.counted.items():
            directory = run.directory
            if run.evaluation:
                directory = find_evaluation(directory, run.evaluation)
            columns[group.name][seed] = compared_columns(directory)
    runs = [numbers for seeds in columns.values() for numbers in seeds.values()]
    for output, name in outputs_and_metrics(runs):
        if name.endswith("p_value"):
            continue
        unit = unit_of(output, name, units)
        for title, seeds in columns.items():
            found = {seed: numbers.get(output, {}).get(name) for seed, numbers in seeds.items()}
            values = {seed: value for seed, value in found.items() if value is not None}
            if values:
                mean = estimate(list(values.values()))
                yield GroupRow(title, output, name, UNKNOWN, unit, mean, values, [])


# Runs with equal seeds have the same test samples. Differences between two groups are therefore
# paired by seed, which removes the variation that the samples add to both. Groups without two
# common seeds are independent samples.


@dataclass(frozen=True)
class PairRow:
    """One metric of one output in two groups: the first group's value minus the second's."""

    output: str
    metric: str
    meaning: Meaning
    unit: str
    seeds: list[int]
    """By which it is paired; none where it is the difference of two independent means."""
    estimate: Estimate
    """With the interval that holds together with all of this metric, of all outputs and pairs."""
    better: str | None
    """The better group; None if the interval contains 0, or the direction is unknown."""

    @property
    def absolute(self) -> bool:
        """Whether absolute values are compared, because the metric is best at zero."""
        return self.meaning.best == ZERO

    def document(self) -> Document:
        return {
            "output": self.output,
            "metric": self.metric,
            "absolute": self.absolute,
            "unit": self.unit,
            "seeds": self.seeds,
            **_numbers(self.estimate),
            "excludes_zero": self.estimate.excludes_zero,
            "better": self.better,
        }


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    seeds: list[int]
    """Seeds that count in both groups."""
    not_paired: str | None
    """Why differences are not paired, or cannot be taken at all; None if they are."""
    rows: list[PairRow]

    def document(self) -> Document:
        return {
            "first": self.first,
            "second": self.second,
            "seeds": self.seeds,
            "not_paired": self.not_paired,
            "differences": [row.document() for row in self.rows],
        }


@dataclass(frozen=True)
class SeedComparison:
    groups: list[SeedGroup]
    specs: dict[str, list[str]]
    """model and dataset → name in each group; what networks cost, if they differ."""
    differences: dict[str, list[str]]
    """Path in the spec → value in each group."""
    results: list[GroupRow]
    calibrations: list[GroupRow]
    """Of the runs that were calibrated."""
    pairs: list[Pair]
    figures: list[Path]
    simultaneous: Mapping[str, int] = field(default_factory=dict)
    """Metric → number of its differences, over outputs and pairs, whose intervals hold together."""

    @property
    def names(self) -> list[str]:
        return [group.name for group in self.groups]

    @property
    def evaluation(self) -> str | None:
        """The evaluation whose results are compared; None for those of the runs' own parts."""
        return self.groups[0].runs[0].evaluation

    @property
    def part(self) -> str:
        """Of which the results are, if not of an evaluation."""
        return PARTS[self.groups[0].runs[0].part]

    @property
    def units(self) -> dict[str, str]:
        """Output → its unit."""
        return units_of_groups(self.groups)

    def only(self, chosen: Callable[[GroupRow | PairRow], bool]) -> SeedComparison:
        """The comparison with some of its rows."""
        return replace(
            self,
            results=list(filter(chosen, self.results)),
            calibrations=list(filter(chosen, self.calibrations)),
            pairs=[replace(pair, rows=list(filter(chosen, pair.rows))) for pair in self.pairs],
        )

    def missing(self, group: SeedGroup) -> list[int]:
        """Seeds with a run of another group, not of this; none for groups without common seeds."""
        alike = [other.seeds for other in self.groups if other.seeds & group.seeds]
        return sorted(set().union(*alike) - group.seeds)

    def document(self) -> Document:
        return {
            "level": LEVEL,
            "simultaneous": self.simultaneous,
            "evaluation": self.evaluation,
            "part": self.part,
            "groups": [self._group(group) for group in self.groups],
            "specs": self.specs,
            "differences": self.differences,
            "results": [row.document() for row in self.results],
            "calibrations": [row.document() for row in self.calibrations],
            "pairs": [pair.document() for pair in self.pairs],
            "figures": [str(path) for path in self.figures],
        }

    def _group(self, group: SeedGroup) -> Document:
        summary = group.runs[0].summary
        keys = ("experience", "dataset", "model", "overrides", "digest")
        return {
            "name": group.name,
            **{key: summary[key] for key in keys},
            "pattern": group.runs[0].pattern,
            "runs": [run.name for run in group.counted.values()],
            "seeds": list(group.counted),
            "left_out": [asdict(exclusion) for exclusion in group.left_out],
            "missing": self.missing(group),
        }


def _numbers(over_seeds: Estimate | None) -> Document:
    if over_seeds is None:
        return {"n": 0, **dict.fromkeys(("mean", "standard_deviation", "interval", "min", "max"))}
    return {
        "n": over_seeds.n,
        "mean": over_seeds.mean,
        "standard_deviation": over_seeds.standard_deviation,
        "interval": over_seeds.interval,
        "min": over_seeds.least,
        "max": over_seeds.greatest,
    }


def compare_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """Compare one or more groups of runs, every two of them; without figures."""
    if not any(group.counted for group in groups):
        left_out = [exclusion for group in groups for exclusion in group.left_out[:3]]
        states = ", ".join(f"{exclusion.run} is {exclusion.why}" for exclusion in left_out)
        raise QexpError(f"there is nothing to compare: {states}")
    specs = _specs(groups)
    alone = _each_alone(groups, specs)
    rows = [*alone.results, *alone.calibrations]
    pairs = []
    for (first, spec), (second, other_spec) in combinations(zip(groups, specs, strict=True), 2):
        differing = _differing_data(first, second, spec, other_spec)
        pairs.append(_pair(first, second, differing, rows))
    together = Counter(row.metric for pair in pairs for row in pair.rows)
    pairs = [_simultaneously(pair, together) for pair in pairs]
    return replace(alone, pairs=pairs, simultaneous=together)


def _simultaneously(pair: Pair, together: Mapping[str, int]) -> Pair:
    """A pair with intervals of a metric that hold for all of its differences at once, and what is
    better by them.

    Between equal groups, single intervals would leave out zero in one difference of twenty.
    """
    rows = []
    for row in pair.rows:
        difference = simultaneous(row.estimate, together[row.metric])
        better = None
        if difference.excludes_zero and row.meaning.best is not None:
            first_is_better = (difference.mean > 0) == (row.meaning.best == HIGHEST)
            better = pair.first if first_is_better else pair.second
        rows.append(replace(row, estimate=difference, better=better))
    return replace(pair, rows=rows)


def results_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """The results of each group without paired differences; none for groups without a done run."""
    return _each_alone(groups, _specs(groups))


def same_samples(groups: Sequence[SeedGroup]) -> list[int]:
    """For each group, the number of the first one with the same test samples for equal seeds."""
    specs = _specs(groups)
    firsts = list[int]()
    for number, group in enumerate(groups):
        alike = (
            first
            for first in dict.fromkeys(firsts)
            if not _differing_data(groups[first], group, specs[first], specs[number])
        )
        firsts.append(next(alike, number))
    return firsts


def _specs(groups: Sequence[SeedGroup]) -> list[Document]:
    return [group.runs[0].directory.spec() for group in groups]


def costs(records: Sequence[Record]) -> dict[str, list[str]]:
    """What networks cost, if they differ in their weights: name of a cost → that of each run."""
    if len({record.weights for record in records}) < 2:
        return {}
    numbers: dict[str, list[Any]] = {
        "weights": [record.weights for record in records],
        "operations a sample": [record.operations for record in records],
        "seconds of training": [round(record.seconds, 1) for record in records],
    }
    cells = {}
    for name, of_runs in numbers.items():
        cells[name] = [NONE if one is None else f"{one:,}" for one in of_runs]
    return cells


def _each_alone(groups: Sequence[SeedGroup], specs: Sequence[Document]) -> SeedComparison:
    firsts = [group.runs[0].summary for group in groups]
    return SeedComparison(
        groups=list(groups),
        specs={
            "model": [first["model"] for first in firsts],
            "dataset": [first["dataset"] for first in firsts],
            **costs([group.runs[0].directory.record() for group in groups]),
        },
        differences=differences(specs),
        results=list(rows_of_results(groups)),
        calibrations=list(rows_of_capabilities(groups)),
        pairs=[],
        figures=[],
    )


DIVIDING = ("sizes", "split")
"""Keys of experiences that say which samples outside the test part are for validation."""


def _differing_data(
    first: SeedGroup,
    second: SeedGroup,
    spec_of_first: Mapping[str, Any],
    spec_of_second: Mapping[str, Any],
) -> str | None:
    """How the samples of two groups differ for equal seeds, in words; None if they do not."""
    counted = [*first.counted.values(), *second.counted.values()]
    if counted and counted[0].evaluation is not None:
        return "evaluated on different samples" if len({run.data for run in counted}) > 1 else None
    return differing_parts([spec_of_first, spec_of_second], counted[0].part if counted else "test")


def differing_parts(specs: Sequence[Mapping[str, Any]], part: str) -> str | None:
    """How a part of the data differs between runs of equal seeds, in words; None if not."""
    if len({type_name(spec) for spec in specs}) > 1:
        return f"evaluated by different programs, whose {PARTS[part]} samples cannot be compared"
    deciding = []
    for spec in specs:
        keys = dict(type_of(spec).test_part(dict(spec)))
        if part != "test":
            keys |= {key: spec.get(key) for key in DIVIDING}
        deciding.append(keys)
    paths = list(differences(deciding))
    where = f"evaluated on different {PARTS[part]} parts"
    return f"{where}: {some(paths, 4)} differ{'s' * (len(paths) == 1)}" if paths else None


def common_seeds(first: SeedGroup, second: SeedGroup) -> list[int]:
    """Those that count in both groups, which are compared by seed if there are two at least."""
    return [seed for seed in first.counted if seed in second.counted]


def _pair(
    first: SeedGroup, second: SeedGroup, differing: str | None, results: Sequence[GroupRow]
) -> Pair:
    """Differences of two groups.

    differing  how their test samples differ, so that no difference is taken
    """
    seeds = common_seeds(first, second)
    why = differing
    if why is None and len(seeds) < 2:
        why = f"only seed {seeds[0]} in common" if seeds else "no seed in common"
    rows = []
    if not differing:
        rows = list(_rows_of_pair(first.name, second.name, results, paired=why is None))
    if not (rows or differing):
        why = f"{why}; an interval needs two" if why else "no metric in common"
    return Pair(first.name, second.name, seeds, why, rows)


def _rows_of_pair(
    first: str, second: str, results: Sequence[GroupRow], *, paired: bool
) -> Iterator[PairRow]:
    others = {(row.output, row.metric): row for row in results if row.group == second}
    for row in results:
        other = others.get((row.output, row.metric))
        if row.group != first or other is None:
            continue
        difference = None
        seeds = list[int]()
        if not paired:
            difference = unpaired_difference(row, other)
        elif row.values.keys() & other.values:
            seeds = [seed for seed in row.values if seed in other.values]
            ours = sizes(row)
            theirs = sizes(other)
            difference = estimate([ours[seed] - theirs[seed] for seed in seeds])
        if difference is not None:
            about = row.output, row.metric, row.meaning, row.unit
            yield PairRow(*about, seeds, difference, None)


def sizes(row: GroupRow) -> dict[int, float]:
    """Seed → the value that is compared: without its sign if the metric is best at zero."""
    size = abs if row.meaning.best == ZERO else float
    return {seed: size(value) for seed, value in row.values.items()}


def unpaired_difference(row: GroupRow, other: GroupRow) -> Estimate | None:
    """The difference of two groups as independent samples; None with fewer than two values each."""
    first, second = (list(sizes(each).values()) for each in (row, other))
    return difference_of_means(first, second) if min(len(first), len(second)) > 1 else None
