"""The server of a workspace: who may ask, its pages by their paths, starting and ending it."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import signal
import socket
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from uvicorn import Config, Server

from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.options import ServeOptions
from qexp.store.record import IN_NAMES
from qexp.web import workspace_pages
from qexp.web.access import Access, is_loopback, names_of
from qexp.web.live import Site, site_of
from qexp.web.workspace_pages import NONCE, PREFIX, STATIC, bundle, page, rendered

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST")

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'"
    " data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Passes on what a page of this server may ask for, refuses all else, and adds headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        nonce = secrets.token_urlsafe(16)
        scope[NONCE], scope[PREFIX] = nonce, self._access.prefix

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("content-security-policy", POLICY.format(nonce=nonce))
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refused(scope, Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        """The response to a refused request. Takes the prefix from the path of one that is not."""
        host = headers.get("host", "")
        if not self._access.answers_for(host):
            return PlainTextResponse(
                f"this server does not answer for {host!r}; if that is its name, start it with"
                " --allow-host\n",
                421,
            )
        if scope["method"] not in METHODS:
            allowed = {"allow": ", ".join(METHODS)}
            return PlainTextResponse("only GET, HEAD and POST\n", 405, allowed)
        if _from_elsewhere(scope["method"], headers):
            return PlainTextResponse(
                "this request came from a page of another server; nothing was done\n", 403
            )
        if not scope["path"].isprintable():
            return PlainTextResponse("there is no such page\n", 404)
        if self._access.prefix and scope["path"] == self._access.prefix:
            return RedirectResponse(f"{self._access.prefix}/", 308)
        # a proxy may take the prefix away, or leave it there
        if scope["path"].startswith(f"{self._access.prefix}/"):
            scope["path"] = scope["path"].removeprefix(self._access.prefix)
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """A page that asks for a missing token; a request with it in its address gets a cookie."""
        access = self._access
        if access.token is None or scope["path"] in STATIC:
            return None
        asked = HTTPConnection(scope)
        bearer = headers.get("authorization", "").removeprefix("Bearer ") or None
        if access.knows(asked.cookies.get(access.cookie)) or access.knows(bearer):
            return None
        token = asked.query_params.get("token")
        rest = asked.url.remove_query_params("token").query
        if scope["method"] != "GET" or not access.knows(token):
            page = rendered("token.html", scope, wrong=token is not None)
            return Response(page, 401, media_type="text/html")
        # One slash: with two, the rest would be the name of another server.
        address = f"{access.prefix}/{scope['path'].lstrip('/')}" + (f"?{rest}" if rest else "")
        response = RedirectResponse(address, 303)
        response.set_cookie(
            access.cookie, access.token, path=access.prefix or "/", httponly=True, samesite="strict"
        )
        return response


def _from_elsewhere(method: str, headers: Headers) -> bool:
    """Whether a page of another server asks. A link there may lead here, but nothing more."""
    origin = headers.get("origin")
    if origin is not None:
        address = urlsplit(origin)
        host = headers.get("host", "").lower()
        return address.scheme not in ("http", "https") or address.netloc.lower() != host
    site = headers.get("sec-fetch-site")
    mode = headers.get("sec-fetch-mode")
    if site in ("cross-site", "same-site"):  # another port of this machine is the same site
        return method == "POST" or mode != "navigate"
    return False


# The server's pages by their paths, and how their errors look.


ROUTES = [
    Route("/", workspace_pages.show_start),
    Route("/runs", workspace_pages.show_runs),
    Route("/losses.json", workspace_pages.losses_of_runs),
    Route("/runs.json", workspace_pages.rows_of_runs),
    Route("/words.json", workspace_pages.words_of_runs),
    Route("/events", workspace_pages.events_of_runs),
    Route("/compare", workspace_pages.show_comparison),
    Route("/launches", workspace_pages.show_launches),
    Route("/launches/{launch}", workspace_pages.show_launch),
    Route("/studies", workspace_pages.show_studies),
    Route("/studies/{study}", workspace_pages.show_study),
    Route("/studies/{study}/figure", workspace_pages.study_figure),
    Route("/inversions", workspace_pages.show_inversions),
    Route("/inversions/{name:path}", workspace_pages.show_inversions),
    Route("/workspace", workspace_pages.show_workspace),
    Route("/changes/{kind}", workspace_pages.change_runs, methods=["POST"]),
    Route("/disk.json", workspace_pages.show_disk),
    Route("/findings.json", workspace_pages.show_findings),
    Route("/runs/{run}", workspace_pages.show_run),
    Route("/runs/{run}/events", workspace_pages.run_events),
    Route("/runs/{run}/report", workspace_pages.run_report),
    Route("/runs/{run}/network", workspace_pages.run_network),
    Route("/runs/{run}/matrices/{matrix}", workspace_pages.run_matrix),
    Route("/runs/{run}/pictures/{matrix}", workspace_pages.matrix_picture),
    Route("/runs/{run}/figures/{path:path}", workspace_pages.run_figure),
    Route("/runs/{run}/folds/{fold}", workspace_pages.show_run),
    Route("/runs/{run}/folds/{fold}/events", workspace_pages.run_events),
    Route("/runs/{run}/folds/{fold}/report", workspace_pages.run_report),
    Route("/runs/{run}/folds/{fold}/figures/{path:path}", workspace_pages.run_figure),
]


def application(site: Site, access: Access) -> ASGIApp:
    static = [
        Route(path, partial(_static, name=path.removeprefix("/"), kind=kind))
        for path, kind in STATIC.items()
    ]
    handlers = {QexpError: _refused, HTTPException: _refused, Exception: _failed}
    app = Starlette(routes=[*ROUTES, *static], exception_handlers=handlers)
    app.state.site = site
    app.router.redirect_slashes = False
    return Guard(app, access)


async def _static(request: Request, name: str, kind: str) -> Response:
    content, digest = bundle(name)
    # The digest is in the address, so that a new version of qexp has another one.
    kept = "max-age=31536000, immutable" if request.url.query == digest else "no-cache"
    return Response(content, media_type=kind, headers={"cache-control": kept})


async def _refused(request: Request, error: Exception) -> Response:
    """The page of an error that a user can mend, or its text where a script asked."""
    status = _status(request, error)
    text = str(error)
    if isinstance(error, HTTPException):
        text = "there is no such page" if status == 404 else str(error.detail)
    if request.url.path.endswith(".json") or request.method == "POST":
        return JSONResponse({"error": text.removeprefix("--")}, status)
    return page(request, "error.html", status, title=f"{status}", text=text)


def _status(request: Request, error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    if not isinstance(error, DamagedError):
        return 404 if isinstance(error, NotFoundError) else 400
    run = request.path_params.get("run")
    removed = run is not None and not (site_of(request).workspace.runs / run).exists()
    return 404 if removed else 422  # the server itself is well


async def _failed(request: Request, error: Exception) -> Response:
    return PlainTextResponse("qexp failed; the terminal of the server says why\n", 500)


# Starting the server, and ending it.


STEP = re.compile(r"[\w.-]*[^\W_][\w.-]*", re.ASCII)
"""Of the path in front of all pages."""

TOKEN = "QEXP_TOKEN"
"""Environment variable with a token of one's own."""

