import math

import pytest
import torch

from qexp.errors import QexpError
from qexp.networks import checkpoint
from qexp.networks.optimizers import OPTIMIZERS


def test_tensors_and_document_come_back_as_they_were_written(tmp_path):
    random = torch.Generator().manual_seed(1)
    tensors = {
        "weight": torch.randn(3, 4, generator=random),
        "turned": torch.randn(5, 2, generator=random).T,
        "count": torch.tensor(7),
        "empty": torch.zeros(0),
        "state": torch.randint(0, 255, (16,), dtype=torch.uint8, generator=random),
        "double": torch.tensor([math.pi, math.inf], dtype=torch.float64),
    }
    document = {
        "epoch": 3,
        "loss": 0.1 + 0.2,
        "first": math.inf,
        "why": None,
        "callbacks": [{"best": 1e-300}],
        "µ": "σ",
    }
    checkpoint.write(tmp_path / "last.safetensors", tensors, document)
    read, noted = checkpoint.read(tmp_path / "last.safetensors")
    assert noted == document
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    assert checkpoint.shapes(tmp_path / "last.safetensors")["turned"] == [2, 5]


def test_a_checkpoint_is_replaced_whole_and_leaves_no_other_file_and_without_a_folder_the_error_names_it(
    tmp_path,
):
    path = tmp_path / "best.safetensors"
    for value in (1.0, 2.0):
        checkpoint.write(path, {"weight": torch.tensor(value)}, {"loss": value})
    assert checkpoint.read(path)[1] == {"loss": 2.0}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(QexpError, match=r"cannot write .*best\.safetensors"):
        checkpoint.write(tmp_path / "gone" / "best.safetensors", {"weight": torch.zeros(1)}, {})


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("adam", {}), ("adamw", {}), ("muon", {}), ("sgd", {"momentum": 0.9}), ("sgd", {})],
    ids=str,
)
def test_a_restored_optimizer_takes_the_steps_it_would_have_taken(
    tmp_path, name, parameters, grouped
):
    """Also with groups of weights some of which have not moved yet."""

    def start():
        weights = [torch.nn.Parameter(torch.ones(*shape)) for shape in ((3,), (2, 2), (4,))]
        groups = [
            {"params": weights[:1], "factor": 0.2},
            {"params": weights[1:2]},
            {"params": weights[2:]},
        ]
        return weights, OPTIMIZERS[name].build(groups if grouped else weights, 0.1, **parameters)

    def step(weights, optimizer, slope, moved=(0, 1, 2)):
        for position, weight in enumerate(weights):
            weight.grad = slope * weight.detach() ** 2 if position in moved else None
        optimizer.step()

    weights, optimizer = start()
    first = (0, 2) if grouped else (0, 1, 2)
    for slope in (1.0, -0.5, 0.7):
        step(weights, optimizer, slope, first)
    assert torch.equal(weights[1], torch.ones(2, 2)) == grouped
    kept = checkpoint.optimizer_tensors(optimizer)
    checkpoint.write(
        tmp_path / "last", {**{f"w.{i}": weight for i, weight in enumerate(weights)}, **kept}, {}
    )

    read, _ = checkpoint.read(tmp_path / "last")
    fresh, restored = start()
    for index, weight in enumerate(fresh):
        weight.data.copy_(read[f"w.{index}"])
    checkpoint.restore_optimizer(restored, read)
    assert [group["lr"] for group in restored.param_groups] == [
        group["lr"] for group in optimizer.param_groups
    ]
    for slope, moved in ((0.3, first), (-1.0, (0, 1, 2)), (0.5, (0, 1, 2))):
        step(weights, optimizer, slope, moved)
        step(fresh, restored, slope, moved)
    assert not torch.equal(weights[1], torch.ones(2, 2))
    for weight, same in zip(weights, fresh, strict=True):
        assert torch.equal(weight, same)
