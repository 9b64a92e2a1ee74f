"""Comparison of experiences by runs with several seeds: their mean results, and which one is better.

Runs with equal seeds have the same test samples. Differences between two groups are therefore paired by seed, which
removes the variation that the samples add to both.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from qexp.analysis.comparison.group_rows import GroupRow, rows_of_calibrations, rows_of_results, units_of_groups
from qexp.analysis.comparison.seed_groups import SeedGroup
from qexp.analysis.comparison.spec_diff import differences
from qexp.errors import QexpError, some
from qexp.files import make_folder
from qexp.metrics.intervals import LEVEL, Estimate, estimate, simultaneous
from qexp.metrics.meaning import HIGHEST, ZERO, Meaning
from qexp.spec.experiences import type_name, type_of
from qexp.workspace import Workspace

SHOWN_PATHS = 4
"""Largest number of differences between two test parts in a message."""


@dataclass(frozen=True)
class PairRow:
    """One metric of one output in two groups: the first group's value minus the second's, paired by seed."""

    output: str
    metric: str
    meaning: Meaning
    unit: str
    seeds: list[int]
    estimate: Estimate
    """With an interval that holds together with those of this metric of all outputs and pairs of groups."""
    better: str | None
    """The better group; None if the interval of the mean difference contains 0, or the direction is unknown."""

    @property
    def absolute(self) -> bool:
        """Whether absolute values are compared, because the metric is best at zero."""
        return self.meaning.best == ZERO


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    seeds: list[int]
    """Seeds that count in both groups."""
    not_paired: str | None
    """Why there are no paired differences; None if there are."""
    rows: list[PairRow]


@dataclass(frozen=True)
class SeedComparison:
    groups: list[SeedGroup]
    specs: dict[str, list[str]]
    """model and dataset → name in each group."""
    differences: dict[str, list[str]]
    """Path in the spec → value in each group."""
    results: list[GroupRow]
    calibrations: list[GroupRow]
    """Of the runs that were calibrated."""
    pairs: list[Pair]
    figures: list[Path]

    @property
    def names(self) -> list[str]:
        return [group.name for group in self.groups]

    @property
    def evaluation(self) -> str | None:
        """The evaluation whose results are compared; None for those of the runs' own test parts."""
        return self.groups[0].runs[0].evaluation

    @property
    def units(self) -> dict[str, str]:
        """Output → its unit."""
        return units_of_groups(self.groups)

    def missing(self, group: SeedGroup) -> list[int]:
        """Seeds for which another group has a run, but this one does not."""
        return sorted(set().union(*(other.seeds for other in self.groups)) - group.seeds)

    def document(self) -> dict[str, Any]:
        return {
            "level": LEVEL,
            "simultaneous": Counter(row.metric for pair in self.pairs for row in pair.rows),
            "evaluation": self.evaluation,
            "groups": [self._group(group) for group in self.groups],
            "specs": self.specs,
            "differences": self.differences,
            "results": [_document(row) for row in self.results],
            "calibrations": [_document(row) for row in self.calibrations],
            "pairs": [
                {
                    **{key: getattr(pair, key) for key in ("first", "second", "seeds", "not_paired")},
                    "differences": [
                        {
                            **{key: getattr(row, key) for key in ("output", "metric", "absolute", "unit", "seeds")},
                            **_numbers(row.estimate),
                            "excludes_zero": row.estimate.excludes_zero,
                            "better": row.better,
                        }
                        for row in pair.rows
                    ],
                }
                for pair in self.pairs
            ],
            "figures": [str(path) for path in self.figures],
        }

    def _group(self, group: SeedGroup) -> dict[str, Any]:
        summary = group.runs[0].summary
        return {
            "name": group.name,
            **{key: summary[key] for key in ("experience", "dataset", "model", "overrides", "digest")},
            "pattern": group.runs[0].pattern,
            "runs": [one.name for one in group.counted.values()],
            "seeds": list(group.counted),
            "left_out": [asdict(one) for one in group.left_out],
            "missing": self.missing(group),
        }


def _document(row: GroupRow) -> dict[str, Any]:
    return {
        **{key: getattr(row, key) for key in ("group", "output", "metric")},
        "direction": row.meaning.best,
        "unit": row.unit,
        **_numbers(row.estimate),
        "values": {str(seed): value for seed, value in row.values.items()},
        "not_finite": row.not_finite,
    }


def _numbers(of: Estimate | None) -> dict[str, Any]:
    if of is None:
        return {"n": 0, **dict.fromkeys(("mean", "standard_deviation", "interval", "min", "max"))}
    return {
        "n": of.n, "mean": of.mean, "standard_deviation": of.standard_deviation,
        "interval": of.interval, "min": of.least, "max": of.greatest,
    }  # fmt: skip


def compare_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """Compare one or more groups of runs, every two of them seed by seed; without figures."""
    if not any(group.counted for group in groups):
        states = ", ".join(f"{one.run} is {one.why}" for group in groups for one in group.left_out[:3])
        raise QexpError(f"there is nothing to compare: {states}")
    specs = _specs(groups)
    alone = _each_alone(groups, specs)
    rows = [*alone.results, *alone.calibrations]
    pairs = [
        _pair(groups[i], groups[j], _differing_data(groups[i], groups[j], specs[i], specs[j]), rows)
        for i, j in combinations(range(len(groups)), 2)
    ]
    return replace(alone, pairs=[_simultaneously(pair, pairs) for pair in pairs])


