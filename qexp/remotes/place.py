"""A remote: a place that fsspec reaches, and its files, which appear complete or not at all.

qexp-remote.json     its form, and an id
objects/ab/cdef…     contents by their SHA-256; never changed
runs/NAME~3.json     the third version of a run: record, and path → hash of its files; never changed either
launches/ID.json     the record of a launch
incoming/            files that are being written, where a place has names to change
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, MissingExtraError, NotFoundError, QexpError, extra, hint, some

MARKER, VERSION = "qexp-remote.json", 1

RENAMING = {"file", "local", "ssh", "sftp"}
"""Protocols of places where a unfinished file can be seen; it gets its name when it is whole."""

OPTIONS: dict[str, dict[str, Any]] = {
    # Hosts are known by ~/.ssh/known_hosts, which sshfs leaves out by itself; a connection that was cut is noticed.
    **{name: {"known_hosts": (), "connect_timeout": 20, "keepalive_interval": 15} for name in ("ssh", "sftp")},
    "s3": {
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 0}}
    },  # s3fs tries again itself
}
"""Protocol → options of its file system."""

LIBRARIES = {"s3": "s3fs", "ssh": "sshfs", "sftp": "sshfs"}

FOREIGN = {"aiobotocore", "aiohttp", "adlfs", "asyncssh", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs"}
"""Libraries whose errors are about the remote."""

FULL = re.compile("No space left|[Qq]uota exceeded")


class RemoteError(QexpError):
    """A remote cannot be reached or used, for any of its files."""


@contextmanager
def reported(remote: str) -> Iterator[None]:
    """Errors of a file system become errors about the remote; what exists, or does not, is left to the caller."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, QexpError):
        raise
    except Exception as error:
        foreign = {kind.__module__.partition(".")[0] for kind in type(error).__mro__} & FOREIGN
        if not foreign and not isinstance(error, OSError | NotImplementedError):
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        if FULL.search(text):
            raise RemoteError(f"{remote} is full: {text}") from error
        if isinstance(error, NotImplementedError) or getattr(error, "errno", None) == errno.EROFS:
            raise RemoteError(f"{remote} is for reading only") from error
        if isinstance(error, PermissionError) or "ermission denied" in text or "redentials" in text:
            raise RemoteError(f"{remote} refuses access with these credentials: {text}") from error
        raise RemoteError(f"{remote} cannot be reached, or the connection was cut: {text}") from error


@dataclass
class Remote:
    """A place with runs of others."""

    shown: str
    """Its URL, without a password."""
    system: Any
    """The file system of fsspec."""
    root: str
    renames: bool
    id: str = ""
    _folders: set[str] = field(default_factory=set)

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        with reported(self.shown):
            return bytes(self.system.cat_file(f"{self.root}/{path}"))

    def fetch(self, path: str, target: Path) -> None:
        """Write the content of a large file to one here. Raises FileNotFoundError."""
        with reported(self.shown):
            self.system.get_file(f"{self.root}/{path}", str(target))

    def sizes(self, folder: str) -> dict[str, int | None]:
        """Name → size of what is in a folder; nothing if there is no such folder."""
        place = f"{self.root}/{folder}".rstrip("/")
        try:
            with reported(self.shown):
                self.system.invalidate_cache()
                listed = self.system.ls(place, detail=True)
        except FileNotFoundError:
            return {}
        names = {entry["name"].rstrip("/").rpartition("/")[2]: entry.get("size") for entry in listed}
        return {name: size for name, size in names.items() if name and name != place.rpartition("/")[2]}

    def write(self, path: str, content: bytes | Path, new: bool = False) -> None:
        """Put a file in place in one step. Raises FileExistsError, of `new` ones, where somebody has put one there."""
        with reported(self.shown):
            if self.root.startswith("http"):
                raise NotImplementedError
            target = f"{self.root}/{path}"
            place = f"{self.root}/incoming/{secrets.token_hex(8)}" if self.renames else target
            if self.renames:
                self._make_folders("incoming", path.rpartition("/")[0])
            if isinstance(content, Path):
                self.system.put_file(str(content), place)
            else:
                self.system.pipe_file(place, content, **({"mode": "create"} if new and not self.renames else {}))
            if self.renames and new:
                _rename_to_new(self.system, place, target)
            elif self.renames:
                self.system.mv(place, target)

    def _make_folders(self, *folders: str) -> None:
        for folder in {*folders} - self._folders:
            self.system.makedirs(f"{self.root}/{folder}".rstrip("/"), exist_ok=True)
            self._folders.add(folder)


