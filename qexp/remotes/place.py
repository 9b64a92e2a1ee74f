"""A remote: a place that fsspec reaches, and its files, which appear complete or not at all.

qexp-remote.json     its form, and an id
objects/ab/cdef…     contents by their SHA-256; never changed
runs/NAME~3.json     the third version of a run: record, and path → hash of its files; never changed
                     either
launches/ID.json     the record of a launch
…/incoming-…         files that are being written, where a place has names to change, and a lock
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import orjson

from qexp.base import files, formats
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, extra, hint, some
from qexp.upkeep.archive import quoted

MARKER, VERSION, DRAFT = "qexp-remote.json", 1, "incoming-"

AT_ONCE = 8
"""Files of a run transferred at once; those of a folder wait together until they are on disk."""

T = TypeVar("T")
R = TypeVar("R")

SSH = {"known_hosts": (), "connect_timeout": 20, "keepalive_interval": 15}
"""Hosts are known by ~/.ssh/known_hosts, which sshfs leaves out; a cut connection is noticed."""

# s3fs tries again itself
S3 = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 0}}

PROTOCOLS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    **dict.fromkeys(("file", "local"), ("fsspec", True, {})),
    **dict.fromkeys(("ssh", "sftp"), ("sshfs", True, SSH)),
    "s3": ("s3fs", False, {"config_kwargs": S3}),
}
"""Protocol → library, whether unfinished files are seen and named when whole, and options."""

TROUBLES = {
    "No space left|[Qq]uota exceeded": "is full",
    "Read-only file system|NotImplementedError": "is for reading only",
    "PermissionError|ermission denied|redentials": "refuses access with these credentials",
    "": "cannot be reached, or the connection was cut",
}
"""Pattern in an error's type and text → what it says of the remote; the first that is found."""


class RemoteError(QexpError):
    """A remote cannot be reached or used, for any of its files."""


