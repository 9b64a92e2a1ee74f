"""What a server shows to whom: hosts and tokens it answers to, no path outside the workspace."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qexp.errors import NotFoundError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Under which names the server answers, below which path, and what it asks for."""

    names: frozenset[str]
    """Names of hosts; addresses are always answered: a page of others can make its own name mean
    this machine (DNS rebinding), but not an address.
    """
    prefix: str = ""
    """Path below which a proxy shows it, such as /qexp."""
    token: str | None = None
    """Needed for every request; None if no token is needed."""

    def answers_for(self, host: str) -> bool:
        """Whether a `Host` header names this server; with any port, since tunnels have others."""
        name = host_name(host)
        return name in self.names or _address(name) is not None

    @property
    def cookie(self) -> str:
        """The name of the token's cookie, each server's own: ports of a machine share cookies."""
        return f"qexp_{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"

    def knows(self, token: str | None) -> bool:
        return self.token is None or (
            token is not None and secrets.compare_digest(token.encode(), self.token.encode())
        )


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can connect to an address."""
    number = _address(address)
    return address == "localhost" or (number is not None and number.is_loopback)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def names_of(address: str, more: tuple[str, ...]) -> frozenset[str]:
    """The names under which a server at an address can be asked for."""
    of_machine = () if is_loopback(address) else (address, socket.gethostname(), socket.getfqdn())
    return frozenset(name.lower() for name in (*LOOPBACK, *of_machine, *more))


def host_name(host: str) -> str:
    """The name in a `Host` header, without brackets and port; empty if it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


FOLDER = re.compile(r"[\w][\w.+,=@-]{0,199}")
"""Names of folders that a path of a request can have: one step, and none that begins with a dot."""


def require_inside(folder: Path, relative: str) -> Path:
    """A file below a folder; links on the way may not lead out of it. Raises NotFoundError."""
    steps = relative.split("/")
    if all(FOLDER.fullmatch(step) for step in steps):
        # too long, in a circle, or not to be read
        with suppress(OSError, ValueError, RuntimeError):
            root = folder.resolve(strict=True)
            path = folder.joinpath(*steps).resolve(strict=True)
            if path.is_relative_to(root) and path.is_file():
                return path
    raise NotFoundError("no such file")


def require_no_way_out(folder: Path) -> None:
    """A run may link to another disk, but nothing in it may lead elsewhere and be shown."""
    root = os.path.realpath(folder)
    for parent, folders, names in os.walk(root):
        for path in (os.path.join(parent, name) for name in (*folders, *names)):  # noqa: PTH118 - there are many
            if os.path.islink(path) and not os.path.realpath(path).startswith(f"{root}{os.sep}"):  # noqa: PTH114
                raise NotFoundError(
                    f"{os.path.relpath(path, root)} is a link to something outside this run: not"
                    " shown"
                )
