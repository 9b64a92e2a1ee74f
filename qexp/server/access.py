"""Who may ask: requests are let through if they name this server, come from its own pages, and bring its token."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Under which names the server answers, below which path, and what it asks for."""

    names: frozenset[str]
    """Names of hosts; addresses are always answered: a page of others can make its own name mean this machine (DNS
    rebinding), but not an address."""
    prefix: str = ""
    """Path below which a proxy shows it, such as /qexp."""
    token: str | None = None
    """Needed for every request; None if no token is needed."""

    def answers_for(self, host: str) -> bool:
        """Whether a `Host` header names this server. The port is not compared: a tunnel has another one."""
        name = host_name(host)
        return name in self.names or _is_address(name)

    def is_own(self, origin: str, host: str) -> bool:
        """Whether an `Origin` header names the page's own server."""
        named = urlsplit(origin)
        return named.scheme in ("http", "https") and named.netloc.lower() == host.lower()

    @property
    def cookie(self) -> str:
        """The name of the cookie with the token; each server has its own, as the ports of a machine share cookies."""
        return f"qexp_{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"

    def knows(self, given: str | None) -> bool:
        return self.token is None or (given is not None and secrets.compare_digest(given.encode(), self.token.encode()))


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can connect to an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def names_of(address: str, more: tuple[str, ...]) -> frozenset[str]:
    """The names under which a server at an address can be asked for."""
    own = () if is_loopback(address) else (address, socket.gethostname(), socket.getfqdn())
    return frozenset(name.lower() for name in (*LOOPBACK, *own, *more))


def host_name(host: str) -> str:
    """The name in a `Host` header, without brackets and port; empty if it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def in_cookies(name: str, header: str) -> str | None:
    """The value of a cookie in a `Cookie` header."""
    try:
        cookie = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return cookie.value if cookie else None


def taken_from_query(query: str) -> tuple[str | None, str]:
    """The token in a query, and the query without it."""
    pairs = parse_qsl(query, keep_blank_values=True)
    given = next((value for key, value in pairs if key == "token"), None)
    return given, urlencode([pair for pair in pairs if pair[0] != "token"])