@contextmanager
def reported(remote: str) -> Iterator[None]:
    """Errors of a file system become the remote's, except that a file exists or does not."""
    try:
        yield
    except (
        FileNotFoundError,
        FileExistsError,
        ImportError,
        TypeError,
        ValueError,
        QexpError,
        CancelledError,
    ):
        raise
    except Exception as error:
        kind = type(error).__name__
        text = " ".join(str(error).split())
        trouble = next(
            words for pattern, words in TROUBLES.items() if re.search(pattern, f"{kind}: {text}")
        )
        raise RemoteError(f"{remote} {trouble}: {text or kind}") from error


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
    _objects: dict[str, dict[str, int | None]] = field(default_factory=dict)
    """Folder of objects → their sizes."""

    @property
    def is_folder(self) -> bool:
        """Whether it lies in the file system of this machine."""
        return bool(getattr(self.system, "local_file", False))

    def each(self, action: Callable[[T], R], items: Collection[T]) -> list[R]:
        """What a function returns for each item, several at once.

        All calls have ended when this ends, or has an error.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(action, items))

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError; DamagedError if it is no file."""
        place = Path(f"{self.root}/{path}")
        if self.is_folder and place.exists() and not place.is_file():
            raise DamagedError(f"{self.shown}/{path} is no regular file")
        with reported(self.shown):
            return bytes(self.system.cat_file(f"{self.root}/{path}"))

    def sizes(self, folder: str) -> dict[str, int | None]:
        """Name → size of what is in a folder; nothing if there is no such folder."""
        place = f"{self.root}/{folder}".rstrip("/")
        sizes = dict[str, int | None]()
        with suppress(FileNotFoundError), reported(self.shown):
            self.system.invalidate_cache()
            for entry in self.system.ls(place, detail=True):
                name = entry["name"].rstrip("/").rpartition("/")[2]
                if name not in ("", place.rpartition("/")[2]):
                    sizes[name] = entry.get("size")
        return sizes

    def write(self, path: str, content: bytes | Path) -> None:
        """Put a file in place in one step: a new one with this content, or a copy of a file, which
        may replace another.

        Raises FileExistsError for a new one where somebody has put one, and NotFoundError if the
        remote is gone.
        """
        if self.root.startswith("http"):
            raise RemoteError(f"{self.shown} is for reading only")
        target = f"{self.root}/{path}"
        try:
            with reported(self.shown):
                if self.renames:
                    self._write_beside(path, content)
                elif isinstance(content, Path):
                    self.system.put_file(str(content), target)
                else:
                    self.system.pipe_file(target, content, mode="create")
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{self.shown} does not exist, and cannot be made: {error}"
            ) from error

    def _write_beside(self, path: str, content: bytes | Path) -> None:
        """Write a file beside its place, and rename it; what is there is removed after an error."""
        folder = path.rpartition("/")[0]
        place = f"{self.root}/{folder}".rstrip("/")
        target = f"{self.root}/{path}"
        if not self._objects.get(folder):  # else it is there
            self.system.makedirs(place, exist_ok=True)
        draft = f"{place}/{DRAFT}{secrets.token_hex(8)}"
        try:
            if not isinstance(content, Path):
                self.system.pipe_file(draft, content)
                if self.is_folder:
                    files.sync(Path(draft))
                self._rename_to_new(draft, target)
            # Of a folder fsspec would look at every path several times, and sshfs at every folder
            # above a file.
            elif self.is_folder:
                shutil.copyfile(content, draft)
                files.sync(Path(draft))
                Path(draft).replace(target)
            else:
                self._sftp(lambda channel: channel.put(str(content), draft))
                self.system.mv(draft, target)
        except BaseException:
            with suppress(Exception):  # which the first error says better
                self.system.rm_file(draft)
            raise
        if self.is_folder:
            files.sync_folder(Path(place))

    def _rename_to_new(self, draft: str, target: str) -> None:
        """Give a file a name that no file has, in one step. Raises FileExistsError."""
        if self.is_folder:
            try:
                os.link(draft, target)
            except FileExistsError:
                raise
            except OSError:  # there are no links, as on a USB stick
                with files.locked(Path(self.root) / DRAFT):
                    if Path(target).exists():
                        raise FileExistsError(target) from None
                    Path(draft).rename(target)
            else:
                Path(draft).unlink()
            return
        from asyncssh import SFTPError

        try:
            # SFTP's own, which replaces nothing
            self._sftp(lambda channel: channel.rename(draft, target))
        except SFTPError as error:
            raise FileExistsError(target) if self.system.exists(target) else error from None

    def _sftp(self, action: Callable[[Any], Awaitable[object]]) -> None:
        """Raises FileNotFoundError, as functions of fsspec do, and otherwise errors of asyncssh."""
        from asyncssh import SFTPNoSuchFile
        from fsspec.asyn import sync

        async def act() -> None:
            async with self.system._pool.get() as channel:
                await action(channel)

        try:
            sync(self.system.loop, act)
        except SFTPNoSuchFile as error:
            raise FileNotFoundError(error.reason) from None

    def send(self, file: Path, sha256: str, check: bool) -> bool:
        """Write a content unless it is there. Returns whether it was written.

        check  whether to read what is there
        Raises QexpError if the file has got another content.
        """
        place = place_of(sha256)
        size = file.stat().st_size
        folder, _, name = place.rpartition("/")
        if folder not in self._objects:
            self._objects[folder] = self.sizes(folder)
        there = self._objects[folder].get(name, -1) in (None, size)
        if there and not (check and hashlib.sha256(self.read(place)).hexdigest() != sha256):
            return False
        self.write(place, file)
        self._objects[folder][name] = size
        return True

    def fetch(
        self, contents: Mapping[Path, tuple[str, int]], require_going_on: Callable[[], None]
    ) -> None:
        """Write contents, by their SHA-256 and size, to files here; no more of one than its size.

        require_going_on  called before each; its error ends all
        Raises DamagedError for one that is gone, or has another hash.
        """

        def get(target: Path) -> None:
            require_going_on()
            sha256, size = contents[target]
            place = f"{self.root}/{place_of(sha256)}"
            with suppress(FileNotFoundError, _TooMuchError), reported(self.shown):
                if self.is_folder:
                    if Path(place).is_file() and Path(place).stat().st_size <= size:
                        shutil.copyfile(place, target)
                elif (
                    not self.renames or self.system.size(place) <= size
                ):  # by SFTP, parts come in any order
                    self.system.get_file(place, str(target), callback=_counted(size))

        self.each(get, contents)
        for target, (sha256, _) in contents.items():
            if not target.is_file() or files.sha256_of(target) != sha256:
                raise DamagedError(
                    f"{self.shown}/{place_of(sha256)} is damaged or gone; where the run still is,"
                    " `qexp push --check` repairs it"
                )


class _TooMuchError(ValueError):
    """A content is larger than the manifest of its version says."""


def _counted(most: int) -> Any:
    """A content that fsspec brings. Raises _TooMuchError for more than its size."""
    from fsspec.callbacks import Callback

    def require(size: int | None, value: int) -> None:
        if max(size or 0, value) > most:
            raise _TooMuchError

    return Callback(hooks={"size": require})


def place_of(sha256: str) -> str:
    """Where a content is in a remote."""
    return f"objects/{sha256[:2]}/{sha256[2:]}"


