"""A dataset is opened once by a command, however many of its steps look at it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qexp
from qexp.base.workspace import Workspace
from qexp.kinds import experiments
from qexp.kinds.experiments import examine, spec_cache
from qexp.kinds.objects import dataset_of
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.tables import BUILT_IN
from qexp.runs import plan
from tests import cores, stones

WRITE: dict[str, Callable[[Path], None]] = {"stones": stones.write, "scratch": cores.write}
"""Experience → what writes its specs and data."""


@pytest.fixture
def reads(workspace: Path, opened: list[Path]) -> Callable[..., int]:
    """`reads(do, …)`: how many files of data are opened by a call."""

    def counted(do: Callable[..., object], *arguments: object, **options: object) -> int:
        opened.clear()
        do(*arguments, **options)
        return len([path for path in opened if path.is_relative_to(workspace / "data")])

    return counted


def look_at(document: dict[str, Any]) -> None:
    """Ask one dataset for all that it reads its files for."""
    dataset: Any = dataset_of(document, BUILT_IN)
    assert dataset.fingerprint
    if isinstance(dataset, TabularDataset):
        dataset.row_numbers([0])


@pytest.mark.heavy
@pytest.mark.parametrize("experience", WRITE)
def test_a_run_a_sweep_and_the_check_of_specs_read_files_of_data_as_often_as_one_dataset(
    workspace, reads, experience
):
    WRITE[experience](workspace)
    home = Workspace(workspace)
    # prepared data are kept by whoever reads them first
    found = experiments.experience(experience, {}, home)
    assert (
        0 < reads(look_at, found.document["dataset"]) == reads(qexp.run, experience, device="cpu")
    )
    reads_of_one = reads(plan.sweep, [experience], [0], {}, {}, home)
    assert (
        0
        < reads_of_one
        == reads(plan.sweep, [experience], [0, 1], {"learning_rate": [0.1, 0.2, 0.3]}, {}, home)
    )
    file = workspace / f"specs/experiences/{experience}.json"
    other = file.with_name("other.json")
    other.write_text(file.read_text())
    parts = spec_cache(home)
    assert reads(examine, file, parts) > 0
    assert reads(examine, other, parts) == 0
    assert reads(examine, workspace / f"specs/datasets/{found.dataset_name}.json", parts) == 0
