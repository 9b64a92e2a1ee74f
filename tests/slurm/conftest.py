"""A cluster for all tests of this folder, and what they submit to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import NoClusterError, cluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes that run tests, one has the cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Path]:
    """A cluster that Slurm's programs find. Where there can be none, tests are skipped, but not in CI."""
    try:
        with cluster() as configuration, pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(configuration))
            patch.setenv("OMP_NUM_THREADS", "1")
            yield configuration
    except NoClusterError as reason:
        if "CI" in os.environ:
            raise
        pytest.skip(str(reason))


def slurm(*command: str) -> str:
    """What a program of Slurm prints, as the cluster's administrator calls it."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
