"""Archives: a run in one file that can be imported into another workspace, on any machine, after a complete check.

Only tarfile's parser of single headers (512 bytes) is used: tarfile itself loads extended headers completely, recurses
for every consecutive one, and its extraction filters are newer than Python 3.11.0.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import itertools
import os
import re
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson
import zstandard

from qexp.base import files
from qexp.base.files import drafted
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.store.directory import RunDirectory, storage_place
from qexp.store.lease import CLAIMING, ENDED, LEASE
from qexp.store.record import Imported, State, now, require_name
from qexp.upkeep.trash import in_use

BLOCK = tarfile.BLOCKSIZE

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""

LARGEST_EXTENSION = 1 << 16
"""Largest accepted extended header [bytes]; those of qexp hold a path, a size and a time."""

END = b"\0" * BLOCK

RECORD = re.compile(rb"(?P<length>[1-9][0-9]{0,7}) (?P<key>[^=]+)=")
"""Beginning of each entry of an extended header."""

LATEST = 2**33
"""Latest accepted time [seconds since 1970], in the year 2242."""


class UnsafeError(Exception):
    """An archive has unsafe content; the message continues "… is refused:"."""


class ArchiveMember:
    """A file or folder in an archive; its content must be read before the next member."""

    def __init__(self, header: tarfile.TarInfo, extension: dict[str, bytes], stream: IO[bytes]) -> None:
        self.name = _text(extension["path"]) if "path" in extension else header.name
        self.size = _number(extension["size"]) if "size" in extension else header.size
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise UnsafeError(
                f"its member {shown(self.name)} is neither file nor folder, but a link, a device or the like"
            )
        self.is_folder = header.isdir()
        self.mode = header.mode
        self.changed = _time(extension["mtime"]) if "mtime" in extension else float(header.mtime)
        if self.size < 0 or (self.is_folder and self.size):
            raise tarfile.ReadError(f"{shown(self.name)} cannot have {self.size} bytes")
        self._stream, self._left, self._padding = stream, self.size, -self.size % BLOCK

    def chunks(self) -> Iterator[bytes]:
        """The rest of the content, in pieces."""
        while self._left:
            chunk = self._stream.read(min(CHUNK, self._left))
            if not chunk:
                raise tarfile.ReadError("it was cut off")
            self._left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        for _ in self.chunks():
            pass
        _exactly(self._stream, self._padding)
        self._padding = 0


def members(stream: IO[bytes]) -> Iterator[ArchiveMember]:
    """All members of an archive. Raises UnsafeError, or tarfile.TarError if it is damaged."""
    while (header := _header(stream)) is not None:
        extension: dict[str, bytes] = {}
        if header.type == tarfile.XHDTYPE:
            extension = _extension(header, stream)
            header = _header(stream)
            if header is None:
                raise tarfile.ReadError("it ends after an extended header")
        member = ArchiveMember(header, extension, stream)
        yield member
        member.skip()
    _read_to_the_end(stream)


def shown(name: str) -> str:
    """A member's name as shown in messages."""
    return repr(name if len(name) <= 100 else name[:100] + "…")


def _header(stream: IO[bytes]) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive, which is marked by two blocks of zeros."""
    block = _exactly(stream, BLOCK)
    if block != END:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if _exactly(stream, BLOCK) != END:
        raise tarfile.ReadError("its end is damaged")
    return None


def _extension(header: tarfile.TarInfo, stream: IO[bytes]) -> dict[str, bytes]:
    """Key → value of an extended header, whose entries have the form `length key=value` with a line break."""
    if not 0 <= header.size <= LARGEST_EXTENSION:
        raise UnsafeError(f"one of its headers claims {header.size:,} bytes; the limit is {LARGEST_EXTENSION:,}")
    content = _exactly(stream, header.size)
    _exactly(stream, -header.size % BLOCK)
    entries, place = {}, 0
    while place < len(content):
        found = RECORD.match(content, place)
        end = place + int(found["length"]) if found else 0
        if found is None or not found.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise tarfile.ReadError("one of its extended headers is damaged")
        key = _text(found["key"])
        if key.startswith("GNU.sparse") or key == "hdrcharset":
            raise UnsafeError(f"one of its headers contains {shown(key)}, which `qexp export` never writes")
        entries[key] = content[found.end() : end - 1]
        place = end
    return entries


def _read_to_the_end(stream: IO[bytes]) -> None:
    """Read what pads an archive: only at its end does a decompressor notice that it was cut."""
    left = CHUNK
    while left and (part := stream.read(left)):
        left -= len(part)
    if not left:
        raise tarfile.ReadError("too much follows its end")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts, left = [], size
    while left:
        part = stream.read(left)
        if not part:
            raise tarfile.ReadError("it was cut off")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _number(value: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", value):
        raise tarfile.ReadError("one of its sizes is not a number")
    return int(value)


def _time(value: bytes) -> float:
    """A time as seconds since 1970; 0 if it is not valid."""
    return float(value) if re.fullmatch(rb"[0-9]{1,10}(\.[0-9]{1,20})?", value) else 0.0


# Export of a run to an archive: one file that can be imported into another workspace, on any machine.


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
            new = not path.stat().st_size and files.age(path) < ABANDONED_SECONDS
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
    raise QexpError(f"`to={target}`: the name must end in one of {known}")


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


# Import of a run from an archive, after a complete check.


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
    runs = storage_place(None, workspace)
    with _opened(file) as archive:
        contents = _checked(archive, _room(workspace))
        target = runs / require_name(contents.run if name is None else name)
        if os.path.lexists(target):
            raise _taken(target)
        files.make_folder(runs)
        with drafted(target) as draft:
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


def _checked_members(file: IO[bytes]) -> Iterator[ArchiveMember]:
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
    for count, member in enumerate(_checked_members(file), 1):
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
    for member in _checked_members(file):
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
    return QexpError(f"a run {target.name} exists already; choose another name with `name`")
