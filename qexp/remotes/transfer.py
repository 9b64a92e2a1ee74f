"""Runs to and from a remote, several files at once; what was cut off is taken up where it ended."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from qexp.base import files, folders, formats
from qexp.base.machine import terminable
from qexp.base.options import as_warning
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError
from qexp.jobs.launchers import Launch, LaunchRecord, find_launch, launch_among
from qexp.jobs.states import Watch
from qexp.remotes.place import VERSION, Remote, RemoteError, require_known_form
from qexp.runs.catalog import KEPT, by_prefix, is_pattern, matching, natural
from qexp.runs.options import PullOptions, PushOptions, SharingOptions
from qexp.store.directory import RunDirectory
from qexp.store.documents import MisfitError, Part
from qexp.store.evaluations import summaries as evaluations_of
from qexp.store.record import NAME, Record, State, now, require_name
from qexp.upkeep import archive
from qexp.upkeep.trash import discard, in_use

RUNS_AT_ONCE = 2
"""Runs that are transferred at once."""


# What a remote says of runs, which may be anything.


VERSION_FILE = re.compile(rf"(?P<name>{NAME.pattern})~(?P<number>[1-9][0-9]{{0,8}})\.json")
LAUNCH_FILE = re.compile(r"([0-9]{8}-[0-9]{6}(?:-[0-9]{3})?)\.json")

LARGEST_VERSION = 1 << 26
"""Largest accepted size of what is said of a run [bytes]."""

MANY_FILES = 10_000
"""Files of a run that take minutes, which is said."""

Entry = tuple[str, int, int, int]
"""SHA-256, size, permissions, and the time in seconds at which a file was changed."""


@dataclass(frozen=True, kw_only=True)
class Version(Part):
    """A version of a run, as its file in a remote has it."""

    format: str = "qexp run"
    version: int = VERSION
    qexp: str = metadata.version("qexp")
    pushed: str
    """When its files were read, in UTC."""
    record: Record
    evaluations: Mapping[str, Any]
    files: Mapping[str, Entry]
    """Path in the run → what is known of the file."""
    folders: tuple[str, ...]

    @property
    def hashes(self) -> dict[str, str]:
        return {path: entry[0] for path, entry in self.files.items()}

    def hash_of(self, path: str, file: Path, look: tuple[int, int, int]) -> str:
        """The hash of a file, which is read unless it surely is as it was when this version was
        made.

        look  of the file, as `look_of` returns it
        """
        sha256, *then = self.files.get(path, ("",))
        # In the last seconds before they were read, files can have changed twice and look the same.
        settled = look[2] < datetime.fromisoformat(self.pushed).timestamp() - 2
        return sha256 if settled and look == tuple(then) else files.sha256_of(file)


def path_of(name: str, number: int) -> str:
    """The place of a version in a remote."""
    return f"runs/{name}~{number}.json"


def identity(record: Record) -> tuple[Any, ...]:
    """What tells runs of the same name apart."""
    return record.digest, record.seed, record.created


def newest_versions(remote: Remote) -> dict[str, int]:
    """Run → number of its newest version, in the order of names."""
    newest: dict[str, int] = {}
    for file, size in remote.sizes("runs").items():
        match = VERSION_FILE.fullmatch(file)
        if match and (size or 0) <= LARGEST_VERSION:
            newest[match["name"]] = max(newest.get(match["name"], 0), int(match["number"]))
    return {name: newest[name] for name in sorted(newest, key=natural)}


def read_version(remote: Remote, name: str, number: int) -> Version:
    """Raises DamagedError, or QexpError for unsafe names and sizes."""
    where = f"{remote.shown}/{path_of(name, number)}"
    try:
        document = orjson.loads(remote.read(path_of(name, number)))
        require_known_form(document, "qexp run", where)
        version = Version.from_document(document)
        sizes: dict[str, int | None] = {f"{name}/{path}": None for path in version.folders}
        for path, (_, size, *_) in version.files.items():
            sizes[f"{name}/{path}"] = size
        archive.require_safe(sizes)
        for path, (sha256, *numbers) in version.files.items():
            sound = all(0 <= one < 1 << 40 for one in numbers)
            if not sound or not re.fullmatch("[0-9a-f]{64}", sha256):
                raise ValueError(f"{archive.quoted(path)} has no hash, size, permissions and time")
    except FileNotFoundError:
        raise DamagedError(f"{where} is gone") from None
    except archive.UnsafeError as error:
        raise QexpError(f"{where} is refused: {error}") from None
    except (ValueError, MisfitError) as error:
        raise DamagedError(f"{where} is damaged: {error}") from None
    return version


def summaries(remote: Remote) -> list[dict[str, Any]]:
    """The remote's runs as listings have them, each by its newest version, with `path` there."""
    newest = newest_versions(remote)

    def summary(name: str) -> dict[str, Any]:
        number = newest[name]
        version = read_version(remote, name, number)
        document = version.record.document()
        kept = {key: value for key, value in document.items() if key in KEPT}
        path = f"{remote.shown}/{path_of(name, number)}"
        return {**kept, "name": name, "evaluations": version.evaluations, "path": path}

    return remote.each(summary, newest)


