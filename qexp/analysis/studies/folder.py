"""The folder of a study: a table of its runs, a table of its results per value, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qexp import assemble, files
from qexp.analysis.comparison.comparison_tables import plain_rows
from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.analysis.studies.axes import StudyAxis
from qexp.analysis.studies.members import Member
from qexp.analysis.studies.results import Study
from qexp.errors import QexpError
from qexp.figures.canvas import save
from qexp.figures.seeds import OfSeeds
from qexp.figures.studies import Line, study_panels
from qexp.runs.planning.prepare import Plan
from qexp.runs.record.state import State
from qexp.workspace import Workspace

FILES = RUNS, VALUES, FIGURE = "study.csv", "table.csv", "study.png"

FLOORS = {"r2": -0.5}
"""Metric → lower limit of the figure; R² has no lower bound."""


def write(
    made: Study,
    members: Sequence[Member],
    axes: Sequence[StudyAxis],
    runs: Mapping[str, ComparedRun],
    workspace: Workspace,
) -> None:
    """Write all files of a study, replacing those of an earlier one.

    runs  name → run, for the readable ones among the members
    """
    files.make_folder(made.folder)
    files.write_csv(made.folder / RUNS, *_run_rows(members, axes, runs))
    files.write_csv(made.folder / VALUES, *_value_rows(made, axes))
    _draw(made, axes, _numbers(axes[0], members, workspace))


def _run_rows(
    members: Sequence[Member], axes: Sequence[StudyAxis], runs: Mapping[str, ComparedRun]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the table of runs, with all test metrics."""
    tests = {name: one.test if one.summary["state"] == State.DONE else {} for name, one in runs.items()}
    metrics = list(dict.fromkeys((output, name) for test in tests.values() for output in test for name in test[output]))
    columns = [
        "experience", *(axis.column for axis in axes), "seed", "run", "start", "state",
        *(f"{output}.{name}" for output, name in metrics),
    ]  # fmt: skip
    rows = []
    for one in members:
        name, parent = one.plan.name, one.plan.parent
        state = runs[name].summary["state"] if name in runs else State.GONE
        cells = [one.seed, name, parent.name if parent else None, state]
        values = [tests.get(name, {}).get(output, {}).get(metric) for output, metric in metrics]
        rows.append([one.plan.experience, *one.point, *cells, *values])
    return columns, rows


def _value_rows(made: Study, axes: Sequence[StudyAxis]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the results: per experience and value, and, with a `minus`, per pair of experiences."""
    columns: list[str] = []
    alone: dict[tuple[str | None, ...], list[Any]] = {}
    for one in made.found:
        columns, rows = plain_rows(one.comparison)
        for group, minus, *rest in rows:
            key = (group, minus, *(one.point if minus else one.own[group]))
            alone.setdefault(key, [*key, *rest])
    ordered = sorted(alone.values(), key=lambda row: bool(row[1]))  # differences last; the sort is stable
    return ["experience", "minus", *(axis.column for axis in axes), *columns[2:]], ordered


def _draw(made: Study, axes: Sequence[StudyAxis], numbers: Mapping[str, float]) -> None:
    panels: dict[str, dict[str, Line]] = {}
    for one in made.found:
        first, *further = one.point
        title = ", ".join(f"{axis.label} {value}" for axis, value in zip(axes[1:], further, strict=True))
        lines = panels.setdefault(title, {})
        for row in one.comparison.results:
            if row.estimate is not None:
                line = lines.setdefault(row.group, Line({}, constant=one.own[row.group][0] is None))
                line.spots[first] = OfSeeds(list(row.values.values()), row.estimate.mean, row.estimate.interval)
    unit = f" ({made.unit})" if made.unit else ""
    measured = f"{made.output.replace('_', ' ')}, test: {made.metric}{unit}"
    floor = FLOORS.get(made.metric)
    drawn = study_panels(panels, axes[0].label, axes[0].values, measured, numbers, floor)
    save(drawn, made.folder / FIGURE)


def _numbers(axis: StudyAxis, members: Sequence[Member], workspace: Workspace) -> dict[str, float]:
    """Value → number of training samples, for a value such as `all` labelled spectra; empty if that is unknown."""
    plans = {one.point[0]: one.plan for one in reversed(members)}  # the first of several seeds
    key = axis.keys[0] if len(axis.keys) == 1 else ""
    words = [word for word, plan in plans.items() if word is not None and word == _whole(plan, key)]
    if not words:
        return {}
    plan = plans[words[0]]
    tables = assemble.tables_with(workspace.extensions)
    try:
        dataset = assemble.dataset_of(plan.spec["dataset"], tables, workspace)
    except QexpError:  # the data are missing, but the results are still valid
        return {}
    size = assemble.kind_of(plan.spec["dataset"]).training_size(plan.spec, dataset, tables, plan.seed)
    return {words[0]: float(size)}


def _whole(plan: Plan, key: str) -> str | None:
    """The value of a key of an experience that stands for the whole training part."""
    return assemble.objects_of(plan.spec).whole(plan.spec, key)
