"""Launchers, the pool of this machine and the schedulers of clusters; and what they launched.

A new scheduler is a module with a class derived from `Scheduler`, and a line in `LAUNCHERS`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qexp.base import files, formats
from qexp.base.files import locked
from qexp.base.options import option
from qexp.base.tables import OpenTable
from qexp.base.text import trouble_with_command
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, shortened, suggestion
from qexp.jobs.gridengine import GridEngine
from qexp.jobs.htcondor import HTCondor
from qexp.jobs.scheduler import (
    WRAP_PLACEHOLDERS,
    Chosen,
    Option,
    Scheduler,
    Submission,
    launch_options,
    profiles_of,
    wrap_of,
)
from qexp.jobs.slurm import Slurm
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part
from qexp.store.process import Process, alive
from qexp.store.record import WRITTEN, JobRecord, State

LOCAL = "local"

LAUNCHERS: OpenTable[Scheduler | None] = OpenTable("launchers", {
    LOCAL: None,
    "slurm": Slurm(),
    "gridengine": GridEngine(),
    "htcondor": HTCondor(),
}, lambda entry: None if hasattr(entry, "submit_commands") else "is no launcher")  # fmt: skip
"""Name → scheduler; None for the local pool, which starts the processes of runs itself. Packages
may add theirs.
"""


def scheduler_of(launcher: str) -> Scheduler | None:
    """A launcher's scheduler, None for the local pool. Raises QexpError for an unknown one."""
    if launcher not in LAUNCHERS:
        raise QexpError(
            f"`launcher={launcher}`: no such launcher; {suggestion(launcher, LAUNCHERS)}"
        )
    return LAUNCHERS[launcher]


def read_options(option: str, texts: Sequence[str]) -> dict[str, str | list[str]]:
    """`["time=2:00:00"]` → `{"time": "2:00:00"}`; repeated keys get the list of values."""
    read: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise QexpError(f"{option} {shortened(text)}: write KEY=VALUE")
        read.setdefault(key, []).append(value)
    single = {key: values[0] for key, values in read.items() if len(values) == 1}
    return {**read, **single}


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """Options of a command that may start jobs on a cluster."""

    launcher: str = option(
        LOCAL,
        f"Where to run: {LOCAL} for this machine, or the scheduler of a cluster.",
        "|".join(LAUNCHERS.built_in),
        complete="launchers",
    )
    options: Mapping[str, Any] = option(
        {},
        "Options of the launcher, such as time=2:00:00, options.mail-user=me@a.org or wrap='program"
        " args'; these override qexp.toml.",
        "--option KEY=VALUE ...",
        example='{"time": "2:00:00"}',
        read=read_options,
    )
    profile: str | None = option(
        None,
        "Options of a scheduler by name: table [SCHEDULER.NAME] in qexp.toml, on top of"
        " [SCHEDULER].",
        "NAME",
        complete="profiles",
    )


AROUND: dict[str, Option] = {
    "wrap": Option(
        r"[^\x00-\x1f\x7f]*",
        'the command around each run, such as "apptainer exec image.sif"',
        only_text=True,
        trouble=lambda command: trouble_with_command(command, WRAP_PLACEHOLDERS),
    ),
    "python": Option(
        r"[^\x00-\x1f\x7f]+", "the Python interpreter inside the wrap", only_text=True
    ),
}
"""Options of all launchers, the local pool included, also at the top of qexp.toml."""


def options_of(
    launcher: str,
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    profile: str | None = None,
) -> Chosen:
    """The options of a launch, see `launch_options`. Raises QexpError for invalid ones."""
    scheduler = scheduler_of(launcher)
    common = {key: value for key, value in settings.items() if key in AROUND}
    if scheduler is not None:
        acceptors = {**scheduler.options, **AROUND}
        return launch_options(launcher, acceptors, settings, chosen, profile, common)
    unknown = [key for key in chosen if key not in AROUND]
    if unknown:
        known = ", ".join(sorted(AROUND))
        others = ", ".join(name for name, other in LAUNCHERS.items() if other)
        raise QexpError(
            f"`launcher={launcher}` has no option '{unknown[0]}'; known: {known}. Others are for:"
            f" {others}"
        )
    return launch_options(launcher, AROUND, {}, chosen, None, common)


