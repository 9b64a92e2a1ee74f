"""A Grid Engine for all tests of this folder."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.gridengine.grid import Cluster, cluster
from tests.slurm.cluster import NoClusterError
from tests.slurm.conftest import require_ci


@pytest.fixture(scope="session")
def grid() -> Iterator[Cluster]:
    """A cluster that Grid Engine's programs find; started with CI set alone, since its tests take minutes."""
    require_ci()
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(cluster())
        except NoClusterError as error:
            pytest.skip(str(error))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (ours.variables | {"OMP_NUM_THREADS": "1"}).items():
            if name != "LD_LIBRARY_PATH":
                patch.setenv(name, value)
        yield ours


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a cluster follow one another in one of pytest's workers, after those of Slurm."""
    for item in items:
        if "grid" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("cluster"))
