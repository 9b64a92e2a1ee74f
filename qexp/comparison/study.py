"""Studies: experiences over a grid and seeds, trained where runs are missing, with one table and
one figure.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.base.files import make_folder
from qexp.base.formats import write_csv
from qexp.base.outputs import output_type
from qexp.base.quantities import in_symbols
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.comparison.compare import differences_of, plain_rows, ranges, remarks, results_of_groups
from qexp.comparison.seeds import (
    STUDY_FILES,
    ComparedRun,
    SeedComparison,
    SeedGroup,
    compare_across_seeds,
    lines_of,
)
from qexp.errors import InterruptedRunError, QexpError, RunFailedError, some, suggestion
from qexp.figures.canvas import require_width, save, use_style
from qexp.figures.seeds import Line, OfSeeds, study_panels
from qexp.jobs.launchers import Watcher
from qexp.jobs.states import Watch, endings
from qexp.kinds.experiments import data_of, spec_cache
from qexp.kinds.objects import data_kind, dataset_of
from qexp.kinds.tables import tables_with
from qexp.metrics.built_in import asked_for, metric_in_words
from qexp.metrics.meaning import MAIN_METRICS, NONE
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
    """The runs other than those of pretraining, which use the same settings; its `pretrain` is not
    used.
    """
    options: StudyOptions

    @property
    def fixed(self) -> dict[str, Any]:
        """What is set at all points: key → value, `pretraining.KEY` for that of the runs that
        others start from.
        """
        fixed = dict(self.runs.overrides)
        if (first := self.options.pretraining) is not None:
            fixed |= {"pretraining": first.experience}
            fixed |= {f"pretraining.{key}": value for key, value in first.overrides.items()}
        return fixed

    def axes(self) -> list[StudyAxis]:
        """The axes of the study, those of pretraining first. Raises QexpError if there are none."""
        first = self.options.pretraining
        before = grids.axes_of(first.grid if first else {})
        axes = [*before, *grids.axes_of(self.runs.grid)]
        if not axes:
            raise QexpError(
                "a study varies the value of a key; give `grid`, for example `grid={'labelled':"
                " [10, 100, 'all']}`"
            )
        steps = [{_LAST_STEP.findall(key)[-1] for key in axis.keys} for axis in axes]
        names = [
            min(last) if len(last) == 1 else axis.name
            for axis, last in zip(axes, steps, strict=True)
        ]
        return [
            StudyAxis(axis, index < len(before), name if names.count(name) == 1 else axis.name)
            for index, (axis, name) in enumerate(zip(axes, names, strict=True))
        ]

    def order(
        self, experience: str, seeds: Sequence[int], grid: Grid, overrides: Overrides
    ) -> Order:
        """An order for some of its runs. Interrupted runs are resumed, so that repeating a study
        completes it.
        """
        return replace(
            self.runs,
            experiences=[experience],
            seeds=seeds,
            grid=grid,
            overrides=overrides,
            resume=True,
        )

    def pretraining_order(self) -> Order | None:
        """The order of the pretraining runs; None without pretraining. Raises QexpError for an
        invalid seed of it.
        """
        if (first := self.options.pretraining) is None:
            return None
        return self.order(
            first.experience, first.seeds(self.runs.seeds), first.grid, first.overrides
        )


@dataclass(frozen=True)
class Measured:
    """What a study draws, of the test part."""

    output: str
    metric: str
    usual: bool
    """Whether it is what is drawn if nothing is asked for."""

    @property
    def key(self) -> str:
        return f"{self.output}.{self.metric}"

    @property
    def words(self) -> str:
        return f"{self.output} {self.metric}"


def check_study(study: StudyOrder, axes: Sequence[StudyAxis], workspace: Workspace) -> Measured:
    """What is drawn; checks all specs of the study.

    Raises QexpError for an invalid spec, value or seed, an experience that is named twice, a metric
    that is not reported, or pretraining that no experience uses.
    """
    pretraining, runs = study.options.pretraining, study.runs
    require_few(
        len(runs.seeds)
        * len(runs.references)
        * math.prod(len(axis.of_grid.values) for axis in axes)
    )
    check_seeds(runs.seeds)
    if twice := next((name for name in runs.references if runs.references.count(name) > 1), None):
        raise QexpError(f"the experience {twice} is named twice; name each once")
    cache = spec_cache(workspace, memory_of(runs))
    if pretraining is not None:
        before = [axis.of_grid for axis in axes if axis.of_pretraining]
        for point in grids.points_of(before):
            changes = {**pretraining.overrides, **point}
            grids.at_point(pretraining.experience, changes, before, point, cache, "pretrain_grid")
    documents = {}
    for reference in runs.references:
        own = [axis.of_grid for axis in axes if not axis.of_pretraining]
        for point in grids.points_of(own):
            experience = grids.at_point(reference, {**runs.overrides, **point}, own, point, cache)
            documents[reference] = experience.document
    measured = _measured(study, documents[runs.references[0]])
    output, metric, name = measured.output, measured.metric, measured.key
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
    if pretraining is not None and not any(
        document.get("pretrain") for document in documents.values()
    ):
        raise QexpError(
            f"`pretrain={pretraining.experience}`: none of {', '.join(runs.references)} has"
            " 'pretrain' in its spec"
        )
    return measured


def _measured(study: StudyOrder, document: Document) -> Measured:
    """What is drawn.

    document  of the first experience
    """
    name, firsts = study.options.metric or "", type_of(document).outputs(document)
    if name.startswith("validation."):
        of_test = name.removeprefix("validation.")
        raise QexpError(
            f"`metric={name}`: a study draws errors of the test part, `metric={of_test}`; to choose"
            " by those of the validation part, list the runs with the column of that name"
        )
    output, _, metric = name.removeprefix("test.").rpartition(".")
    if not output and firsts is None:
        first = study.runs.references[0]
        raise QexpError(
            f"the outputs of {first} are unknown before it has run; give `metric=OUTPUT.METRIC`"
        )
    if not output and firsts:
        output = metric if metric in firsts else firsts[0]
        if metric in ("", output):
            metric = output_type(document, output).main
    usual = firsts is not None and [output] == firsts[:1] and metric in MAIN_METRICS
    return Measured(output, metric, usual)


# The runs of a study, and the pretraining run of each.


@dataclass(frozen=True)
class Member:
    experience: str
    """The experience as given by the user."""
    point: Point
    plan: Plan


Parents = Mapping[tuple[Point, int], str]
"""(values of the pretraining axes, seed of a run) → name of the run that it starts from."""


def parents_of(study: StudyOrder, axes: Sequence[StudyAxis], pretrained: Sequence[Plan]) -> Parents:
    """The pretraining run of each run.

    pretrained  plans of the pretraining runs; seeds vary fastest
    """
    first, seeds = study.options.pretraining, study.runs.seeds
    assert first is not None
    seeds_of_pretraining = first.seeds(seeds)
    starts = itertools.product(
        points([axis for axis in axes if axis.of_pretraining]), seeds_of_pretraining
    )
    names: dict[tuple[Point, int], str] = {
        start: plan.name for start, plan in zip(starts, pretrained, strict=True)
    }
    if first.seed == SAME:
        return names
    return {(point, seed): name for (point, _), name in names.items() for seed in seeds}


def members_of(
    study: StudyOrder, axes: Sequence[StudyAxis], parents: Parents, workspace: Workspace
) -> tuple[list[Member], CheckedOrder]:
    """All runs of the study, and a checked order for them; nothing is written.

    parents  empty without pretraining
    Raises QexpError if two runs are the same, or for any reason for which a sweep is refused.
    """
    own_axes = [axis for axis in axes if not axis.of_pretraining]
    members: list[Member] = []
    orders: list[CheckedOrder] = []
    for before, order in _orders(study, (None,) * (len(axes) - len(own_axes)), parents, workspace):
        checked = launch.check_order(order, workspace)
        orders.append(checked)
        values = (point for point in points(own_axes) for _ in order.seeds)
        members.extend(
            Member(order.references[0], (*before, *point), plan)
            for plan, point in zip(checked.plans, values, strict=True)
        )
    return members, _merge(orders)


def _orders(
    study: StudyOrder, independent: Point, parents: Parents, workspace: Workspace
) -> Iterator[tuple[Point, Order]]:
    """Values of the pretraining axes and an order, for each set of runs with the same pretraining
    run, or without one.

    independent  the values for an experience without pretraining
    """
    runs, seeds = study.runs, study.runs.seeds
    for reference in runs.references:
        key = _pretrain_key(reference, runs.overrides, workspace) if parents else None
        if key is None:
            yield independent, study.order(reference, runs.seeds, runs.grid, runs.overrides)
            continue
        for before in dict.fromkeys(point for point, _ in parents):
            for name in dict.fromkeys(parents[before, seed] for seed in seeds):
                seeds_of_parent = [seed for seed in seeds if parents[before, seed] == name]
                overrides = {**runs.overrides, key: name}
                yield before, study.order(reference, seeds_of_parent, runs.grid, overrides)


def _pretrain_key(reference: str, overrides: Overrides, workspace: Workspace) -> str | None:
    """The key of an experience that names its pretraining run; None for an experience without
    pretraining.
    """
    changes = [resolution.override(*change) for change in overrides.items()]
    written = resolution.experience(reference, changes, workspace).document.get("pretrain")
    if written is None:
        return None
    return "pretrain.run" if isinstance(written, dict) else "pretrain"


def _merge(orders: Sequence[CheckedOrder]) -> CheckedOrder:
    """One order from several with equal settings, so that they make one launch."""
    workloads = [order.workload for order in orders]
    plans = [plan for order in orders for plan in order.plans]
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise QexpError(
            f"two runs of the study are the same, {name}; name every experience and value once"
        )
    merged = Workload(
        [plan for workload in workloads for plan in workload.new],
        [plan for workload in workloads for plan in workload.again],
        [plan for workload in workloads for plan in workload.done],
        {name: state for workload in workloads for name, state in workload.left.items()},
        {name: other for workload in workloads for name, other in workload.same.items()},
    )
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

    def results(self) -> Table:
        """A table with a row per experience and value; axes that an experience does not depend on
        are left empty.
        """
        rows, columns, listed = [], [*self.axes], set()
        for compared in self.points:
            table = results_of_groups(compared.comparison)
            columns = [*(IN_WORDS.get(name, name) for name in self.axes), *table.columns[2:]]
            for row, cells in zip(compared.comparison.results, table.rows, strict=True):
                point = compared.point_of_group[row.group]
                if (row.group, point) not in listed:
                    listed.add((row.group, point))
                    rows.append([*(value or NONE for value in point), *cells[2:]])
        title = "; ".join(filter(None, [f"{self.output} {self.metric}, test", self.fixed_in_words]))
        return Table(title, columns, rows, frozenset(columns[len(self.axes) + 1 : -1]))

    def differences(self) -> list[Table]:
        """A table per pair of experiences: the differences, paired by seed if seeds are common, for
        every value.
        """
        rows: dict[str, list[list[str]]] = {}
        columns: list[str] = []
        for compared in self.points:
            for pair in compared.comparison.pairs:
                if pair.rows:
                    table = differences_of(pair, compared.comparison)
                    columns = [
                        *(IN_WORDS.get(name, name) for name in self.axes),
                        *table.columns[2:],
                    ]
                    cells_of_pair = [
                        [*(value or NONE for value in compared.point), *cells[2:]]
                        for cells in table.rows
                    ]
                    title = table.title.removesuffix(f" ({ranges(pair.seeds)})")
                    rows.setdefault(title, []).extend(cells_of_pair)
        right = frozenset(columns[len(self.axes) : len(self.axes) + 3])
        return [Table(title, columns, of_pair, right) for title, of_pair in rows.items()]

    def remarks(self) -> list[str]:
        return list(
            dict.fromkeys(text for compared in self.points for text in remarks(compared.comparison))
        )

    def document(self) -> dict[str, Any]:
        return {
            "axes": self.axes,
            "fixed": dict(self.fixed),
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
            members_here = [  # those with the point's values on all axes that they depend on
                member
                for member in members
                if member.experience == reference
                and all(
                    own in (None, value) for own, value in zip(member.point, point, strict=True)
                )
            ]
            chosen = [runs[member.plan.name] for member in members_here if member.plan.name in runs]
            if chosen:
                experience, caution = chosen[0].summary["experience"], chosen[0].summary["caution"]
                groups.append(SeedGroup(with_caution(experience, caution), chosen))
                points_of_groups[groups[-1].name] = members_here[0].point
        if any(group.counted for group in groups):
            studied = compare_across_seeds(groups).only(
                lambda row: (row.output, row.metric) == (output, metric)
            )
            yield PointComparison(point, studied, points_of_groups)


# The folder of a study: a table of its runs, a table of its results per value, and the figure.

RUNS, VALUES, FIGURE = STUDY_FILES


def _with_fixed(
    study: Study, columns: list[str], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """A table with a column for each key that is set at all points."""
    # an axis of pretraining has the key
    names = [f"overrides.{key}" if key in columns else key for key in study.fixed]
    return [*columns, *names], [[*row, *map(value_text, study.fixed.values())] for row in rows]


def _run_rows(
    members: Sequence[Member], axes: Sequence[StudyAxis], runs: Mapping[str, ComparedRun]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the table of runs, with all test metrics."""
    tests = {
        name: run.numbers if run.summary["state"] == State.DONE else {}
        for name, run in runs.items()
    }
    metrics = list(
        dict.fromkeys(
            (output, name) for test in tests.values() for output in test for name in test[output]
        )
    )
    keys = [axis.of_grid.name for axis in axes]
    of_metrics = [f"{output}.{name}" for output, name in metrics]
    columns = ["experience", *keys, "seed", "run", "start", "state", *of_metrics]
    rows = []
    for member in members:
        name, parent = member.plan.name, member.plan.parent
        state = runs[name].summary["state"] if name in runs else State.GONE
        cells = [member.plan.seed, name, parent.name if parent else None, state]
        values = [tests.get(name, {}).get(output, {}).get(metric) for output, metric in metrics]
        rows.append([member.plan.experience, *member.point, *cells, *values])
    return columns, rows


