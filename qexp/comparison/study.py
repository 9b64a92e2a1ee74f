"""Studies: experiences over a grid and seeds, the missing ones trained; one table, one figure."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qexp.base.files import make_folder
from qexp.base.formats import write_csv
from qexp.base.outputs import MAIN_METRICS, output_in
from qexp.base.quantities import in_symbols
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.comparison import compare
from qexp.comparison.groups import STUDY_FILES, ComparedRun, SeedGroup, lines_of
from qexp.comparison.seeds import SeedComparison, compare_across_seeds
from qexp.errors import InterruptedRunError, QexpError, RunFailedError, some, suggestion
from qexp.figures.canvas import COLOURS, require_width, use_style
from qexp.figures.seeds import Line, OfSeeds, study_panels
from qexp.figures.writing import save
from qexp.jobs.launchers import Watcher
from qexp.jobs.states import Watch, endings
from qexp.kinds.experiments import data_of, spec_cache
from qexp.kinds.objects import data_kind, dataset_of
from qexp.kinds.tables import tables_with
from qexp.metrics.built_in import asked_for, metric_in_words
from qexp.metrics.meaning import NONE
from qexp.runs import launch, plan as grids
from qexp.runs.launch import CheckedOrder, Workload, memory_of
from qexp.runs.order import SAME, Order, StudyOptions
from qexp.runs.plan import Grid, GridAxis, check_seeds, require_few
from qexp.runs.prepare import Plan
from qexp.spec import resolution
from qexp.spec.experiences import type_of
from qexp.spec.reading import Document, digest
from qexp.spec.resolution import Overrides, value_text
from qexp.store.directory import RunDirectory, target_outside_of_runs, with_caution
from qexp.store.record import State

Point = tuple[str | None, ...]
"""A value for each axis, as a text; None if an experience does not depend on the axis."""

_LAST_STEP = re.compile(r"[^.]+(?:\.\d+)*$", re.ASCII)

IN_WORDS = {
    "sizes.0": "training samples",
    "sizes.1": "validation samples",
    "sizes.2": "test samples",
}
"""Name of an axis → what it is called where the name tells little."""


@dataclass(frozen=True)
class StudyAxis:
    """An axis of a study's grid, and how tables and figures name it."""

    of_grid: GridAxis
    """Its name, the full keys, is that of the axis in files."""
    of_pretraining: bool
    name: str
    """The last step of the keys, `sizes.0` where that is the number of an entry, if it is the same
    for all keys and not for another axis; else all keys.
    """

    @property
    def label(self) -> str:
        words = IN_WORDS.get(self.name) or self.name.replace("_", " ").replace(",", " : ")
        return words + " of pretraining" * self.of_pretraining


def points(axes: Sequence[StudyAxis]) -> Iterator[tuple[str, ...]]:
    """All combinations of values as texts, for tables and figures; the last axis varies fastest."""
    return itertools.product(*(axis.of_grid.texts for axis in axes))


# The options of a study, their check, and the runs that the study orders.


