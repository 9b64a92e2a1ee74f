"""What no machine can hold is refused before anything is written; what can be trained is not."""

from pathlib import Path

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import SpecError
from qexp.kinds.experiments import experience, spec_cache
from tests import stones
from tests.conftest import located


@pytest.mark.parametrize(
    ("kind", "path", "value", "complaint"),
    [
        ("model", "operations.block.parameters.filters", [10**9, 10**6, 4],
         "$.operations.block: 72 PB to train its weights: training takes"),
        ("model", "operations.block.parameters.filters", [10**9, 10**9],
         "$.branches[0].operations[0]: operation 'block' is too large for any machine: "),
        ("model", "operations.to_depth.parameters.filters", [10**6, 10**6, 1],
         "$.operations.to_depth: 8 TB to train its weights: training takes"),
        ("experience", "sizes", [8, 4, 3 * 10**9],
         "3.18 TB for samples: training takes 3.18 TB, but this machine has"),
        ("experience", "batch_size", 10**9, "$.sizes: 1.06 TB for samples: "),
    ],
)  # fmt: skip
def test_what_no_machine_can_hold_is_refused_with_what_is_largest(
    specs, qexp, problems, kind, path, value, complaint
):
    file = specs.spoil(kind, (path, value), *([("sizes.0", value)] if path == "batch_size" else []))
    expected = located(kind, path, complaint)
    message = problems(file)
    assert any(line.startswith(expected) for line in message), message
    assert expected in qexp("run", "sound").failed()
    assert not Path("runs").exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("operations.block.parameters.filters", [4] * 100_000, "must have at most 1000 items"),
        (
            "branches.0.operations",
            ["block"] + ["look"] * 20_000,
            (
                "$.branches[0].operations[1250]: operation 'look': brings the network to 5,002"
                " layers; at most"
            ),
        ),
        (
            "operations.deep",
            {"module": "masked_encoder", "parameters": {"depth": 10**9}},
            "$.operations.deep.parameters.depth: must be at most 1000",
        ),
        (
            "operations.deep",
            {"module": "dle_unet", "parameters": {"outputs": 1, "blocks": 10**9}},
            "$.operations.deep.parameters.blocks: must be at most 16",
        ),
        (
            "operations.many",
            {
                "module": "matched_filters",
                "parameters": {"variable": "depth", "low": 1, "high": 2, "count": 10**9},
            },
            "$.operations.many.parameters.count: must be at most 100000",
        ),
        (
            "operations.long",
            {"module": "conv1d", "parameters": {"filters": [1], "kernel_size": 10**9}},
            "$.operations.long.parameters.kernel_size: must be at most 10000",
        ),
    ],
    ids=["filters", "operations", "blocks", "blocks of a U-Net", "matched filters", "kernel"],
)
def test_what_would_take_hours_to_lay_out_is_refused_by_its_count(
    specs, problems, path, value, complaint
):
    assert any(
        located("model", path, complaint) in line
        for line in problems(specs.spoil("model", (path, value)))
    )


def test_what_is_allowed_depends_on_the_machine_that_will_train(specs):
    workspace = Workspace(specs.root)
    specs.spoil("experience", ("sizes", [8, 4, 10**6]))  # 1.06 GB
    for memory in (600_000_000, 10**9):
        assert experience("sound", {}, workspace, spec_cache(workspace, memory)).name == "sound"
    with pytest.raises(
        SpecError,
        match=r"\$\.sizes: 1\.06 GB for samples: .* but this machine has 500 MB; use fewer",
    ):
        experience("sound", {}, workspace, spec_cache(workspace, 500_000_000))


def test_a_frozen_operation_needs_no_room_for_gradients(specs):
    workspace = Workspace(specs.root)
    # 64 values times that: 26 MB
    specs.spoil("model", ("operations.to_depth.parameters.filters", [100_000, 1]))
    specs.spoil("experience", ("pretrain", {"run": "x", "freeze": ["to_depth"]}))
    assert experience("sound", {}, workspace, spec_cache(workspace, 30_000_000))
    specs.write("experience", specs.documents["experience"])
    with pytest.raises(SpecError, match=r"\$\.operations\.to_depth: 104 MB to train its weights"):
        experience("sound", {}, workspace, spec_cache(workspace, 30_000_000))


def test_runs_for_a_cluster_are_not_measured_by_the_machine_that_submits_them(specs, qexp):
    specs.spoil("experience", ("sizes", [8, 4, 3 * 10**9]))
    assert qexp("run", "sound", "--dry-run")[0] == 2
    assert qexp("run", "sound", "--dry-run", "--launcher", "slurm")[:2] == (0, "sound_0\n")
    specs.spoil("experience", ("sizes", [8, 4, 3 * 10**15]))
    assert (
        "but no machine has as much"
        in qexp("run", "sound", "--dry-run", "--launcher", "slurm").failed()
    )


def test_a_choice_among_millions_of_combinations_is_refused_by_its_count(specs, problems):
    keys = ("epochs", "batch_size", "learning_rate", "model.operations.a.parameters.filters")
    select = {key: list(range(1, 33)) for key in keys}
    experience = {
        **stones.EXPERIENCE,
        "model": "sound",
        "dataset": stones.DATASET,
        "select": select,
    }
    message = problems(specs.write("experience", experience))
    assert any(
        "$.select: 1,048,576 combinations are too many; list at most 10,000" in line
        for line in message
    )
