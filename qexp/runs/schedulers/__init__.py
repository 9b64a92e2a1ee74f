"""Launchers: the pool of this machine, and the schedulers of clusters.

A new scheduler is a module with a class that implements `Scheduler`, and a line in `LAUNCHERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.runs import wrap
from qexp.runs.record.record import JobRecord
from qexp.runs.schedulers.options import Chosen, Option, launch_options, profiles_of
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


AROUND: dict[str, Option] = {
    "wrap": Option(
        r"[^\x00-\x1f\x7f]*",
        'the command around each run, such as "apptainer exec image.sif"',
        only_text=True,
        trouble=wrap.trouble,
    ),
    "python": Option(r"[^\x00-\x1f\x7f]+", "the Python interpreter inside the wrap", only_text=True),
}
"""Options of all launchers, the local pool included, also at the top of qexp.toml."""


def options_of(
    launcher: str, settings: Mapping[str, Any], given: Mapping[str, Any], profile: str | None = None
) -> Chosen:
    """The options of a launch, see `launch_options`. Raises QexpError for invalid ones."""
    scheduler = scheduler_of(launcher)
    of_all = {key: value for key, value in settings.items() if key in AROUND}
    if scheduler is not None:
        return launch_options(launcher, {**scheduler.options, **AROUND}, settings, given, profile, of_all)
    if unknown := [key for key in given if key not in AROUND]:
        others = ", ".join(name for name, other in LAUNCHERS.items() if other is not None)
        raise QexpError(
            f"--launcher {launcher} has no option '{unknown[0]}'; known: {', '.join(sorted(AROUND))}. "
            f"Others are for: {others}"
        )
    return launch_options(launcher, AROUND, {}, given, None, of_all)


def launcher_with(launcher: str, profile: str | None, settings: Mapping[str, Any]) -> str:
    """The launcher to use: the given one, or, if that is the local one, the scheduler that has the profile.

    Raises QexpError if none or several have it.
    """
    if profile is None or LAUNCHERS.get(launcher, launcher) is not None:
        return launcher
    known = all_profiles(settings)
    having = [name for name, profiles in known.items() if profile in profiles]
    if len(having) == 1:
        return having[0]
    if having:
        raise QexpError(f"--profile {profile}: {' and '.join(having)} have such a profile; add --launcher")
    names = sorted({one for profiles in known.values() for one in profiles})
    tables = " or ".join(f"[{name}.{profile}]" for name in known)
    raise QexpError(
        f"--profile {profile}: qexp.toml has no table {tables}"
        + (f"; {suggestion(profile, names)}" if names else "; write its options below that line")
    )


def all_profiles(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Scheduler → the names of its profiles in qexp.toml."""
    return {
        name: list(profiles_of(name, {**scheduler.options, **AROUND}, settings))
        for name, scheduler in LAUNCHERS.items()
        if scheduler is not None
    }


def this_job(workspace: Path) -> JobRecord | None:
    """The scheduler's job of this process, as it is stored in a run's record; None if no scheduler started it."""
    for name, scheduler in LAUNCHERS.items():
        if scheduler is not None and (job := scheduler.this_job()) is not None:
            identifier, cluster = job
            return JobRecord(launcher=name, id=identifier, workspace=str(workspace), cluster=cluster or None)
    return None
