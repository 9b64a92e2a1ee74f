"""Runs to and from a remote, several files at once; what was cut off is taken up where it ended."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any

import orjson

from qexp.base import files
from qexp.base.files import drafted, in_bytes
from qexp.base.machine import terminable
from qexp.base.options import Counted
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, suggestion
from qexp.jobs.launchers import Launch, LaunchRecord, find_launch
from qexp.jobs.states import Watch
from qexp.remotes import versions
from qexp.remotes.place import Remote, RemoteError
from qexp.remotes.versions import Common, Entry, object_path, read_version, sha256_of
from qexp.runs.catalog import is_pattern, natural
from qexp.runs.options import PullOptions, PushOptions
from qexp.store.directory import RunDirectory
from qexp.store.documents import MisfitError
from qexp.store.record import State, require_name
from qexp.upkeep.archive import permissions, require_readable, settle
from qexp.upkeep.trash import in_use

RUNS_AT_ONCE, FILES_AT_ONCE = 4, 16

IN_MEMORY = 1 << 26
"""Bytes up to which a file is read once, for its hash and to be written."""


@dataclass
class Transfer:
    """What became of the runs that were to be pushed or pulled."""

    remote: Remote
    workspace: Workspace
    done: list[str] = field(default_factory=list)
    """Names of runs that were transferred."""
    there: list[str] = field(default_factory=list)
    """Names of those that were there already."""
    failed: dict[str, QexpError] = field(default_factory=dict)
    """Run → why it was not transferred."""
    files: int = 0
    """Files that were transferred; others were there."""
    size: int = 0
    """Their bytes."""
    interrupted: bool = False
    """Whether a signal has stopped it."""
    _objects: dict[str, dict[str, int | None]] = field(default_factory=dict)
    """Prefix → the objects in the remote that begin with it, with their sizes."""
    _lock: Lock = field(default_factory=Lock)
    _stop: Event = field(default_factory=Event)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(FILES_AT_ONCE))

    def run_all(self, jobs: Mapping[str, Callable[[], bool]], count: Counted) -> None:
        """Transfer runs, several at once, by jobs that return whether there was anything to do."""
        with self.pool, ThreadPoolExecutor(RUNS_AT_ONCE) as runs, terminable():
            waiting = {runs.submit(job): name for name, job in jobs.items()}
            try:
                for number, future in enumerate(as_completed(waiting), 1):
                    try:
                        (self.done if future.result() else self.there).append(waiting[future])
                    except CancelledError:
                        continue
                    except QexpError as error:
                        self.failed[waiting[future]] = error
                        if isinstance(error, RemoteError):  # which all others would get, too
                            self._end(waiting)
                    count(number, len(jobs))
            except KeyboardInterrupt:
                self._end(waiting)
                self.interrupted = True
        for names in (self.done, self.there):
            names.sort(key=natural)

    def _end(self, waiting: Iterable[Future[bool]]) -> None:
        self._stop.set()
        for future in waiting:
            future.cancel()

    def counted(self, size: int) -> None:
        with self._lock:
            self.files, self.size = self.files + 1, self.size + size

    def require_time(self) -> None:
        if self._stop.is_set():
            raise CancelledError

    def look(self, prefix: str) -> None:
        """List the objects in the remote that begin so, unless that was done."""
        self.require_time()
        if prefix not in self._objects:
            self._objects[prefix] = self.remote.sizes(f"objects/{prefix}")

    def holds(self, sha256: str, size: int, check: bool) -> bool:
        """Whether the remote has a content.

        check  whether to read it
        """
        if self._objects[sha256[:2]].get(sha256[2:], -1) not in (None, size):
            return False
        return not check or hashlib.sha256(self.remote.read(object_path(sha256))).hexdigest() == sha256

    def send(self, path: Path, entry: Entry, check: bool) -> None:
        """Send a file unless the remote has its content."""
        self.require_time()
        sha256, size = entry[:2]
        if self.holds(sha256, size, check):
            return
        content: Path | bytes = path if size > IN_MEMORY else path.read_bytes()
        self.remote.write(object_path(sha256), content)
        if (hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)) != sha256:
            raise QexpError(f"{path} was changed while it was pushed; push again when nothing writes to it")
        self._objects[sha256[:2]][sha256[2:]] = size
        self.counted(size)

    def fetch(self, path: Path, entry: Entry) -> None:
        """Write a file, checked by its hash."""
        self.require_time()
        sha256, size, mode, changed = entry
        try:
            if size > IN_MEMORY:
                self.remote.fetch(object_path(sha256), path)
                right = sha256_of(path) == sha256
            else:
                content = self.remote.read(object_path(sha256))
                right = hashlib.sha256(content).hexdigest() == sha256
                path.write_bytes(content)
        except FileNotFoundError:
            right = False
        if not right:
            raise DamagedError(
                f"{self.remote.shown}/{object_path(sha256)} is damaged or gone; where the run still is, "
                "`qexp push --check` repairs it"
            )
        path.chmod(permissions(mode))
        with suppress(OSError, OverflowError):
            os.utime(path, (changed, changed))
        self.counted(size)

    def in_parallel(self, action: Callable[[str], None], names: Iterable[str]) -> None:
        """Call a function for names of files. All calls have ended when this ends, also with an error."""
        futures = [self.pool.submit(action, name) for name in names]
        try:
            for future in futures:
                future.result()
        except RemoteError:  # which all others would get, too, each after its patience
            self._stop.set()
            raise
        finally:
            for future in futures:
                future.cancel()
            for future in futures:
                with suppress(BaseException):
                    future.result()


def push(runs: Sequence[RunDirectory], remote: Remote, workspace: Workspace, options: PushOptions) -> Transfer:
    """Push runs: the contents that the remote lacks, and then of each run what makes it visible."""
    names = {directory.name: require_name(options.name or directory.name) for directory in runs}
    _require_single(options.name, names)
    newest, states, busy = versions.newest_versions(remote), Watch().states(runs), in_use(runs)
    transfer = Transfer(remote, workspace)

    def job(directory: RunDirectory) -> Callable[[], bool]:
        name = names[directory.name]
        return lambda: _push(transfer, directory, states[directory], name, newest.get(name, 0), options.check)

    transfer.failed = {
        directory.name: QexpError(f"{directory.name} is {state}; it can be pushed when it has ended")
        for directory, state in busy.items()
    }
    transfer.run_all({run.name: job(run) for run in runs if run not in busy}, options.count)
    if options.launch is not None and not transfer.failed and not transfer.interrupted:
        _push_launch(find_launch(options.launch, workspace), remote)
    return transfer


def _push(transfer: Transfer, directory: RunDirectory, state: State, name: str, newest: int, check: bool) -> bool:
    """Push a run unless its newest version is what is here. Returns whether there was anything to do."""
    transfer.require_time()
    remote, common = transfer.remote, Common.read(transfer.remote, directory.name, transfer.workspace)
    common.stamps = {} if check else common.stamps
    version, stamps = versions.version_of(directory, state, name, newest + 1, common, transfer.pool)
    digest = common.digest
    if newest and common.number_of(name, version.record) != newest:
        there = read_version(remote, name, newest)
        if there.identity != version.identity:
            raise QexpError(
                f"{remote.shown} has another run {name}, prepared at {there.record.created}; push this one with `name`"
            )
        if there.digest != version.digest:
            raise QexpError(
                f"{name} was changed in {remote.shown} since it was last the same there and here; push this one with "
                "`name`, or pull that one with `name`"
            )
        digest = there.digest
    same = newest > 0 and version.digest == digest
    if not same or check:
        before = transfer.files
        transfer.in_parallel(transfer.look, {entry[0][:2] for entry in version.files.values()})
        transfer.in_parallel(
            lambda path: transfer.send(directory.path / path, version.files[path], check), version.files
        )
    if not same:
        try:
            remote.write(version.path, version.document(), new=True)
        except FileExistsError:  # by another lab, just now
            return _push(transfer, directory, state, name, newest + 1, check)
    common.write(version, newest if same else newest + 1, version.digest, stamps)
    return not same or (check and transfer.files > before)


def _require_single(name: str | None, names: Mapping[str, object]) -> None:
    if name is not None and len(names) != 1:
        raise QexpError(f"`name={name}` is for a single run, and {len(names)} are named")


def chosen(references: Sequence[str], remote: Remote) -> dict[str, int]:
    """Run → number of its newest version, by names, unique prefixes and patterns; of all without any."""
    newest = versions.newest_versions(remote)
    found: dict[str, int] = {} if references else newest
    for reference in references:
        begun = [name for name in newest if reference and name.startswith(reference)]
        names = [name for name in newest if fnmatchcase(name, reference)] if is_pattern(reference) else begun
        names = [reference] if reference in newest else names
        if not names or (len(names) > 1 and not is_pattern(reference)):
            raise NotFoundError(f"{remote.shown} has no run '{reference}'; {suggestion(reference, newest)}")
        found |= {name: newest[name] for name in names}
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def summaries(remote: Remote) -> list[dict[str, Any]]:
    """The runs of a remote as listings have them, by the newest version of each."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        read = pool.map(lambda run: read_version(remote, *run), versions.newest_versions(remote).items())
        return sorted((version.summary(remote) for version in read), key=lambda run: natural(run["name"]))


