"""One brief run, trained once for all tests that only look at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import qexp
from qexp import Run
from tests.conftest import call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two finished runs of `mogi_quick`, of different learning rates."""
    root = tmp_path_factory.mktemp("trained") / "workspace"
    assert call("init", root).code == 0
    for seed, rate in ((1, 3e-3), (2, 1e-3)):
        qexp.run(
            "mogi_quick",
            seed=seed,
            overrides={"epochs": 4, "sizes": [500, 64, 64], "learning_rate": rate},
            device="cpu",
            workspace=root,
        )
    return root


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    root = tmp_path / "workspace"
    shutil.copytree(trained, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(workspace: Path) -> Run:
    return qexp.open_run("mogi_quick_1")
