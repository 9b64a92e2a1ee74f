"""A cluster for all tests of this folder, and what they submit to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import cluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Path]:
    """A cluster that Slurm's programs find; started only where somebody asks for it, since its tests take minutes."""
    if "CI" not in os.environ:
        pytest.skip("a cluster is started with CI set alone: CI=1 make test")
    with cluster() as configuration, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield configuration


def slurm(*command: str) -> str:
    """What a program of Slurm prints, as the cluster's administrator calls it."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
