"""The lease of a run: the right to write to it, which the newest attempt takes from the earlier
ones.

An attempt writes every file that it replaces in the run's directory to a folder of its own first,
`attempts/02/lease-<random>`, and renames it from there. The next attempt deletes that folder. A
process that was considered dead and wakes up, even in the middle of a checkpoint, can therefore no
longer replace anything.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from qexp.base import files, formats
from qexp.errors import DamagedError, QexpError, TakenOverError
from qexp.store.directory import RunDirectory
from qexp.store.process import (
    LOCK,
    SILENT_SECONDS,
    Process,
    alive,
    beat,
    holding_lock,
    in_view,
    this_process,
)
from qexp.store.record import State

HEARTBEAT, COMMAND = "heartbeat", "command.json"

STOP = "stop"
"""File in an attempt's folder that asks a run of a stack to end: a signal would end all runs of its
process.
"""

LEASE, ENDED = "lease-", ".ended-"
"""Prefixes of the folder of a lease, and of a lease that has ended."""

CLAIMING = ".claiming-"
"""Prefix of an attempt's folder until it is complete."""


@dataclass(frozen=True)
class Lease:
    directory: RunDirectory
    number: int
    folder: Path
    """Folder in which the attempt writes its files; deleted when the lease ends."""
    process: Process

    @property
    def attempt(self) -> Path:
        return self.directory.attempt(self.number)

    @property
    def is_own(self) -> bool:
        """Whether this is the process that took it, and none that a script in it has forked."""
        return self.process.pid == os.getpid()

    def is_held(self) -> bool:
        return self.folder.is_dir()

    def lost(self) -> TakenOverError:
        """The message for a lease that is no longer held."""
        later = [number for number in attempts(self.directory) if number > self.number]
        process = _claimant(self.directory.attempt(later[-1])) if later else None
        who = f"attempt {later[-1]} has taken over" if later else "it was moved away or deleted"
        who += f", as process {process.pid} on {process.host}" if process else ""
        return TakenOverError(
            f"{self.directory.name}: {who}; this process, attempt {self.number}, stopped without"
            " changing anything"
        )


def attempts(directory: RunDirectory) -> list[int]:
    folder = directory.path / "attempts"
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal())


@contextmanager
def take_lease(directory: RunDirectory, wrap: str | None = None) -> Iterator[Lease]:
    """Start the next attempt and hold the right to write to the run until the block ends.

    wrap  the command around this process
    Raises QexpError if a process is at work on the run. If several processes try at once, one
    succeeds.
    """
    # Before the check below, so that two processes that check at the same time claim the same
    # number.
    number = max(attempts(directory), default=0) + 1
    _require_nobody(directory)
    with ExitStack() as until_the_end:
        lease = _claim(directory, number, wrap, until_the_end)
        try:
            _end_others(lease)
            with files.drafted_in(lease.folder, directory.path):
                yield lease
        finally:
            if lease.is_own:
                shutil.rmtree(lease.folder, ignore_errors=True)
                (lease.attempt / LOCK).unlink(missing_ok=True)


def withdraw(lease: Lease) -> None:
    """Delete an attempt that failed before the record named it."""
    if lease.is_held():
        shutil.rmtree(lease.attempt, ignore_errors=True)


def _require_nobody(directory: RunDirectory) -> None:
    """Raise QexpError if the last attempt, in the record or newer, is at work."""
    record = directory.record()
    recorded = {attempt.number for attempt in record.attempts}
    last = record.attempts[-1] if record.attempts else None
    if last is not None and last.state is State.RUNNING:
        attempt = directory.attempt(last.number)
        _require_dead(last.process, attempt, record.name, "is running already")
    for number in attempts(directory):
        attempt = directory.attempt(number)
        if number not in recorded and any(attempt.glob(f"{LEASE}*")):
            process = _claimant(attempt)
            if process:
                _require_dead(process, attempt, record.name, "is being started by another process")


def _require_dead(process: Process, attempt: Path, name: str, what: str) -> None:
    if not alive(process, attempt / HEARTBEAT):
        return
    advice = ""
    if not in_view(process):
        advice = f"; it counts as dead after {SILENT_SECONDS:.0f} s without a heartbeat"
    raise QexpError(f"{name} {what}, as process {process.pid} on {process.host}{advice}")


def _claimant(attempt: Path) -> Process | None:
    """The process of an attempt; None if its file cannot be read."""
    with suppress(DamagedError):
        return Process.from_document(formats.object_in(attempt / COMMAND).get("process"))
    return None


def _claim(
    directory: RunDirectory, number: int, wrap: str | None, until_the_end: ExitStack
) -> Lease:
    """Create an attempt's folder with its process, a heartbeat and the lease; all appear at once.

    until_the_end  what keeps the lock of the process
    """
    folder = directory.path / "attempts"
    name = f"{LEASE}{uuid.uuid4().hex[:8]}"
    files.make_folder(folder)
    lease = Lease(directory, number, directory.attempt(number) / name, this_process())
    try:
        draft = Path(tempfile.mkdtemp(prefix=CLAIMING, dir=folder))
        try:
            draft.chmod(0o755)
            (draft / name).mkdir()
            locks = until_the_end.enter_context(holding_lock(draft))
            lease = replace(lease, process=replace(lease.process, locks=locks or None))
            command = {
                "argv": sys.argv,
                "directory": str(Path.cwd()),
                "process": lease.process.document(),
            }
            beat(draft / HEARTBEAT)
            (draft / COMMAND).write_bytes(
                formats.json_bytes(command if wrap is None else {**command, "wrap": wrap})
            )
            draft.rename(lease.attempt)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        # a file server that repeats the request reports an error although it succeeded
        if lease.is_held():
            return lease
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            raise QexpError(f"{directory.name} is being started by another process") from None
        raise QexpError(f"cannot write to {directory.path}: {error.strerror}") from error
    files.sync_folder(folder)
    return lease


def _end_others(lease: Lease) -> None:
    """End the leases of all other attempts, including those that are just being claimed."""
    folder = lease.attempt.parent
    for claiming in folder.glob(f"{CLAIMING}*"):
        shutil.rmtree(claiming, ignore_errors=True)
    for other in folder.glob(f"*/{LEASE}*"):
        if other == lease.folder:
            continue
        ended = other.with_name(f"{ENDED}{other.name}")
        try:
            other.rename(ended)
        except FileNotFoundError:
            continue
        except OSError as error:
            withdraw(lease)
            raise QexpError(f"cannot end {other.parent}: {error.strerror}") from error
    for ended in folder.glob(f"*/{ENDED}*"):
        # Another machine may have the folder open under its old name: only a deleted folder cannot
        # be written to.
        shutil.rmtree(ended, ignore_errors=True)
