import math

import pytest
import torch
from torch import nn

from qexp.base.seeds import Seeds
from qexp.networks.network import Branch, BranchError, Network, Operation, initialise
from tests.networks.parts import operation, values

IMAGE = (1, 8, 8)


def network(branches, operations, inputs=None, outputs=("y",)):
    branches = [Branch(sources, (target,), names) for sources, target, names in branches]
    return Network(inputs or {"x": IMAGE}, outputs, operations, branches)


def ready(*arguments, seed=1, **keywords):
    net = network(*arguments, **keywords)
    initialise(net, Seeds(seed))
    return net.eval()


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def weights_of(network, name):
    return torch.cat([weight.flatten() for weight in network.operations[name].parameters()])


CONV = operation("conv", filters=[1])
HEAD = operation("denses", filters=[1], bias=True)


def test_an_operation_used_twice_or_by_two_branches_shares_its_weights_and_two_alike_do_not():
    once = network([(("x",), "y", ("conv",))], {"conv": CONV})
    twice = network([(("x",), "y", ("conv", "conv"))], {"conv": CONV})
    apart = network([(("x",), "y", ("conv", "other"))], {"conv": CONV, "other": CONV})
    assert count(once) == count(twice) == 10
    assert count(apart) == 20
    branches = [(("left",), "y", ("conv",)), (("right",), "z", ("conv",))]
    shared = ready(branches, {"conv": CONV}, {"left": IMAGE, "right": IMAGE}, ("y", "z"))
    x = values(2, *IMAGE)
    y = shared({"left": x, "right": x})
    assert torch.equal(y["y"], y["z"])


def test_operations_run_in_the_order_of_a_branch_and_one_without_any_hands_its_value_on():
    pool, flatten = operation("max_pooling"), operation("flatten")
    relu = operation("activation", activation="relu")
    net = ready(
        [(("x",), "y", ("pool", "relu", "flatten"))],
        {"relu": relu, "flatten": flatten, "pool": pool},
    )
    x = values(3, *IMAGE)
    torch.testing.assert_close(
        net({"x": x})["y"], torch.relu(nn.functional.max_pool2d(x, 2)).flatten(1)
    )
    net = ready(
        [(("x",), "copy", ()), (("copy",), "y", ("conv",))], {"conv": CONV}, outputs=("copy", "y")
    )
    x = values(2, *IMAGE)
    assert torch.equal(net({"x": x})["copy"], x)


def test_a_branch_can_go_on_from_what_an_earlier_one_made_and_heads_do_not_disturb_each_other():
    branches = [
        (("x",), "middle", ("conv",)),
        (("middle",), "y", ("first",)),
        (("middle",), "z", ("second",)),
    ]
    net = ready(branches, {"conv": CONV, "first": HEAD, "second": HEAD}, outputs=("z", "y"))
    x = values(2, *IMAGE)
    y = net({"x": x})
    assert list(y) == ["z", "y"]
    middle = net.operations["conv"](x)
    torch.testing.assert_close(y["y"], net.operations["first"](middle))
    torch.testing.assert_close(y["z"], net.operations["second"](middle))
    assert not torch.allclose(y["y"], y["z"])


def test_two_inputs_are_joined_along_channels_in_the_order_of_the_list_and_go_on_through_the_branch():
    inputs = {"a": (2, 4, 4), "b": (3, 4, 4)}
    join = {"join": operation("concatenate")}
    a, b = values(5, 2, 4, 4), values(5, 3, 4, 4, seed=3)
    for names, expected in ((("a", "b"), (a, b)), (("b", "a"), (b, a))):
        net = ready([(names, "y", ("join",))], join, inputs)
        assert torch.equal(net({"a": a, "b": b})["y"], torch.cat(expected, 1))
        assert net.shapes == {"y": (5, 4, 4)}
    inputs = {"a": (2, 4, 4), "b": (3,)}
    branches = [(("a",), "flat", ("flatten",)), (("flat", "b"), "y", ("join", "head"))]
    net = ready(
        branches,
        {"flatten": operation("flatten"), "join": operation("concatenate"), "head": HEAD},
        inputs,
    )
    a, b = values(4, 2, 4, 4), values(4, 3)
    weight = net.operations["head"][-1].weight
    assert weight.shape == (1, 35)
    torch.testing.assert_close(
        net({"a": a, "b": b})["y"], torch.cat([a.flatten(1), b], 1) @ weight.T
    )


WRONG = [
    (
        [(("x", "z"), "y", ("conv",))],
        r"operation 'conv': takes one input; join several with a 'concatenate'",
        (0, 0),
    ),
    (
        [(("x",), "y", ("join",))],
        r"operation 'join': joins several inputs, but has one, \[8, 8, 1\].*x_name",
        (0, 0),
    ),
    ([(("x", "z"), "y", ())], r"several inputs \(x, z\)", (0, 0)),
    (
        [(("x",), "middle", ("conv",)), (("middle",), "y", ("conv", "flatten", "look"))],
        r"operation 'look': needs an image .* \[64\]",
        (1, 2),
    ),
    # Shared weights that do not fit a second input, whose size is given as specs write it.
    (
        [(("x",), "y", ("head",)), (("narrow",), "w", ("head",))],
        r"operation 'head' does not fit its input \[5, 4, 1\]",
        (1, 0),
    ),
    ([(("x",), "y", ("pool",) * 4)], "'pool'", (0, 3)),
]


