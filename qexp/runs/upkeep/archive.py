"""Export of a run to an archive: one file that can be imported into another workspace, on any machine."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import itertools
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import zstandard

from qexp import clocks, files
from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.lease import CLAIMING, ENDED, LEASE
from qexp.runs.record.names import now
from qexp.runs.upkeep.tar_stream import UnsafeError, shown
from qexp.runs.upkeep.trash import in_use

MANIFEST = "manifest.json"
"""Name of the last member, which holds the hashes of all others, computed while they were written."""

LONGEST, DEEPEST, MOST = 4096, 128, 250_000
"""Limits of import: bytes of a name, folders in a name, and number of files and folders."""

ABANDONED_SECONDS = 60.0
"""Seconds after which an empty draft counts as left by a dead process; others are locked while they are written."""

Stream = Callable[[IO[bytes]], AbstractContextManager[Any]]
"""Opens a layer of compression on a file, and leaves the file open."""


@dataclass(frozen=True)
class Compression:
    suffix: str
    magic: bytes
    """First bytes of such a file."""
    writer: Stream
    reader: Stream


def _zstd_writer(file: IO[bytes]) -> AbstractContextManager[Any]:
    return zstandard.ZstdCompressor().stream_writer(file, closefd=False)


def _zstd_reader(file: IO[bytes]) -> AbstractContextManager[Any]:
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)


def _gzip_writer(file: IO[bytes]) -> AbstractContextManager[Any]:
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)


def _gzip_reader(file: IO[bytes]) -> AbstractContextManager[Any]:
    return gzip.GzipFile(mode="rb", fileobj=file)


COMPRESSIONS = (
    Compression(".tar.zst", b"\x28\xb5\x2f\xfd", _zstd_writer, _zstd_reader),
    Compression(".tar.gz", b"\x1f\x8b", _gzip_writer, _gzip_reader),
    Compression(".tar", b"", nullcontext, nullcontext),
)
"""Formats, chosen by suffix when writing and by the first bytes when reading, which work after renaming, too."""


def export(directory: RunDirectory, target: Path) -> int:
    """Write a run to an archive, which appears complete or not at all. Returns its size in bytes.

    Raises QexpError for a run at work, an existing file, and files that an archive cannot hold.
    """
    compression = _compression_for(target)
    directory.record()
    for state in in_use([directory]).values():
        raise QexpError(f"{directory.name} is {state}; wait for its end, or stop it: qexp stop {directory.name}")
    if os.path.lexists(target):
        raise QexpError(f"{target} exists already; remove it, or choose another name")
    members = list(itertools.islice(_members(directory.path.resolve(), directory.name), MOST + 1))
    if len(members) > MOST:
        raise QexpError(f"{directory.name} has more than {MOST:,} files and folders; an archive cannot hold them")
    try:
        _clear_drafts(target)
        with files.replacing(target) as file:
            _lock(file)
            with compression.writer(file) as stream:
                _write(members, directory.name, stream)
            return file.tell()
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error}") from error


def _lock(draft: IO[bytes]) -> bool:
    """Lock a draft until it is closed or its process ends; False if another process writes it.

    Always False on a file system without locks, so that `qexp doctor` has to delete leftover drafts.
    """
    try:
        fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clear_drafts(target: Path) -> None:
    """Delete the drafts of killed exports to the same file."""
    for path in target.absolute().parent.glob(".*.tar*"):
        match = files.TEMPORARY.fullmatch(path.name)
        if match is None or match["whole"] != target.name or path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError), path.open("rb") as draft:
            new = not path.stat().st_size and clocks.age(path) < ABANDONED_SECONDS
            if not new and _lock(draft):
                path.unlink()


def is_archive(target: Path) -> bool:
    """Whether a file name has the suffix of an archive."""
    return any(target.name.endswith(compression.suffix) for compression in COMPRESSIONS)


def _compression_for(target: Path) -> Compression:
    for compression in COMPRESSIONS:
        if target.name.endswith(compression.suffix) and target.name != compression.suffix:
            return compression
    known = ", ".join(compression.suffix for compression in COMPRESSIONS)
    raise QexpError(f"--to {target}: the name must end in one of {known}")


# Writing


def require_harmless(name: str) -> None:
    """Raise UnsafeError unless a name in an archive is valid and stays inside the folder of extraction."""
    steps = name.split("/")
    if name.startswith("/") or any(step in ("", ".", "..") for step in steps) or "\0" in name or "\\" in name:
        raise UnsafeError(f"its member {shown(name)} would be written outside the run's folder")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnsafeError(f"its member {shown(name)} has a name that is not valid text") from None
    if size > LONGEST or len(steps) > DEEPEST:
        raise UnsafeError(
            f"its member {shown(name)} is {len(steps):,} folders deep and its name has {size:,} bytes; "
            f"the limits are {DEEPEST} and {LONGEST:,}"
        )


def _members(run: Path, called: str) -> Iterator[tuple[Path, str]]:
    """Files and folders of a run with their names in the archive, each folder before its contents.

    Temporary files and locks of qexp are left out, except in `code/`, which holds copies of the user's files.
    """
    waiting = [(run, called)]
    while waiting:
        path, name = waiting.pop()
        try:
            require_harmless(name)
        except UnsafeError as error:
            raise QexpError(f"an archive of {called} cannot be made: {error}; rename it, or move it away") from None
        if path.is_dir() and (path == run or not path.is_symlink()):
            if path.relative_to(run).parts[:1] == ("attempts",) and path.name.startswith((LEASE, ENDED, CLAIMING)):
                continue  # unfinished files of a dead process
            yield path, name
            waiting += sorted(((one, f"{name}/{one.name}") for one in path.iterdir()), reverse=True)
        elif path.is_file():
            if (run / "code") in path.parents or not _is_temporary(path):
                yield path, name
        elif path.is_symlink():
            raise QexpError(f"{path} is a link to a file that does not exist; replace it by the file")
        else:
            raise QexpError(f"{path} is neither a file nor a folder; an archive cannot hold it")


def _is_temporary(path: Path) -> bool:
    """Whether a file is a draft or an (empty) lock of qexp."""
    return bool(files.TEMPORARY.fullmatch(path.name)) or (path.suffix == ".lock" and not path.stat().st_size)


def _write(members: list[tuple[Path, str]], run: str, stream: IO[bytes]) -> None:
    hashes = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for path, name in members:
            if path.is_dir():
                archive.addfile(_anonymous(archive.gettarinfo(path, name)))
                continue
            with path.open("rb") as content:  # links are followed
                hashed = _Hashed(content)
                archive.addfile(_anonymous(archive.gettarinfo(arcname=name, fileobj=content)), hashed)
                hashes[name] = hashed.digest
        document = {
            "format": "qexp run", "version": 1, "qexp": metadata.version("qexp"), "run": run, "written": now(),
            "sha256": hashes,
        }  # fmt: skip
        manifest = files.json_bytes(document)
        member = tarfile.TarInfo(MANIFEST)
        member.size, member.mode = len(manifest), 0o644
        archive.addfile(member, io.BytesIO(manifest))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without the names and numbers of this machine's users and groups."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


class _Hashed:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._sum.update(block)
        return block

    @property
    def digest(self) -> str:
        return self._sum.hexdigest()