def open_remote(named: str, workspace: Workspace, create: bool = False) -> Remote:
    """A remote by its URL, the path of a folder, or its name in qexp.toml.

    create  whether to make a remote of an empty place
    Raises QexpError for what is no remote of qexp, or of a later version.
    """
    url, options = _address(named, workspace)
    protocol = url.partition("://")[0] if "://" in url else "file"
    shown = without_secrets(url)
    from fsspec.asyn import get_loop  # not loaded by other commands
    from fsspec.core import url_to_fs

    # of tasks whose result nobody waits for any more
    get_loop().set_exception_handler(lambda loop, context: None)
    library, renames, defaults = PROTOCOLS.get(protocol, ("fsspec", False, {}))
    try:
        with reported(shown), extra("remote"):
            module = __import__(library)
            # which tries again after some errors, but not after those of the server itself
            if library == "s3fs":
                module.set_custom_error_handler(_is_of_server)
            system, root = url_to_fs(url, skip_instance_cache=True, **{**defaults, **options})
            remote = Remote(shown, system, root.rstrip("/"), renames)
            remote.id = _id_of(remote, create)
    except (ImportError, ValueError, TypeError, FileNotFoundError) as error:
        raise QexpError(f"{shown} cannot be used: {_told(error, url)}") from None
    return remote


def without_secrets(url: str) -> str:
    """A URL without user, password and query, cut widely: passwords may hold @/?#; too."""
    protocol, mark, rest = url.partition("://")
    if not mark:
        return url
    first, *others = re.split(r"[/?#]", rest)
    path, (user, _, shown) = rest[len(first) :], first.rpartition("@")
    is_password = ":" in (user or re.sub(r":\d*$", "", first))
    if ":" in first and "@" in "".join(others[:1]):
        is_password = True
    shown = path.rpartition("@")[2] if is_password and "@" in path else shown + path
    return f"{protocol}://{re.split('[?#;]', shown)[0]}"


def _told(error: Exception, url: str) -> str:
    """An error without what is not shown of the URL."""
    told = str(error)
    shown = without_secrets(url)
    for part in sorted(re.split(r"[:@/?#;=&]+", url), key=len, reverse=True):
        told = told if part in shown else told.replace(part, "…")
    return told


def _is_of_server(error: Exception) -> bool:
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return isinstance(status, int) and status >= 500


def _address(named: str, workspace: Workspace) -> tuple[str, dict[str, Any]]:
    """URL and options of a remote, as qexp.toml has them or as they are written."""
    remotes = workspace.settings().get("remotes")
    remotes = remotes if isinstance(remotes, Mapping) else {}
    if named in remotes:
        match remotes[named]:
            case str(url):
                return url, {}
            case {"url": str(url), **others} if not others:
                return url, {}
            case {"url": str(url), "options": dict(options), **others} if not others:
                return url, options
        raise QexpError(
            f'qexp.toml at remotes.{named}: write url = "…", and options = {{…}} if it needs any'
        )
    if "://" in named:
        return named, {}
    if "/" in named or named in (".", ".."):
        return str(Path(named).expanduser().absolute()), {}
    raise NotFoundError(
        f"no remote '{named}' in qexp.toml{hint(named, remotes)}; give a URL, a folder as"
        f" ./{named}, or add "
        f'a table [remotes] with {named} = "URL"'
    )


def _id_of(remote: Remote, create: bool) -> str:
    """The id of a remote. Raises NotFoundError if it has none and none is to be made."""
    try:
        marker = orjson.loads(remote.read(MARKER))
    except orjson.JSONDecodeError:
        marker = None
    except FileNotFoundError:
        there = [name for name in remote.sizes("") if not name.startswith(DRAFT)]
        what = f"{remote.shown} is no remote of qexp"
        if there and MARKER not in there:
            raise QexpError(f"{what}, and holds {some(sorted(there))}") from None
        if not create:
            raise NotFoundError(f"{what}; `qexp push` makes one of an empty place") from None
        new = {"format": "qexp remote", "version": VERSION, "id": secrets.token_hex(8)}
        with suppress(FileExistsError):  # by another process, just now
            remote.write(MARKER, formats.json_bytes({**new, "qexp": metadata.version("qexp")}))
        return _id_of(remote, create=False)
    require_known_form(marker, "qexp remote", f"{remote.shown}/{MARKER}")
    if not re.fullmatch("[0-9a-f]{16}", str(marker.get("id"))):
        raise DamagedError(f"{remote.shown}/{MARKER} is damaged: it has no id")
    return str(marker["id"])


def require_known_form(document: Any, name: str, where: str) -> None:
    """Raise QexpError for a later version's document, DamagedError for another thing."""
    if not isinstance(document, dict) or document.get("format") != name:
        raise DamagedError(f"{where} is damaged: qexp did not write it")
    if document.get("version") != VERSION:
        raise QexpError(
            f"{where} was made by qexp {quoted(str(document.get('qexp')))}, in a form unknown to"
            " this one"
        )
