"""The folder of a study: a table of its runs, a table of its values, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qexp import assemble, files
from qexp.analysis.comparison.comparison_tables import plain_rows
from qexp.analysis.comparison.seed_groups import Chosen
from qexp.analysis.studies.axes import Axis
from qexp.analysis.studies.members import Member
from qexp.analysis.studies.results import Study
from qexp.errors import QexpError
from qexp.figures.canvas import save
from qexp.figures.studies import Line, Spot, study_panels
from qexp.runs.planning.prepare import Plan
from qexp.runs.record.state import State
from qexp.workspace import Workspace

FILES = RUNS, VALUES, FIGURE = "study.csv", "table.csv", "study.png"

FLOORS = {"r2": -0.5}
"""Metric → what is too bad to be drawn: R² has no lower end."""


def write(
    made: Study, members: Sequence[Member], axes: Sequence[Axis], runs: Mapping[str, Chosen], workspace: Workspace
) -> None:
    """Write all files of a study; what was there of an earlier one is replaced.

    runs  name → run, of those members that can be read
    """
    files.make_folder(made.folder)
    files.write_csv(made.folder / RUNS, *_run_rows(members, axes, runs))
    files.write_csv(made.folder / VALUES, *_value_rows(made, axes))
    _draw(made, axes, _numbers(axes[0], members, workspace))


def _run_rows(
    members: Sequence[Member], axes: Sequence[Axis], runs: Mapping[str, Chosen]
) -> tuple[list[str], list[list[Any]]]:
    """A row for each run, with all that it was judged by."""
    tests = {name: one.test if one.summary["state"] == State.DONE else {} for name, one in runs.items()}
    judged = list(dict.fromkeys((output, name) for test in tests.values() for output in test for name in test[output]))
    columns = [
        "experience", *(axis.column for axis in axes), "seed", "run", "start", "state",
        *(f"{output}.{name}" for output, name in judged),
    ]  # fmt: skip
    rows = []
    for one in members:
        name, parent = one.plan.name, one.plan.parent
        state = runs[name].summary["state"] if name in runs else State.GONE
        told = [one.seed, name, parent.name if parent else None, state]
        values = [tests.get(name, {}).get(output, {}).get(metric) for output, metric in judged]
        rows.append([one.plan.experience, *one.point, *told, *values])
    return columns, rows


def _value_rows(made: Study, axes: Sequence[Axis]) -> tuple[list[str], list[list[Any]]]:
    """A row for each experience and value, and, with a `minus`, for each two experiences and value."""
    columns: list[str] = []
    alone: dict[tuple[str | None, ...], list[Any]] = {}
    for one in made.found:
        columns, rows = plain_rows(one.comparison)
        for group, minus, *rest in rows:
            key = (group, minus, *(one.point if minus else one.own[group]))
            alone.setdefault(key, [*key, *rest])
    ordered = sorted(alone.values(), key=lambda row: bool(row[1]))  # differences last, the rest as it is
    return ["experience", "minus", *(axis.column for axis in axes), *columns[2:]], ordered


def _draw(made: Study, axes: Sequence[Axis], numbers: Mapping[str, float]) -> None:
    panels: dict[str, dict[str, Line]] = {}
    for one in made.found:
        first, *further = one.point
        title = ", ".join(f"{axis.label} {value}" for axis, value in zip(axes[1:], further, strict=True))
        lines = panels.setdefault(title, {})
        for row in one.comparison.results:
            if row.estimate is not None:
                line = lines.setdefault(row.group, Line({}, constant=one.own[row.group][0] is None))
                line.spots[first] = Spot(list(row.values.values()), row.estimate.mean, row.estimate.interval)
    unit = f" ({made.unit})" if made.unit else ""
    measured = f"{made.output.replace('_', ' ')}, test: {made.metric}{unit}"
    floor = FLOORS.get(made.metric)
    drawn = study_panels(panels, axes[0].label, axes[0].values, measured, numbers, floor)
    save(drawn, made.folder / FIGURE)


def _numbers(axis: Axis, members: Sequence[Member], workspace: Workspace) -> dict[str, float]:
    """How many training samples a value such as `all` labelled spectra is; nothing where that is not known."""
    plans = {one.point[0]: one.plan for one in reversed(members)}  # of several seeds the first
    key = axis.keys[0] if len(axis.keys) == 1 else ""
    words = [word for word, plan in plans.items() if word is not None and word == _whole(plan, key)]
    if not words:
        return {}
    plan = plans[words[0]]
    tables = assemble.tables_with(workspace.extensions)
    try:
        dataset = assemble.dataset_of(plan.spec["dataset"], tables, workspace)
    except QexpError:  # the data are gone, but not what was learned of them
        return {}
    size = assemble.kind_of(plan.spec["dataset"]).training_size(plan.spec, dataset, tables, plan.seed)
    return {words[0]: float(size)}


def _whole(plan: Plan, key: str) -> str | None:
    """The value of a key of an experience that stands for the whole training part."""
    return assemble.kind_of(plan.spec["dataset"]).whole.get(key)
