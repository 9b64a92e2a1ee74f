"""Pages in a real browser, and servers."""

import http.client
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.runs.options import ServeOptions
from qexp.web.server import Serving
from tests.browsing import Opened, pages
from tests.conftest import call, copied, shared_folder, started

SMALL = {"epochs": 2, "sizes": [64, 16, 16]}
CELLS = {"depth": (0.0, 4.0, 12), "delta_volume": (0.0, 2.0, 10)}


@shared_folder
def reported(root: Path) -> None:
    """A workspace with a finished run of `mogi_quick` and a matrix of it."""
    assert call("init", root).code == 0
    small = {"epochs": 4, "sizes": [500, 64, 64]}
    package.run(
        "mogi_quick", name="mogi_quick_1", seed=1, overrides=small, device="cpu", workspace=root
    )
    package.matrix("mogi_quick_1", "mogi_test", axes=CELLS, workspace=root)


@shared_folder
def swept(root: Path) -> None:
    """Two learning rates with two seeds each, as a study, and a launch of a program that failed."""
    assert call("init", root).code == 0
    rates = {"learning_rate": [0.001, 0.004]}
    prepared = package.api.prepare(
        package.Order("mogi_quick", range(2), rates, overrides=SMALL), workspace=root
    )
    for plan in prepared.plans:
        changes = {**SMALL, "learning_rate": plan.spec["learning_rate"]}
        package.run(
            "mogi_quick",
            seed=plan.seed,
            overrides=changes,
            name=plan.name,
            device="cpu",
            workspace=root,
        )
    package.study(
        package.Order("mogi_quick", range(2), rates, overrides=SMALL),
        out=root / "studies/mogi_quick_learning_rate",
        workspace=root,
    )
    command = {"type": "command", "command": ["sh", "-c", "exit 7"], "dataset": "d", "model": "m"}
    (root / "specs/experiences/broken.json").write_text(json.dumps(command))
    package.sweep(package.Order("broken", range(2)), workspace=root)


@pytest.fixture
def sweep(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    return copied(swept, tmp_path, monkeypatch)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opened]:
    """`open_page(file, width=400, color_scheme="dark")`: a page in the browser; see
    `tests.browsing.pages`.
    """
    with pages(browser) as open_page:

        def open_file(path: Path, **options: Any) -> Any:
            return open_page(path.resolve().as_uri(), **options)

        yield open_file


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Served:
    address: str
    """As it was printed."""

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def get(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> Answered:
        """What the server answers to a path, which is sent as it is; `host_` is the header
        `Host`.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent_headers = {
                key.rstrip("_").replace("_", "-"): value for key, value in headers.items()
            }
            connection.request(
                method, path, body, {"host": f"localhost:{self.port}", **sent_headers}
            )
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return Answered(
                response.status, {key.lower(): value for key, value in response.getheaders()}, text
            )
        finally:
            connection.close()


@contextmanager
def in_a_thread(folder: Path, **settings: Any) -> Iterator[Served]:
    serving = Serving(Workspace(folder), ServeOptions(port=0, **settings))
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        yield Served(serving.address)
    finally:
        serving.end()
        thread.join(60)
    assert not thread.is_alive()


@contextmanager
def in_a_process(folder: Path, *options: str) -> Iterator[Served]:
    process = started(folder, "serve", "--port", "0", *options)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        yield Served(address)
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert process.returncode == 0, stderr


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """`serve(folder, **settings)`: a server in a thread of this process, which ends with the
    test.
    """
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    with ExitStack() as stack:
        yield lambda folder, **settings: stack.enter_context(in_a_thread(folder, **settings))


@pytest.fixture
def trained(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a workspace with a finished run and a matrix of it, which is the current
    directory.
    """
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    return copied(reported, tmp_path, monkeypatch)


@pytest.fixture
def visit(browser: Any) -> Iterator[Opened]:
    """`visit(address, color_scheme="dark")`: a page of a server; see `tests.browsing.pages`."""
    with pages(browser) as open_page:

        def visit_page(address: str, **options: Any) -> Any:
            server = "{0.scheme}://{0.netloc}/".format(urlsplit(address))
            return open_page(address, (server, "data:"), **options)

        yield visit_page