def _value_rows(study: Study, axes: Sequence[StudyAxis]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the results: per experience and value, and, with a `minus`, per pair of
    experiences.
    """
    columns: list[str] = []
    row_by_key: dict[tuple[str | None, ...], list[Any]] = {}
    for compared in study.points:
        columns, rows = plain_rows(compared.comparison)
        for group, minus, *rest in rows:
            key = (group, minus, *(compared.point if minus else compared.point_of_group[group]))
            row_by_key.setdefault(key, [*key, *rest])
    # differences last; the sort is stable
    ordered = sorted(row_by_key.values(), key=lambda row: bool(row[1]))
    return ["experience", "minus", *(axis.of_grid.name for axis in axes), *columns[2:]], ordered


def _draw(study: Study, axes: Sequence[StudyAxis], numbers: Mapping[str, float]) -> None:
    panels: dict[str, dict[str, Line]] = {}
    for compared in study.points:
        first, *further = compared.point
        title = ", ".join(
            f"{axis.label} {value}" for axis, value in zip(axes[1:], further, strict=True)
        )
        lines = panels.setdefault(title, {})
        for row in compared.comparison.results:
            if row.estimate is not None:
                line = lines.setdefault(
                    row.group, Line({}, constant=compared.point_of_group[row.group][0] is None)
                )
                line.spots[first] = OfSeeds(
                    list(row.values.values()), row.estimate.mean, row.estimate.interval
                )
    unit = f" ({study.unit})" if study.unit else ""
    words = f"test {metric_in_words(study.metric)} of {in_symbols(study.output)}{unit}"
    floor = -0.5 if study.metric == "r2" else None  # which has no lower bound
    values = axes[0].of_grid.texts
    figure = study_panels(
        panels, axes[0].label, values, words, numbers, floor, study.fixed_in_words
    )
    save(figure, study.folder / FIGURE)


def _numbers(axis: StudyAxis, members: Sequence[Member], workspace: Workspace) -> dict[str, float]:
    """Value → number of training samples, for a value such as `all` labelled spectra; empty if that
    is unknown.
    """
    # the first of several seeds
    plans = {member.point[0]: member.plan for member in reversed(members)}
    key = axis.of_grid.keys[0] if len(axis.of_grid.keys) == 1 else ""
    words = [
        word
        for word, plan in plans.items()
        if word is not None and (data := data_of(plan.spec)) and word == data.all_samples.get(key)
    ]
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


# Execution of a study: from its options to its folder.


def run_study(study: StudyOrder, workspace: Workspace, watched: Callable[[], Watcher]) -> Study:
    """Train the missing runs of a study, then write its tables and its figure.

    watched  returns the watcher of a launch
    Raises QexpError, before any run starts, for unknown specs, values or metrics, and for a folder
    that holds another study; RunFailedError if a pretraining run is not done; InterruptedRunError
    after a signal: the same call continues the study.
    """
    axes, measured, out = _checked(study, workspace)
    parents: Parents = {}
    if (order := study.pretraining_order()) is not None:
        pretraining = launch.check_order(order, workspace)
        states = _run(pretraining, workspace, study.options, watched)
        if unfinished := [
            (name, state) for name, state in states.items() if state is not State.DONE
        ]:
            raise RunFailedError(
                f"pretraining runs are not done: {_states_in_words(unfinished)}; see qexp logs"
            )
        parents = parents_of(study, axes, pretraining.plans)
    members, checked = members_of(study, axes, parents, workspace)
    _require_own(out, members, measured, workspace)
    _run(checked, workspace, study.options, watched)
    return _collect(study, members, axes, measured, workspace, out)


def plan_study(study: StudyOrder, workspace: Workspace) -> tuple[list[Plan], bool]:
    """The runs that would start, and whether these are all: pretrained runs are planned when
    pretraining is done.

    `tell` receives what `run_study` would tell before it starts runs, and where it would write.
    Raises QexpError for unknown specs, values or metrics.
    """
    axes, measured, out = _checked(study, workspace)
    tell = study.options.tell
    tell(f"{measured.words} would be drawn in {workspace.shown(out)}")
    parents: Parents = {}
    if (order := study.pretraining_order()) is not None:
        pretraining = launch.check_order(order, workspace)
        workload = pretraining.workload
        _tell_of(pretraining, tell)
        if workload.new or workload.again or workload.left:
            return [*workload.again, *workload.new], False
        parents = parents_of(study, axes, pretraining.plans)
    members, checked = members_of(study, axes, parents, workspace)
    _require_own(out, members, measured, workspace)
    _tell_of(checked, tell)
    return [*checked.workload.again, *checked.workload.new], True


def _checked(study: StudyOrder, workspace: Workspace) -> tuple[list[StudyAxis], Measured, Path]:
    """The axes of a study, what is drawn, and its folder. Raises QexpError, as `check_study`
    does.
    """
    require_width(study.options.width)
    axes = study.axes()
    measured = check_study(study, axes, workspace)
    out = study.options.out
    folder = (
        _folder(study, axes, measured, workspace) if out is None else target_outside_of_runs(out)
    )
    return axes, measured, folder


def _folder(
    study: StudyOrder, axes: Sequence[StudyAxis], measured: Measured, workspace: Workspace
) -> Path:
    """Named after what is varied, the metric if it is not the usual one, and a digest of what is
    set, as of runs.
    """
    words = [Path(study.runs.references[0]).stem, *(axis.name for axis in axes)]
    words += [] if measured.usual else [measured.key]
    words += [digest(dict(study.fixed))[:6]] if study.fixed else []
    return workspace.root / "studies" / re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(words))


def _require_own(
    folder: Path, members: Sequence[Member], measured: Measured, workspace: Workspace
) -> None:
    """Raise QexpError if a folder holds another study: runs that are not of this one, or another
    metric.
    """
    ours = {member.plan.name for member in members}
    others = [
        name for row in lines_of(folder / RUNS) if (name := row.get("run")) and name not in ours
    ]
    metrics = {
        f"{row['output']} {row['metric']}" for row in lines_of(folder / VALUES) if row.get("metric")
    }
    if others or metrics - {measured.words}:
        what = (
            f"other runs, {some(list(dict.fromkeys(others)))}"
            if others
            else f"{', '.join(sorted(metrics))}"
        )
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
        tell(
            f"{len(workload.again)} begun already, which continue:"
            f" {some([plan.name for plan in workload.again])}"
        )
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
    pool = launch.launch_runs(checked, workspace, watched=watched, tell=tell, most=options.most)
    if pool is not None and pool.stopped:
        raise InterruptedRunError("the study was interrupted; repeat the command to continue")
    directories = [RunDirectory(workspace.runs / plan.name) for plan in checked.plans]
    under_way = [
        directory for directory, state in Watch().states(directories).items() if state.at_work
    ]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(directories).items()}


def _collect(
    order: StudyOrder,
    members: Sequence[Member],
    axes: Sequence[StudyAxis],
    measured: Measured,
    workspace: Workspace,
    out: Path,
) -> Study:
    """The results of the runs, written to the study's folder in place of those of the same study
    when it had fewer.

    Raises RunFailedError if no run is done.
    """
    states = Watch().states([RunDirectory(workspace.runs / member.plan.name) for member in members])
    runs = {
        directory.name: ComparedRun(
            directory, {**directory.record().document(), "state": state}, None
        )
        for directory, state in states.items()
        if state.readable
    }
    points = list(compare_points(runs, members, axes, measured.output, measured.metric))
    unfinished = {
        directory.name: state for directory, state in states.items() if state is not State.DONE
    }
    if not points:
        raise RunFailedError(
            f"no run of the study is done: {_states_in_words(list(unfinished.items())[:3])}"
        )
    unit = next((row.unit for compared in points for row in compared.comparison.results), "")
    names, paths = [axis.name for axis in axes], [out / name for name in STUDY_FILES]
    study = Study(
        names, order.fixed, measured.output, measured.metric, unit, points, unfinished, out, paths
    )
    with use_style(None, order.options.width):
        make_folder(out)
        write_csv(out / RUNS, *_with_fixed(study, *_run_rows(members, axes, runs)))
        write_csv(out / VALUES, *_with_fixed(study, *_value_rows(study, axes)))
        _draw(study, axes, _numbers(axes[0], members, workspace))
    return study


def _states_in_words(states: Iterable[tuple[str, State]]) -> str:
    return ", ".join(f"{name} is {state.words}" for name, state in states)
