"""What stands before every page: checks of the request, and headers of the response."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from qexp.server.access import Access, in_cookies, taken_from_query
from qexp.server.rendering import NONCE, PREFIX, STATIC, rendered

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST")

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Passes on what a page of this server may ask for, refuses anything else, and adds headers to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

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
                for key, value in HEADERS.items():
                    headers[key] = value
                headers.setdefault("content-security-policy", POLICY.format(nonce=nonce))
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refused(scope, Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """The response to a request that is not passed on. Takes the prefix from the path of one that is."""
        host = headers.get("host", "")
        if not self._access.answers_for(host):
            return PlainTextResponse(
                f"this server does not answer for {host!r}; if that is its name, start it with --allow-host\n", 421
            )
        if scope["method"] not in METHODS:
            return PlainTextResponse("only GET, HEAD and POST\n", 405, {"allow": ", ".join(METHODS)})
        if _from_elsewhere(scope["method"], headers, self._access):
            return PlainTextResponse("this request came from a page of another server; nothing was done\n", 403)
        if not scope["path"].isprintable():
            return PlainTextResponse("there is no such page\n", 404)
        if self._access.prefix and scope["path"] == self._access.prefix:
            return RedirectResponse(f"{self._access.prefix}/", 308)
        if scope["path"].startswith(f"{self._access.prefix}/"):  # a proxy may take the prefix away, or leave it there
            scope["path"] = scope["path"].removeprefix(self._access.prefix)
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """A page that asks for the token, unless the request has it; one that has it in its address gets a cookie."""
        access = self._access
        if access.token is None or scope["path"] in STATIC:
            return None
        bearer = headers.get("authorization", "").removeprefix("Bearer ") or None
        if access.knows(in_cookies(access.cookie, headers.get("cookie", ""))) or access.knows(bearer):
            return None
        given, rest = taken_from_query(scope["query_string"].decode("latin-1"))
        if scope["method"] != "GET" or not access.knows(given):
            page = rendered("token.html", scope[PREFIX], scope[NONCE], wrong=given is not None)
            return Response(page, 401, media_type="text/html")
        # One slash: with two, the rest would be the name of another server.
        place = f"{access.prefix}/{scope['path'].lstrip('/')}" + (f"?{rest}" if rest else "")
        response = RedirectResponse(place, 303)
        response.set_cookie(access.cookie, access.token, path=access.prefix or "/", httponly=True, samesite="strict")
        return response


def _from_elsewhere(method: str, headers: Mapping[str, str], access: Access) -> bool:
    """Whether a page of another server asks. A link there may lead here, but nothing more."""
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None:
        return not access.is_own(origin, host)
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    if site in ("cross-site", "same-site"):  # another port of this machine is the same site
        return method == "POST" or mode != "navigate"
    return False
