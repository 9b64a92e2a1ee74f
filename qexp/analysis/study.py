"""A study: experiences over a grid and seeds, what is missing of it run, and all of it in one table and one figure."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp import assemble, files
from qexp.analysis.across_seeds import SeedComparison, compare_across_seeds
from qexp.analysis.comparison_tables import differences_of, plain_rows, remarks, results_of_groups
from qexp.analysis.groups import Chosen, Group
from qexp.analysis.rounding import NONE
from qexp.analysis.typesetting import Table
from qexp.assemble.spectra import divided
from qexp.datasets.spectra import SpectraDataset
from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.runs import plans, sweep
from qexp.runs.directory import RunDirectory, name_with_caution
from qexp.runs.launch.local import Unwatched, Watcher
from qexp.runs.prepare import Plan
from qexp.runs.sweep import Choice, Order, Prepared
from qexp.runs.waiting import Watch, endings
from qexp.seeds import Seeds
from qexp.spec import resolve
from qexp.tables import suggestion
from qexp.training.metrics import asked_for
from qexp.workspace import Workspace

FOLDER = "studies"
"""In the workspace: where studies go that name no folder."""

SAME = "same"
"""As the seed of pretraining: each run starts from one of its own seed."""

STUDIED = "r2"
"""What is drawn if nothing else is asked for."""

LABELLED, ALL = "labelled", "all"
"""The key of an experience on spectra, and its value that stands for a number."""

Point = tuple[str | None, ...]
"""A value for each axis, as it was written; None where an experience does not depend on the axis."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to have studied."""

    experiences: Sequence[str]
    seeds: str = "0"
    grid: Sequence[str] = ()
    overrides: Sequence[str] = ()
    pretrain: str | None = None
    """The experience that is run first; those of `experiences` that start from a run start from this one."""
    pretrain_grid: Sequence[str] = ()
    pretrain_overrides: Sequence[str] = ()
    pretrain_seed: str = "0"
    """A seed, or `SAME`."""
    metric: str | None = None
    """`output.metric`, or a metric of the first output."""
    only_failed: bool = False
    jobs: int | None = None
    device: str = "auto"
    launcher: str = "local"
    slurm: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """Values that are gone through."""

    keys: Sequence[str]
    changes: Sequence[Sequence[str]]
    """For each value what is set."""
    of_pretraining: bool
    called: str = ""

    @property
    def name(self) -> str:
        """The last step of the keys, if it is the same of all and of no other axis."""
        if self.called:
            return self.called
        steps = dict.fromkeys(key.rpartition(".")[2] for key in self.keys)
        return next(iter(steps)) if len(steps) == 1 else "+".join(self.keys)

    @property
    def label(self) -> str:
        return self.name.replace("_", " ") + " of pretraining" * self.of_pretraining

    @property
    def values(self) -> list[str]:
        return [first.partition("=")[2] for first, *_ in self.changes]


@dataclass(frozen=True)
class Member:
    """A run of a study."""

    experience: str
    """As it was named."""
    point: Point
    plan: Plan

    @property
    def seed(self) -> int:
        return self.plan.seed


@dataclass(frozen=True)
class Found:
    """The comparison of all experiences at one point."""

    point: Point
    comparison: SeedComparison
    """Of the metric that is studied, and no other."""
    own: Mapping[str, Point]
    """Group → the values that it depends on."""


@dataclass(frozen=True)
class Study:
    """What came of a study."""

    axes: list[str]
    output: str
    metric: str
    unit: str
    found: list[Found]
    unfinished: dict[str, str]
    """Run → state of those that are not done."""
    folder: Path
    files: list[Path]

    def results(self) -> Table:
        """A row for each experience and value; what an experience does not depend on is left open."""
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
        """For every two experiences, the difference seed by seed at every value."""
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
        """What a reader of the tables must know besides."""
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
            "unfinished": self.unfinished,
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
        }


