"""Servers in processes of their own, as users start them."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import started


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Served:
    address: str
    """As it was printed."""
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def get(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answered:
        """What the server answers to a path, which is sent as it is; `host_` is the header `Host`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {key.rstrip("_").replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, {"host": f"localhost:{self.port}", **named})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return Answered(response.status, {key.lower(): value for key, value in response.getheaders()}, text)
        finally:
            connection.close()


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    process = started(folder, "serve", "--port", "0", *options)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        yield Served(address, process)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode == 0, said


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """`serve(folder, *options)`; the server ends with the test, and must end without an error."""
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    with ExitStack() as stack:
        yield lambda folder, *options: stack.enter_context(serving(folder, *options))