@dataclass(frozen=True)
class StudyOrder:
    """The runs of a study, and what is drawn of them."""

    runs: Order
    """The runs other than those of pretraining, with the same settings; `pretrain` is not used."""
    options: StudyOptions

    @property
    def fixed(self) -> dict[str, Any]:
        """What is set at all points: key → value, `pretraining.KEY` for pretraining runs."""
        fixed = dict(self.runs.overrides)
        first = self.options.pretraining
        if first is not None:
            fixed |= {"pretraining": first.experience}
            fixed |= {f"pretraining.{key}": value for key, value in first.overrides.items()}
        return fixed

    @cached_property
    def axes(self) -> list[StudyAxis]:
        """The axes of the study, those of pretraining first. Raises QexpError if there are none."""
        first = self.options.pretraining
        of_pretraining = grids.axes_of(first.grid if first else {})
        axes = [*of_pretraining, *grids.axes_of(self.runs.grid)]
        if not axes:
            raise QexpError(
                "a study varies the value of a key; give `grid`, for example `grid={'labelled':"
                " [10, 100, 'all']}`"
            )
        names = []
        for axis in axes:
            steps = {_LAST_STEP.findall(key)[-1] for key in axis.keys}
            names.append(min(steps) if len(steps) == 1 else axis.name)
        axes_of_study: list[StudyAxis] = []
        for axis, name in zip(axes, names, strict=True):
            is_first = len(axes_of_study) < len(of_pretraining)
            name_in_study = name if names.count(name) == 1 else axis.name
            axes_of_study.append(StudyAxis(axis, is_first, name_in_study))
        return axes_of_study

    @property
    def own_axes(self) -> list[StudyAxis]:
        """Those of the runs other than those of pretraining."""
        return [axis for axis in self.axes if not axis.of_pretraining]

    def order(
        self, experience: str, seeds: Sequence[int], grid: Grid, overrides: Overrides
    ) -> Order:
        """An order for some of its runs. Interrupted ones are resumed; a repeated study goes on."""
        return replace(
            self.runs,
            experiences=[experience],
            seeds=seeds,
            grid=grid,
            overrides=overrides,
            resume=True,
        )

    def pretraining_order(self) -> Order | None:
        """The order of pretraining; None without. Raises QexpError for an invalid seed of it."""
        first = self.options.pretraining
        if first is None:
            return None
        seeds = first.seeds(self.runs.seeds)
        return self.order(first.experience, seeds, first.grid, first.overrides)


@dataclass(frozen=True)
class Measured:
    """What a study draws."""

    part: str
    output: str
    metric: str
    usual: bool
    """Whether it is what is drawn if nothing is asked for."""

    @property
    def key(self) -> str:
        return "validation." * (self.part == "validation") + f"{self.output}.{self.metric}"

    @property
    def words(self) -> str:
        return f"{self.output} {self.metric}"


def check_study(study: StudyOrder, workspace: Workspace) -> Measured:
    """What is drawn; checks all specs of the study.

    Raises QexpError for an invalid spec, value or seed, an experience that is named twice, a metric
    that is not reported, or pretraining that no experience uses.
    """
    pretraining = study.options.pretraining
    runs = study.runs
    points_in_grid = math.prod(len(axis.of_grid.values) for axis in study.axes)
    require_few(len(runs.seeds) * len(runs.references) * points_in_grid)
    check_seeds(runs.seeds)
    for name, count in Counter(runs.references).items():
        if count > 1:
            raise QexpError(f"the experience {name} is named twice; name each once")
    cache = spec_cache(workspace, memory_of(runs))
    if pretraining is not None:
        grid = [axis.of_grid for axis in study.axes if axis.of_pretraining]
        for point in grids.points_of(grid):
            changes = {**pretraining.overrides, **point}
            first = pretraining.experience
            grids.at_point(first, changes, grid, point, cache, "pretrain_grid")
    documents = {}
    own = [axis.of_grid for axis in study.own_axes]
    for reference, point in itertools.product(runs.references, grids.points_of(own)):
        changes = {**runs.overrides, **point}
        documents[reference] = grids.at_point(reference, changes, own, point, cache).document
    measured = _measured(study, documents[runs.references[0]])
    output = measured.output
    metric = measured.metric
    name = measured.key
    for reference, document in documents.items():
        outputs = type_of(document).outputs(document)
        if outputs is None:
            continue
        if output not in outputs:
            raise QexpError(
                f"`metric={name}`: {reference} has no output '{output}';"
                f" {suggestion(output, outputs)}"
            )
        reported = asked_for(document, output)
        if metric not in reported:
            raise QexpError(
                f"`metric={name}`: {reference} reports no '{metric}';"
                f" {suggestion(metric, [*reported, *outputs])}"
            )
    used = any(document.get("pretrain") for document in documents.values())
    if pretraining is not None and not used:
        raise QexpError(
            f"`pretrain={pretraining.experience}`: none of {', '.join(runs.references)} has"
            " 'pretrain' in its spec"
        )
    return measured


