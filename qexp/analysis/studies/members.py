"""The runs of a study, and which run each of them starts from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qexp.analysis.studies.asked import Asked
from qexp.analysis.studies.axes import Axis, Point, points
from qexp.errors import QexpError
from qexp.runs.launch import sweep
from qexp.runs.launch.order import Order
from qexp.runs.launch.pretraining import SAME
from qexp.runs.launch.sweep import Choice, Prepared
from qexp.runs.planning.prepare import Plan
from qexp.spec import resolve
from qexp.spec.resolve import Overrides
from qexp.workspace import Workspace


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


Parents = Mapping[tuple[Point, int], str]
"""Values of the axes of pretraining, and the seed of a run that starts there → the run that it starts from."""


def parents_of(asked: Asked, axes: Sequence[Axis], pretrained: Sequence[Plan]) -> Parents:
    """Which run each run starts from.

    pretrained  the runs of pretraining, seeds fastest
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
    asked: Asked, axes: Sequence[Axis], parents: Parents, workspace: Workspace
) -> tuple[list[Member], Prepared]:
    """All runs of the study, and what there is to do of them; nothing is written.

    parents  empty if nothing starts from pretraining
    Raises QexpError if two runs would be the same, and for all that a sweep is refused for.
    """
    own = [axis for axis in axes if not axis.of_pretraining]
    members: list[Member] = []
    prepared: list[Prepared] = []
    for before, order in _orders(asked, (None,) * (len(axes) - len(own)), parents, workspace):
        one = sweep.prepare(order, workspace)
        prepared.append(one)
        values = (point for point in points(own) for _ in order.seeds)
        members.extend(
            Member(order.references[0], (*before, *point), plan) for plan, point in zip(one.plans, values, strict=True)
        )
    return members, _merged(prepared)


def _orders(asked: Asked, independent: Point, parents: Parents, workspace: Workspace) -> Iterator[tuple[Point, Order]]:
    """Runs that start from the same run, or from none; with their values of the axes of pretraining.

    independent  those values where an experience starts from none
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
    """What is to be set for an experience to start from another run; None for one that starts from none."""
    changes = [resolve.override(*change) for change in overrides.items()]
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
