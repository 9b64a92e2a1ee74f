"""Starting the server, and ending it."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from importlib import import_module
from types import FrameType

from uvicorn import Config, Server

from qexp.errors import QexpError
from qexp.server.access import Access, is_loopback, names_of
from qexp.server.app import application
from qexp.server.site import Site
from qexp.workspace import Workspace

TOKEN = "QEXP_TOKEN"
"""Environment variable with a token of one's own."""

SHORTEST = 16
"""Characters of such a token."""

SECONDS_TO_END = 2
"""For responses that are on their way when the server ends."""


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 8700
    prefix: str = ""
    names: tuple[str, ...] = ()
    """Names of hosts, besides its own, under which it is asked for."""
    allow_changes: bool = False


class Serving:
    """A server that has its port, so that connections wait for it, and that does not answer yet."""

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        """Raises QexpError if the address or the port cannot be used."""
        token, prefix = token_for(settings), _checked_prefix(settings.prefix)
        site = Site(workspace, secrets.token_urlsafe(16) if settings.allow_changes else None)
        app = application(site, Access(names_of(settings.host, settings.names), prefix, token))
        config = Config(
            app, loop="asyncio", http="httptools", ws="none", lifespan="off", log_level="warning", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=SECONDS_TO_END,
        )  # fmt: skip
        self._server = _Server(config, site)
        self._socket = _bound(settings.host, settings.port)
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        port = self._socket.getsockname()[1]
        self.address = f"http://{shown}:{port}{prefix}/" + (f"?token={token}" if token else "")
        """What to open, with the token if one is needed."""

    def run(self) -> None:
        """Answer until a signal or `end` ends it."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def end(self) -> None:
        """End it from another thread."""
        self._server.should_exit = True


def token_for(settings: Settings) -> str | None:
    """The token that clients need; None where other users of the machine can at most read what they ask for.

    Raises QexpError for a token that is easy to guess.
    """
    given = os.environ.get(TOKEN, "")
    if given and (len(given) < SHORTEST or not given.isascii() or not given.isprintable()):
        raise QexpError(f"{TOKEN} needs at least {SHORTEST} printable ASCII characters; unset it for a random one")
    if given or settings.allow_changes or not is_loopback(settings.host):
        return given or secrets.token_urlsafe(24)
    return None


def _checked_prefix(prefix: str) -> str:
    steps = [step for step in prefix.split("/") if step]
    if not all(step.replace("-", "").replace("_", "").replace(".", "").isalnum() and step.isascii() for step in steps):
        raise QexpError(f"--prefix {prefix!r}: write a path of letters, digits, '.', '_' and '-', such as /qexp")
    return "".join(f"/{step}" for step in steps)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises QexpError with what would work."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise QexpError(f"--host {host}: {error.strerror}; write an address of this machine, or 0.0.0.0") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(512)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise QexpError(
                f"port {port} is taken; another one: --port {port + 1}, or --port 0 for any that is free"
            ) from None
        raise QexpError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    opened.set_inheritable(False)
    return opened


class _Server(Server):
    """A server that ends its streams when it is asked to end, and whose end by Ctrl-C is no error."""

    def __init__(self, config: Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._preparing = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        """Do before the first request what every client would wait for."""
        await self._site.live.now()
        await asyncio.to_thread(import_module, "xarray.backends.h5netcdf_")  # reads matrices

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._site.closing.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if sig == signal.SIGINT:
            self._captured_signals.clear()
