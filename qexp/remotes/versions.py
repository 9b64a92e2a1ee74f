"""A version of a run: what a remote says of it, which is checked, and what a workspace has in common with it."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError
from qexp.remotes.place import VERSION, Remote
from qexp.runs.catalog import KEPT
from qexp.store.directory import RunDirectory
from qexp.store.documents import MisfitError
from qexp.store.evaluations import summaries
from qexp.store.record import NAME, Record, State, now
from qexp.upkeep import archive
from qexp.upkeep.archive import MOST, UnsafeError, quoted

FILE = re.compile(rf"(?P<name>{NAME.pattern})~(?P<number>[1-9][0-9]{{0,8}})\.json")

SHA256 = re.compile("[0-9a-f]{64}")

LARGEST = 1 << 26
"""Largest accepted size of what is said of a run [bytes]."""

RECENT = 2_000_000_000
"""Nanoseconds within which a file can change twice and look the same."""

Entry = tuple[str, int, int, int]
"""SHA-256, size, permissions, and the time in seconds at which a file was changed."""

Stamp = tuple[str, int, int, int]
"""SHA-256, size, and the times of a file in nanoseconds; with equal ones it is not read again."""


@dataclass(frozen=True)
class Version:
    """A version of a run in a remote."""

    name: str
    number: int
    record: Record
    evaluations: Mapping[str, Any]
    files: Mapping[str, Entry]
    """Path in the run → what is known of the file."""
    folders: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of the paths and contents of its files."""
        return digest_of({name: entry[0] for name, entry in self.files.items()})

    @property
    def identity(self) -> tuple[Any, ...]:
        return identity(self.record)

    @property
    def path(self) -> str:
        return f"runs/{self.name}~{self.number}.json"

    def summary(self, remote: Remote) -> dict[str, Any]:
        """As listings have it; `path` is that in the remote."""
        document = {key: value for key, value in self.record.document().items() if key in KEPT}
        return {**document, "name": self.name, "evaluations": self.evaluations, "path": f"{remote.shown}/{self.path}"}

    def document(self) -> bytes:
        return files.json_bytes({
            "format": "qexp run", "version": VERSION, "qexp": metadata.version("qexp"), "pushed": now(),
            "record": self.record.document(), "evaluations": self.evaluations, "files": self.files,
            "folders": self.folders,
        })  # fmt: skip


def object_path(sha256: str) -> str:
    """The place of a content in a remote."""
    return f"objects/{sha256[:2]}/{sha256[2:]}"


def identity(record: Record) -> tuple[Any, ...]:
    """What tells runs of the same name apart."""
    return record.digest, record.seed, record.created


def digest_of(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(orjson.dumps(sorted(hashes.items()))).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: Path, sha256: str) -> Stamp:
    status = path.stat()
    return sha256, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass
