"""Archives: a run in one zip file, which can be imported into another workspace, on any machine,
after checks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import orjson

from qexp.base import files, folders, formats
from qexp.base.folders import drafted
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.store.directory import RunDirectory, storage_place
from qexp.store.lease import CLAIMING, ENDED, LEASE
from qexp.store.record import Imported, Record, State, now, require_name
from qexp.upkeep.trash import in_use

SUFFIX = ".zip"

MANIFEST = "manifest.json"
"""Name of the last member, which holds the hashes of all others, computed while they were
written.
"""

VERSION = 1
"""Of the form of archives."""

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""

LONGEST_NAME, DEEPEST_NAME, MOST_MEMBERS = 4096, 128, 250_000
"""Limits: bytes of a name, folders in a name, and number of files and folders."""

FIRST_YEAR, LAST_YEAR = 1980, 2107
"""Of times in zip files."""


class UnsafeError(Exception):
    """An archive has unsafe content; the message continues "… is refused:"."""


def export(directory: RunDirectory, target: Path) -> None:
    """Write a run to an archive, which appears complete or not at all.

    Raises QexpError for a run at work, an existing file, and files that an archive cannot hold.
    """
    if not is_archive(target) or target.name == SUFFIX:
        raise QexpError(f"`to={target}`: the name must end in {SUFFIX}")
    directory.record()
    for state in in_use([directory]).values():
        raise QexpError(
            f"{directory.name} is {state}; wait for its end, or stop it: qexp stop {directory.name}"
        )
    if os.path.lexists(target):
        raise QexpError(f"{target} exists already; remove it, or choose another name")
    members = members_of(directory)
    try:
        folders.clear(target.absolute())
        with drafted(target.absolute()) as draft:
            with (
                files.replacing(draft / target.name) as file,
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                _write(members, directory.name, archive)
            (draft / target.name).rename(target)
        files.sync_folder(target.absolute().parent)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error}") from error


def is_archive(target: Path) -> bool:
    """Whether a file has the name of an archive."""
    return target.name.endswith(SUFFIX)


def require_harmless(name: str) -> None:
    """Raise UnsafeError unless an archived name is valid and inside the target folder."""
    steps = name.split("/")
    if (
        name.startswith("/")
        or any(step in ("", ".", "..") for step in steps)
        or "\0" in name
        or "\\" in name
    ):
        raise UnsafeError(f"its member {quoted(name)} would be written outside the run's folder")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnsafeError(f"its member {quoted(name)} has a name that is not valid text") from None
    if size > LONGEST_NAME or len(steps) > DEEPEST_NAME:
        raise UnsafeError(
            f"its member {quoted(name)} is {len(steps):,} folders deep and its name has {size:,}"
            f" bytes; the limits are {DEEPEST_NAME} and {LONGEST_NAME:,}"
        )


def quoted(name: str) -> str:
    """A member's name as shown in messages."""
    return repr(name if len(name) <= 100 else name[:100] + "…")


def members_of(directory: RunDirectory) -> list[tuple[Path, str, os.stat_result]]:
    """Files and folders of a run with their names in the archive and their status, each folder
    before its contents.

    Links to files are followed. Temporary files and locks of qexp are left out, except in `code/`,
    which holds copies of the user's files. Raises QexpError for what neither an archive nor a
    remote can hold, such as a name that is no text.
    """
    called = directory.name
    members = list[tuple[Path, str, os.stat_result]]()
    waiting = [(called, directory.path.resolve(), False)]
    while waiting:
        name, path, is_link = waiting.pop()
        try:
            require_harmless(name)
            about = path.stat()
        except UnsafeError as error:
            raise QexpError(
                f"{called} cannot be packed: {error}; rename it, or move it away"
            ) from None
        except OSError as error:
            raise QexpError(
                f"{path} is unreadable, or a link to nothing: {error.strerror}"
            ) from None
        place = name.removeprefix(f"{called}/")
        if stat.S_ISDIR(about.st_mode) and not is_link:
            if place.startswith("attempts/") and path.name.startswith((LEASE, ENDED, CLAIMING)):
                continue  # unfinished files of a dead process
            members.append((path, name, about))
            with os.scandir(path) as entries:
                links = {entry.name: entry.is_symlink() for entry in entries}
            for child in sorted(links, reverse=True):
                waiting.append((f"{name}/{child}", path / child, links[child]))
        elif stat.S_ISREG(about.st_mode):
            draft = files.TEMPORARY.fullmatch(path.name)
            lock = not about.st_size and path.suffix == ".lock"
            if place.startswith("code/") or not (draft or lock):
                members.append((path, name, about))
        else:
            raise QexpError(
                f"{path} is neither a file nor a folder of the run, and cannot be packed"
            )
        if len(members) > MOST_MEMBERS:
            raise QexpError(
                f"{called} has more than {MOST_MEMBERS:,} files and folders, and cannot be packed"
            )
    return members


