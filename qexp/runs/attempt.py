"""One process's work on a run, from its directory to its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.runs.display import Display
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.tables import Tables

if TYPE_CHECKING:
    import torch

    from qexp.assemble import Dataset


@dataclass
class OwnRecord:
    """The record of a run in the memory of the process that trains it; only this process changes it."""

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


@dataclass(frozen=True)
class Attempt:
    """The objects with which a run is trained and evaluated.

    own          the record, written by this process
    dataset      the opened dataset of the spec; its class depends on the kind of dataset
    interrupted  returns whether the process was asked to end
    processes    largest number of processes to use, each on one core
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

    @property
    def record(self) -> Record:
        return self.own.record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def caution(self) -> str:
        """The warning that every output of the run must repeat."""
        return self.record.caution