def launcher_with(launcher: str, profile: str | None, settings: Mapping[str, Any]) -> str:
    """The launcher to use: the given one, or, if it is the local one, the one with the profile.

    Raises QexpError if none or several have it.
    """
    if profile is None or LAUNCHERS.get(launcher, launcher) is not None:
        return launcher
    profiles_by_launcher = all_profiles(settings)
    having = [name for name, profiles in profiles_by_launcher.items() if profile in profiles]
    if len(having) == 1:
        return having[0]
    if having:
        raise QexpError(
            f"`profile={profile}`: {' and '.join(having)} have such a profile; add `launcher`"
        )
    names = sorted(set().union(*profiles_by_launcher.values()))
    tables = " or ".join(f"[{name}.{profile}]" for name in profiles_by_launcher)
    way_out = suggestion(profile, names) if names else "write its options below that line"
    raise QexpError(f"`profile={profile}`: qexp.toml has no table {tables}; {way_out}")


def settled(options: LaunchOptions, workspace: Workspace) -> tuple[str, Chosen]:
    """The launcher, and its options. Raises QexpError for invalid ones."""
    configured = workspace.settings()
    launcher = launcher_with(options.launcher, options.profile, configured)
    return launcher, options_of(launcher, configured, options.options, options.profile)


def all_profiles(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Scheduler → the names of its profiles in qexp.toml."""
    found = {}
    for name, scheduler in LAUNCHERS.items():
        if scheduler is not None:
            found[name] = list(profiles_of(name, {**scheduler.options, **AROUND}, settings))
    return found


def this_job(workspace: Path) -> JobRecord | None:
    """The scheduler's job of this process, as a record has it; None if none started it."""
    for name, scheduler in LAUNCHERS.items():
        job = None if scheduler is None else scheduler.this_job()
        if job is not None:
            number, cluster = job
            place = str(workspace)
            return JobRecord(launcher=name, id=number, workspace=place, cluster=cluster or None)
    return None


# Launches: the runs that one command started. Each launch has a folder `runs/.launches/<id>/`.


WITHOUT_RUNS = {"predict": "prediction", "data simulate": "simulation"}
"""Command that may be a launch without runs → the name of its record, `prediction.json`."""


@dataclass(frozen=True, kw_only=True)
class LaunchRecord(Part):
    """The keys of `launch.json` and their types."""

    id: str
    """Id of the launch, which is the name of its folder."""
    created: str = ""
    """When it was started, in UTC."""
    argv: tuple[str, ...] = ()
    """The command."""
    launcher: str
    """`local`, or the name of the scheduler."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options of the launcher."""
    runs: tuple[str, ...]
    """Names of the runs that it started."""
    done_before: tuple[str, ...] = ()
    """Names of runs that were asked for, too, and found done."""
    queue: bool = False
    """Whether it is a queue, which takes further runs."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of all runs that the command asked for, those that it found done last."""
        return tuple(dict.fromkeys((*self.runs, *self.done_before)))


@dataclass(frozen=True)
class Launch:
    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def record_file(self) -> Path:
        return self.folder / "launch.json"

    def record(self) -> LaunchRecord:
        """Raises DamagedError."""
        try:
            return LaunchRecord.read(self.record_file)
        except FileNotFoundError:
            raise DamagedError(f"{self.record_file} is gone") from None

    @property
    def directories(self) -> list[RunDirectory]:
        """The directories of its runs. Raises DamagedError."""
        return [RunDirectory(self.folder.parents[1] / name) for name in self.record().runs]

    @property
    def is_queue(self) -> bool:
        """Whether it takes further runs."""
        with suppress(DamagedError):
            return self.record().queue
        return False

    def rewrite(self, **changes: Any) -> None:
        formats.write_json(self.record_file, replace(self.record(), **changes).document())

    @property
    def pool_file(self) -> Path:
        """The file that names the process of a local pool until that ends."""
        return self.folder / "pool.json"

    @property
    def heartbeat(self) -> Path:
        """The heartbeat of a pool, by which other machines see that it is alive."""
        return self.folder / "heartbeat"

    def pool(self) -> Process | None:
        """The process of the launch's local pool, also if it was killed; None if it has none."""
        with suppress(FileNotFoundError, DamagedError):
            return Process.read(self.pool_file)
        return None

    def pool_works(self) -> bool:
        """Whether the pool's process is alive, so that the waiting runs will be started."""
        process = self.pool()
        return process is not None and alive(process, self.heartbeat)

    def take(self, run: str, turn: str) -> bool:
        """Settle whether a run that waits in the pool starts; return False if that was settled
        before.

        turn  "started" by the pool, or "withdrawn" by a user; the first of the two counts
        """
        turn_file = self.turn_file(run)
        files.make_folder(turn_file.parent)
        with files.writing(f"to {turn_file.parent}"):
            try:
                with turn_file.open("x") as file:
                    file.write(turn)
            except FileExistsError:
                return False
            except (
                OSError
            ):  # a full disk still has room for an empty file; delete it, nothing is settled
                turn_file.unlink(missing_ok=True)
                raise
        return True

    def return_turn(self, run: str) -> None:
        """Let a run that was started, and whose process is gone, wait for its turn once more."""
        if not self.withdrawn(run):
            self.turn_file(run).unlink(missing_ok=True)

    def withdrawn(self, run: str) -> bool:
        """Whether a run was withdrawn from the pool before its turn."""
        with suppress(OSError):
            return self.turn_file(run).read_text() == "withdrawn"
        return False

    def turn_file(self, run: str) -> Path:
        """The file that says who took the turn of a run; none while it waits."""
        return self.folder / "turns" / run

    def output(self, run: str) -> Path:
        """The file with the output of a run's process; the run's log is in its own directory."""
        return self.folder / "output" / f"{run}.txt"


def find_launch(reference: str, workspace: Workspace) -> Launch:
    """A launch by its id, a unique prefix of it, or `last`. Raises NotFoundError."""
    folder = workspace.runs / ".launches"
    ids = [launch.id for launch in all_launches(workspace)]
    if reference == "last" and not ids:
        raise NotFoundError(
            "there is no launch yet; a sweep makes one: qexp run EXPERIENCE --seeds 0:3"
        )
    begun = any(launch.startswith(reference) for launch in ids)
    for record in sorted(folder.glob("*/*.json")) if reference and not begun else ():
        if record.stem in WITHOUT_RUNS.values() and record.parent.name.startswith(reference):
            raise NotFoundError(
                f"launch {record.parent.name} is a {record.stem}, which has no runs;"
                f" {workspace.shown(record)} has its jobs: end them with the scheduler's own"
                " command"
            )
    return Launch(folder / launch_among(ids, reference))


def launch_among(ids: list[str], reference: str) -> str:
    """The id that a reference is or alone begins; `last` is the last. Raises NotFoundError."""
    found = [launch for launch in ids if reference and launch.startswith(reference)]
    if reference == "last":
        found = ids[-1:]
    elif reference in found:
        return reference
    if len(found) > 1:
        raise NotFoundError(
            f"'{reference}' begins the ids of {len(found)} launches; write more of it"
        )
    if not found:
        raise NotFoundError(f"no launch '{reference}'; {suggestion(reference, ids[-8:])}")
    return found[0]


def all_launches(workspace: Workspace) -> list[Launch]:
    """All launches, the oldest first."""
    return [
        Launch(path.parent) for path in sorted((workspace.runs / ".launches").glob("*/launch.json"))
    ]


def claim_launch(workspace: Workspace) -> Launch:
    """Create a new launch's folder, named after the time, with a number if that exists."""
    parent = workspace.runs / ".launches"
    files.make_folder(parent)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number:03d}")
        with files.writing(f"to {parent}"):
            try:
                folder.mkdir()
            except FileExistsError:
                continue
        files.make_folder(folder / "output")
        return Launch(folder)
    raise QexpError(
        f"{parent} has a thousand launches from this second; check which program starts them"
    )