# What a workspace has in common with a remote.


@dataclass(frozen=True, kw_only=True)
class Common(Version):
    """The version of a run that a workspace and a remote last had in common, as it is here."""

    name: str
    """Of the run in the remote."""
    number: int


def read_common(file: Path, name: str, record: Record) -> Common | None:
    """What is known of a run and its versions of that name."""
    with suppress(FileNotFoundError, DamagedError):
        common = Common.read(file)
        return (
            common if (common.name, identity(common.record)) == (name, identity(record)) else None
        )
    return None


def write_common(file: Path, name: str, number: int, here: Version) -> None:
    # Neither synced nor replaced in one step: what cannot be read is as unknown as what is not
    # there.
    with suppress(QexpError, OSError):  # of a full disk
        files.make_folder(file.parent)
        file.write_bytes(
            formats.json_bytes(Common(**vars(here), name=name, number=number).document())
        )


def version_of(directory: RunDirectory, record: Record, known: Version | None = None) -> Version:
    """A run as a version, with its present state. Files equal to a known one's are not read."""
    pushed = now()
    members = archive.members_of(directory)[1:]
    entries = dict[str, Entry]()
    folders = list[str]()
    for file, name, about in members:
        path = name.partition("/")[2]
        look = look_of(about)
        if stat.S_ISDIR(about.st_mode):
            folders.append(path)
        else:
            entries[path] = (
                known.hash_of(path, file, look) if known else files.sha256_of(file),
                *look,
            )
    return Version(
        pushed=pushed,
        record=(
            record
            if record.state is State.DONE
            else replace(record, state=Watch().state(directory))
        ),
        evaluations=evaluations_of(directory.path),
        files=entries,
        folders=tuple(folders),
    )


def look_of(about: os.stat_result) -> tuple[int, int, int]:
    """What an entry has besides the hash."""
    return about.st_size, archive.permissions(about.st_mode), max(0, int(about.st_mtime))


# The transfer of runs.


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
    sizes: list[int] = field(default_factory=list)
    """Bytes of each file that was transferred; others were there."""
    interrupted: bool = False
    """Whether a signal has stopped it."""
    stopped: Event = field(default_factory=Event)
    """Set when no further file is to be transferred."""

    def require_going_on(self) -> None:
        """Raise CancelledError if the transfer was stopped."""
        if self.stopped.is_set():
            raise CancelledError

    def run_all(
        self, names: Collection[str], job: Callable[[str], bool], options: SharingOptions
    ) -> bool:
        """Transfer runs by a function that tells if there was need. Returns if all are done."""
        if options.name is not None and len(names) != 1:
            raise QexpError(
                f"`name={options.name}` is for a single run, and {len(names)} are named"
            )

        def transfer(name: str) -> None:
            try:
                with suppress(CancelledError):
                    self.require_going_on()
                    (self.done if job(name) else self.there).append(name)
            except OSError as error:
                self.failed[name] = QexpError(f"{name} cannot be read or written here: {error}")
            except QexpError as error:
                self.failed[name] = error
                if isinstance(error, RemoteError):  # which all others would get, too
                    self.stopped.set()

        with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
            try:
                with terminable():
                    options.count(0, len(names))
                    for number, ended in enumerate(
                        as_completed([pool.submit(transfer, name) for name in names]), 1
                    ):
                        ended.result()
                        if self.stopped.is_set():
                            break
                        options.count(number, len(names))
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                self.stopped.set()
        for transferred in (self.done, self.there):
            transferred.sort(key=natural)
        return not self.failed and not self.interrupted

    def common_file(self, run: str) -> Path:
        return self.workspace.runs / ".remotes" / self.remote.id / f"{run}.json"