class Common:
    """The version of a run that this workspace last had in common with a remote, and hashes of the run's files."""

    file: Path
    name: str = ""
    number: int = 0
    digest: str = ""
    """Of the files here, at that time."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    identity: Sequence[Any] = ()

    @classmethod
    def read(cls, remote: Remote, run: str, workspace: Workspace) -> Common:
        file = workspace.runs / ".remotes" / remote.id / f"{run}.json"
        try:
            name, number, digest, stamps, of_run = orjson.loads(file.read_bytes())
            return cls(file, name, number, digest, {path: (*stamp,) for path, stamp in stamps.items()}, of_run)
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(file)

    def number_of(self, name: str, run: Record) -> int:
        """Number of the version of that name, if the run here is the same one as then; else 0."""
        return self.number if self.name == name and [*identity(run)] == self.identity else 0

    def write(self, version: Version, number: int, digest: str, stamps: Mapping[str, Stamp]) -> None:
        """Files that have only just been changed are read again next time."""
        settled = time.time_ns() - RECENT
        stamps = {path: stamp if stamp[3] < settled else (stamp[0], 0, 0, 0) for path, stamp in stamps.items()}
        files.make_folder(self.file.parent)
        draft = self.file.with_suffix(".draft")
        with suppress(OSError):  # of a full disk; nothing depends on it
            draft.write_bytes(orjson.dumps([version.name, number, digest, stamps, identity(version.record)]))
            draft.replace(self.file)


def version_of(
    directory: RunDirectory, state: State, name: str, number: int, common: Common, pool: Executor
) -> tuple[Version, dict[str, Stamp]]:
    """A run as a version, and the stamps of its files, those alone of which have changed are read."""
    root = directory.path.resolve()
    members = list(itertools.islice(archive.members_of(root, directory.name), MOST + 1))
    if len(members) > MOST:
        raise QexpError(f"{directory.name} has more than {MOST:,} files and folders; a remote cannot hold them")
    inside = [(path, member.partition("/")[2]) for path, member in members[1:]]
    folders = tuple(member for path, member in inside if path.is_dir())
    paths = {member: path for path, member in inside if not path.is_dir()}

    about = {member: path.stat() for member, path in paths.items()}
    times = {member: (status.st_size, status.st_mtime_ns, status.st_ctime_ns) for member, status in about.items()}
    known = {member: stamp[0] for member, stamp in common.stamps.items() if stamp[1:] == times.get(member)}
    others = [member for member in paths if member not in known]
    hashes = {**known, **dict(zip(others, pool.map(lambda member: sha256_of(paths[member]), others), strict=True))}
    entries = {
        member: (hashes[member], status.st_size, archive.permissions(status.st_mode), max(0, int(status.st_mtime)))
        for member, status in about.items()
    }
    version = Version(
        name, number, replace(directory.record(), state=state), summaries(directory.path), entries, folders
    )
    return version, {member: (hashes[member], *times[member]) for member in paths}


# What a remote says, which may be anything.


def newest_versions(remote: Remote) -> dict[str, int]:
    """Run → number of its newest version."""
    found = [FILE.fullmatch(name) for name, size in remote.sizes("runs").items() if (size or 0) <= LARGEST]
    newest: dict[str, int] = {}
    for match in filter(None, found):
        newest[match["name"]] = max(newest.get(match["name"], 0), int(match["number"]))
    return newest


def read_version(remote: Remote, name: str, number: int) -> Version:
    """Raises DamagedError, or QexpError for unsafe names and sizes."""
    where = f"{remote.shown}/runs/{name}~{number}.json"
    try:
        document = orjson.loads(remote.read(f"runs/{name}~{number}.json"))
        if document["version"] != VERSION and document["format"] == "qexp run":
            raise QexpError(
                f"{where} was pushed by qexp {quoted(str(document['qexp']))}, in a form unknown to this one"
            )
        entries = {
            path: (sha256, size, mode, changed) for path, (sha256, size, mode, changed) in document["files"].items()
        }
        version = Version(
            name, number, Record.from_document(document["record"]), dict(document["evaluations"]), entries,
            tuple(document["folders"]),
        )  # fmt: skip
        _require_safe(version)
    except FileNotFoundError:
        raise DamagedError(f"{where} is gone") from None
    except UnsafeError as error:
        raise QexpError(f"{where} is refused: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, MisfitError) as error:
        raise DamagedError(f"{where} is damaged: {error}") from None
    return version


def _require_safe(version: Version) -> None:
    if len(version.files) + len(version.folders) > MOST:
        raise UnsafeError(f"it has more than {MOST:,} files and folders")
    if both := version.files.keys() & set(version.folders):
        raise UnsafeError(f"{quoted(min(both))} is both a file and a folder")
    for name in (*version.files, *version.folders):
        archive.require_harmless(name)
        if above := next((str(one) for one in PurePosixPath(name).parents if str(one) in version.files), None):
            raise UnsafeError(f"{quoted(above)} is both a file and a folder")
    for name, (sha256, *numbers) in version.files.items():
        if not SHA256.fullmatch(sha256) or not all(isinstance(one, int) and 0 <= one < 1 << 40 for one in numbers):
            raise ValueError(f"{quoted(name)} has no hash, size, permissions and time")
        if name in archive.DOCUMENTS and numbers[0] > archive.LARGEST_DOCUMENT:
            raise UnsafeError(f"its file {quoted(name)} has {numbers[0]:,} bytes, more than any such file of a run")