def _simultaneously(pair: Pair, pairs: Sequence[Pair]) -> Pair:
    """A pair with intervals of a metric that hold for all of its differences at once, and what is better by them.

    Between equal groups, single intervals would leave out zero in one difference of twenty.
    """
    together = Counter(row.metric for one in pairs for row in one.rows)
    rows = []
    for row in pair.rows:
        of = simultaneous(row.estimate, together[row.metric])
        better = None
        if of.excludes_zero and row.meaning.best is not None:
            better = pair.first if (of.mean > 0) == (row.meaning.best == HIGHEST) else pair.second
        rows.append(replace(row, estimate=of, better=better))
    return replace(pair, rows=rows)


def results_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """The results of each group, without paired differences; none for groups of which no run is done."""
    return _each_alone(groups, _specs(groups))


def same_samples(groups: Sequence[SeedGroup]) -> list[int]:
    """For each group, the number of the first one that is evaluated on the same samples for equal seeds."""
    specs, firsts = _specs(groups), list[int]()
    for number, group in enumerate(groups):
        alike = (
            first
            for first in dict.fromkeys(firsts)
            if not _differing_data(groups[first], group, specs[first], specs[number])
        )
        firsts.append(next(alike, number))
    return firsts


def _specs(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    return [group.runs[0].directory.spec() for group in groups]


def _each_alone(groups: Sequence[SeedGroup], specs: Sequence[dict[str, Any]]) -> SeedComparison:
    kinds = {kind: [group.runs[0].summary[kind] for group in groups] for kind in ("model", "dataset")}
    return SeedComparison(
        list(groups),
        kinds,
        differences(specs),
        list(rows_of_results(groups)),
        list(rows_of_calibrations(groups)),
        [],
        [],
    )


def with_figures(comparison: SeedComparison, workspace: Workspace) -> SeedComparison:
    """The comparison with its figures drawn and saved in `comparisons/` in the workspace."""
    folder = workspace.root / "comparisons" / _folder(comparison.groups)
    make_folder(folder)
    return replace(comparison, figures=[*_draw_curves(comparison, folder), *_draw_errors(comparison, folder)])


def _differing_data(
    one: SeedGroup, other: SeedGroup, spec: Mapping[str, Any], spec_of_other: Mapping[str, Any]
) -> str | None:
    """How the samples differ on which two groups are compared for equal seeds, in words; None if they do not."""
    counted = [*one.counted.values(), *other.counted.values()]
    if not counted or counted[0].evaluation is None:
        return _differing_test_parts(spec, spec_of_other)
    return "evaluated on different samples" if len({run.data for run in counted}) > 1 else None


def _differing_test_parts(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """How two specs differ in their test samples for equal seeds, in words; None if they do not."""
    if type_name(first) != type_name(second):
        return "evaluated by different programs, whose test samples cannot be compared"
    paths = list(differences([type_of(one).test_part(dict(one)) for one in (first, second)]))
    return f"evaluated on different test parts: {some(paths, SHOWN_PATHS)} differ" if paths else None


def _pair(first: SeedGroup, second: SeedGroup, not_paired: str | None, results: Sequence[GroupRow]) -> Pair:
    seeds = [seed for seed in first.counted if seed in second.counted]
    if not_paired is None and len(seeds) < 2:
        common = f"only seed {seeds[0]}" if seeds else "no seed"
        not_paired = f"{common} in common; an interval needs two"
    rows = [] if not_paired else list(_paired_rows(first.name, second.name, results))
    return Pair(first.name, second.name, seeds, not_paired if rows or not_paired else "no metric in common", rows)


def _paired_rows(first: str, second: str, results: Sequence[GroupRow]) -> Iterator[PairRow]:
    others = {(row.output, row.metric): row for row in results if row.group == second}
    for row in results:
        if row.group != first:
            continue
        other = others.get((row.output, row.metric))
        seeds = [seed for seed in row.values if other and seed in other.values]
        if other is None or not seeds:
            continue
        compared = abs if row.meaning.best == ZERO else float
        of = estimate([compared(row.values[seed]) - compared(other.values[seed]) for seed in seeds])
        yield PairRow(row.output, row.metric, row.meaning, row.unit, seeds, of, None)


def _folder(groups: Sequence[SeedGroup]) -> str:
    """A readable folder name with a hash of the runs, so that comparisons do not overwrite each other's figures."""
    names = "--".join(re.sub(r"[^A-Za-z0-9._-]+", "-", group.name).strip("-.") for group in groups)
    runs = "\n".join(str(one.directory.path) for group in groups for one in group.runs)
    return f"{names[:120]}--{hashlib.sha256(runs.encode()).hexdigest()[:8]}"


def _draw_curves(comparison: SeedComparison, folder: Path) -> Iterator[Path]:
    from qexp.figures.bands import learning_bands
    from qexp.figures.canvas import save

    curves = {group.name: [one.directory.metrics() for one in group.counted.values()] for group in comparison.groups}
    curves = {name: kept for name, runs in curves.items() if (kept := [lines for lines in runs if lines])}
    if curves:
        losses_differ = any(path.partition(".")[0] in ("losses", "transforms") for path in comparison.differences)
        loss = "each group's own" if losses_differ else "transformed values"
        save(learning_bands(curves, loss, comparison.units), folder / "learning_bands.png")
        yield folder / "learning_bands.png"


def _draw_errors(comparison: SeedComparison, folder: Path) -> Iterator[Path]:
    from qexp.figures.canvas import save
    from qexp.figures.seeds import OfSeeds, errors_of_seeds

    errors: dict[str, dict[str, OfSeeds]] = {}
    for row in comparison.results:
        if row.metric == "mae" and row.estimate is not None:
            of = row.estimate
            errors.setdefault(row.output, {})[row.group] = OfSeeds(list(row.values.values()), of.mean, of.interval)
    if errors:
        save(errors_of_seeds(errors, comparison.units), folder / "test_errors.png")
        yield folder / "test_errors.png"
