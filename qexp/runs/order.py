"""What is to be run: experiences, seeds, a grid of changes, where, and from which pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp.errors import QexpError
from qexp.jobs.launchers import LOCAL


@dataclass(frozen=True)
class Order:
    """Runs to be trained: each experience with each combination of grid values, and each seed."""

    experiences: str | Path | Sequence[str | Path]
    """Names or paths of specs."""
    seeds: Sequence[int] = (0,)
    """`range(10)` or `[0, 2, 5]`."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dotted key → values: `{"learning_rate": [1e-3, 3e-3]}`. Keys with + between them get the same value, with commas
    between them a value each: `{"learning_rate,batch_size": [(1e-3, 16), (3e-3, 32)]}`."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → value, for all runs: `{"epochs": 20}`."""
    pretrain: str | None = None
    """The run whose best weights these start from, or `x_{seed}`, for each the run with its own seed; which operations
    take them is stated in the experience."""
    allow_leak: bool = False
    """Allow test spectra that were also used for training; every output is marked."""
    storage_path: str | Path | None = None
    """The folder for the run directories; `runs/` gets links to them."""
    resume: bool = False
    """Continue runs that were interrupted."""
    only_failed: bool = False
    """Repeat the runs that ended without a result, and start no others."""
    trust_code: bool = False
    """Execute the code in `code/extensions.py` of imported runs."""
    jobs: int | None = None
    """Maximum number of runs at a time; if left out, 1 on this machine and no limit on a cluster."""
    device: str = "auto"
    """Where to compute: "auto", "cpu" or "cuda"."""
    launcher: str = LOCAL
    """Where to run: "local", or the name of a scheduler."""
    tags: Sequence[str] = ()
    """Tags of the runs."""
    note: str = ""
    """The note of the runs."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the launcher: `{"time": "2:00:00"}`; `wrap` and `python` apply to the local one, too."""
    profile: str | None = None
    """A table of options of a scheduler in qexp.toml, such as "big" for [SCHEDULER.big]; it implies the launcher."""

    @property
    def references(self) -> list[str]:
        """The experiences as a list of strings."""
        several = [self.experiences] if isinstance(self.experiences, str | Path) else self.experiences
        return [str(one) for one in several]

    @property
    def storage(self) -> Path | None:
        """`storage_path` as a path."""
        return None if self.storage_path is None else Path(self.storage_path)


# Pretraining that runs of an order start from.


SAME = "same"
"""As the seed of pretraining: each run starts from one with its own seed."""


@dataclass(frozen=True)
class Pretraining:
    """An experience that is trained first, for other runs to start from."""

    experience: str
    """Name or path of its spec."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dotted key → values, as in `Order`."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → value, as in `Order`."""
    seed: int | str = 0
    """The seed of the run that all start from, or "same": each starts from a run with its own seed."""

    def seeds(self, of_others: Sequence[int]) -> Sequence[int]:
        """The seeds that it is trained with, given those of the runs that start from it.

        Raises QexpError if its own is neither a seed nor "same".
        """
        if isinstance(self.seed, str):
            if self.seed != SAME:
                raise QexpError(f"--pretrain-seed {self.seed}: give a seed, or '{SAME}' for the seed of each run")
            return of_others
        return [self.seed]