def push(
    runs: Sequence[RunDirectory], remote: Remote, workspace: Workspace, options: PushOptions
) -> Transfer:
    """Push runs: the contents that the remote lacks, and then of each run what makes it visible."""
    newest = newest_versions(remote)
    busy = in_use(runs)
    transfer = Transfer(remote, workspace)
    named = {run.name: run for run in runs}

    def job(run: str) -> bool:
        if named[run] in busy:
            raise QexpError(f"{run} is {busy[named[run]]}; it can be pushed when it has ended")
        name = require_name(options.name or run)
        return _push(
            transfer,
            named[run],
            name,
            newest.get(name, 0),
            options.check,
        )

    if transfer.run_all(named, job, options) and options.launch is not None:
        _push_launch(find_launch(options.launch, workspace), remote)
    return transfer


def _push(transfer: Transfer, directory: RunDirectory, name: str, newest: int, check: bool) -> bool:
    """Push a run unless its newest version is what is here. Returns whether there was need."""
    remote = transfer.remote
    file = transfer.common_file(directory.name)
    sent = len(transfer.sizes)
    record = directory.record()
    common = read_common(file, name, record)
    here = version_of(directory, record, None if check else common)
    pushed = common if common and common.number == newest else None
    same = newest > 0 if pushed is None else pushed.hashes == here.hashes
    if same and pushed is None:
        there = read_version(remote, name, newest)
        if identity(there.record) != identity(here.record):
            made = f"prepared at {there.record.created}"
            raise QexpError(
                f"{remote.shown} has another run {name}, {made}; push this one with `name`"
            )
        if there.hashes != here.hashes:
            raise QexpError(
                f"{name} was changed in {remote.shown} since it was last the same there and here;"
                " push this one with `name`, or pull that one with `name`"
            )

    def send(path: str) -> None:
        transfer.require_going_on()
        file, (sha256, size, *_) = directory.path / path, here.files[path]
        if remote.send(file, sha256, check):
            if here.hash_of(path, file, look_of(file.stat())) != sha256:
                raise QexpError(
                    f"{file} was changed while it was pushed; push again when nothing writes to it"
                )
            transfer.sizes.append(size)

    if check or not same:
        remote.each(send, here.files)
    if not same:
        newest += 1
        try:
            remote.write(path_of(name, newest), formats.json_bytes(here.document()))
        except FileExistsError:  # by another lab, just now
            return _push(transfer, directory, name, newest, check)
    if not same or pushed is None:
        write_common(file, name, newest, here)
    return not same or len(transfer.sizes) > sent


def pull(remote: Remote, workspace: Workspace, options: PullOptions) -> Transfer:
    """Pull runs, all or those that are named; each appears when all of it is here and checked."""
    launch = None if options.launch is None else _launch_in(remote, options.launch)
    newest = newest_versions(remote)
    transfer = Transfer(remote, workspace)
    launched = (
        [*launch.runs, *(name for name in launch.done_before if name in newest)] if launch else []
    )
    named = _named([*options.runs, *launched], newest)
    files.make_folder(workspace.runs)

    def job(run: str) -> bool:
        return _pull(
            transfer, run, newest[run], require_name(options.name or run), options.trust_code
        )

    if transfer.run_all(named, job, options) and launch is not None:
        _write_launch(launch, workspace)
    return transfer


def _named(references: Sequence[str], known: Collection[str]) -> list[str]:
    """The known names that references are, begin or match; all without any reference."""
    found: set[str] = set() if references else {*known}
    for reference in references:
        if is_pattern(reference):
            found |= {*matching(reference, known)}
        else:
            found.add(reference if reference in known else by_prefix(reference, known))
    return [name for name in known if name in found]