def study(
    asked: Asked,
    workspace: Workspace,
    out: Path | None = None,
    *,
    most: int | None = None,
    watched: Callable[[], Watcher] = Unwatched,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Run what is missing of a study, then write its tables and its figure.

    out      the folder of `study.csv` (a row for each run), `table.csv` (for each experience and value, and every two
             experiences and value) and `study.png`; named after the first experience and axis if left out
    most     if more runs are to be started at once, that is an error
    watched  makes who watches a launch
    tell     told what is run and what is there already
    Raises QexpError, before anything runs, for specs, values or a metric that there are not; RunFailedError if a run
    that others start from is not done; InterruptedRunError if a signal ended it: the same once more goes on.
    """
    axes = _axes(asked)
    output, metric = _studied(asked, axes, workspace)
    out = out or workspace.root / FOLDER / _folder(asked, axes)
    parents = _pretrained(asked, axes, workspace, most, watched, tell)
    members, prepared = _members(asked, axes, parents, workspace)
    _run(prepared, workspace, most, watched, tell)
    return _written(members, axes, (output, metric), workspace, out)


def planned(asked: Asked, workspace: Workspace) -> tuple[list[Plan], bool]:
    """What would run, and whether that is all of it: runs that start from others are planned when those are done."""
    axes = _axes(asked)
    _studied(asked, axes, workspace)
    if asked.pretrain is not None:
        first = sweep.prepare(_pretraining(asked), workspace)
        if first.choice.new or first.choice.again or first.choice.left:
            return [*first.choice.again, *first.choice.new], False
    _, prepared = _members(asked, axes, _parents(asked, axes, workspace), workspace)
    return [*prepared.choice.again, *prepared.choice.new], True


def _axes(asked: Asked) -> list[Axis]:
    """Those of pretraining first. Raises QexpError if there are none."""
    if asked.pretrain is None and (asked.pretrain_grid or asked.pretrain_overrides):
        raise QexpError("--pretrain-grid and --pretrain-set are for --pretrain EXPERIENCE")
    given = [(text, True) for text in asked.pretrain_grid] + [(text, False) for text in asked.grid]
    if not given:
        raise QexpError("a study goes through the values of a key; give --grid, for example --grid labelled=10,100,all")
    axes = [Axis(*plans.axis(text), of_pretraining) for text, of_pretraining in given]
    names = [axis.name for axis in axes]
    return [replace(axis, called="+".join(axis.keys)) if names.count(axis.name) > 1 else axis for axis in axes]


def _studied(asked: Asked, axes: Sequence[Axis], workspace: Workspace) -> tuple[str, str]:
    """Output and metric; all specs of the study are checked on the way."""
    for changes in _points([axis for axis in axes if axis.of_pretraining]):
        if asked.pretrain is not None:
            assemble.experience(asked.pretrain, [*asked.pretrain_overrides, *changes], workspace)
    points = list(_points([axis for axis in axes if not axis.of_pretraining]))
    found = {}
    for reference in asked.experiences:
        for one in points:
            found[reference] = assemble.experience(reference, [*asked.overrides, *one], workspace).document
    first = found[asked.experiences[0]]
    name = asked.metric or STUDIED
    output, dot, metric = name.rpartition(".")
    output = output if dot else first["outputs"][0]
    for reference, document in found.items():
        if output not in document["outputs"]:
            raise QexpError(
                f"--metric {name}: {reference} has no output '{output}'; {suggestion(output, document['outputs'])}"
            )
        known = asked_for(document["metrics"].get(output, []))
        if metric not in known:
            raise QexpError(f"--metric {name}: {reference} reports no '{metric}'; {suggestion(metric, known)}")
    if asked.pretrain is not None and not any(document["pretrain"] for document in found.values()):
        raise QexpError(
            f"--pretrain {asked.pretrain}: none of {', '.join(asked.experiences)} has 'pretrain' in its spec"
        )
    return output, metric


def _points(axes: Sequence[Axis]) -> Iterator[list[str]]:
    """All combinations of changes."""
    for point in itertools.product(*(axis.changes for axis in axes)):
        yield list(itertools.chain(*point))


def _folder(asked: Asked, axes: Sequence[Axis]) -> str:
    name = f"{Path(asked.experiences[0]).stem}_{axes[0].name}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _pretraining(asked: Asked) -> Order:
    assert asked.pretrain is not None
    seeds = asked.seeds if asked.pretrain_seed == SAME else asked.pretrain_seed
    if not re.fullmatch(rf"\d+|{SAME}", asked.pretrain_seed):
        raise QexpError(f"--pretrain-seed {asked.pretrain_seed}: a seed, or '{SAME}' for that of each run")
    return _order(asked, [asked.pretrain], seeds=seeds, grid=asked.pretrain_grid, overrides=asked.pretrain_overrides)


def _order(asked: Asked, experiences: Sequence[str], **parts: Any) -> Order:
    return Order(
        experiences,
        resume=True,
        only_failed=asked.only_failed,
        jobs=asked.jobs,
        device=asked.device,
        launcher=asked.launcher,
        slurm=asked.slurm,
        **parts,
    )


Parents = Mapping[tuple[Point, int], str]
"""Values of the axes of pretraining, and the seed of a run that starts there → the run that it starts from."""


def _parents(asked: Asked, axes: Sequence[Axis], workspace: Workspace) -> Parents:
    if asked.pretrain is None:
        return {}
    order = _pretraining(asked)
    of_pretraining = [axis.values for axis in axes if axis.of_pretraining]
    planned = plans.sweep(order.experiences, plans.seeds_of(order.seeds), order.grid, order.overrides, workspace)
    names = iter(plan.name for plan in planned)
    found: dict[tuple[Point, int], str] = {}
    for point in itertools.product(*of_pretraining):
        by_seed = {seed: next(names) for seed in plans.seeds_of(order.seeds)}
        for seed in plans.seeds_of(asked.seeds):
            found[point, seed] = by_seed[seed if asked.pretrain_seed == SAME else int(asked.pretrain_seed)]
    return found


def _pretrained(
    asked: Asked,
    axes: Sequence[Axis],
    workspace: Workspace,
    most: int | None,
    watched: Callable[[], Watcher],
    tell: Callable[[str], None],
) -> Parents:
    """The runs to start from, run where they were not there. Raises RunFailedError if one is not done."""
    if asked.pretrain is None:
        return {}
    prepared = sweep.prepare(_pretraining(asked), workspace)
    states = _run(prepared, workspace, most, watched, tell)
    if unfinished := {name: state for name, state in states.items() if state != "done"}:
        listed = ", ".join(f"{name} is {state.replace('_', ' ')}" for name, state in unfinished.items())
        raise RunFailedError(f"nothing can start from runs that are not done: {listed}; see qexp logs")
    return _parents(asked, axes, workspace)


def _members(
    asked: Asked, axes: Sequence[Axis], parents: Parents, workspace: Workspace
) -> tuple[list[Member], Prepared]:
    """All runs of the study, and what there is to do of them."""
    seeds = plans.seeds_of(asked.seeds)
    own = [axis.values for axis in axes if not axis.of_pretraining]
    open_point: Point = (None,) * (len(axes) - len(own))
    members: list[Member] = []
    prepared: list[Prepared] = []

    def add(reference: str, before: Point, seeds: Sequence[int], overrides: Sequence[str]) -> None:
        listed = ",".join(map(str, seeds))
        order = _order(asked, [reference], seeds=listed, grid=asked.grid, overrides=overrides)
        one = sweep.prepare(order, workspace)
        prepared.append(one)
        points = (point for point in itertools.product(*own) for _ in seeds)
        members.extend(
            Member(reference, (*before, *point), plan) for plan, point in zip(one.plans, points, strict=True)
        )

    for reference in asked.experiences:
        key = _pretrain_key(reference, asked.overrides, workspace) if parents else None
        if key is None:
            add(reference, open_point, seeds, asked.overrides)
            continue
        for before in dict.fromkeys(point for point, _ in parents):
            for name in dict.fromkeys(parents[before, seed] for seed in seeds):
                of_parent = [seed for seed in seeds if parents[before, seed] == name]
                add(reference, before, of_parent, [*asked.overrides, f"{key}={json.dumps(name)}"])
    return members, _merged(prepared)


def _pretrain_key(reference: str, overrides: Sequence[str], workspace: Workspace) -> str | None:
    """What is to be set for an experience to start from another run; None for one that starts from none."""
    changes = [resolve.override(text) for text in overrides]
    written = resolve.experience(reference, changes, workspace).document.get("pretrain")
    if written is None:
        return None
    return "pretrain.run" if isinstance(written, dict) else "pretrain"


def _merged(prepared: Sequence[Prepared]) -> Prepared:
    """Several orders of the same settings as one, so that they make one launch."""
    choices = [one.choice for one in prepared]
    planned = [plan for one in prepared for plan in one.plans]
    names = [plan.name for plan in planned]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise QexpError(f"two runs of the study would be the same, {double}; name every experience and value once")
    return Prepared(
        prepared[0].order,
        planned,
        Choice(
            [plan for choice in choices for plan in choice.new],
            [plan for choice in choices for plan in choice.again],
            [plan for choice in choices for plan in choice.done],
            {name: state for choice in choices for name, state in choice.left.items()},
        ),
        prepared[0].settings,
    )


def _run(
    prepared: Prepared,
    workspace: Workspace,
    most: int | None,
    watched: Callable[[], Watcher],
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Run what is to be run, wait for what others run, and say in what state everything is then."""
    choice = prepared.choice
    if choice.done:
        tell(f"{len(choice.done)} done already")
    if failed := [name for name, state in choice.left.items() if state in ("failed", "out_of_memory")]:
        tell(f"left alone, failed: {', '.join(failed[:5])}{' …' * bool(failed[5:])}; --only-failed runs them again")
    if count := len(choice.new) + len(choice.again):
        if most is not None and count > most:
            raise QexpError(f"{count:,} runs are many; start them with --yes")
        launch, directories = sweep.open_launch(prepared, workspace)
        tell(f"launch {launch.id}: {count} run{'s' * (count != 1)}")
        if prepared.order.launcher == "slurm":
            sweep.submit(launch, directories, prepared)
        elif sweep.run_here(launch, directories, watched())[1]:
            raise InterruptedRunError("the study was interrupted; the same command goes on")
    all_of_them = [RunDirectory(workspace.runs / plan.name) for plan in prepared.plans]
    under_way = [one for one, state in Watch().states(all_of_them).items() if state in ("queued", "running")]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(all_of_them).items()}


