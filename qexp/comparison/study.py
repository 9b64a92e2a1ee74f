"""Studies: experiences over a grid and seeds, trained where runs are missing, with one table and one figure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.base.files import make_folder, write_csv
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.comparison.compare import differences_of, plain_rows, remarks, results_of_groups
from qexp.comparison.seeds import ComparedRun, SeedComparison, SeedGroup, compare_across_seeds
from qexp.errors import InterruptedRunError, QexpError, RunFailedError, suggestion
from qexp.figures.canvas import save
from qexp.figures.seeds import Line, OfSeeds, study_panels
from qexp.jobs.launchers import Watcher
from qexp.jobs.states import Watch, endings
from qexp.kinds import experiments
from qexp.kinds.experiments import objects_of, spec_cache
from qexp.kinds.objects import data_kind, dataset_of
from qexp.kinds.tables import tables_with
from qexp.metrics.built_in import asked_for
from qexp.metrics.meaning import NONE
from qexp.runs import launch, plan as grids
from qexp.runs.launch import CheckedOrder, Workload, memory_of
from qexp.runs.order import SAME, Order, Pretraining
from qexp.runs.plan import Grid, GridAxis, checked_seeds, require_few
from qexp.runs.prepare import Plan
from qexp.spec import resolution
from qexp.spec.experiences import type_of
from qexp.spec.resolution import Overrides
from qexp.store.directory import RunDirectory, with_caution
from qexp.store.record import State

Point = tuple[str | None, ...]
"""A value for each axis, as a text; None if an experience does not depend on the axis."""


@dataclass(frozen=True)
class StudyAxis:
    """An axis of a study's grid, and how tables and figures name it."""

    of_grid: GridAxis
    of_pretraining: bool
    called: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.of_grid.keys

    @property
    def values(self) -> list[str]:
        """As texts, for tables and figures."""
        return self.of_grid.texts

    @property
    def name(self) -> str:
        """The last step of the keys, if that is the same for all keys and not for another axis; else all keys."""
        if self.called:
            return self.called
        steps = dict.fromkeys(key.rpartition(".")[2] for key in self.keys)
        return next(iter(steps)) if len(steps) == 1 else self.column

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").replace(",", " : ") + " of pretraining" * self.of_pretraining

    @property
    def column(self) -> str:
        """The axis' name in files: its full keys."""
        return self.of_grid.name


def study_axes(pretraining_grid: Grid, grid: Grid) -> list[StudyAxis]:
    """The axes of a study, those of pretraining first. Raises QexpError if there are none."""
    given = [(axis, True) for axis in grids.axes_of(pretraining_grid)] + [(axis, False) for axis in grids.axes_of(grid)]
    if not given:
        raise QexpError("a study varies the value of a key; give `grid`, for example `grid=labelled=10,100,all`")
    axes = [StudyAxis(one, of_pretraining) for one, of_pretraining in given]
    names = [axis.name for axis in axes]
    return [replace(axis, called=axis.column) if names.count(axis.name) > 1 else axis for axis in axes]


def changes(axes: Sequence[StudyAxis]) -> Iterator[dict[str, Any]]:
    """The overrides for each combination of values; the last axis varies fastest."""
    return grids.points_of([axis.of_grid for axis in axes])


def points(axes: Sequence[StudyAxis]) -> Iterator[tuple[str, ...]]:
    """All combinations of values, in the order of `changes`."""
    return itertools.product(*(axis.values for axis in axes))


def holds(own: Point, point: Point) -> bool:
    """Whether a run belongs to a point: it has the same values on all axes that it depends on."""
    return all(mine is None or mine == value for mine, value in zip(own, point, strict=True))


# The options of a study, their check, and the runs that the study orders.


STUDIED = "r2"
"""The metric that is studied by default."""


