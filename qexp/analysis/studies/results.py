"""The results of a study: a comparison of its experiences at each point, and tables of all comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.analysis.comparison.comparison_tables import differences_of, remarks, results_of_groups
from qexp.analysis.comparison.rounding import NONE
from qexp.analysis.comparison.seed_comparison import SeedComparison, compare_across_seeds
from qexp.analysis.comparison.seed_groups import ComparedRun, SeedGroup
from qexp.analysis.comparison.typesetting import Table
from qexp.analysis.studies.axes import Point, StudyAxis, holds, points
from qexp.analysis.studies.members import Member
from qexp.runs.record.directory import with_caution
from qexp.runs.record.state import State


@dataclass(frozen=True)
class Found:
    """The comparison of all experiences at one point."""

    point: tuple[str, ...]
    comparison: SeedComparison
    """Comparison by the studied metric only."""
    own: Mapping[str, Point]
    """SeedGroup → values of the axes that it depends on."""


@dataclass(frozen=True)
class Study:
    """The results of a study."""

    axes: list[str]
    output: str
    metric: str
    unit: str
    found: list[Found]
    unfinished: Mapping[str, State]
    """Run → state, for runs that are not done."""
    folder: Path
    files: list[Path]

    def results(self) -> Table:
        """A table with a row per experience and value; axes that an experience does not depend on are left empty."""
        rows, columns, seen = [], [*self.axes], set()
        for one in self.found:
            table = results_of_groups(one.comparison)
            columns = [*self.axes, *table.columns[2:]]
            for row, cells in zip(one.comparison.results, table.rows, strict=True):
                point = one.own[row.group]
                if (row.group, point) not in seen:
                    seen.add((row.group, point))
                    rows.append([*(value or NONE for value in point), *cells[2:]])
        return Table(f"{self.output} {self.metric}, test", columns, rows, frozenset(columns[len(self.axes) + 1 : -1]))

    def differences(self) -> list[Table]:
        """A table per pair of experiences: the differences paired by seed, for every value."""
        rows: dict[str, list[list[str]]] = {}
        columns: list[str] = []
        for one in self.found:
            for pair in one.comparison.pairs:
                if pair.rows:
                    table = differences_of(pair)
                    columns = [*self.axes, *table.columns[2:]]
                    made = [[*(value or NONE for value in one.point), *cells[2:]] for cells in table.rows]
                    rows.setdefault(f"{pair.first} minus {pair.second}, seed by seed", []).extend(made)
        right = frozenset(columns[len(self.axes) : len(self.axes) + 3])
        return [Table(title, columns, of_pair, right) for title, of_pair in rows.items()]

    def remarks(self) -> list[str]:
        """Remarks that a reader of the tables needs."""
        return list(dict.fromkeys(text for one in self.found for text in remarks(one.comparison)))

    def document(self) -> dict[str, Any]:
        return {
            "axes": self.axes,
            "output": self.output,
            "metric": self.metric,
            "unit": self.unit,
            "points": [
                {"values": dict(zip(self.axes, one.point, strict=True)), **one.comparison.document()}
                for one in self.found
            ],
            "unfinished": dict(self.unfinished),
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
        }


def found_in(
    runs: Mapping[str, ComparedRun], members: Sequence[Member], axes: Sequence[StudyAxis], output: str, metric: str
) -> Iterator[Found]:
    """The comparisons at all points where a run is done.

    runs  name → run, for the readable ones among the members
    """
    for point in points(axes):
        groups: list[SeedGroup] = []
        own: dict[str, Point] = {}
        for reference in dict.fromkeys(one.experience for one in members):
            here = [one for one in members if one.experience == reference and holds(one.point, point)]
            chosen = [runs[one.plan.name] for one in here if one.plan.name in runs]
            if chosen:
                groups.append(SeedGroup(_shown(chosen), chosen))
                own[groups[-1].name] = here[0].point
        if any(group.counted for group in groups):
            yield Found(point, _of_metric(compare_across_seeds(groups), output, metric), own)


def _of_metric(whole: SeedComparison, output: str, metric: str) -> SeedComparison:
    """A comparison reduced to one metric."""
    return replace(
        whole,
        results=[row for row in whole.results if (row.output, row.metric) == (output, metric)],
        calibrations=[],
        pairs=[
            replace(pair, rows=[row for row in pair.rows if (row.output, row.metric) == (output, metric)])
            for pair in whole.pairs
        ],
    )


def _shown(chosen: Sequence[ComparedRun]) -> str:
    """The name of the experience with its caution, if it has one."""
    return with_caution(chosen[0].summary["experience"], chosen[0].summary["caution"])
