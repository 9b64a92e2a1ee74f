"""A real browser for tests, and packages of npm that they check pages with; skipped where these
cannot be had.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qexp.web.report import PROGRAMS

if TYPE_CHECKING:
    from tests.conftest import MadeOnce

LOCKED = Path(__file__).parent / "npm"
"""The folder of `package.json`, and of the lock with the hashes that npm checks."""

PATIENCE = 300_000
"""Milliseconds after which a busy machine's browser will not answer any more."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]

Findings = Callable[[Any], list[str]]
Opened = Callable[..., Any]


@contextmanager
def pages(browser: Any) -> Iterator[Opened]:
    """`opened(address, own, width=400, color_scheme="dark")`: a page, which may ask for what begins
    with one of `own`.

    Errors on its console, and requests to elsewhere, are an AssertionError at the end.
    """
    contexts: list[Any] = []
    trouble: list[str] = []

    def opened(address: str, own: tuple[str, ...] = (), width: int = 1200, **options: Any) -> Any:
        def own_request(url: str) -> bool:
            return url.split("?")[0] == address.split("?")[0] or url.startswith(own)

        contexts.append(
            browser.new_context(**{"viewport": {"width": width, "height": 900}, **options})
        )
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.on(
            "console",
            lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda one: None if own_request(one.url) else trouble.append(one.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs a Chromium; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def npm_packages(made_once: MadeOnce) -> Path:
    """The folder `node_modules` with the packages of the lock, whose hashes npm has checked."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, to compare with what packages give; on Debian: apt-get install npm")

    def install(folder: Path) -> None:
        for file in LOCKED.glob("package*.json"):
            shutil.copy(file, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        if any(
            word in done.stderr
            for word in ("ENOTFOUND", "ETIMEDOUT", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH")
        ):
            pytest.skip("npm reaches no registry")
        assert done.returncode == 0, done.stderr

    return made_once("npm_packages", install) / "node_modules"


@pytest.fixture(scope="session")
def findings(npm_packages: Path) -> Findings:
    """`findings(page)`: what axe-core finds wrong with a page by the rules of WCAG A and AA;
    nothing is left out.
    """
    script = (npm_packages / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def found(page: Any) -> list[str]:
        page.evaluate(script)
        violations = page.evaluate("rules => axe.run({runOnly: rules})", RULES)["violations"]
        return [
            f"{violation['id']} ({violation['impact']}): {node['target']} {node['failureSummary']}"
            for violation in violations
            for node in violation["nodes"][:3]
        ]

    return found
