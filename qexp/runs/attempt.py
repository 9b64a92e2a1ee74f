"""One process's work on a run, from its directory to its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from qexp.runs.display import Display
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.tables import Tables


@dataclass
class OwnRecord:
    """The record of a run, changed by the one process that works on it."""

    directory: RunDirectory
    record: Record

    def keep(self, **changes: Any) -> None:
        """Change fields; they are written with the next note."""
        self.record = replace(self.record, **changes)

    def note(self, **changes: Any) -> None:
        """Change fields, and write the record."""
        self.keep(**changes)
        self.directory.write(self.record)


@dataclass(frozen=True)
class Attempt:
    """What training and evaluation of a run need.

    own          the record, as this process writes it
    dataset      the spec's, opened; which class it is of depends on its kind
    interrupted  whether the process was asked to end
    processes    at most so many may be used, each on one core
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
        """What every output of the run must say."""
        return self.record.caution
