"""Pages in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from tests.browsing import Opened, pages
from tests.conftest import call, copied, shared_folder

SMALL = {"epochs": 2, "sizes": [64, 16, 16]}
CELLS = {"depth": (0.0, 4.0, 12), "delta_volume": (0.0, 2.0, 10)}


@shared_folder
def reported(root: Path) -> None:
    """A workspace with a finished run of `mogi_quick` and a matrix of it."""
    assert call("init", root).code == 0
    small = {"epochs": 4, "sizes": [500, 64, 64]}
    package.run("mogi_quick", name="mogi_quick_1", seed=1, overrides=small, device="cpu", workspace=root)
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
    """`opened(file, width=400, color_scheme="dark")`: a page in the browser; see `tests.browsing.pages`."""
    with pages(browser) as opened:

        def open_file(path: Path, **options: Any) -> Any:
            return opened(path.resolve().as_uri(), **options)

        yield open_file