def _measured(study: StudyOrder, document: Document) -> Measured:
    """What is drawn.

    document  of the first experience
    """
    name = study.options.metric or ""
    firsts = type_of(document).outputs(document)
    part = "validation" if name.startswith("validation.") else "test"
    output, _, metric = name.removeprefix(f"{part}.").rpartition(".")
    if not output and firsts is None:
        first = study.runs.references[0]
        raise QexpError(
            f"the outputs of {first} are unknown before it has run; give `metric=OUTPUT.METRIC`"
        )
    if not output and firsts:
        output = metric if metric in firsts else firsts[0]
        if metric in ("", output):
            metric = output_in(document, output).main
    usual = firsts is not None and [output] == firsts[:1] and metric in MAIN_METRICS
    return Measured(part, output, metric, usual and part == "test")


# The runs of a study, and the pretraining run of each.


@dataclass(frozen=True)
class Member:
    experience: str
    """The experience as given by the user."""
    point: Point
    plan: Plan


Parents = Mapping[tuple[Point, int], str]
"""(values of the pretraining axes, seed of a run) → name of the run that it starts from."""


def parents_of(study: StudyOrder, pretrained: Sequence[Plan]) -> Parents:
    """The pretraining run of each run.

    pretrained  plans of the pretraining runs; seeds vary fastest
    """
    first = study.options.pretraining
    seeds = study.runs.seeds
    assert first is not None
    points_of_pretraining = points([axis for axis in study.axes if axis.of_pretraining])
    starts = itertools.product(points_of_pretraining, first.seeds(seeds))
    runs = [plan.name for plan in pretrained]
    names: dict[tuple[Point, int], str] = dict(zip(starts, runs, strict=True))
    if first.seed == SAME:
        return names
    return {(point, seed): name for (point, _), name in names.items() for seed in seeds}


def members_of(
    study: StudyOrder, parents: Parents, workspace: Workspace
) -> tuple[list[Member], CheckedOrder]:
    """All runs of the study, and a checked order for them; nothing is written.

    parents  empty without pretraining
    Raises QexpError if two runs are the same, or for any reason for which a sweep is refused.
    """
    independent = (None,) * (len(study.axes) - len(study.own_axes))
    members: list[Member] = []
    orders: list[CheckedOrder] = []
    for start, order in _orders(study, independent, parents, workspace):
        checked = launch.check_order(order, workspace)
        orders.append(checked)
        values = (point for point in points(study.own_axes) for _ in order.seeds)
        for plan, point in zip(checked.plans, values, strict=True):
            members.append(Member(order.references[0], (*start, *point), plan))
    return members, _merge(orders)


def _orders(
    study: StudyOrder, independent: Point, parents: Parents, workspace: Workspace
) -> Iterator[tuple[Point, Order]]:
    """Values of the pretraining axes and an order, for each set of runs with the same pretraining
    run, or without one.

    independent  the values for an experience without pretraining
    """
    runs = study.runs
    seeds = study.runs.seeds
    for reference in runs.references:
        key = _pretrain_key(reference, runs.overrides, workspace) if parents else None
        if key is None:
            yield independent, study.order(reference, runs.seeds, runs.grid, runs.overrides)
            continue
        for start in dict.fromkeys(point for point, _ in parents):
            for name in dict.fromkeys(parents[start, seed] for seed in seeds):
                seeds_of_parent = [seed for seed in seeds if parents[start, seed] == name]
                overrides = {**runs.overrides, key: name}
                yield start, study.order(reference, seeds_of_parent, runs.grid, overrides)


def _pretrain_key(reference: str, overrides: Overrides, workspace: Workspace) -> str | None:
    """The key of an experience that names its pretraining run; None without pretraining."""
    changes = [resolution.override(*change) for change in overrides.items()]
    written = resolution.experience(reference, changes, workspace).document.get("pretrain")
    if written is None:
        return None
    return "pretrain.run" if isinstance(written, dict) else "pretrain"


def _merge(orders: Sequence[CheckedOrder]) -> CheckedOrder:
    """One order from several with equal settings, so that they make one launch."""
    plans = [plan for order in orders for plan in order.plans]
    for name, count in Counter(plan.name for plan in plans).items():
        if count > 1:
            raise QexpError(
                f"two runs of the study are the same, {name}; name every experience and value once"
            )
    merged = Workload([], [], [], {}, {})
    for order in orders:
        merged.new.extend(order.workload.new)
        merged.again.extend(order.workload.again)
        merged.done.extend(order.workload.done)
        merged.left.update(order.workload.left)
        merged.same.update(order.workload.same)
    return replace(orders[0], plans=plans, workload=merged)