def _written(
    members: Sequence[Member], axes: Sequence[Axis], studied: tuple[str, str], workspace: Workspace, out: Path
) -> Study:
    directories = {one.plan.name: RunDirectory(workspace.runs / one.plan.name) for one in members}
    states = Watch().states(list(directories.values()))
    runs = {
        name: Chosen(directory, {**directory.record(), "state": states[directory]}, None)
        for name, directory in directories.items()
        if states[directory] not in ("gone", "damaged")
    }
    output, metric = studied
    found = list(_found(members, axes, runs, studied))
    units = [row.unit for one in found for row in one.comparison.results]
    unfinished = {directory.name: state for directory, state in states.items() if state != "done"}
    names = ["study.csv", "table.csv", "study.png"]
    made = Study(
        [axis.name for axis in axes],
        output,
        metric,
        units[0] if units else "",
        found,
        unfinished,
        out,
        [out / name for name in names],
    )
    if not found:
        listed = ", ".join(f"{name} is {state.replace('_', ' ')}" for name, state in list(unfinished.items())[:3])
        raise RunFailedError(f"no run of the study is done: {listed}")
    files.make_folder(out)
    files.write_csv(out / "study.csv", *_run_rows(members, axes, runs))
    files.write_csv(out / "table.csv", *_value_rows(made, axes))
    _draw(made, axes, _numbers(axes[0], members, workspace))
    return made