@dataclass(frozen=True)
class StudyOrder:
    """The runs of a study, and what is drawn of them."""

    runs: Order
    """The runs other than those of pretraining, which use the same settings; its `pretrain` is not used."""
    pretraining: Pretraining | None = None
    """Experiences with `pretrain` in their spec start from these runs."""
    metric: str | None = None
    """`output.metric`, or a metric of the first output."""

    def axes(self) -> list[StudyAxis]:
        """The axes of the study, those of pretraining first. Raises QexpError if there are none."""
        return study_axes(self.pretraining.grid if self.pretraining else {}, self.runs.grid)

    def order(self, experience: str, seeds: Sequence[int], grid: Grid, overrides: Overrides) -> Order:
        """An order for some of its runs. Interrupted runs are resumed, so that repeating a study completes it."""
        return replace(self.runs, experiences=[experience], seeds=seeds, grid=grid, overrides=overrides, resume=True)

    def pretraining_order(self) -> Order | None:
        """The order of the pretraining runs; None without pretraining. Raises QexpError for an invalid seed of it."""
        if self.pretraining is None:
            return None
        first = self.pretraining
        return self.order(first.experience, first.seeds(self.runs.seeds), first.grid, first.overrides)


def studied(asked: StudyOrder, axes: Sequence[StudyAxis], workspace: Workspace) -> tuple[str, str]:
    """The studied output and metric; checks all specs of the study.

    Raises QexpError for an invalid spec, value or seed, an experience that is named twice, a metric that is not
    reported, or pretraining that no experience uses.
    """
    first, runs = asked.pretraining, asked.runs
    require_few(len(runs.seeds) * len(runs.references) * math.prod(len(axis.values) for axis in axes))
    checked_seeds(runs.seeds)
    if twice := next((name for name in runs.references if runs.references.count(name) > 1), None):
        raise QexpError(f"the experience {twice} is named twice; name each once")
    cache = spec_cache(workspace, memory_of(runs))
    if first is not None:
        for point in changes([axis for axis in axes if axis.of_pretraining]):
            experiments.experience(first.experience, {**first.overrides, **point}, workspace, cache)
    documents = {}
    for reference in runs.references:
        for point in changes([axis for axis in axes if not axis.of_pretraining]):
            experience = experiments.experience(reference, {**runs.overrides, **point}, workspace, cache)
            documents[reference] = experience.document
    name = asked.metric or STUDIED
    output, dot, metric = name.rpartition(".")
    main = runs.references[0]
    firsts = type_of(documents[main]).outputs(documents[main])
    if not dot and firsts is None:
        raise QexpError(f"the outputs of {main} are unknown before it has run; give `metric=OUTPUT.METRIC`")
    output = output if dot or firsts is None else firsts[0]
    for reference, document in documents.items():
        outputs = type_of(document).outputs(document)
        if outputs is None:
            continue
        if output not in outputs:
            raise QexpError(f"`metric={name}`: {reference} has no output '{output}'; {suggestion(output, outputs)}")
        known = asked_for(document["metrics"].get(output, []))
        if metric not in known:
            raise QexpError(f"`metric={name}`: {reference} reports no '{metric}'; {suggestion(metric, known)}")
    if first is not None and not any(document.get("pretrain") for document in documents.values()):
        raise QexpError(
            f"`pretrain={first.experience}`: none of {', '.join(runs.references)} has 'pretrain' in its spec"
        )
    return output, metric


# The runs of a study, and the pretraining run of each.


@dataclass(frozen=True)
class Member:
    """A run of a study."""

    experience: str
    """The experience as given by the user."""
    point: Point
    plan: Plan

    @property
    def seed(self) -> int:
        return self.plan.seed


Parents = Mapping[tuple[Point, int], str]
"""(values of the pretraining axes, seed of a run) → name of the run that it starts from."""


def parents_of(asked: StudyOrder, axes: Sequence[StudyAxis], pretrained: Sequence[Plan]) -> Parents:
    """The pretraining run of each run.

    pretrained  plans of the pretraining runs; seeds vary fastest
    """
    assert asked.pretraining is not None
    seeds = asked.runs.seeds
    theirs = asked.pretraining.seeds(seeds)
    starts = itertools.product(points([axis for axis in axes if axis.of_pretraining]), theirs)
    names: dict[tuple[Point, int], str] = {start: plan.name for start, plan in zip(starts, pretrained, strict=True)}
    if asked.pretraining.seed == SAME:
        return names
    return {(point, seed): name for (point, _), name in names.items() for seed in seeds}