# The results of a study: a comparison of its experiences at each point, and tables of all
# comparisons.


@dataclass(frozen=True)
class PointComparison:
    """The comparison of all experiences at one point."""

    point: tuple[str, ...]
    comparison: SeedComparison
    """Comparison by the studied metric only."""
    point_of_group: Mapping[str, Point]
    """SeedGroup → values of the axes that it depends on."""


@dataclass(frozen=True)
class Study:
    axes: list[str]
    fixed: Mapping[str, Any]
    """Key → value, of what is set at all points."""
    part: str
    output: str
    metric: str
    unit: str
    points: list[PointComparison]
    unfinished: Mapping[str, State]
    """Run → state, for runs that are not done."""
    folder: Path
    files: list[Path]

    @property
    def fixed_in_words(self) -> str:
        """`epochs=4, batch_size=32`; empty if nothing is set."""
        return ", ".join(f"{key}={value_text(value)}" for key, value in self.fixed.items())

    @property
    def _axes_in_words(self) -> list[str]:
        return [IN_WORDS.get(name, name) for name in self.axes]

    def results(self) -> Table:
        """A row per experience and value; axes on which an experience does not depend are empty."""
        rows: list[list[str]] = []
        columns = [*self.axes]
        listed = set()
        for compared in self.points:
            table = compare.results_of_groups(compared.comparison)
            columns = [*self._axes_in_words, *table.columns[2:]]
            for row, cells in zip(compared.comparison.results, table.rows, strict=True):
                point = compared.point_of_group[row.group]
                if (row.group, point) not in listed:
                    listed.add((row.group, point))
                    rows.append([*(value or NONE for value in point), *cells[2:]])
        words = [f"{self.output} {self.metric}, {self.part}", self.fixed_in_words]
        title = "; ".join(filter(None, words))
        return Table(title, columns, rows, frozenset(columns[len(self.axes) + 1 : -1]))

    def differences(self) -> list[Table]:
        """A table per pair of experiences: differences for every value, paired by common seeds."""
        rows: dict[str, list[list[str]]] = {}
        columns: list[str] = []
        for compared in self.points:
            point = [value or NONE for value in compared.point]
            for pair in compared.comparison.pairs:
                if pair.rows:
                    table = compare.differences_of(pair, compared.comparison)
                    columns = [*self._axes_in_words, *table.columns[2:]]
                    title = table.title.removesuffix(f" ({compare.ranges(pair.seeds)})")
                    rows.setdefault(title, []).extend([*point, *row[2:]] for row in table.rows)
        right = frozenset(columns[len(self.axes) : len(self.axes) + 3])
        return [Table(title, columns, cells, right) for title, cells in rows.items()]

    def remarks(self) -> list[str]:
        texts = [text for compared in self.points for text in compare.remarks(compared.comparison)]
        return list(dict.fromkeys(texts))

    def document(self) -> dict[str, Any]:
        return {
            "axes": self.axes,
            "fixed": dict(self.fixed),
            "part": self.part,
            "output": self.output,
            "metric": self.metric,
            "unit": self.unit,
            "points": [
                {
                    "values": dict(zip(self.axes, compared.point, strict=True)),
                    **compared.comparison.document(),
                }
                for compared in self.points
            ],
            "unfinished": dict(self.unfinished),
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
        }


def compare_points(
    runs: Mapping[str, ComparedRun],
    members: Sequence[Member],
    axes: Sequence[StudyAxis],
    output: str,
    metric: str,
) -> Iterator[PointComparison]:
    """The comparisons at all points where a run is done.

    runs  name → run, for the readable ones among the members
    """
    for point in points(axes):
        groups: list[SeedGroup] = []
        points_of_groups: dict[str, Point] = {}
        for reference in dict.fromkeys(member.experience for member in members):
            own = [member for member in members if member.experience == reference]
            members_here = [member for member in own if _is_at(member.point, point)]
            chosen = [runs[member.plan.name] for member in members_here if member.plan.name in runs]
            if chosen:
                summary = chosen[0].summary
                name = with_caution(summary["experience"], summary["caution"])
                groups.append(SeedGroup(name, chosen))
                points_of_groups[name] = members_here[0].point
        if any(group.counted for group in groups):
            studied = compare_across_seeds(groups).only(
                lambda row: (row.output, row.metric) == (output, metric)
            )
            yield PointComparison(point, studied, points_of_groups)


