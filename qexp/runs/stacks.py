"""Stacks of runs: which runs of a sweep are trained side by side in one process, and how many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch

from qexp.base import machine
from qexp.base.seeds import Seeds
from qexp.kinds.experiments import Experience
from qexp.kinds.networks import network_of
from qexp.kinds.objects import data_kind, recipe_of
from qexp.networks.network import initialise, operations_per_sample
from qexp.networks.network_stack import can_be_stacked
from qexp.networks.optimizers import OF_MATRICES, OPTIMIZERS
from qexp.runs.prepare import Plan
from qexp.spec.experiences import type_of
from qexp.spec.reading import canonical
from qexp.store.record import StackPlace

ALIKE = ("model", "inputs", "outputs", "losses", "epochs", "batch_size", "precision")
"""Keys of an experience that are equal for all runs of a stack. What others say is done for each
run by itself.
"""

OPERATIONS_ON_CPU = 3e7
"""In the forward pass of a step. Up to here a core spends most of its time on what a step costs
whatever the network's size, and less of it for each run of a stack; beyond, a run alone is as fast
(`python -m benchmarks loops`).
"""

LARGEST_ON_CPU = 8
"""A larger stack is hardly faster for each of its runs, because the weights no longer fit into the
cache.
"""

OPERATIONS_ON_GPU, LARGEST_ON_GPU = 3e10, 64
"""The same for a GPU: operations of all runs of a stack together."""

SHARE_OF_MEMORY = 0.5
"""Largest part of the memory for the samples of all runs of a stack."""


def alike(experience: Experience, seeds: Iterable[int]) -> dict[int, str]:
    """Seed → what is equal in runs that can train in a stack; empty if these cannot."""
    spec = experience.document
    tables = experience.tables
    if (
        not type_of(spec).trains
        or experience.dataset is None
        or (spec.get("pretrain") or {}).get("freeze")
    ):
        return {}
    optimizer = spec["optimizer"]["type"]
    if optimizer in OF_MATRICES or tables["optimizers"][optimizer] is not OPTIMIZERS.get(optimizer):
        return {}
    shapes = experience.dataset.shapes()
    kind = data_kind(spec["dataset"])
    of_samples = [list(shapes[name]) for name in (*spec["inputs"], *spec["outputs"])]
    same = canonical({**{key: spec[key] for key in ALIKE}, "shapes": of_samples})
    of_seeds = {seed: kind.sizes(spec, experience.dataset, tables, seed) for seed in seeds}
    return {seed: f"{same} {sizes}" for seed, sizes in of_seeds.items() if sizes is not None}


def in_stacks(
    plans: Sequence[Plan], stack: str, size: int | None, device: str, jobs: int
) -> list[Plan]:
    """Plans of new runs, with their places in stacks: those that are alike, in their order, divided
    evenly.

    stack  beginning of the names of the stacks
    size   number of runs in a stack; None: as many as train faster side by side than alone, on the
           device, and so that there is a stack for each of the runs that work at a time, `jobs`
    """
    if size == 1 or len(plans) < 2:
        return list(plans)
    groups: dict[str, list[int]] = {}
    of_experience = groupby(enumerate(plans), key=lambda numbered: id(numbered[1].checked))
    for numbered in (list(members) for _, members in of_experience):
        experience = numbered[0][1].checked
        same = (
            alike(experience, [plan.seed for _, plan in numbered]) if experience is not None else {}
        )
        for index, plan in numbered:
            if plan.seed in same:
                groups.setdefault(same[plan.seed], []).append(index)
    placed, number = list(plans), 0
    for group in groups.values():
        experience = plans[group[0]].checked
        assert experience is not None
        most = largest_stack(experience, device, size) if len(group) > 1 else 1
        count = len(group) if most < 2 else math.ceil(len(group) / most)
        if size is None:
            count = max(count, min(jobs, len(group)))
        for members in np.array_split(group, count):
            if len(members) > 1:
                for place, index in enumerate(members.tolist()):
                    of_stack = StackPlace(
                        id=f"{stack}.{number}",
                        size=len(members),
                        place=place,
                        seed=plans[int(members[0])].seed,
                    )
                    placed[index] = replace(plans[index], stack=of_stack)
                number += 1
    return placed


def largest_stack(experience: Experience, device: str, size: int | None) -> int:
    """The number of runs of an experience in a stack: `size`, or as many as are worth it; 1 if they
    cannot be stacked.

    device  "auto", "cpu" or "cuda"
    """
    spec = experience.document
    tables = experience.tables
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    if size is None:
        operations = max(operations_per_sample(network) * int(spec["batch_size"]), 1)
        if device != "cpu" and torch.cuda.is_available():
            size = min(LARGEST_ON_GPU, int(OPERATIONS_ON_GPU / operations))
        else:
            size = LARGEST_ON_CPU if operations <= OPERATIONS_ON_CPU else 1
        kept = data_kind(spec["dataset"]).samples(spec, experience.dataset).kept
        size = min(size, int(SHARE_OF_MEMORY * machine.memory() / max(kept, 1)))
    if size < 2:
        return 1
    initialise(network, Seeds(0))
    return size if can_be_stacked(network, recipe_of(spec, tables)) else 1