def _found(
    members: Sequence[Member], axes: Sequence[Axis], runs: Mapping[str, Chosen], studied: tuple[str, str]
) -> Iterator[Found]:
    for point in itertools.product(*(axis.values for axis in axes)):
        groups: list[Group] = []
        own: dict[str, Point] = {}
        for reference in dict.fromkeys(one.experience for one in members):
            here = [one for one in members if one.experience == reference and _holds(one.point, point)]
            chosen = [runs[one.plan.name] for one in here if one.plan.name in runs]
            if chosen:
                groups.append(Group(_shown(chosen), chosen))
                own[groups[-1].name] = here[0].point
        if any(group.counted for group in groups):
            whole = compare_across_seeds(groups)
            rows = [row for row in whole.results if (row.output, row.metric) == studied]
            pairs = [
                replace(pair, rows=[row for row in pair.rows if (row.output, row.metric) == studied])
                for pair in whole.pairs
            ]
            yield Found(point, replace(whole, results=rows, pairs=pairs), own)


def _holds(own: Point, point: Point) -> bool:
    return all(mine is None or mine == value for mine, value in zip(own, point, strict=True))


def _shown(chosen: Sequence[Chosen]) -> str:
    """The experience, with what must be said wherever its numbers are."""
    return name_with_caution(chosen[0].summary, chosen[0].summary["experience"])


