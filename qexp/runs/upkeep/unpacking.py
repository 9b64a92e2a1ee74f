"""Import of a run from an archive, after a complete check."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson
import zstandard

from qexp import files, folders
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.lease import LEASE
from qexp.runs.record.names import now, require_name
from qexp.runs.record.nesting import place_of
from qexp.runs.record.origins import Imported
from qexp.runs.record.state import State
from qexp.runs.upkeep.archive import COMPRESSIONS, MANIFEST, MOST, require_harmless
from qexp.runs.upkeep.tar_stream import LATEST, ArchiveMember, UnsafeError, members, shown
from qexp.workspace import Workspace

BROKEN = (tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile)
"""Errors that a damaged archive can cause when it is read."""

DOCUMENTS = ("run.json", "spec.json", "environment.json", "labels.json")

LARGEST_DOCUMENT = 1 << 24
"""Largest accepted size of one of `DOCUMENTS` [bytes], which are read as a whole."""

LARGEST_RATIO, SMALL = 1000, 1 << 30
"""Largest accepted ratio of content to archive size; runs have 1 to 30. Up to `SMALL` bytes there is no limit."""


def unpack(file: Path, workspace: Workspace, name: str | None = None, *, trust_code: bool = False) -> RunDirectory:
    """Import the run of an archive, under another name if one is given.

    The whole archive is read and checked before anything is written; the run appears complete or not at all.
    trust_code  whether later commands may execute the run's own code without asking
    Raises QexpError for unsafe or unexpected members and for a name that is taken; DamagedError if the archive is
    incomplete or was changed.
    """
    runs = place_of(None, workspace)
    with _opened(file) as archive:
        contents = _checked(archive, _room(workspace))
        target = runs / require_name(contents.run if name is None else name)
        if os.path.lexists(target):
            raise _taken(target)
        files.make_folder(runs)
        with folders.drafted(target) as draft:
            _extract(archive, contents, draft)
            arrived = RunDirectory(draft / contents.run)
            _require_readable(arrived, file)
            _settle(arrived, target.name, file, trust_code)
            _claim(arrived.path, target)
    return RunDirectory(target)


@dataclass
class Contents:
    """The content of an archive, as far as it has been read."""

    hashes: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    manifest: dict[str, Any] | None = None

    @property
    def run(self) -> str:
        assert self.manifest is not None
        run: str = self.manifest["run"]
        return run

    def names(self) -> Iterator[str]:
        yield from self.hashes
        yield from self.folders

    def largest_manifest(self) -> int:
        """Largest possible size of a manifest of these files [bytes], if JSON escapes every character of a name."""
        return 4096 + sum(12 * len(name) + 96 for name in self.hashes)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open an archive; errors inside the block are reported with the name of the archive."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise QexpError(f"{path} is not an archive: it is not a file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise NotFoundError(f"{path} does not exist") from None
        raise
    except UnsafeError as error:
        raise QexpError(f"{path} is refused: {error}") from None
    except BROKEN as error:
        raise DamagedError(f"{path} is damaged, or not an archive: {error}") from None
    except OSError as error:
        raise QexpError(f"cannot import {path}: {error.strerror or error}") from error


def _members(file: IO[bytes]) -> Iterator[ArchiveMember]:
    """The members of an archive from the beginning, each with a checked name."""
    file.seek(0)
    beginning = file.read(4)
    file.seek(0)
    compression = next(one for one in COMPRESSIONS if beginning.startswith(one.magic))
    with compression.reader(file) as stream:
        for member in members(stream):
            member.name = member.name.rstrip("/")
            require_harmless(member.name)
            yield member


def _checked(file: IO[bytes], room: int) -> Contents:
    """Read the whole archive without writing anything. Raises QexpError, UnsafeError, or one of `BROKEN`."""
    contents = Contents()
    likely = max(SMALL, LARGEST_RATIO * os.fstat(file.fileno()).st_size)
    held = 0
    for count, member in enumerate(_members(file), 1):
        held += member.size
        if member.name in contents.hashes or member.name in contents.folders or contents.manifest is not None:
            raise UnsafeError(f"{shown(member.name)} occurs twice, or comes after the manifest")
        if held > room:
            raise UnsafeError("its content is larger than the free space on the disk of runs/")
        if held > likely:
            raise UnsafeError(f"its content is more than {LARGEST_RATIO:,} times its own size, which no run reaches")
        if count > MOST:
            raise UnsafeError(f"it has more than {MOST:,} files and folders")
        if member.is_folder:
            contents.folders.add(member.name)
        elif member.name == MANIFEST:
            if member.size > contents.largest_manifest():
                raise UnsafeError(f"its manifest of {member.size:,} bytes is too large for its number of files")
            contents.manifest = _manifest(b"".join(member.chunks()))
        else:
            contents.hashes[member.name] = _hashed(member)
    _require_whole(contents)
    return contents


def _hashed(member: ArchiveMember) -> str:
    _, _, inside = member.name.partition("/")
    if inside in DOCUMENTS and member.size > LARGEST_DOCUMENT:
        raise UnsafeError(f"its file {shown(member.name)} has {member.size:,} bytes, more than any such file of a run")
    digest = hashlib.sha256()
    for chunk in member.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _require_whole(contents: Contents) -> None:
    """Raise tarfile.ReadError or UnsafeError unless an archive holds one run with exactly the manifest's files."""
    if contents.manifest is None:
        raise tarfile.ReadError("it has no manifest: it was cut off, or not written by `qexp export`")
    tops = {name.partition("/")[0] for name in contents.names()}
    if tops != {contents.run}:
        named = ", ".join(map(shown, sorted(tops)[:8]))
        raise UnsafeError(f"it must hold the folder of one run, {shown(contents.run)}, but holds {named or 'nothing'}")
    exported = contents.manifest["sha256"]
    for name in sorted({*contents.hashes, *exported}):
        if contents.hashes.get(name) != exported.get(name):
            raise tarfile.ReadError(f"{shown(name)} differs from the exported file")
    for name in contents.names():
        if both := next((str(one) for one in PurePosixPath(name).parents if str(one) in contents.hashes), None):
            raise UnsafeError(f"its member {shown(both)} is both a file and a folder")
    require_name(contents.run)


