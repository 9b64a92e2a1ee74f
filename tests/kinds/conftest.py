"""One brief run, trained once for all tests that only look at it."""

from pathlib import Path

import pytest

import qexp
from qexp.api.handles import Run
from tests.conftest import call, copied, shared_folder


@shared_folder
def trained(root: Path) -> None:
    """A workspace with two finished runs of `mogi_quick`, of different learning rates."""
    assert call("init", root).code == 0
    for seed, rate in ((1, 3e-3), (2, 1e-3)):
        brief = {"epochs": 4, "sizes": [500, 64, 64], "learning_rate": rate}
        qexp.run(
            "mogi_quick",
            name=f"mogi_quick_{seed}",
            seed=seed,
            overrides=brief,
            device="cpu",
            workspace=root,
        )


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    return copied(trained, tmp_path, monkeypatch)


@pytest.fixture
def run(workspace: Path) -> Run:
    return qexp.open_run("mogi_quick_1")
