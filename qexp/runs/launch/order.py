"""What is to be run: experiences, seeds, a grid of changes, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp.runs.schedulers import LOCAL


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
