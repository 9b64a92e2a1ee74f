"""What a network is made of and costs, against counts by hand and torch's counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from qexp.kinds.networks import network_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.heads import CLASSES
from qexp.networks.layout import steps_of
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, MODULES

SIDE, INPUTS, OUTPUTS = 32, 3, 2


def laid_out(operations, branches, inputs, outputs=("y",)):
    sizes = {name: {"size": [*shape[1:], shape[0]]} for name, shape in inputs.items()}
    model = {"inputs": sizes, "operations": operations, "branches": branches}
    return network_of(model, inputs, outputs, BUILT_IN)


def steps(operations, branches, inputs, outputs=("y",)):
    network = laid_out(operations, branches, inputs, outputs)
    return steps_of(network, {name: value["module"] for name, value in operations.items()})


def dle(module, **parameters):
    operations = {"net": {"module": module, "parameters": {"outputs": OUTPUTS, **parameters}}}
    branch = {"x_name": "x", "y_name": "y", "operations": ["net"]}
    return steps(operations, [branch], {"x": (INPUTS, SIDE, SIDE)})


def counted(convolutions):
    """Weights and multiplications of convolutions: kernel, channels in and out, side of the cells
    on which the kernel is laid.
    """
    weights = sum(kernel**2 * before * after + after for kernel, before, after, _ in convolutions)
    products = sum(
        kernel**2 * before * after * side**2 for kernel, before, after, side in convolutions
    )
    return weights, products


def test_dle_s_convolutional_network_has_the_weights_and_multiplications_of_its_17_layers():
    made = dle("dle_cnn")
    layers = [(3, INPUTS, 32, SIDE), *[(3, 32, 32, SIDE)] * 15, (1, 32, OUTPUTS, SIDE)]
    network = made[1]
    assert (network.weights, network.multiplications) == counted(layers)
    assert network.weights == 139_682  # as Keras says
    assert [step.weights for step in made[2:-1]] == [counted([layer])[0] for layer in layers]
    assert made[2].in_words == "Conv2d 3 × 3, LeakyReLU"


def test_dle_s_u_net_has_the_weights_and_multiplications_of_its_blocks_and_its_skips():
    made = dle("dle_unet", upsampling="convolved")
    widths = [32, 64, 128, 256]
    down = []
    for level, width in enumerate(widths):
        side = SIDE // 2**level
        before = INPUTS if level == 0 else widths[level - 1]
        down += [(3, before, width, side), (3, width, width, side)]
    up = []
    for level in (2, 1, 0):
        width, side = widths[level], SIDE // 2**level
        up += [(3, 2 * width, width, side // 2), (3, width, width, side)]
        up += [(3, 2 * width, width, side), (3, width, width, side)]
    layers = [*down, *up, (1, 32, OUTPUTS, SIDE)]
    assert (made[1].weights, made[1].multiplications) == counted(layers)
    place = {step.layer: number for number, step in enumerate(made) if step.layer}
    for coarse, fine in enumerate((2, 1, 0)):
        joined = [place[f"down.{fine}.2"], place[f"widen.{coarse}.2"]]
        assert made[place[f"up.{coarse}.0"]].sources == joined
    assert made[place["down.1.0"]].sources == [place["down.0.2"]]


HEADS = [name for name in MODULES if name.endswith("_posterior")]
OTHERS = [name for name in MODULES if name not in (*HEADS, CLASSES)]


@pytest.mark.parametrize("name", OTHERS)
def test_an_operation_takes_half_of_the_floating_point_operations_that_torch_counts(name):
    shapes = EXAMPLE_SHAPES.get(name, [EXAMPLE_SHAPE])
    inputs = dict(zip("abc", shapes, strict=False))
    branch = {"x_name": [*inputs], "y_name": "y", "operations": ["one"]}
    example = {"one": dict(MODULES[name].example)}
    made = steps(example, [branch], inputs)
    network = laid_out(example, [branch], inputs)
    samples = {name: torch.empty(1, *shape, device="meta") for name, shape in inputs.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(samples)
    one = made[len(inputs)]
    assert 2 * one.multiplications == counter.get_total_flops()
    assert one.weights == sum(weight.numel() for weight in network.parameters())
    assert made[-1].shape == one.shape == [*network.shapes["y"][1:], network.shapes["y"][0]]


@pytest.mark.parametrize("name", HEADS)
def test_a_posterior_head_costs_what_one_evaluation_of_its_density_does(name):
    operations = {"head": dict(MODULES[name].example)}
    branch = {"x_name": "x", "y_name": ["a", "b"], "operations": ["head"]}
    _, head, *ends = steps(operations, [branch], {"x": (8,)}, ["a", "b"])
    assert 0 < head.multiplications <= head.weights
    assert [(end.operation, end.shape, end.sources) for end in ends] == [("a", [1], [1]), ("b", [1], [1])]  # fmt: skip


def test_a_head_of_classes_costs_what_its_linear_layer_does():
    operations = {"head": dict(MODULES[CLASSES].example)}
    branch = {"x_name": "x", "y_name": "a", "operations": ["head"]}
    _, head, end = steps(operations, [branch], {"x": (8,)}, ["a"])
    assert (head.multiplications, head.weights) == (24, 27)
    assert (end.operation, end.sources) == ("a", [1])


def test_an_operation_of_two_branches_is_there_twice_and_its_weights_are_shared():
    operations = {
        "look": {"module": "conv", "parameters": {"filters": [4]}},
        "join": {"module": "concatenate"},
    }
    branches = [
        {"x_name": "a", "y_name": "of_a", "operations": ["look"]},
        {"x_name": "b", "y_name": "of_b", "operations": ["look"]},
        {"x_name": ["of_a", "of_b"], "y_name": "y", "operations": ["join"]},
    ]
    made = steps(operations, branches, {"a": (1, 8, 8), "b": (1, 8, 8)})
    names = [(step.name, step.sources, step.shared) for step in made[2:]]
    first, second = ("look", [0], False), ("look", [1], True)
    assert names == [first, second, ("join", [2, 3], False), ("y", [4], False)]
    assert made[2].weights == made[3].weights == 40
    assert made[2].multiplications == made[3].multiplications == 9 * 4 * 64