def members_of(
    asked: StudyOrder, axes: Sequence[StudyAxis], parents: Parents, workspace: Workspace
) -> tuple[list[Member], CheckedOrder]:
    """All runs of the study, and a checked order for them; nothing is written.

    parents  empty without pretraining
    Raises QexpError if two runs are the same, or for any reason for which a sweep is refused.
    """
    own = [axis for axis in axes if not axis.of_pretraining]
    members: list[Member] = []
    checked: list[CheckedOrder] = []
    for before, order in _orders(asked, (None,) * (len(axes) - len(own)), parents, workspace):
        one = launch.check_order(order, workspace)
        checked.append(one)
        values = (point for point in points(own) for _ in order.seeds)
        members.extend(
            Member(order.references[0], (*before, *point), plan) for plan, point in zip(one.plans, values, strict=True)
        )
    return members, _merged(checked)


def _orders(
    asked: StudyOrder, independent: Point, parents: Parents, workspace: Workspace
) -> Iterator[tuple[Point, Order]]:
    """Values of the pretraining axes and an order, for each set of runs with the same pretraining run, or without one.

    independent  the values for an experience without pretraining
    """
    runs, seeds = asked.runs, asked.runs.seeds
    for reference in runs.references:
        key = _pretrain_key(reference, runs.overrides, workspace) if parents else None
        if key is None:
            yield independent, asked.order(reference, runs.seeds, runs.grid, runs.overrides)
            continue
        for before in dict.fromkeys(point for point, _ in parents):
            for name in dict.fromkeys(parents[before, seed] for seed in seeds):
                listed = [seed for seed in seeds if parents[before, seed] == name]
                started = {**runs.overrides, key: name}
                yield before, asked.order(reference, listed, runs.grid, started)


def _pretrain_key(reference: str, overrides: Overrides, workspace: Workspace) -> str | None:
    """The key of an experience that names its pretraining run; None for an experience without pretraining."""
    changes = [resolution.override(*change) for change in overrides.items()]
    written = resolution.experience(reference, changes, workspace).document.get("pretrain")
    if written is None:
        return None
    return "pretrain.run" if isinstance(written, dict) else "pretrain"


def _merged(checked: Sequence[CheckedOrder]) -> CheckedOrder:
    """One order from several with equal settings, so that they make one launch."""
    workloads = [one.workload for one in checked]
    planned = [plan for one in checked for plan in one.plans]
    names = [plan.name for plan in planned]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise QexpError(f"two runs of the study are the same, {double}; name every experience and value once")
    return CheckedOrder(
        checked[0].order,
        planned,
        Workload(
            [plan for workload in workloads for plan in workload.new],
            [plan for workload in workloads for plan in workload.again],
            [plan for workload in workloads for plan in workload.done],
            {name: state for workload in workloads for name, state in workload.left.items()},
            {name: other for workload in workloads for name, other in workload.same.items()},
        ),
        checked[0].settings,
    )


# The results of a study: a comparison of its experiences at each point, and tables of all comparisons.


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


# The folder of a study: a table of its runs, a table of its results per value, and the figure.


STUDY_FILES = RUNS, VALUES, FIGURE = "study.csv", "table.csv", "study.png"

FLOORS = {"r2": -0.5}
"""Metric → lower limit of the figure; R² has no lower bound."""


def write_study(
    made: Study,
    members: Sequence[Member],
    axes: Sequence[StudyAxis],
    runs: Mapping[str, ComparedRun],
    workspace: Workspace,
) -> None:
    """Write all files of a study, replacing those of an earlier one.

    runs  name → run, for the readable ones among the members
    """
    make_folder(made.folder)
    write_csv(made.folder / RUNS, *_run_rows(members, axes, runs))
    write_csv(made.folder / VALUES, *_value_rows(made, axes))
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
    tables = tables_with(workspace.extensions)
    try:
        dataset = dataset_of(plan.spec["dataset"], tables, workspace)
    except QexpError:  # the data are missing, but the results are still valid
        return {}
    size = data_kind(plan.spec["dataset"]).training_size(plan.spec, dataset, tables, plan.seed)
    return {words[0]: float(size)}


def _whole(plan: Plan, key: str) -> str | None:
    """The value of a key of an experience that stands for the whole training part."""
    return objects_of(plan.spec).whole(plan.spec, key)


# Execution of a study: from its options to its folder.


FOLDER = "studies"
"""Folder in the workspace for studies without an output folder."""