def pull(remote: Remote, workspace: Workspace, options: PullOptions) -> Transfer:
    """Pull runs, all or those that are named; each appears when all of it is here and checked."""
    launch = None if options.launch is None else _launch_in(remote, options.launch)
    numbers = chosen([*options.runs, *(launch.runs if launch else ())], remote)
    _require_single(options.name, numbers)
    files.make_folder(workspace.runs)
    transfer = Transfer(remote, workspace)

    def job(run: str, number: int) -> Callable[[], bool]:
        return lambda: _pull(transfer, run, number, require_name(options.name or run), options.trust_code)

    transfer.run_all({run: job(run, number) for run, number in numbers.items()}, options.count)
    if launch is not None and not transfer.failed and not transfer.interrupted:
        _write_launch(launch, workspace)
    return transfer


def _pull(transfer: Transfer, run: str, number: int, name: str, trust_code: bool) -> bool:
    """Pull a version of a run unless it is here. Returns whether the run here was made or replaced."""
    transfer.require_time()
    remote, target = transfer.remote, transfer.workspace.runs / name
    common, exists = Common.read(remote, name, transfer.workspace), os.path.lexists(target)
    shared = common.number_of(run, RunDirectory(target).record()) if exists else 0
    if exists and shared >= number:
        return False
    version = read_version(remote, run, number)
    try:
        if exists:
            here, stamps = versions.version_of(RunDirectory(target), State.DONE, run, number, common, transfer.pool)
            if here.digest == version.digest:
                common.write(version, number, here.digest, stamps)
                return False
            _require_replaceable(target, shared and here.digest == common.digest, remote)
        size = sum(entry[1] for entry in version.files.values())
        if size > shutil.disk_usage(target.parent).free:
            raise QexpError(f"{run} has {in_bytes(size)}, more than the free space on the disk of runs/")
        with drafted(target) as draft:
            folder = draft / run
            for path in (".", *version.folders, *(str(Path(path).parent) for path in version.files)):
                (folder / path).mkdir(parents=True, exist_ok=True)
            transfer.in_parallel(lambda path: transfer.fetch(folder / path, version.files[path]), version.files)
            require_readable(RunDirectory(folder), f"{remote.shown}/{version.path}")
            if versions.identity(RunDirectory(folder).record()) != version.identity:
                raise DamagedError(f"{remote.shown}/{version.path} is damaged: its files are those of another run")
            settle(RunDirectory(folder), name, f"{remote.shown}/{run}~{number}", trust_code)
            hashes = {path: entry[0] for path, entry in version.files.items()}
            hashes["run.json"] = sha256_of(folder / "run.json")
            stamps = {path: versions.stamp_of(folder / path, sha256) for path, sha256 in hashes.items()}
            learned = partial(common.write, version, number, versions.digest_of(hashes), stamps)
            if exists:
                files.put(folder, target)
                learned()
            else:  # whether it is as it was pulled could not be told later
                learned()
                folder.rename(target)
    except OSError as error:
        why = "there is a run of that name by now" if os.path.lexists(target) else error.strerror or error
        raise QexpError(f"{target} cannot be written: {why}") from error
    return True