@dataclass(frozen=True)
class Submitted:
    """Commands submitted to a scheduler."""

    folder: Path
    """Folder of the launch: script, commands, their record, and in `output/` the output of the
    tasks.
    """
    jobs: dict[str, str]
    """File to be written, or process → its job."""


def submit(
    workspace: Workspace,
    launcher: str,
    settings: Chosen,
    command: str,
    directory: RunDirectory,
    arguments: Mapping[str, Sequence[str]],
) -> Submitted:
    """Submit a command of qexp several times, in a launch without runs. Raises SchedulerError if
    that is refused.

    command    one of `WITHOUT_RUNS`
    directory  the run that it is for
    arguments  what is made → what the command is given besides the workspace
    """
    scheduler = scheduler_of(launcher)
    folder = claim_launch(workspace).folder
    assert scheduler is not None, "local work needs no launch"
    wrap = wrap_of(settings)
    record_file = folder / f"{WITHOUT_RUNS[command]}.json"
    place = ["--workspace", str(workspace.root.absolute())]
    commands = [
        wrap.wrapped(directory, *command.split(), *words, *place) for words in arguments.values()
    ]
    record = {
        "run": directory.name,
        "launcher": launcher,
        "settings": settings,
        "commands": commands,
        "jobs": {},
    }
    formats.write_json(record_file, record)
    jobs = scheduler.submit_commands(
        Submission(folder, f"{command.split()[-1]}-{directory.name}", settings), commands
    )
    job_of = dict(zip(arguments, jobs, strict=True))
    formats.write_json(record_file, {**record, "jobs": job_of})
    return Submitted(folder, job_of)