def _is_at(own: Point, point: Point) -> bool:
    """Whether a run has a point's values on all axes that it depends on."""
    return all(value in (None, other) for value, other in zip(own, point, strict=True))


# The folder of a study: a table of its runs, a table of its results per value, and the figure.

RUNS, VALUES, FIGURE = STUDY_FILES


def _with_fixed(study: Study, columns: list[str], rows: list[list[Any]]) -> compare.Rows:
    """A table with a column for each key that is set at all points; an axis may have its name."""
    names = [f"overrides.{key}" if key in columns else key for key in study.fixed]
    return [*columns, *names], [[*row, *map(value_text, study.fixed.values())] for row in rows]


def _run_rows(
    members: Sequence[Member], axes: Sequence[StudyAxis], runs: Mapping[str, ComparedRun]
) -> compare.Rows:
    """Columns and rows of the table of runs, with all metrics of the part that is drawn."""
    done = [run for run in runs.values() if run.summary["state"] == State.DONE]
    tests = {run.name: run.numbers for run in done}
    metrics: dict[tuple[str, str], None] = {}
    for test in tests.values():
        for output in test:
            metrics |= dict.fromkeys((output, metric) for metric in test[output])
    keys = [axis.of_grid.name for axis in axes]
    names = [f"{output}.{metric}" for output, metric in metrics]
    columns = ["experience", *keys, "seed", "run", "start", "state", *names]
    rows = []
    for member in members:
        plan = member.plan
        test = tests.get(plan.name, {})
        state = State.GONE
        if plan.name in runs:
            state = runs[plan.name].summary["state"]
        rows.append(
            [
                plan.experience,
                *member.point,
                plan.seed,
                plan.name,
                plan.parent.name if plan.parent else None,
                state,
                *(test.get(output, {}).get(metric) for output, metric in metrics),
            ]
        )
    return columns, rows


def _value_rows(study: Study, axes: Sequence[StudyAxis]) -> compare.Rows:
    """Columns and rows of the results: per experience and value, with a `minus` per pair."""
    columns: list[str] = []
    row_by_key: dict[tuple[str | None, ...], list[Any]] = {}
    for compared in study.points:
        columns, rows = compare.plain_rows(compared.comparison)
        for group, minus, *rest in rows:
            key = (group, minus, *(compared.point if minus else compared.point_of_group[group]))
            row_by_key.setdefault(key, [*key, *rest])
    # differences last; the sort is stable
    ordered = sorted(row_by_key.values(), key=lambda row: bool(row[1]))
    return ["experience", "minus", *(axis.of_grid.name for axis in axes), *columns[2:]], ordered


def _draw(study: Study, axes: Sequence[StudyAxis], numbers: Mapping[str, float]) -> None:
    """The first axis is along the frame. The second one makes lines if there is one experience, and
    few enough values; the others, panels.
    """
    compared_at = {compared.point: compared for compared in study.points}
    rows = {row.group: row for compared in study.points for row in compared.comparison.results}
    alone = len(rows) == 1
    title = [*rows] * alone + [study.fixed_in_words]
    meaning = next(iter(rows.values())).meaning
    # Several experiences are lines themselves, and there are no more lines than colours.
    in_lines = alone and len(axes) > 1
    in_lines = in_lines and len(axes[1].of_grid.texts) <= len(COLOURS)
    panels: dict[str, dict[str, Line]] = {}
    for point in points(axes):
        values = [f"{axis.label} {value}" for axis, value in zip(axes, point, strict=True)]
        lines = panels.setdefault(", ".join(values[1 + in_lines :]), {})
        if point not in compared_at:
            continue
        compared = compared_at[point]
        for row in compared.comparison.results:
            if row.estimate is not None:
                name = values[1] if in_lines else row.group
                constant = compared.point_of_group[row.group][0] is None
                line = lines.setdefault(name, Line({}, constant=constant))
                seeds = list(row.values.values())
                line.spots[point[0]] = OfSeeds(seeds, row.estimate.mean, row.estimate.interval)
    unit = f" ({study.unit})" if study.unit else ""
    words = f"{study.part} {metric_in_words(study.metric)} of {in_symbols(study.output)}{unit}"
    floor = -0.5 if study.metric.startswith("r2") else None  # which has no lower bound
    figure = study_panels(
        panels,
        axes[0].label,
        axes[0].of_grid.texts,
        words,
        numbers,
        floor,
        "; ".join(filter(None, title)),
        meaning.badness,
    )
    save(figure, study.folder / FIGURE)


