"""Launchers: the pool of this machine, and the schedulers of clusters.

A new scheduler is a module with a class that implements `Scheduler`, and a line in `LAUNCHERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.runs.record.record import JobRecord
from qexp.runs.schedulers.options import Chosen, launch_options
from qexp.runs.schedulers.scheduler import Scheduler
from qexp.runs.schedulers.slurm import Slurm

LOCAL = "local"

LAUNCHERS: dict[str, Scheduler | None] = {
    LOCAL: None,
    "slurm": Slurm(),
}
"""Name → scheduler; None for the local pool, which starts the processes of runs itself."""


def scheduler_of(launcher: str) -> Scheduler | None:
    """The scheduler of a launcher, None for the local pool. Raises QexpError for an unknown launcher."""
    if launcher not in LAUNCHERS:
        raise QexpError(f"--launcher {launcher}: no such launcher; {suggestion(launcher, LAUNCHERS)}")
    return LAUNCHERS[launcher]


def options_of(launcher: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Chosen:
    """The options of a launch, see `launch_options`; the local pool has none. Raises QexpError for invalid ones."""
    scheduler = scheduler_of(launcher)
    if scheduler is not None:
        return launch_options(launcher, scheduler.options, settings, given)
    if given:
        others = ", ".join(name for name, other in LAUNCHERS.items() if other is not None)
        raise QexpError(f"--launcher {launcher} has no options; --option is for: {others}")
    return {}


def this_job(workspace: Path) -> JobRecord | None:
    """The scheduler's job of this process, as it is stored in a run's record; None if no scheduler started it."""
    for name, scheduler in LAUNCHERS.items():
        if scheduler is not None and (job := scheduler.this_job()) is not None:
            identifier, cluster = job
            return JobRecord(launcher=name, id=identifier, workspace=str(workspace), cluster=cluster or None)
    return None