@pytest.mark.parametrize(("branches", "message", "place"), WRONG)
def test_what_does_not_fit_is_an_error_that_names_the_operation_and_where_it_stands(
    branches, message, place
):
    operations = {
        name: operation(module)
        for name, module in (("join", "concatenate"), ("pool", "max_pooling"))
    }
    operations |= {
        "conv": CONV,
        "head": HEAD,
        "flatten": operation("flatten"),
        "look": operation("conv", filters=[2]),
    }
    with pytest.raises(BranchError, match=message) as caught:
        network(branches, operations, {"x": IMAGE, "z": IMAGE, "narrow": (1, 5, 4)})
    assert (caught.value.branch, caught.value.position) == place


def test_a_same_convolution_used_twice_pads_each_of_its_inputs_as_keras_does():
    shrink = operation("conv", filters=[1], stride=2)
    net = network([(("x",), "y", ("shrink", "shrink"))], {"shrink": shrink}, {"x": (1, 30, 30)})
    assert net.shapes["y"] == (1, 8, 8)


def test_laying_a_network_out_takes_no_memory_and_knows_the_output_shapes():
    net = network(
        [(("x",), "y", ("huge",))], {"huge": operation("denses", filters=[1_000_000, 1_000_000, 3])}
    )
    assert net.shapes == {"y": (3,)}
    assert all(weight.is_meta for weight in net.parameters())


def test_first_weights_are_uniform_within_glorots_bounds_and_biases_zero():
    operations = {
        "conv": operation("conv", filters=[16, 32], kernel_size=5),
        "block": operation("resnet_block", filters=[24]),
        "look": operation("attention", filters=[48, 48]),
        "head": operation("denses", filters=[40, 30], bias=True),
    }
    net = ready([(("x",), "y", tuple(operations))], operations)
    weights = {name: weight for name, weight in net.named_parameters() if name.endswith("weight")}
    biases = {name: bias for name, bias in net.named_parameters() if name.endswith("bias")}
    assert len(weights) == len(biases) == 8
    for weight in weights.values():
        bound = math.sqrt(6 / (math.prod(weight.shape[2:]) * (weight.shape[0] + weight.shape[1])))
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.97 * bound
        # The standard deviation of a uniform variable; a fraction of weights of a few hundredths
        # blurs it.
        assert weight.std().item() == pytest.approx(
            bound / math.sqrt(3), rel=2 / math.sqrt(weight.numel())
        )
    assert all((bias == 0).all() for bias in biases.values())


def test_first_weights_of_an_operation_depend_on_its_name_and_the_seed_and_on_no_other_operation():
    before = ready([(("x",), "y", ("conv", "head"))], {"conv": CONV, "head": HEAD})
    extra = {
        "new": operation("conv", filters=[1]),
        "conv": CONV,
        "head": HEAD,
        "norm": operation("batch_norm"),
    }
    after = ready([(("x",), "y", ("new", "norm", "conv", "head"))], extra)
    for name in ("conv", "head"):
        assert torch.equal(weights_of(before, name), weights_of(after, name))
    branches, operations = [(("x",), "y", ("one", "two"))], {"one": CONV, "two": CONV}
    net, other = ready(branches, operations), ready(branches, operations, seed=2)
    assert not torch.equal(weights_of(net, "one"), weights_of(net, "two"))
    assert not torch.equal(weights_of(net, "one"), weights_of(other, "one"))
    assert torch.equal(weights_of(net, "one"), weights_of(ready(branches, operations), "one"))


def test_two_layers_of_an_extension_start_from_different_weights_and_the_global_random_state_is_left_alone():
    def build(shape):
        return nn.Sequential(
            nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1), nn.Flatten()
        )

    before = torch.get_rng_state()
    net = ready([(("x",), "y", ("own",))], {"own": Operation(build)}, {"x": (4,)})
    first, second = (
        layer.weight for layer in net.operations["own"] if isinstance(layer, nn.Conv1d)
    )
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_weight_that_an_extension_sets_itself_has_the_value_it_was_given():
    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.full((1000,), 3.0))
            self.register_buffer("ramp", torch.arange(1000.0))

        def forward(self, x):
            return x * self.gain + self.ramp

    net = ready([(("x",), "y", ("own",))], {"own": Operation(lambda shape: Gain())}, {"x": (1000,)})
    assert torch.equal(net({"x": torch.ones(1, 1000)})["y"][0], 3 + torch.arange(1000.0))


def test_the_penalty_is_the_sum_of_squared_weights_times_l2_without_biases_and_its_gradient_twice_l2_times_the_weight():
    operations = {
        "conv": operation("conv", l2=0.5, filters=[2, 3]),
        "free": operation("resnet_block", filters=[2]),
        "head": operation("denses", l2=0.01, filters=[4, 1], bias=True),
    }
    net = ready([(("x",), "y", ("conv", "free", "head"))], operations)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.fill_(100.0 if name.endswith("bias") else 2.0)
    conv, head = 9 * (1 * 2 + 2 * 3), 4 * 8 * 8 * 4 + 4
    assert net.penalty().item() == pytest.approx(0.5 * 4 * conv + 0.01 * 4 * head, rel=1e-6)
    net = ready([(("x",), "y", ("head",))], {"head": operation("denses", l2=0.3, filters=[2])})
    net.penalty().backward()
    (weight,) = net.parameters()
    torch.testing.assert_close(weight.grad, 2 * 0.3 * weight.detach())


def test_an_operation_used_twice_is_penalised_once_as_in_keras_and_without_l2_there_is_no_penalty():
    conv = operation("conv", l2=1.0, filters=[1])
    once = ready([(("x",), "y", ("conv",))], {"conv": conv})
    assert torch.equal(
        once.penalty(), ready([(("x",), "y", ("conv", "conv"))], {"conv": conv}).penalty()
    )
    assert ready([(("x",), "y", ("conv",))], {"conv": CONV}).penalty() is None
