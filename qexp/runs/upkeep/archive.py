"""Runs as archives: one file that another workspace, on another machine, can take in."""

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
"""The last member: hashes of all others, taken while they were written."""

LONGEST, DEEPEST, MOST = 4096, 128, 250_000
"""Bytes of a name in an archive, folders in it, and files and folders in all: what is more cannot be taken in."""

ABANDONED_SECONDS = 60.0
"""A draft without content that is older is of a dead process; others are locked as long as they are written."""

Stream = Callable[[IO[bytes]], AbstractContextManager[Any]]
"""What goes between an archive and its file, and leaves that open."""


@dataclass(frozen=True)
class Compression:
    suffix: str
    magic: bytes
    """How such a file begins."""
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
"""By the end of a file's name when writing; when reading by its beginning, which no renaming changes."""


def export(directory: RunDirectory, target: Path) -> int:
    """Write a run to an archive, which appears whole or not at all. Returns its size in bytes.

    Raises QexpError for a run at work, a file in the way, and what no archive can hold.
    """
    compression = _compression_for(target)
    directory.record()
    for state in in_use([directory]).values():
        raise QexpError(f"{directory.name} is {state}; wait for its end, or stop it: qexp stop {directory.name}")
    if os.path.lexists(target):
        raise QexpError(f"{target} is there already; remove it, or choose another name")
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
    """Lock a draft until it is closed, or its process ends; False if another process writes it.

    Where a file system knows no locks, that is True for none, so that drafts are left to `qexp doctor`.
    """
    try:
        fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clear_drafts(target: Path) -> None:
    """Delete what exports to the same file have left that were killed."""
    for path in target.absolute().parent.glob(".*.tar*"):
        match = files.TEMPORARY.fullmatch(path.name)
        if match is None or match["whole"] != target.name or path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError), path.open("rb") as draft:
            new = not path.stat().st_size and clocks.age(path) < ABANDONED_SECONDS
            if not new and _lock(draft):
                path.unlink()


def is_archive(target: Path) -> bool:
    """Whether a name is that of an archive, and not of something else."""
    return any(target.name.endswith(compression.suffix) for compression in COMPRESSIONS)


def _compression_for(target: Path) -> Compression:
    for compression in COMPRESSIONS:
        if target.name.endswith(compression.suffix) and target.name != compression.suffix:
            return compression
    known = ", ".join(compression.suffix for compression in COMPRESSIONS)
    raise QexpError(f"--to {target}: the name must end in one of {known}")


# Writing


def require_harmless(name: str) -> None:
    """Raise UnsafeError unless a name in an archive stays below where it is put, and can be a file's."""
    steps = name.split("/")
    if name.startswith("/") or any(step in ("", ".", "..") for step in steps) or "\0" in name or "\\" in name:
        raise UnsafeError(f"{shown(name)} in it leads out of where it is put")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnsafeError(f"the name {shown(name)} in it is no text") from None
    if size > LONGEST or len(steps) > DEEPEST:
        raise UnsafeError(
            f"{shown(name)} in it is {len(steps):,} folders deep and {size:,} bytes long; "
            f"at most {DEEPEST} and {LONGEST:,} can be"
        )


def _members(run: Path, called: str) -> Iterator[tuple[Path, str]]:
    """Files and folders of a run with their names in the archive, folders before what they hold.

    Temporary files and locks of qexp are left out; below `code/` are copies of a user's files, whatever their names.
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
                continue  # what a process that is dead did not get to write
            yield path, name
            waiting += sorted(((one, f"{name}/{one.name}") for one in path.iterdir()), reverse=True)
        elif path.is_file():
            if (run / "code") in path.parents or not _is_temporary(path):
                yield path, name
        elif path.is_symlink():
            raise QexpError(f"{path} is a link that leads to no file; replace it by what is meant")
        else:
            raise QexpError(f"{path} is neither file nor folder; an archive cannot hold it")


def _is_temporary(path: Path) -> bool:
    """Whether a file is one of those that qexp makes while it writes others: drafts, and locks, which are empty."""
    return bool(files.TEMPORARY.fullmatch(path.name)) or (path.suffix == ".lock" and not path.stat().st_size)


def _write(members: list[tuple[Path, str]], run: str, stream: IO[bytes]) -> None:
    hashes = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for path, name in members:
            if path.is_dir():
                archive.addfile(_anonymous(archive.gettarinfo(path, name)))
                continue
            with path.open("rb") as content:  # of a link: what it leads to
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
    """A member that tells nothing of users and groups here."""
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