def _manifest(content: bytes) -> dict[str, Any]:
    try:
        manifest = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise tarfile.ReadError(f"its manifest cannot be read: {error}") from None
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != "qexp run"
        or not isinstance(manifest.get("run"), str)
        or not isinstance(manifest.get("sha256"), dict)
    ):
        raise tarfile.ReadError("its manifest was not written by `qexp export`")
    if manifest.get("version") != 1:
        written_by = shown(str(manifest.get("qexp")))
        raise UnsafeError(f"it was written by qexp {written_by}, in a form that this version does not know")
    return manifest


def _room(workspace: Workspace) -> int:
    """Free space on the disk of `runs/` [bytes]."""
    place = workspace.runs if workspace.runs.is_dir() else workspace.root
    return shutil.disk_usage(place).free


def _extract(file: IO[bytes], contents: Contents, draft: Path) -> None:
    """Write the checked members; the archive is read again and compared, as it could have been replaced."""
    for member in _members(file):
        place = draft / member.name
        if member.is_folder and member.name in contents.folders:
            place.mkdir(parents=True, exist_ok=True)
        elif not member.is_folder and member.name in contents.hashes:
            place.parent.mkdir(parents=True, exist_ok=True)
            if _written(member, place) != contents.hashes[member.name]:
                raise tarfile.ReadError(f"{shown(member.name)} was changed during the import")
        elif member.name != MANIFEST:
            raise tarfile.ReadError(f"{shown(member.name)} was added during the import")


def _written(member: ArchiveMember, place: Path) -> str:
    """Write a file with its permissions and time. Returns its SHA-256."""
    digest = hashlib.sha256()
    with place.open("xb") as target:
        for chunk in member.chunks():
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    # The owner can read and write it, others cannot write it, and setuid and setgid are dropped.
    mode = (member.mode & (0o755 if member.mode & 0o100 else 0o644)) | 0o600
    place.chmod(mode)
    if 0 < member.changed < LATEST:
        os.utime(place, (member.changed, member.changed))
    return digest.hexdigest()


def _require_readable(directory: RunDirectory, archive: Path) -> None:
    try:
        for run in (directory, *directory.all_folds()):
            run.record()
            run.metrics()
            run.environment()
        directory.spec()
    except (DamagedError, NotFoundError) as error:
        said = str(error).replace(f"{directory.path.parent}/", "")
        raise DamagedError(f"{archive} holds a run that cannot be read: {said}") from None


def _settle(directory: RunDirectory, name: str, archive: Path, trust_code: bool) -> None:
    """Write the run's new name and its origin into the record, and that no process works on it.

    Its former jobs and launches are dropped, since those of this machine can have the same numbers.
    """
    for lease in directory.path.glob(f"attempts/*/{LEASE}*"):
        shutil.rmtree(lease, ignore_errors=True)
    record = directory.record()
    document = record.document()
    imported = Imported(
        archive=os.fsencode(archive.name).decode(errors="replace"),
        time=now(),
        was={key: document[key] for key in ("name", "state", "job", "launch")},
        before=document["imported"],
        code_trusted=trust_code if directory.own_code() else None,
    )
    attempts = record.attempts
    if attempts and attempts[-1].state is State.RUNNING:
        attempts = (*attempts[:-1], replace(attempts[-1], state=State.LOST))
    idle = {State.RUNNING: State.LOST, State.QUEUED: State.INTERRUPTED if attempts else State.CREATED}
    state = idle.get(record.state, record.state)
    directory.write(
        replace(record, name=name, state=state, attempts=attempts, job=None, launch=None, imported=imported)
    )


def _claim(arrived: Path, target: Path) -> None:
    try:
        arrived.rename(target)
    except OSError:
        if os.path.lexists(target):
            raise _taken(target) from None
        raise


def _taken(target: Path) -> QexpError:
    return QexpError(f"a run {target.name} exists already; choose another name with --name")