def _numbers(axis: StudyAxis, members: Sequence[Member], workspace: Workspace) -> dict[str, float]:
    """Value → number of training samples, for values such as `all`; empty if that is unknown."""
    # the first of several seeds
    plans = {member.point[0]: member.plan for member in reversed(members)}
    key = axis.of_grid.keys[0] if len(axis.of_grid.keys) == 1 else ""
    for word, plan in plans.items():
        data = data_of(plan.spec)
        if word is None or not data or word != data.all_samples.get(key):
            continue
        tables = tables_with(workspace.extensions)
        try:
            dataset = dataset_of(plan.spec["dataset"], tables, workspace)
        except QexpError:  # the data are missing, but the results are still valid
            return {}
        size = data_kind(plan.spec["dataset"]).training_size(plan.spec, dataset, tables, plan.seed)
        return {word: float(size)}
    return {}


# Execution of a study: from its options to its folder.


def run_study(study: StudyOrder, workspace: Workspace, watched: Callable[[], Watcher]) -> Study:
    """Train the missing runs of a study, then write its tables and its figure.

    watched  returns the watcher of a launch
    Raises QexpError, before any run starts, for unknown specs, values or metrics, and for a folder
    that holds another study; RunFailedError if a pretraining run is not done; InterruptedRunError
    after a signal: the same call continues the study.
    """
    measured, out = _checked(study, workspace)
    parents: Parents = {}
    order = study.pretraining_order()
    if order is not None:
        pretraining = launch.check_order(order, workspace)
        states = _run(pretraining, workspace, study.options, watched)
        unfinished = [(name, state) for name, state in states.items() if state is not State.DONE]
        if unfinished:
            raise RunFailedError(
                f"pretraining runs are not done: {_states_in_words(unfinished)}; see qexp logs"
            )
        parents = parents_of(study, pretraining.plans)
    members, checked = members_of(study, parents, workspace)
    _require_own(out, members, measured, workspace)
    _run(checked, workspace, study.options, watched)
    return _collect(study, members, measured, workspace, out)


def plan_study(study: StudyOrder, workspace: Workspace) -> tuple[list[Plan], bool]:
    """The runs that would start, and whether these are all: pretrained runs are planned when
    pretraining is done.

    `tell` receives what `run_study` would tell before it starts runs, and where it would write.
    Raises QexpError for unknown specs, values or metrics.
    """
    measured, out = _checked(study, workspace)
    tell = study.options.tell
    tell(f"{measured.words} would be drawn in {workspace.shown(out)}")
    parents: Parents = {}
    order = study.pretraining_order()
    if order is not None:
        pretraining = launch.check_order(order, workspace)
        workload = pretraining.workload
        _tell_of(pretraining, tell)
        if workload.new or workload.again or workload.left:
            return workload.to_run, False
        parents = parents_of(study, pretraining.plans)
    members, checked = members_of(study, parents, workspace)
    _require_own(out, members, measured, workspace)
    _tell_of(checked, tell)
    return checked.workload.to_run, True


def _checked(study: StudyOrder, workspace: Workspace) -> tuple[Measured, Path]:
    """What is drawn of a study, and its folder. Raises QexpError, as `check_study` does."""
    require_width(study.options.width)
    measured = check_study(study, workspace)
    out = study.options.out
    found = _folder(study, measured, workspace) if out is None else target_outside_of_runs(out)
    return measured, found


