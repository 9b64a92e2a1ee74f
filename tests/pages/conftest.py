"""Pages in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from tests.conftest import call, copied, shared_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CELLS = {"depth": (0.0, 4.0, 12), "delta_volume": (0.0, 2.0, 10)}

Opened = Callable[[Path], Any]


@shared_folder
def reported(root: Path) -> None:
    """A workspace with a finished run of `mogi_quick` and a matrix of it."""
    assert call("init", root).code == 0
    small = {"epochs": 4, "sizes": [500, 64, 64]}
    package.run("mogi_quick", seed=1, overrides=small, device="cpu", workspace=root)
    package.matrix("mogi_quick_1", "mogi_test", axes=CELLS, workspace=root)


@pytest.fixture
def workspace(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    return copied(reported, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs a Chromium; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """`opened(file)`: a page in the browser. Errors on its console, and requests to elsewhere, fail the test."""
    context = browser.new_context()
    trouble: list[str] = []

    def open_file(path: Path) -> Any:
        page, address = context.new_page(), path.resolve().as_uri()
        page.on("console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda one: None if one.url == address else trouble.append(one.url))
        page.goto(address)
        return page

    yield open_file
    context.close()
    assert trouble == []