def _write(
    members: list[tuple[Path, str, os.stat_result]], run: str, archive: zipfile.ZipFile
) -> None:
    hashes = {}
    for path, name, about in members:
        if stat.S_ISDIR(about.st_mode):
            archive.writestr(_member(f"{name}/", about), b"")
            continue
        with (
            path.open("rb") as content,
            archive.open(_member(name, os.fstat(content.fileno())), "w") as member,
        ):
            hashes[name] = _copy(content, member)
    document: dict[str, Any] = {
        "format": "qexp run",
        "version": VERSION,
        "qexp": metadata.version("qexp"),
    }
    document |= {"run": run, "written": now(), "sha256": hashes}
    archive.writestr(MANIFEST, formats.json_bytes(document))


def _member(name: str, about: os.stat_result) -> zipfile.ZipInfo:
    """A member with permissions, time in UTC and size of a file, but nobody's name."""
    changed = datetime.fromtimestamp(about.st_mtime, UTC)
    year = min(max(changed.year, FIRST_YEAR), LAST_YEAR)
    member = zipfile.ZipInfo(name, (year, *changed.timetuple()[1:6]))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = about.st_mode << 16
    member.file_size = about.st_size  # files of more than 2 GB have another form
    return member


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy a whole file. Returns its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)
"""Errors that a damaged archive can cause when it is read."""

DOCUMENTS = ("run.json", "spec.json", "environment.json", "labels.json")

LARGEST_DOCUMENT = 1 << 24
"""Largest accepted size of one of `DOCUMENTS` [bytes], which are read as a whole."""

LARGEST_RATIO, SMALL_CONTENT = 1000, 1 << 30
"""Largest accepted ratio of content to archive size, which is 1 to 30 for runs; and bytes up to
which there is none.
"""


def unpack(
    file: Path, workspace: Workspace, name: str | None = None, *, trust_code: bool = False
) -> RunDirectory:
    """Import the run of an archive, under another name if one is given.

    All members are checked before any is written, and each content as it is; the run appears
    complete or not at all.
    trust_code  whether later commands may execute the run's own code without asking
    Raises QexpError for unsafe or unexpected members and for a name that is taken; DamagedError if
    the archive is incomplete or was changed.
    """
    runs = storage_place(None, workspace)
    with _open_archive(file) as archive:
        room = shutil.disk_usage(runs if runs.is_dir() else workspace.root).free
        members = _check_members(archive, file.stat().st_size, room)
        run, hashes = _read_manifest(archive, members)
        target = runs / require_name(run if name is None else name)
        name_in_use = QexpError(
            f"a run {target.name} exists already; choose another name with `name`"
        )
        if os.path.lexists(target):
            raise name_in_use
        files.make_folder(runs)
        with drafted(target) as draft:
            _extract(archive, members, hashes, draft)
            imported_run = RunDirectory(draft / run)
            record = require_readable(imported_run, file)
            settle(
                imported_run,
                record,
                target.name,
                os.fsencode(file.name).decode(errors="replace"),
                trust_code,
            )
            try:
                imported_run.path.rename(target)
            except OSError:
                if os.path.lexists(target):
                    raise name_in_use from None
                raise
    return RunDirectory(target)


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; errors inside the block are reported with the name of the archive."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise QexpError(f"{path} is not an archive: it is not a file")
        with zipfile.ZipFile(path) as archive:
            yield archive
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


def _check_members(archive: zipfile.ZipFile, size: int, room: int) -> dict[str, zipfile.ZipInfo]:
    """Name → member, from the list of contents alone. Raises UnsafeError, or one of `BROKEN`."""
    infos = archive.infolist()
    members: dict[str, zipfile.ZipInfo] = {}
    for member in infos:
        name = member.filename.rstrip("/")
        if name in members:
            raise UnsafeError(f"its member {quoted(name)} occurs twice")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeError(
                f"its member {quoted(name)} is neither file nor folder, but a link, a device or the"
                " like"
            )
        encrypted = member.flag_bits & 1
        if encrypted or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsafeError(
                f"its member {quoted(name)} is packed in a way that `qexp export` never uses"
            )
        members[name] = member
    sizes = dict[str, int | None]()
    for name, member in members.items():
        sizes[name] = None if member.is_dir() else member.file_size
    require_safe(sizes)
    content_size = sum(member.file_size for member in infos)
    if content_size > room:
        raise UnsafeError("its content is larger than the free space on the disk of runs/")
    if content_size > max(SMALL_CONTENT, LARGEST_RATIO * size):
        raise UnsafeError(
            f"its content is more than {LARGEST_RATIO:,} times its own size, which no run reaches"
        )
    return members


