"""Pages in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from tests.conftest import call, copied, shared_folder

PATIENCE = 300_000
"""Milliseconds after which a busy machine's browser will not answer any more."""

SMALL = {"epochs": 2, "sizes": [64, 16, 16]}
CELLS = {"depth": (0.0, 4.0, 12), "delta_volume": (0.0, 2.0, 10)}

Opened = Callable[..., Any]


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


@shared_folder
def swept(root: Path) -> None:
    """Two learning rates with two seeds each, as a study, and a launch of a program that failed."""
    assert call("init", root).code == 0
    rates = {"learning_rate": [0.001, 0.004]}
    prepared = package.api.prepare(package.Order("mogi_quick", range(2), rates, SMALL), workspace=root)
    for plan in prepared.plans:
        changes = {**SMALL, "learning_rate": plan.spec["learning_rate"]}
        package.run("mogi_quick", seed=plan.seed, overrides=changes, name=plan.name, device="cpu", workspace=root)
    package.study(package.Order("mogi_quick", range(2), rates, SMALL), metric="depth.mae", workspace=root)
    command = {"type": "command", "command": ["sh", "-c", "exit 7"], "dataset": "d", "model": "m"}
    (root / "specs/experiences/broken.json").write_text(json.dumps(command))
    package.sweep(package.Order("broken", range(2)), workspace=root)


@pytest.fixture
def sweep(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    return copied(swept, tmp_path, monkeypatch)


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """`opened(file, width=400, color_scheme="dark")`: a page in the browser.

    Errors on its console, and requests to elsewhere, fail the test.
    """
    contexts: list[Any] = []
    trouble: list[str] = []

    def open_file(path: Path, width: int = 1200, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        contexts[-1].set_default_timeout(PATIENCE)
        page, address = contexts[-1].new_page(), path.resolve().as_uri()
        page.on("console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda one: None if one.url == address else trouble.append(one.url))
        page.goto(address)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert trouble == []
