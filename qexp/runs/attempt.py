"""One process's work on a run, from its directory to its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from qexp import files
from qexp.runs.display import Display
from qexp.runs.record.directory import RunDirectory
from qexp.tables import Tables


@dataclass
class OwnRecord:
    """The record of a run, changed by the one process that works on it."""

    directory: RunDirectory
    document: dict[str, Any]

    def keep(self, **changes: Any) -> None:
        """Change keys; they are written with the next note."""
        self.document = {**self.document, **changes}

    def note(self, **changes: Any) -> None:
        """Change keys, and write the record."""
        self.keep(**changes)
        files.write_json(self.directory.record_file, self.document)


@dataclass(frozen=True)
class Attempt:
    """What training and evaluation of a run need.

    own          the record, as this process writes it
    interrupted  whether the process was asked to end
    processes    at most so many may be used, each on one core
    """

    directory: RunDirectory
    own: OwnRecord
    spec: dict[str, Any]
    tables: Tables
    device: torch.device
    display: Display
    interrupted: Callable[[], bool]
    processes: int

    @property
    def record(self) -> dict[str, Any]:
        return self.own.document

    @property
    def name(self) -> str:
        name: str = self.record["name"]
        return name

    @property
    def seed(self) -> int:
        seed: int = self.record["seed"]
        return seed

    @property
    def caution(self) -> str:
        """What every output of the run must say."""
        caution: str = self.record["caution"]
        return caution
