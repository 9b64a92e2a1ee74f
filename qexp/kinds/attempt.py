"""One process's work on a run, from its directory to its results; its display, and the numbers of
its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base.outputs import Output
from qexp.base.tables import Tables
from qexp.store.directory import RunDirectory
from qexp.store.record import (
    ComparisonRow,
    Feature,
    FieldErrors,
    GroupErrors,
    Intervals,
    Numbers,
    Record,
)

if TYPE_CHECKING:
    import torch

    from qexp.kinds.kind import Dataset


class Display:
    """Shows the progress of a run, epoch by epoch; this one shows nothing."""

    def start(self, name: str, epochs: int, done: int, of: str = "") -> None:
        """The run starts, after `done` epochs of an earlier attempt; `of`: what they are of, if it
        is not the run.
        """

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        """A batch of an epoch is done."""

    def epoch(self, line: dict[str, Any], seconds: float) -> None:
        """An epoch is done, which took some seconds; `line` is its line in `metrics.jsonl`."""

    def stop(self) -> None:
        """The attempt ends."""


@dataclass
class OwnRecord:
    """The record of a run in the memory of the process that trains it; only this process changes
    it.
    """

    directory: RunDirectory
    record: Record

    def keep(self, **changes: Any) -> None:
        """Change fields without writing; the next `note` writes them."""
        self.record = replace(self.record, **changes)

    def note(self, **changes: Any) -> None:
        """Change fields and write the record."""
        self.keep(**changes)
        self.directory.write(self.record)


@dataclass(frozen=True)
class Work:
    """What a process is to do on a run, whatever the type of its experience.

    own          the record, written by this process
    attempt      the folder of the attempt
    device       its name, such as "auto"
    interrupted  returns whether the process was asked to end
    threads      largest number of threads to use; all of the machine if None
    dataset      the run's dataset, if it is already open
    """

    own: OwnRecord
    attempt: Path
    device: str
    display: Display
    interrupted: Callable[[], bool]
    threads: int | None
    dataset: Dataset | None

    @cached_property
    def spec(self) -> dict[str, Any]:
        return self.own.directory.spec()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The objects with which a run is trained and evaluated.

    own          the record, written by this process
    dataset      the opened dataset of the spec; its class depends on the kind of dataset
    interrupted  returns whether the process was asked to end
    processes    largest number of processes to use, each on one core
    alone        a context in which only this run of a stack is at work, for what is logged
    """

    directory: RunDirectory
    own: OwnRecord
    spec: dict[str, Any]
    dataset: Any
    tables: Tables
    device: torch.device
    display: Display
    interrupted: Callable[[], bool]
    processes: int
    alone: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def record(self) -> Record:
        return self.own.record

    @property
    def name(self) -> str:
        return self.record.name

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """What the network of the run estimates."""
        from qexp.kinds.networks import outputs_of  # loads torch

        return outputs_of(self.spec, self.tables, self.record.units)

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def caution(self) -> str:
        """The warning that every output of the run must repeat."""
        return self.record.caution


@dataclass(frozen=True)
class Results:
    """Numbers in the outputs' own units.

    results     part → output → metric → value
    intervals   part → output → metric → 95 % interval, if it has one
    comparison  the network and its baselines, by estimator
    errors      fields only: cells, errors of vectors, seconds per frame
    groups      errors by core, folder or group of rows, without those of all test samples
    features    rows only: the input columns in order, with the range of the training data
    targets     data from files: the outputs, with the range of their true values in the training
                data
    units       programs only: units of outputs that were unknown before
    remarks     evaluations only: how many samples lie outside the training data
    """

    results: Numbers
    intervals: Intervals = field(default_factory=dict)
    comparison: tuple[ComparisonRow, ...] = ()
    errors: FieldErrors | None = None
    groups: tuple[GroupErrors, ...] = ()
    features: tuple[Feature, ...] = ()
    targets: tuple[Feature, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
