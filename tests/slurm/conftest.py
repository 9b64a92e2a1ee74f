"""A cluster for all tests of this folder, and what they submit to it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.slurm.cluster import NoClusterError, cluster

T = TypeVar("T")


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster that Slurm's programs find; started only where somebody asks for it, since its
    tests take minutes.
    """
    require_ci()
    require_one_worker(tmp_path_factory.getbasetemp())
    with cluster() as configuration, found(configuration):
        yield configuration


@pytest.fixture(scope="module")
def accounting_cluster() -> Iterator[Path]:
    """A cluster with accounting, where its database can be had."""
    with where_it_can_be_had(cluster(accounting=True)) as configuration, found(configuration):
        yield configuration


@contextmanager
def where_it_can_be_had(cluster: AbstractContextManager[T]) -> Iterator[T]:
    require_ci()
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(cluster)
        except NoClusterError as error:
            pytest.skip(str(error))
        yield ours


def require_ci() -> None:
    if "CI" not in os.environ:
        pytest.skip("a cluster is started with CI set alone: CI=1 make test")


def require_one_worker(folder: Path) -> None:
    """Fail if pytest-xdist has not given all tests of a cluster to one of its workers."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        with (folder.parent / "cluster").open("a+") as file:
            file.write(f"{worker}\n")
            file.seek(0)
            assert set(file.read().split()) == {worker}, (
                "two workers start a cluster; see the pin of pytest"
            )


@contextmanager
def found(configuration: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def slurm(*command: str) -> str:
    """What a program of Slurm prints, as the cluster's administrator calls it."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a cluster follow one another in one of pytest's workers: no other starts a second
    cluster beside it.
    """
    for item in items:
        if {"slurm_cluster", "accounting_cluster"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("cluster"))