def require_safe(sizes: Mapping[str, int | None]) -> None:
    """Raise UnsafeError for members that lead outside, are file and folder, too large or too many.

    sizes  name in the archive → size of a file, None for a folder
    """
    if len(sizes) > MOST_MEMBERS + 1:  # with the manifest
        raise UnsafeError(f"it has more than {MOST_MEMBERS:,} files and folders")
    for name, size in sizes.items():
        require_harmless(name)
        if size is not None and name.partition("/")[2] in DOCUMENTS and size > LARGEST_DOCUMENT:
            raise UnsafeError(
                f"its file {quoted(name)} has {size:,} bytes, more than any such file of a run"
            )
        folder = name.rpartition("/")[0]
        while folder:
            if sizes.get(folder) is not None:
                raise UnsafeError(f"its member {quoted(folder)} is both a file and a folder")
            folder = folder.rpartition("/")[0]


def _read_manifest(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> tuple[str, dict[str, str]]:
    """The run's name, and each file's hash. Raises UnsafeError, or BadZipFile if one is missing.

    The manifest is taken out of the members.
    """
    member = members.pop(MANIFEST, None)
    if member is None:
        raise zipfile.BadZipFile("it has no manifest: it was not written by `qexp export`")
    # if JSON escapes every character
    if member.file_size > 4096 + sum(12 * len(name) + 96 for name in members):
        raise UnsafeError(
            f"its manifest of {member.file_size:,} bytes is too large for its number of files"
        )
    try:
        manifest = orjson.loads(archive.read(member))
    except orjson.JSONDecodeError as error:
        raise zipfile.BadZipFile(f"its manifest cannot be read: {error}") from None
    manifest = manifest if isinstance(manifest, dict) else {}
    run = manifest.get("run")
    hashes = manifest.get("sha256")
    of_qexp = manifest.get("format") == "qexp run"
    if not of_qexp or not isinstance(run, str) or not isinstance(hashes, dict):
        raise zipfile.BadZipFile("its manifest was not written by `qexp export`")
    if manifest.get("version") != VERSION:
        written_by = quoted(str(manifest.get("qexp")))
        raise UnsafeError(
            f"it was written by qexp {written_by}, in a form that this version does not know"
        )
    tops = {name.partition("/")[0] for name in members}
    if tops != {run}:
        names = ", ".join(map(quoted, sorted(tops)[:8]))
        raise UnsafeError(
            f"it must hold the folder of one run, {quoted(run)}, but holds {names or 'nothing'}"
        )
    wrong = {name for name, member in members.items() if not member.is_dir()} ^ hashes.keys()
    if wrong:
        raise zipfile.BadZipFile(f"{quoted(min(wrong))} differs from the exported file")
    require_name(run)
    return run, hashes


def _extract(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    hashes: dict[str, str],
    draft: Path,
) -> None:
    """Write the checked members. Raises BadZipFile for one that differs from its hash."""
    for name, member in members.items():
        path = draft / name
        if member.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as content, path.open("xb") as target:
            digest = _copy(content, target)
            target.flush()
            os.fsync(target.fileno())
        if digest != hashes[name]:
            raise zipfile.BadZipFile(f"{quoted(name)} differs from the exported file")
        path.chmod(permissions(member.external_attr >> 16))
        with suppress(ValueError):  # no such day
            changed = datetime(*member.date_time, tzinfo=UTC).timestamp()
            os.utime(path, (changed, changed))


def permissions(mode: int) -> int:
    """Safe permissions of an unpacked file: the owner's alone to write, no setuid and setgid."""
    return (mode & (0o755 if mode & 0o100 else 0o644)) | 0o600


def require_readable(directory: RunDirectory, origin: str | Path) -> Record:
    """The record of an archived or remote run. Raises DamagedError for an unreadable document."""
    try:
        for run in (directory, *directory.all_folds()):
            run.record()
            run.metrics()
            run.environment()
        directory.spec()
        record = directory.record()
        if not record.digest:
            raise DamagedError(f"{directory.record_file} is damaged: it has no digest of the spec")
    except (DamagedError, NotFoundError) as error:
        reason = str(error).replace(f"{directory.path.parent}/", "")
        raise DamagedError(f"{origin} holds a run that cannot be read: {reason}") from None
    return record


def settle(
    directory: RunDirectory, record: Record, name: str, origin: str, trust_code: bool
) -> Record:
    """Write the run's new name and its origin into its record, and that no process works on it.
    Returns the record.

    Its former jobs and launches are dropped, since those of this machine can have the same numbers.
    """
    for lease in directory.path.glob(f"attempts/*/{LEASE}*"):
        shutil.rmtree(lease, ignore_errors=True)
    document = record.document()
    imported = Imported(
        archive=origin,
        time=now(),
        was={key: document[key] for key in ("name", "state", "job", "launch")},
        before=document["imported"],
        code_trusted=trust_code if directory.own_code() else None,
    )
    attempts = record.attempts
    if attempts and attempts[-1].state is State.RUNNING:
        attempts = (*attempts[:-1], replace(attempts[-1], state=State.LOST))
    idle = {
        State.RUNNING: State.LOST,
        State.QUEUED: State.INTERRUPTED if attempts else State.CREATED,
    }
    state = idle.get(record.state, record.state)
    settled = replace(
        record, name=name, state=state, attempts=attempts, job=None, launch=None, imported=imported
    )
    directory.write(settled)
    return settled