def _pull(transfer: Transfer, run: str, number: int, name: str, trust_code: bool) -> bool:
    """Pull a version of a run unless it is here. Returns whether the run here was changed."""
    remote = transfer.remote
    file = transfer.common_file(name)
    target = transfer.workspace.runs / name
    exists = os.path.lexists(target)
    record = RunDirectory(target).record() if exists else None
    common = read_common(file, run, record) if record else None
    if common and common.number >= number:
        return False
    version = read_version(remote, run, number)
    if record:
        if identity(version.record) != identity(record):
            raise QexpError(
                f"{name} in {remote.shown} is another run than {name} here; pull it under another"
                " name with `name`"
            )
        here = version_of(RunDirectory(target), record, common)
        if here.hashes == version.hashes:
            write_common(file, run, number, here)
            return False
        as_pulled = common is not None and here.hashes == common.hashes
        if not as_pulled or target.is_symlink() or in_use([RunDirectory(target)]):
            why = (
                "is newer, and the one here is a link, or at work"
                if as_pulled
                else "differs from what is here"
            )
            raise QexpError(
                f"{name} in {remote.shown} {why}; pull it under another name with `name`"
            )
    if len(version.files) > MANY_FILES:
        as_warning(f"{run} has {len(version.files):,} files, which may take minutes")
    size = sum(entry[1] for entry in version.files.values())
    if size > shutil.disk_usage(target.parent).free:
        raise QexpError(
            f"{run} has {files.in_bytes(size)}, more than the free space on the disk of runs/"
        )
    with folders.drafted(target) as draft:
        directory = RunDirectory(draft / run)
        where = f"{remote.shown}/{path_of(run, number)}"
        _fetch(transfer, version, directory.path)
        pulled = archive.require_readable(directory, where)
        if identity(pulled) != identity(version.record):
            raise DamagedError(f"{where} is damaged: its files are those of another run")
        settled = archive.settle(
            directory,
            pulled,
            name,
            where.removesuffix(".json"),
            trust_code,
        )
        here = version_of(directory, settled, version)
        if exists:  # it may hold files that no version has
            discard([RunDirectory(target)], transfer.workspace)
        # Known before it appears: whether it is as it was pulled could not be told later.
        write_common(file, run, number, here)
        directory.path.rename(target)
    return True


def _fetch(transfer: Transfer, version: Version, folder: Path) -> None:
    """Write the files of a version, checked by their hashes."""
    for path in {*version.folders, *(str(Path(path).parent) for path in version.files)}:
        (folder / path).mkdir(parents=True, exist_ok=True)

    transfer.remote.fetch(
        {folder / path: (entry[0], entry[1]) for path, entry in version.files.items()},
        transfer.require_going_on,
    )
    for path, (_, size, mode, changed) in version.files.items():
        (folder / path).chmod(archive.permissions(mode))
        with suppress(OSError, OverflowError):  # no such time
            os.utime(folder / path, (changed, changed))
        transfer.sizes.append(size)


# Launches: which runs were started together.


def _push_launch(launch: Launch, remote: Remote) -> None:
    record = launch.record()
    with suppress(FileExistsError):
        remote.write(f"launches/{launch.id}.json", formats.json_bytes(record.document()))
    if _launch_in(remote, launch.id).runs != record.runs:
        raise QexpError(f"{remote.shown} has another launch {launch.id}; its runs were pushed")


def _launch_in(remote: Remote, reference: str) -> LaunchRecord:
    """A launch in a remote, by its id, a unique prefix of it, or `last`."""
    matches = map(LAUNCH_FILE.fullmatch, remote.sizes("launches"))
    ids = sorted(match[1] for match in matches if match)
    found = launch_among(ids, reference)
    path = f"launches/{found}.json"
    try:
        return replace(LaunchRecord.from_document(orjson.loads(remote.read(path))), id=found)
    except (ValueError, MisfitError, FileNotFoundError) as error:
        raise DamagedError(f"{remote.shown}/{path} is damaged: {error}") from None


def _write_launch(launch: LaunchRecord, workspace: Workspace) -> None:
    """Keep the launch of pulled runs, which no process and no scheduler of this machine knows."""
    here = Launch(workspace.runs / ".launches" / launch.id)
    if not here.record_file.exists():
        files.make_folder(here.folder)
        formats.write_json(
            here.record_file, replace(launch, launcher="local", settings={}).document()
        )
    elif here.record().runs != launch.runs:
        raise QexpError(f"there is another launch {launch.id} here; its runs were pulled")