def _require_replaceable(target: Path, as_pulled: object, remote: Remote) -> None:
    """Raise QexpError unless a run here may be replaced by a newer version of it."""
    if not as_pulled:
        why = "differs from what is here"
    elif target.is_symlink():
        why = "is newer, and the one here is a link"
    elif in_use([RunDirectory(target)]):
        why = "is newer, and a process is at work on the one here"
    else:
        return
    raise QexpError(f"{target.name} in {remote.shown} {why}; pull it under another name with `name`")


# Launches: which runs were started together.


def _push_launch(launch: Launch, remote: Remote) -> None:
    content = files.json_bytes(launch.record())
    try:
        remote.write(f"launches/{launch.id}.json", content, new=True)
    except FileExistsError:
        if remote.read(f"launches/{launch.id}.json") != content:
            raise QexpError(f"{remote.shown} has another launch {launch.id}; its runs were pushed") from None


def _launch_in(remote: Remote, reference: str) -> LaunchRecord:
    """A launch in a remote, by its id, a unique prefix of it, or `last`."""
    ids = sorted(name.removesuffix(".json") for name in remote.sizes("launches"))
    found = ids[-1:] if reference == "last" else [one for one in ids if reference and one.startswith(reference)]
    found = [reference] if reference in ids else found
    if len(found) != 1:
        raise NotFoundError(f"{remote.shown} has no launch '{reference}'; {suggestion(reference, ids[-8:])}")
    where = f"{remote.shown}/launches/{found[0]}.json"
    try:
        launch = LaunchRecord.from_document(orjson.loads(remote.read(f"launches/{found[0]}.json")))
    except (ValueError, MisfitError, FileNotFoundError) as error:
        raise DamagedError(f"{where} is damaged: {error}") from None
    if launch.id != found[0] or not re.fullmatch(r"[0-9]{8}-[0-9]{6}(-[0-9]{3})?", launch.id):
        raise DamagedError(f"{where} is damaged: it is not of that launch")
    return launch


def _write_launch(launch: LaunchRecord, workspace: Workspace) -> None:
    """Keep the launch of pulled runs, which no process and no scheduler of this machine knows."""
    here = workspace.runs / ".launches" / launch.id
    if here.exists():
        if Launch(here).record()["runs"] != list(launch.runs):
            raise QexpError(f"there is another launch {launch.id} here; its runs were pulled")
        return
    files.make_folder(here.parent)
    with drafted(here) as draft:
        files.write_json(draft / "launch.json", replace(launch, launcher="local", settings={}).document())
        draft.rename(here)