def _run_rows(
    members: Sequence[Member], axes: Sequence[Axis], runs: Mapping[str, Chosen]
) -> tuple[list[str], list[list[Any]]]:
    """A row for each run, with all that it was judged by."""
    tests = {name: one.test if one.summary["state"] == "done" else {} for name, one in runs.items()}
    judged = list(dict.fromkeys((output, name) for test in tests.values() for output in test for name in test[output]))
    columns = [
        "experience", *("+".join(axis.keys) for axis in axes), "seed", "run", "start", "state",
        *(f"{output}.{name}" for output, name in judged),
    ]  # fmt: skip
    rows = []
    for one in members:
        name, parent = one.plan.name, one.plan.parent
        values = [tests.get(name, {}).get(output, {}).get(metric) for output, metric in judged]
        state = runs[name].summary["state"] if name in runs else "gone"
        key = [one.plan.experience, *("" if value is None else value for value in one.point)]
        told = [one.seed, name, parent.name if parent else "", state]
        rows.append([*key, *told, *("" if value is None else value for value in values)])
    return columns, rows


def _value_rows(made: Study, axes: Sequence[Axis]) -> tuple[list[str], list[list[Any]]]:
    """A row for each experience and value, and, with a `minus`, for each two experiences and value."""
    columns: list[str] = []
    alone: dict[tuple[str, ...], list[Any]] = {}
    for one in made.found:
        columns, rows = plain_rows(one.comparison)
        for group, minus, *rest in rows:
            point = one.point if minus else one.own[group]
            key = (group, minus, *("" if value is None else value for value in point))
            alone.setdefault(key, [*key, *rest])
    ordered = sorted(alone.values(), key=lambda row: bool(row[1]))  # differences last, the rest as it is
    return ["experience", "minus", *("+".join(axis.keys) for axis in axes), *columns[2:]], ordered


FLOORS = {"r2": -0.5}
"""Metric → what is too bad to be drawn: R² has no lower end."""


def _draw(made: Study, axes: Sequence[Axis], numbers: Mapping[str, float]) -> None:
    from qexp.figures.studies import Line, Spot, study_panels

    panels: dict[str, dict[str, Line]] = {}
    for one in made.found:
        title = ", ".join(f"{axis.label} {value}" for axis, value in zip(axes[1:], one.point[1:], strict=True))
        lines = panels.setdefault(title, {})
        for row in one.comparison.results:
            if row.estimate is not None:
                line = lines.setdefault(row.group, Line({}, constant=one.own[row.group][0] is None))
                assert one.point[0] is not None
                line.spots[one.point[0]] = Spot(list(row.values.values()), row.estimate.mean, row.estimate.interval)
    unit = f" ({made.unit})" if made.unit else ""
    measured = f"{made.output.replace('_', ' ')}, test: {made.metric}{unit}"
    study_panels(
        panels, axes[0].label, axes[0].values, measured, made.folder / "study.png", numbers, FLOORS.get(made.metric)
    )


def _numbers(axis: Axis, members: Sequence[Member], workspace: Workspace) -> dict[str, float]:
    """How many `all` labelled spectra are; nothing where that is not known, or no matter."""
    if axis.keys != [LABELLED] or ALL not in axis.values:
        return {}
    plan = next(one.plan for one in members if one.point[0] == ALL)
    tables = assemble.tables_with(workspace.extensions)
    try:
        dataset = assemble.dataset_of(plan.spec["dataset"], tables, workspace)
    except QexpError:  # the data are gone, but not what was learned of them
        return {}
    if not isinstance(dataset, SpectraDataset):
        return {}
    return {ALL: float(len(divided(plan.spec, dataset, tables, Seeds(plan.seed))[0]))}
