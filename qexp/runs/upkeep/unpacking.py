"""Taking in the run of an archive, after all of it was checked."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson
import zstandard

from qexp import files
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.lease import LEASE
from qexp.runs.record.names import now, require_name
from qexp.runs.record.nesting import place_of
from qexp.runs.record.record import Imported
from qexp.runs.record.state import State
from qexp.runs.upkeep.archive import COMPRESSIONS, MANIFEST, MOST, require_harmless
from qexp.runs.upkeep.tar_stream import LATEST, Member, UnsafeError, members, shown
from qexp.workspace import Workspace

BROKEN = (tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile)
"""What reading a damaged archive can end in."""

DOCUMENTS = ("run.json", "spec.json", "environment.json", "labels.json")

LARGEST_DOCUMENT = 1 << 24
"""Bytes of one of these, which are read as a whole."""

LARGEST_RATIO, SMALL = 1000, 1 << 30
"""How many times its own size an archive may hold; a gigabyte it may hold in any case. Runs come to 1 to 30."""


def unpack(file: Path, workspace: Workspace, name: str | None = None, *, trust_code: bool = False) -> RunDirectory:
    """Take in the run of an archive, under another name if one is given.

    All of the archive is read and checked before anything is written; the run appears whole or not at all.
    trust_code  whether the code that it brings may be executed by later commands without asking again
    Raises QexpError for members that have no business in an archive of a run, and for a name that is taken;
    DamagedError for what is torn, changed or missing.
    """
    runs = place_of(None, workspace)
    with _opened(file) as archive:
        contents = _checked(archive, _room(workspace))
        target = runs / require_name(contents.run if name is None else name)
        if os.path.lexists(target):
            raise _taken(target)
        files.make_folder(runs)
        with _draft(runs) as draft:
            _extract(archive, contents, draft)
            arrived = RunDirectory(draft / contents.run)
            _require_readable(arrived, file)
            _settle(arrived, target.name, file, trust_code)
            _claim(arrived.path, target)
    return RunDirectory(target)


@dataclass
class Contents:
    """What an archive holds, as far as it was read."""

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
        """Bytes that a manifest of these files can have, if JSON escapes every character of their names."""
        return 4096 + sum(12 * len(name) + 96 for name in self.hashes)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file of an archive; what is wrong with it, at whatever place, becomes an error that names the file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise QexpError(f"{path} is no archive: it is no file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise NotFoundError(f"there is no {path}") from None
        raise
    except UnsafeError as error:
        raise QexpError(f"{path} is refused: {error}") from None
    except BROKEN as error:
        raise DamagedError(f"{path} is damaged, or no archive: {error}") from None
    except OSError as error:
        raise QexpError(f"cannot import {path}: {error.strerror or error}") from error


def _members(file: IO[bytes]) -> Iterator[Member]:
    """The members of an archive from the first on, each found to be harmless."""
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
    """Read the whole archive without writing anything. Raises QexpError, UnsafeError or what damage leads to."""
    contents = Contents()
    likely = max(SMALL, LARGEST_RATIO * os.fstat(file.fileno()).st_size)
    held = 0
    for count, member in enumerate(_members(file), 1):
        held += member.size
        if member.name in contents.hashes or member.name in contents.folders or contents.manifest is not None:
            raise UnsafeError(f"{shown(member.name)} is in it twice, or after its end")
        if held > room:
            raise UnsafeError("what it holds does not fit: it is larger than the room on the disk of runs/")
        if held > likely:
            raise UnsafeError(f"it claims to hold {LARGEST_RATIO:,} times its own size, as no run does")
        if count > MOST:
            raise UnsafeError(f"it holds more than {MOST:,} files and folders")
        if member.is_folder:
            contents.folders.add(member.name)
        elif member.name == MANIFEST:
            if member.size > contents.largest_manifest():
                raise UnsafeError(f"its manifest of {member.size:,} bytes is larger than one of these files can be")
            contents.manifest = _manifest(b"".join(member.chunks()))
        else:
            contents.hashes[member.name] = _hashed(member)
    _require_whole(contents)
    return contents


def _hashed(member: Member) -> str:
    _, _, inside = member.name.partition("/")
    if inside in DOCUMENTS and member.size > LARGEST_DOCUMENT:
        raise UnsafeError(f"{shown(member.name)} in it has {member.size:,} bytes, more than any such file of a run")
    digest = hashlib.sha256()
    for chunk in member.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _require_whole(contents: Contents) -> None:
    """Raise unless an archive holds one run, with the files that its manifest says."""
    if contents.manifest is None:
        raise tarfile.ReadError("it has no manifest: it was cut off, or is not what `qexp export` writes")
    tops = {name.partition("/")[0] for name in contents.names()}
    if tops != {contents.run}:
        named = ", ".join(map(shown, sorted(tops)[:8]))
        raise UnsafeError(f"it must hold the folder of one run, {shown(contents.run)}, but holds {named or 'nothing'}")
    told = contents.manifest["sha256"]
    for name in sorted({*contents.hashes, *told}):
        if contents.hashes.get(name) != told.get(name):
            raise tarfile.ReadError(f"{shown(name)} is not what was exported")
    for name in contents.names():
        if both := next((str(one) for one in PurePosixPath(name).parents if str(one) in contents.hashes), None):
            raise UnsafeError(f"{shown(both)} in it is both a file and a folder")
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
        raise tarfile.ReadError("its manifest is not one that `qexp export` writes")
    if manifest.get("version") != 1:
        written_by = shown(str(manifest.get("qexp")))
        raise UnsafeError(f"it was written by qexp {written_by}, in a form that this one does not know")
    return manifest


def _room(workspace: Workspace) -> int:
    """Bytes free where runs are put."""
    place = workspace.runs if workspace.runs.is_dir() else workspace.root
    return shutil.disk_usage(place).free


@contextmanager
def _draft(runs: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".preparing-", dir=runs))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(file: IO[bytes], contents: Contents, draft: Path) -> None:
    """Write what was checked; the archive is read again, and could be another one by now."""
    for member in _members(file):
        place = draft / member.name
        if member.is_folder and member.name in contents.folders:
            place.mkdir(parents=True, exist_ok=True)
        elif not member.is_folder and member.name in contents.hashes:
            place.parent.mkdir(parents=True, exist_ok=True)
            if _written(member, place) != contents.hashes[member.name]:
                raise tarfile.ReadError(f"{shown(member.name)} was changed while it was read")
        elif member.name != MANIFEST:
            raise tarfile.ReadError(f"{shown(member.name)} came into it while it was read")


def _written(member: Member, place: Path) -> str:
    """Write a file with its permissions and time. Returns its SHA-256."""
    digest = hashlib.sha256()
    with place.open("xb") as target:
        for chunk in member.chunks():
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    # Its owner can read and write it, nobody else can write it, and it takes on nobody's rights when it is executed.
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
    """Let the record say what the run is called from now on, that it came from elsewhere, and that nothing works on it:
    jobs and launches of where it was are none of here, though they may have the same numbers.
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
        code_trusted=trust_code if directory.extensions.is_file() else None,
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
    return QexpError(f"there is a run {target.name} already; choose another name with --name")