def _rename_to_new(system: Any, draft: str, target: str) -> None:
    """Give a file a name that no file has, in one step. Raises FileExistsError."""
    if getattr(system, "local_file", False):
        try:
            os.link(draft, target)
        finally:
            Path(draft).unlink()
        return
    from asyncssh import SFTPError
    from fsspec.asyn import sync

    async def rename() -> None:
        async with system._pool.get() as channel:
            await channel.rename(draft, target)  # SFTP's own, which replaces nothing

    try:
        sync(system.loop, rename)
    except SFTPError:
        if system.exists(target):
            raise FileExistsError(target) from None
        raise


# From what a user writes to a remote.


def open_remote(named: str, workspace: Workspace, create: bool = False) -> Remote:
    """A remote by its URL, the path of a folder, or its name in qexp.toml.

    create  whether to make a remote of an empty place
    Raises QexpError for what is no remote of qexp, or of a later version.
    """
    url, options = _address(named, workspace)
    protocol = url.partition("://")[0] if "://" in url else "file"
    shown = re.sub(r"://[^/@]*@", "://", url)
    from fsspec.asyn import get_loop  # not loaded by other commands
    from fsspec.core import url_to_fs

    get_loop().set_exception_handler(lambda loop, context: None)  # of tasks whose result nobody waits for any more

    try:
        with reported(shown), extra("remote"):
            if library := LIBRARIES.get(protocol):
                __import__(library)
            system, root = url_to_fs(url, skip_instance_cache=True, **{**OPTIONS.get(protocol, {}), **options})
    except (ImportError, ValueError, TypeError, FileNotFoundError) as error:
        raise MissingExtraError(f"{shown} cannot be used: {error}") from None
    remote = Remote(shown, system, root.rstrip("/"), protocol in RENAMING)
    remote.id = _read_marker(remote, create)
    return remote


def _address(named: str, workspace: Workspace) -> tuple[str, dict[str, Any]]:
    """URL and options of a remote, as qexp.toml has them or as they are written."""
    remotes = workspace.settings().get("remotes", {})
    known = remotes.get(named) if isinstance(remotes, Mapping) else None
    if known is not None:
        table = {"url": known} if isinstance(known, str) else known
        url, options = (table.get("url"), table.get("options", {})) if isinstance(table, Mapping) else (None, None)
        if not isinstance(url, str) or not isinstance(options, Mapping) or table.keys() - {"url", "options"}:
            raise QexpError(f'qexp.toml at remotes.{named}: write url = "…", and options = {{…}} if it needs any')
        return url, dict(options)
    if "://" in named:
        return named, {}
    if "/" in named or named in (".", ".."):
        return str(Path(named).expanduser().absolute()), {}
    known_names = list(remotes) if isinstance(remotes, Mapping) else []
    raise NotFoundError(
        f"no remote '{named}' in qexp.toml{hint(named, known_names)}; give a URL, a folder as ./{named}, or add "
        f'a table [remotes] with {named} = "URL"'
    )


def _read_marker(remote: Remote, create: bool) -> str:
    """The id of a remote. Raises NotFoundError where there is none, and nothing is to be created."""
    try:
        marker = orjson.loads(remote.read(MARKER))
    except FileNotFoundError:
        there = set(remote.sizes("")) - {"incoming"}
        if there and MARKER not in there:
            raise QexpError(f"{remote.shown} is no remote of qexp, and holds {some(sorted(there))}") from None
        if not create:
            raise NotFoundError(
                f"{remote.shown} is no remote of qexp; `qexp push` makes one of an empty place"
            ) from None
        return _make_marker(remote)
    except orjson.JSONDecodeError:
        marker = None
    if not isinstance(marker, dict) or marker.get("format") != "qexp remote" or not isinstance(marker.get("id"), str):
        raise DamagedError(f"{remote.shown} has a file {MARKER} that qexp did not write")
    if marker.get("version") != VERSION:
        raise QexpError(
            f"{remote.shown} was made by qexp {str(marker.get('qexp'))[:40]}, in a form unknown to this one"
        )
    if not re.fullmatch("[0-9a-f]{16}", marker["id"]):
        raise DamagedError(f"{remote.shown} has a file {MARKER} that qexp did not write")
    return str(marker["id"])


def _make_marker(remote: Remote) -> str:
    new = {"format": "qexp remote", "version": VERSION, "id": secrets.token_hex(8), "qexp": metadata.version("qexp")}
    try:
        remote.write(MARKER, files.json_bytes(new), new=True)
    except FileNotFoundError:
        raise NotFoundError(f"{remote.shown} does not exist, and cannot be made") from None
    except FileExistsError:  # by another process, just now
        return _read_marker(remote, create=False)
    return str(new["id"])
