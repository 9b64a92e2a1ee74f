"""Shapes and operations by our own rules are torch's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from qexp.networks.layers import ACTIVATIONS
from qexp.networks.modules import MODULES
from qexp.networks.shapes import RULES, ShapeRules


def meta(*shape):
    return torch.empty(*shape, device="meta")


IMAGE, ROWS, SEQUENCE = meta(2, 4, 9, 7), meta(3, 5), meta(2, 4, 11)

CASES = {
    "linear": lambda: functional.linear(ROWS, meta(6, 5), meta(6)),
    "linear of tokens": lambda: functional.linear(meta(2, 3, 5), meta(6, 5)),
    "matmul": lambda: ROWS @ meta(6, 5).T,
    "torch.matmul": lambda: torch.matmul(meta(2, 3, 5), meta(5, 4)),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, device="meta")(SEQUENCE),
    "conv2d": lambda: nn.Conv2d(
        4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 1), device="meta"
    )(IMAGE),
    "conv2d, dilated": lambda: nn.Conv2d(4, 6, 3, dilation=2, device="meta")(IMAGE),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(
        4, 6, 3, stride=2, output_padding=1, device="meta"
    )(IMAGE),
    "avg_pool2d": lambda: nn.AvgPool2d(2, padding=1)(IMAGE),
    "avg_pool2d, rounded up": lambda: nn.AvgPool2d(2, ceil_mode=True)(IMAGE),
    "max_pool2d": lambda: nn.MaxPool2d(3, 2)(IMAGE),
    "max_pool2d, dilated": lambda: nn.MaxPool2d(3, 1, dilation=2)(IMAGE),
    "max_pool2d, same": lambda: MODULES["max_pooling"].build((4, 9, 7), 2, 3, "same")(IMAGE),
    "avg_pool2d, same": (
        lambda: MODULES["average_pooling"].build((4, 9, 7), [2, 4], [3, 1], "same")(IMAGE)
    ),
    "adaptive_avg_pool2d": lambda: nn.AdaptiveAvgPool2d((1, 2))(IMAGE),
    "cat": lambda: torch.cat([IMAGE, meta(2, 3, 9, 7)], dim=1),
    "cat, from the end": lambda: torch.cat([IMAGE, IMAGE], dim=-1),
    "mul": lambda: IMAGE * meta(2, 4, 1, 1),
    "add": lambda: meta(7) + IMAGE,
    "sub": lambda: IMAGE - 1.5,
    "div": lambda: IMAGE.div(meta(2, 1, 9, 7)),
    "div, of integers": lambda: ROWS.long().div(2),
    "add, of integers": lambda: ROWS + meta(3, 1).long(),
    "mean": lambda: IMAGE.mean(dim=(2, -1)),
    "mean, of one side": lambda: IMAGE.mean(1, keepdim=True),
    "mean, of all": lambda: IMAGE.mean(),
    "batch_norm": lambda: nn.BatchNorm2d(4, device="meta").eval()(IMAGE),
    "layer_norm": lambda: nn.LayerNorm(5, device="meta")(ROWS),
    "dropout": lambda: nn.Dropout(0.5)(ROWS),
    **{
        name: lambda activation=activation: activation()(IMAGE)
        for name, activation in {
            "silu": nn.SiLU,
            "leaky_relu": nn.LeakyReLU,
            "relu": nn.ReLU,
            "elu": nn.ELU,
            "selu": nn.SELU,
            "gelu": nn.GELU,
            "softplus": nn.Softplus,
            "sigmoid": nn.Sigmoid,
            "tanh": nn.Tanh,
            **ACTIVATIONS,
        }.items()
    },
    "asinh": lambda: torch.asinh(IMAGE),
    "no rule": lambda: torch.bmm(meta(2, 3, 5), meta(2, 5, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_operations_are_those_of_torch(name):
    with torch.no_grad(), FlopCounterMode(display=False) as expected:
        shape = CASES[name]().shape
    with torch.no_grad(), ShapeRules() as rules:
        result = CASES[name]()
    assert result.shape == shape
    assert result.is_meta
    assert result.is_floating_point()
    if name == "no rule":
        assert not rules.complete
    else:
        assert rules.operations == expected.get_total_flops()


@pytest.mark.parametrize("name", [*ACTIVATIONS, "max_pool2d, same", "avg_pool2d, same"])
def test_activations_and_pools_need_no_rules_of_torch(name):
    with torch.no_grad(), ShapeRules() as rules:
        CASES[name]()
    assert rules.complete


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: functional.linear(ROWS, meta(6, 4)),
        lambda: nn.Conv2d(3, 6, 3, device="meta")(IMAGE),
        lambda: nn.Conv2d(4, 6, 30, device="meta")(IMAGE),
        lambda: nn.MaxPool2d(20)(IMAGE),
        lambda: torch.cat([IMAGE, meta(2, 3, 8, 7)], dim=1),
        lambda: ROWS @ meta(4, 4),
        lambda: ROWS * meta(3, 4),
    ],
)
def test_what_does_not_fit_is_refused_in_the_words_of_torch(wrong):
    with pytest.raises(RuntimeError) as expected:
        wrong()
    with pytest.raises(RuntimeError) as error, ShapeRules():
        wrong()
    assert str(error.value) == str(expected.value)


def test_tensors_that_have_memory_are_computed():
    x = torch.randn(2, 5)
    with ShapeRules() as rules:
        result = functional.linear(x, torch.eye(5))
    torch.testing.assert_close(result, x)
    assert rules.operations == 0
    assert len(RULES) > 20


LAY_OUT = """
import json, sys
from qexp.kinds.networks import network_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.network import operations_per_sample
for text in sys.argv[1:]:
    model = json.loads(open(text).read().replace('"from dataset"', "[32, 32, 1]"))
    operations_per_sample(network_of(model, model["inputs"], model["outputs"], BUILT_IN))
print(json.dumps([name for name in ("torch._dynamo", "sympy") if name in sys.modules]))
"""


@pytest.mark.heavy
def test_networks_of_images_fields_and_rows_are_laid_out_without_torch_s_compiler():
    folder = Path(__file__).parents[2] / "specs/models"
    models = [
        str(folder / f"{name}.json")
        for name in ("mogi_cnn", "mogi_noisy", "vdi_resnet", "ice_unet", "lunar_mlp")
    ]
    done = subprocess.run(
        [sys.executable, "-c", LAY_OUT, *models], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