def _folder(study: StudyOrder, measured: Measured, workspace: Workspace) -> Path:
    """Named after what varies, an unusual metric, and a digest of what is set, as of runs."""
    words = [Path(study.runs.references[0]).stem, *(axis.name for axis in study.axes)]
    words += [] if measured.usual else [measured.key]
    words += [digest(dict(study.fixed))[:6]] if study.fixed else []
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(words))
    return workspace.root / "studies" / name


def _require_own(
    folder: Path, members: Sequence[Member], measured: Measured, workspace: Workspace
) -> None:
    """Raise QexpError if a folder holds a study with other runs or of another metric."""
    ours = {member.plan.name for member in members}
    runs = dict.fromkeys(row.get("run", "") for row in lines_of(folder / RUNS))
    others = [name for name in runs if name and name not in ours]
    lines = [row for row in lines_of(folder / VALUES) if row.get("metric")]
    metrics = {f"{row['output']} {row['metric']}" for row in lines}
    if others or metrics - {measured.words}:
        what = f"other runs, {some(others)}" if others else ", ".join(sorted(metrics))
        raise QexpError(
            f"{workspace.shown(folder)} holds a study of {what}, which would be lost; choose"
            " another folder with `out`, or delete that one"
        )


def _tell_of(checked: CheckedOrder, tell: Callable[[str], None]) -> None:
    """What is not trained from the beginning, and why, and what the specs may not intend."""
    workload = checked.workload
    for text in (*checked.warnings, *workload.stand_ins):
        tell(text)
    if workload.done:
        tell(f"{len(workload.done)} done already")
    if workload.again:
        names = some([plan.name for plan in workload.again])
        tell(f"{len(workload.again)} begun already, which continue: {names}")
    for text in workload.left_in_words:
        tell(text)


def _run(
    checked: CheckedOrder,
    workspace: Workspace,
    options: StudyOptions,
    watched: Callable[[], Watcher],
) -> dict[str, State]:
    """Run a checked order and wait for runs that other processes execute. Returns run → state."""
    tell = options.tell
    _tell_of(checked, tell)
    most = options.most
    pool = launch.launch_runs(checked, workspace, watched=watched, tell=tell, most=most)
    if pool is not None and pool.stopped:
        raise InterruptedRunError("the study was interrupted; repeat the command to continue")
    directories = [RunDirectory(workspace.runs / plan.name) for plan in checked.plans]
    states = Watch().states(directories)
    under_way = [directory for directory, state in states.items() if state.at_work]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(directories).items()}


def _collect(
    order: StudyOrder,
    members: Sequence[Member],
    measured: Measured,
    workspace: Workspace,
    out: Path,
) -> Study:
    """The results of the runs, written to the study's folder in place of those of the same study
    when it had fewer.

    Raises RunFailedError if no run is done.
    """
    states = Watch().states([RunDirectory(workspace.runs / member.plan.name) for member in members])
    runs = {}
    unfinished = {}
    for directory, state in states.items():
        if state.readable:
            summary = {**directory.record().document(), "state": state}
            runs[directory.name] = ComparedRun(directory, summary, None, part=measured.part)
        if state is not State.DONE:
            unfinished[directory.name] = state
    axes = order.axes
    points = list(compare_points(runs, members, axes, measured.output, measured.metric))
    if not points:
        raise RunFailedError(
            f"no run of the study is done with results on a {measured.part} part:"
            f" {_states_in_words(list(unfinished.items())[:3])}"
        )
    unit = next((row.unit for compared in points for row in compared.comparison.results), "")
    names = [axis.name for axis in axes]
    paths = [out / name for name in STUDY_FILES]
    of_measured = measured.part, measured.output, measured.metric
    study = Study(names, order.fixed, *of_measured, unit, points, unfinished, out, paths)
    with use_style(None, order.options.width):
        make_folder(out)
        write_csv(out / RUNS, *_with_fixed(study, *_run_rows(members, axes, runs)))
        write_csv(out / VALUES, *_with_fixed(study, *_value_rows(study, axes)))
        _draw(study, axes, _numbers(axes[0], members, workspace))
    return study


def _states_in_words(states: Iterable[tuple[str, State]]) -> str:
    return ", ".join(f"{name} is {state.words}" for name, state in states)
