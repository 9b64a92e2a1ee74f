"""Runs as archives: one file that another workspace, on another machine, can take in."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson
import zstandard

from qexp import files
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import now, require_name
from qexp.runs.upkeep.trash import in_use
from qexp.workspace import Workspace

MANIFEST = "manifest.json"
"""The last member: hashes of all others, taken while they were written."""

LARGEST_MANIFEST = 64_000_000
"""Bytes of a manifest that are read, whatever an archive claims."""

BLOCK = 1 << 20

BROKEN = (tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile)
"""What reading a damaged archive can end in."""


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
    members = list(_members(directory.path.resolve(), PurePosixPath(directory.name)))
    try:
        with files.replacing(target) as file:
            with compression.writer(file) as stream:
                _write(members, directory.name, stream)
            return file.tell()
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error}") from error


def unpack(file: Path, workspace: Workspace, name: str | None = None) -> RunDirectory:
    """Take in the run of an archive, under another name if one is given.

    All of the archive is read and checked before anything is written; the run appears whole or not at all.
    Raises QexpError for members that have no business in an archive of a run, and for a name that is taken;
    DamagedError for what is torn, changed or missing.
    """
    with _opened(file) as archive:
        contents = _checked(archive, file, _room(workspace))
        target = workspace.runs / require_name(name or contents.run)
        if os.path.lexists(target):
            raise _taken(target)
        files.make_folder(workspace.runs)
        with _draft(workspace.runs) as draft:
            _extract(archive, contents, draft)
            arrived = RunDirectory(draft / contents.run)
            _require_readable(arrived, file)
            _rename(arrived, target.name)
            _claim(arrived.path, target)
    return RunDirectory(target)


@dataclass(frozen=True)
class Contents:
    """What an archive holds, after all of it was read."""

    run: str
    hashes: dict[str, str]


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


def _members(folder: Path, called: PurePosixPath) -> Iterator[tuple[Path, str]]:
    """Files and folders of a run with their names in the archive, folders before what they hold."""
    yield folder, str(called)
    for path in sorted(folder.iterdir()):
        name = called / path.name
        try:
            str(name).encode()
        except UnicodeEncodeError:
            raise QexpError(f"{folder} holds {path.name!r}, whose name is no text; rename it") from None
        if path.is_dir() and not path.is_symlink():
            yield from _members(path, name)
        elif path.is_file():
            if path.suffix != ".lock":
                yield path, str(name)
        elif path.is_symlink():
            raise QexpError(f"{path} is a link that leads to no file; replace it by what is meant")
        else:
            raise QexpError(f"{path} is neither file nor folder; an archive cannot hold it")


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


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file of an archive; what its damage leads to, at whatever place, becomes a DamagedError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise QexpError(f"{path} is no archive: it is no file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise NotFoundError(f"there is no {path}") from None
        raise
    except BROKEN as error:
        raise DamagedError(f"{path} is damaged, or no archive: {error}") from None
    except OSError as error:
        raise QexpError(f"cannot import {path}: {error.strerror or error}") from error


@contextmanager
def _tar(file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """The members of an archive, from the first on."""
    file.seek(0)
    beginning = file.read(4)
    file.seek(0)
    compression = next(one for one in COMPRESSIONS if beginning.startswith(one.magic))
    with compression.reader(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def _checked(file: IO[bytes], path: Path, room: int) -> Contents:
    """Read the whole archive without writing anything. Raises QexpError or DamagedError."""
    hashes: dict[str, str] = {}
    folders: set[str] = set()
    manifest: Any = None
    with _tar(file) as archive:
        for member in archive:
            _require_harmless(member, path)
            name = member.name.rstrip("/")
            if name in hashes or name in folders or manifest is not None:
                raise QexpError(f"{path} is refused: {name!r} is in it twice, or after its end")
            room -= member.size
            if room < 0:
                raise QexpError(f"{path} does not fit: what it holds is larger than the room on the disk of runs/")
            content = archive.extractfile(member)
            if content is None:
                folders.add(name)
            elif name == MANIFEST:
                manifest = _manifest(content.read(LARGEST_MANIFEST), path)
            else:
                hashes[name] = _sha256(content)
    if manifest is None:
        raise DamagedError(f"{path} has no manifest: it was cut off, or is not what `qexp export` writes")
    tops = {PurePosixPath(name).parts[0] for name in (*hashes, *folders)}
    if tops != {manifest["run"]}:
        raise QexpError(
            f"{path} is refused: it must hold the folder of one run, not {', '.join(sorted(tops)) or 'none'}"
        )
    for name in sorted({*hashes, *manifest["sha256"]}):
        if hashes.get(name) != manifest["sha256"].get(name):
            raise DamagedError(f"{path} is damaged: {name} is not what was exported")
    files_among_folders = hashes.keys() & {str(parent) for name in (*hashes, *folders) for parent in _above(name)}
    if files_among_folders:
        raise QexpError(f"{path} is refused: {min(files_among_folders)!r} is both a file and a folder")
    return Contents(require_name(manifest["run"]), hashes)


def _above(name: str) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(name).parents)


def _require_harmless(member: tarfile.TarInfo, path: Path) -> None:
    """Raise QexpError unless a member is a file or a folder whose name stays below where it is put."""
    name = member.name.rstrip("/")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
        raise QexpError(f"{path} is refused: {name!r} in it is neither file nor folder, but a link or a device")
    steps = name.split("/")
    if name.startswith("/") or any(step in ("", ".", "..") for step in steps) or "\0" in name or "\\" in name:
        raise QexpError(f"{path} is refused: {name!r} in it leads out of where it is put")
    try:
        name.encode()
        tarfile.data_filter(member, "/nowhere")
    except (tarfile.FilterError, UnicodeEncodeError) as error:
        raise QexpError(f"{path} is refused: {error}") from None


def _manifest(content: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"the manifest of {path} cannot be read: {error}") from None
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != "qexp run"
        or not isinstance(manifest.get("run"), str)
        or not isinstance(manifest.get("sha256"), dict)
    ):
        raise DamagedError(f"the manifest of {path} is not one that `qexp export` writes")
    if manifest.get("version") != 1:
        raise QexpError(f"{path} was written by qexp {manifest.get('qexp')}, in a form that this one does not know")
    return manifest


def _sha256(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := content.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


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
    with _tar(file) as archive:
        for member in archive:
            if member.name != MANIFEST:
                archive.extract(member, draft, filter="data")
    for name in contents.hashes:
        with (draft / name).open("rb") as content:
            os.fsync(content.fileno())


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


def _rename(directory: RunDirectory, name: str) -> None:
    """Let the record say what the run is called from now on."""
    record = directory.record()
    if record.name != name:
        directory.write(replace(record, name=name))


def _claim(arrived: Path, target: Path) -> None:
    try:
        arrived.rename(target)
    except OSError:
        if os.path.lexists(target):
            raise _taken(target) from None
        raise


def _taken(target: Path) -> QexpError:
    return QexpError(f"there is a run {target.name} already; choose another name with --name")