class Watcher:
    """Receives the events of a pool; as it is, it only logs runs that could not be started."""

    def start(self, runs: Sequence[str]) -> None: ...
    def run_started(self, run: str) -> None: ...
    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None: ...
    def run_ended(self, run: str, state: State, seconds: float) -> None: ...
    def not_started(self, run: str, why: str) -> None:
        logging.getLogger("qexp.run").warning("%s was not started: %s", run, why)

    def stopping(self) -> None: ...
    def stop(self) -> None: ...


# Final states of a launch's jobs, stored in its folder: schedulers forget jobs some time later.


LOCK_SECONDS = 60.0
"""Seconds to wait for other writers; states that are not stored can be queried again."""


def remember_states(folder: Path, states: Mapping[str, State]) -> None:
    """Store the final states of jobs; a job that waits or runs (again) is removed from the file."""

    def merged() -> dict[str, State]:
        both = {**stored_states(folder), **states}.items()
        return {job: state for job, state in both if not state.at_work}

    if merged() == stored_states(folder):
        return
    # A user without write permission queries the scheduler again next time.
    with suppress(OSError, QexpError), locked(folder / "states.json", LOCK_SECONDS):
        formats.write_json(folder / "states.json", merged())


def stored_states(folder: Path) -> dict[str, State]:
    """Job → its stored state; empty if the file is unreadable, as states can be queried."""
    stored = formats.object_in(folder / "states.json").items()
    known = [(job, state) for job, state in stored if isinstance(state, str) and state in WRITTEN]
    return {job: State(state) for job, state in known}
