"""The runs of a study, and the pretraining run of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qexp.analysis.studies.asked import Asked
from qexp.analysis.studies.axes import Point, StudyAxis, points
from qexp.errors import QexpError
from qexp.runs.launch import sweep
from qexp.runs.launch.order import Order
from qexp.runs.launch.pretraining import SAME
from qexp.runs.launch.sweep import CheckedOrder, Workload
from qexp.runs.planning.prepare import Plan
from qexp.spec import resolve
from qexp.spec.resolve import Overrides
from qexp.workspace import Workspace


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


def parents_of(asked: Asked, axes: Sequence[StudyAxis], pretrained: Sequence[Plan]) -> Parents:
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
    asked: Asked, axes: Sequence[StudyAxis], parents: Parents, workspace: Workspace
) -> tuple[list[Member], CheckedOrder]:
    """All runs of the study, and a checked order for them; nothing is written.

    parents  empty without pretraining
    Raises QexpError if two runs are the same, or for any reason for which a sweep is refused.
    """
    own = [axis for axis in axes if not axis.of_pretraining]
    members: list[Member] = []
    checked: list[CheckedOrder] = []
    for before, order in _orders(asked, (None,) * (len(axes) - len(own)), parents, workspace):
        one = sweep.check_order(order, workspace)
        checked.append(one)
        values = (point for point in points(own) for _ in order.seeds)
        members.extend(
            Member(order.references[0], (*before, *point), plan) for plan, point in zip(one.plans, values, strict=True)
        )
    return members, _merged(checked)


def _orders(asked: Asked, independent: Point, parents: Parents, workspace: Workspace) -> Iterator[tuple[Point, Order]]:
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
    changes = [resolve.override(*change) for change in overrides.items()]
    written = resolve.experience(reference, changes, workspace).document.get("pretrain")
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