def run_study(
    asked: StudyOrder,
    workspace: Workspace,
    out: Path | None = None,
    *,
    most: int | None = None,
    watched: Callable[[], Watcher] = Watcher,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Train the missing runs of a study, then write its tables and its figure.

    out      folder for `study.csv` (a row per run), `table.csv` (a row per experience and value, and per pair of
             experiences and value) and `study.png`; default: named after the first experience and axis
    most     largest number of runs that may be started at once
    watched  returns the watcher of a launch
    tell     receives messages on runs that start and runs that exist already
    Raises QexpError, before any run starts, for unknown specs, values or metrics; RunFailedError if a pretraining run
    is not done; InterruptedRunError after a signal: the same call continues the study.
    """
    axes = asked.axes()
    output, metric = studied(asked, axes, workspace)
    out = out or workspace.root / FOLDER / _name(asked, axes)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = launch.check_order(order, workspace)
        _require_done(_run(pretraining, workspace, most, watched, tell))
        parents = parents_of(asked, axes, pretraining.plans)
    members, checked = members_of(asked, axes, parents, workspace)
    _run(checked, workspace, most, watched, tell)
    return _written(members, axes, (output, metric), workspace, out)


def planned(asked: StudyOrder, workspace: Workspace) -> tuple[list[Plan], bool]:
    """The runs that would start, and whether these are all: pretrained runs are planned when pretraining is done.

    Raises QexpError for unknown specs, values or metrics.
    """
    axes = asked.axes()
    studied(asked, axes, workspace)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = launch.check_order(order, workspace)
        first = pretraining.workload
        if first.new or first.again or first.left:
            return [*first.again, *first.new], False
        parents = parents_of(asked, axes, pretraining.plans)
    _, checked = members_of(asked, axes, parents, workspace)
    return [*checked.workload.again, *checked.workload.new], True


def _name(asked: StudyOrder, axes: Sequence[StudyAxis]) -> str:
    name = f"{Path(asked.runs.references[0]).stem}_{axes[0].name}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _run(
    checked: CheckedOrder,
    workspace: Workspace,
    most: int | None,
    watched: Callable[[], Watcher],
    tell: Callable[[str], None],
) -> dict[str, State]:
    """Run a checked order and wait for runs that other processes execute. Returns run → state."""
    workload = checked.workload
    if workload.done:
        tell(f"{len(workload.done)} done already")
    if failed := [name for name, state in workload.left.items() if state.without_result and not state.resumable]:
        tell(
            f"left alone, failed: {', '.join(failed[:5])}{' …' * bool(failed[5:])}; `only_failed=True` runs them again"
        )
    made = launch.launched(checked, workspace, watched=watched, tell=tell, most=most)
    if made is not None and made.stopped:
        raise InterruptedRunError("the study was interrupted; repeat the command to continue")
    all_of_them = [RunDirectory(workspace.runs / plan.name) for plan in checked.plans]
    under_way = [one for one, state in Watch().states(all_of_them).items() if state.at_work]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(all_of_them).items()}


def _require_done(states: dict[str, State]) -> None:
    if unfinished := [(name, state) for name, state in states.items() if state is not State.DONE]:
        raise RunFailedError(f"pretraining runs are not done: {_listed(unfinished)}; see qexp logs")


def _written(
    members: Sequence[Member], axes: Sequence[StudyAxis], measured: tuple[str, str], workspace: Workspace, out: Path
) -> Study:
    """The results of the runs, written to the study's folder. Raises RunFailedError if no run is done."""
    directories = [RunDirectory(workspace.runs / one.plan.name) for one in members]
    states = Watch().states(directories)
    runs = {
        directory.name: ComparedRun(directory, {**directory.record().document(), "state": state}, None)
        for directory, state in states.items()
        if state.readable
    }
    found = list(found_in(runs, members, axes, *measured))
    unfinished = {directory.name: state for directory, state in states.items() if state is not State.DONE}
    if not found:
        raise RunFailedError(f"no run of the study is done: {_listed(list(unfinished.items())[:3])}")
    units = [row.unit for one in found for row in one.comparison.results]
    made = Study(
        [axis.name for axis in axes],
        *measured,
        units[0] if units else "",
        found,
        unfinished,
        out,
        [out / name for name in STUDY_FILES],
    )
    write_study(made, members, axes, runs, workspace)
    return made


def _listed(states: Iterable[tuple[str, State]]) -> str:
    return ", ".join(f"{name} is {state.words}" for name, state in states)


__all__ = ["Study", "StudyOrder", "planned", "run_study"]