TOKEN_LENGTH = 16
"""The least number of characters of such a token."""

SECONDS_TO_END = 2
"""For responses that are on their way when the server ends."""

SETTINGS: Mapping[str, Any] = {
    "loop": "asyncio",
    "http": "httptools",
    "ws": "none",
    "lifespan": "off",
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": SECONDS_TO_END,
}
"""Of uvicorn."""


class Serving:
    """A server that has its port, so that connections wait for it, and that does not answer yet."""

    def __init__(self, workspace: Workspace, settings: ServeOptions) -> None:
        """Raises QexpError if the address or the port cannot be used."""
        token = token_for(settings)
        prefix = _check_prefix(settings.prefix)
        site = Site(workspace, secrets.token_urlsafe(16) if settings.allow_changes else None)
        access = Access(names_of(settings.host, tuple(settings.names)), prefix, token)
        app = application(site, access)
        self._server = _Server(Config(app, **SETTINGS), site)
        self._socket = _listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        port = self._socket.getsockname()[1]
        self.address = f"http://{host}:{port}{prefix}/" + (f"?token={token}" if token else "")
        """What to open, with the token if one is needed."""

    def run(self) -> None:
        """Answer until a signal or `end` ends it."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def end(self) -> None:
        """End it from another thread."""
        self._server.should_exit = True


def token_for(settings: ServeOptions) -> str | None:
    """The token that clients need; None where other users of the machine can at most read what they
    ask for.

    Raises QexpError for a token that is easy to guess.
    """
    token = os.environ.get(TOKEN, "")
    if token and (len(token) < TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise QexpError(
            f"{TOKEN} needs at least {TOKEN_LENGTH} printable ASCII characters; unset it for a"
            " random one"
        )
    if token or settings.allow_changes or not is_loopback(settings.host):
        return token or secrets.token_urlsafe(24)
    return None


def _check_prefix(prefix: str) -> str:
    steps = [step for step in prefix.split("/") if step]
    if not all(STEP.fullmatch(step) for step in steps):
        raise QexpError(f"`prefix={prefix!r}`: write a path of {IN_NAMES}, such as /qexp")
    return "".join(f"/{step}" for step in steps)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises QexpError with what would work."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise QexpError(
            f"`host={host}`: {error.strerror}; write an address of this machine, or 0.0.0.0"
        ) from None
    try:
        return socket.create_server(
            address, family=family, backlog=512, dualstack_ipv6=family == socket.AF_INET6
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise QexpError(
                f"port {port} is taken; another one: `port={port + 1}`, or `port=0` for any that is"
                " free"
            ) from None
        raise QexpError(
            f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}"
        ) from None


class _Server(Server):
    """A server that ends its streams when asked to end; its end by Ctrl-C is no error."""

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
