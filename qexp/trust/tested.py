"""The observations that test posteriors: of a part, another dataset, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, suggestion
from qexp.inference.refinement import Samples
from qexp.kinds.evaluation import ALL, PARTS, TEST
from qexp.kinds.experiments import SpecCache, open_dataset
from qexp.kinds.images.experiment import generated_of, parts_of, require_variables_of
from qexp.kinds.options import CalibrateOptions
from qexp.kinds.tables import tables_of
from qexp.results.calibration import GIVEN
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.generators import Values
from qexp.store.directory import RunDirectory

PURPOSE = "calibration"
"""Of the random streams: none that a training uses."""

SIMULATED_TOGETHER = 100
"""Observations that are simulated at a time, with a random stream of their own."""


@dataclass(frozen=True)
class Batch:
    """Simulated observations and the values that made them."""

    number: int
    start: int
    values: Values
    """Varying variable → (observation,), in its unit."""
    samples: Samples
    """All variables of the dataset, as a network takes them."""


Column = TypeVar("Column", Array, Tensor)


def _rows(columns: Mapping[str, Column], some: slice) -> dict[str, Column]:
    return {name: column[some] for name, column in columns.items()}


def batches(
    values: Values,
    samples_of: Callable[[slice], Samples],
    count: int,
    size: int,
) -> Iterator[Batch]:
    """The first `count` observations of these values, in batches.

    samples_of  rows → what is observed of them
    """
    for number, start in enumerate(range(0, count, size)):
        some = slice(start, min(start + size, count))
        yield Batch(number, start, _rows(values, some), samples_of(some))


def _simulated(
    dataset: GeneratedDataset,
    values: Values,
    seeds: Seeds,
    device: torch.device,
    some: slice,
) -> dict[str, Tensor]:
    """Observations of some values; the same for any batches of a multiple of
    `SIMULATED_TOGETHER`.
    """
    parts = []
    for first in range(some.start, some.stop, SIMULATED_TOGETHER):
        few = _rows(values, slice(first, min(first + SIMULATED_TOGETHER, some.stop)))
        parts.append(dataset.observe(few, seeds.torch(device, PURPOSE, "noise", first)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Asked:
    """The observations that test posteriors.

    dataset  its name
    part     of it, or `GIVEN`
    caution  why even sound posteriors would not be calibrated on them; empty if they would
    """

    dataset: str
    part: str
    caution: str
    count: int
    batches: Iterator[Batch]


def asked(
    directory: RunDirectory,
    dataset: GeneratedDataset,
    workspace: Workspace,
    options: CalibrateOptions,
    caution_of: Callable[[str], str],
    together: int,
    seeds: Seeds,
    device: torch.device,
) -> Asked:
    """What is asked for: arrays, another dataset, or a part of the run's own. Raises QexpError.

    caution_of  why posteriors would not be calibrated on a part of the distributions
    together    observations of a batch
    """
    spec = directory.training_spec()
    record = directory.record()
    parts = partial(parts_of, dataset, spec["split"], record.seed)
    if options.theta is not None:
        count = min(len(next(iter(options.theta.values()))), options.observations)
        samples = {name: values.to(device) for name, values in options.observed.items()}
        given = batches(options.theta, partial(_rows, samples), count, together)
        caution = _seen(dataset, options.theta, parts)
        return Asked(record.dataset, GIVEN, caution, count, given)
    name = record.dataset
    source = dataset
    of_part = options.part or (ALL if dataset.simulates else TEST)
    if options.dataset is not None:
        tables = tables_of(directory)
        name, document, _ = open_dataset(options.dataset, SpecCache(tables, workspace))
        source = generated_of(document, tables, workspace)
        of_part = GIVEN
        require_variables_of(spec, source, tables, directory.name, f"'{name}'")
        part = parts_of(source, spec["split"], record.seed)[ALL]
    elif of_part not in PARTS:
        raise QexpError(f"`part={of_part}`: {suggestion(of_part, PARTS)}")
    else:
        part = parts()[of_part]
    count = source.available(part, options.observations)
    values = source.values(part, count, seeds, (PURPOSE,))
    caution = caution_of(of_part)
    if of_part == GIVEN:
        caution = "" if source.simulates else _seen(dataset, values, parts)
    elif not dataset.simulates and of_part != TEST:
        caution = (
            f"the network was trained or validated on {'some of ' if of_part == ALL else ''}these"
            " simulations"
        )
    made = batches(values, partial(_simulated, source, values, seeds, device), count, together)
    return Asked(name, of_part, caution, count, made)


def _seen(
    dataset: GeneratedDataset, values: Values, parts: Callable[[], Mapping[str, Part]]
) -> str:
    """A caution if simulations were trained or validated on, if that is known; else empty."""
    if dataset.simulates or set(dataset.test) - {*values}:
        return ""
    try:
        count = int(dataset.seen(values, parts()).sum())
    except QexpError:  # its files are elsewhere
        return ""
    return (
        f"the network was trained or validated on {count:,} of these simulations" if count else ""
    )
