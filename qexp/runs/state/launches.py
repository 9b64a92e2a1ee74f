"""Launches: the runs that one command started. Each launch has a folder `runs/.launches/<id>/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qexp import files
from qexp.did_you_mean import suggestion
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.record.parts import MisfitError, Part
from qexp.runs.record.process import Process, alive
from qexp.workspace import Workspace

PREDICTION = "prediction.json"
"""Record of a launch folder without runs: its jobs predict files with a finished run."""


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
    """Names of its runs."""


@dataclass(frozen=True)
class Launch:
    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def record_file(self) -> Path:
        return self.folder / "launch.json"

    def record(self) -> dict[str, Any]:
        """Id, time, command, launcher, its settings and the names of the runs. Raises DamagedError."""
        try:
            record = files.read_json(self.record_file)
        except FileNotFoundError:
            raise DamagedError(f"{self.record_file} is gone") from None
        try:
            LaunchRecord.from_document(record)
        except MisfitError as misfit:
            raise DamagedError(f"{self.record_file} is damaged: {misfit}") from None
        return dict(record)

    @property
    def pool_file(self) -> Path:
        """The file that names the process of a local pool."""
        return self.folder / "pool.json"

    @property
    def heartbeat(self) -> Path:
        """The heartbeat of a pool, by which other machines see that it is alive."""
        return self.folder / "heartbeat"

    def pool(self) -> Process | None:
        """The process that runs or ran the launch's local pool; None if it has none."""
        try:
            return Process.from_document(files.read_json(self.pool_file))
        except (FileNotFoundError, DamagedError):
            return None

    def pool_works(self) -> bool:
        """Whether the pool's process is alive, so that the waiting runs will be started."""
        process = self.pool()
        return process is not None and alive(process, self.heartbeat)

    def take(self, run: str, turn: str) -> bool:
        """Settle whether a run that waits in the pool starts; return False if that was settled before.

        turn  "started" by the pool, or "withdrawn" by a user; the first of the two counts
        """
        file = self._turn(run)
        files.make_folder(file.parent)
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise QexpError(f"cannot write to {file.parent}: {error.strerror}") from error
        try:
            with os.fdopen(handle, "w") as opened:
                opened.write(turn)
        except OSError as error:  # a full disk still has room for an empty file; delete it, nothing is settled
            file.unlink(missing_ok=True)
            raise QexpError(f"cannot write to {file.parent}: {error.strerror}") from error
        return True

    def withdrawn(self, run: str) -> bool:
        """Whether a run was withdrawn from the pool before its turn."""
        try:
            return self._turn(run).read_text() == "withdrawn"
        except OSError:
            return False

    def _turn(self, run: str) -> Path:
        return self.folder / "turns" / run

    def output(self, run: str) -> Path:
        """The file with the output of a run's process; the run's log is in its own directory."""
        return self.folder / "output" / f"{run}.txt"


def find(reference: str, workspace: Workspace) -> Launch:
    """A launch by its id, a unique prefix of it, or `last`. Raises NotFoundError."""
    known = all_of(workspace)
    if reference == "last":
        if not known:
            raise NotFoundError("there is no launch yet; a sweep makes one: qexp run EXPERIENCE --seeds 0:3")
        return known[-1]
    matching = [launch for launch in known if reference and launch.id.startswith(reference)]
    exact = [launch for launch in matching if launch.id == reference]
    if len(exact or matching) == 1:
        return (exact or matching)[0]
    if matching:
        raise NotFoundError(f"'{reference}' begins the ids of {len(matching)} launches; write more of it")
    for record in sorted((workspace.runs / ".launches").glob(f"*/{PREDICTION}")) if reference else ():
        if record.parent.name.startswith(reference):
            raise NotFoundError(
                f"launch {record.parent.name} is a prediction, which has no runs; {workspace.shown(record)} has its "
                "jobs: end them with the scheduler's own command"
            )
    raise NotFoundError(f"no launch '{reference}'; {suggestion(reference, [one.id for one in known[-8:]])}")


def all_of(workspace: Workspace) -> list[Launch]:
    """All launches, the oldest first."""
    return [Launch(path.parent) for path in sorted((workspace.runs / ".launches").glob("*/launch.json"))]


def claim(workspace: Workspace) -> Launch:
    """Create the folder of a new launch; its id is the time, with a number if two start in the same second."""
    parent = workspace.runs / ".launches"
    files.make_folder(parent)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number:03d}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise QexpError(f"cannot write to {parent}: {error.strerror}") from error
        files.make_folder(folder / "output")
        return Launch(folder)
    raise QexpError(f"{parent} has a thousand launches from this second; check which program starts them")
