import pytest
import torch

from qexp.networks.estimator import Estimator
from qexp.networks.network import Operation
from qexp.networks.transforms import Asinh, Chain, Log, PerSample, Scale, Standardize
from tests.networks.parts import initialised, operation


def passing_through(transforms):
    """A model whose network changes nothing: `seen` comes out as `depth`."""
    same = operation("activation", activation="linear")
    return Estimator(initialised({"seen": (1,)}, ["depth"], {"same": same}), transforms)


def learning(transforms=None, rate=0.5):
    operations = {
        "norm": operation("batch_norm"),
        "first": operation("denses", filters=[16]),
        "drop": operation("dropout", rate=rate),
        "head": operation("denses", filters=[1]),
    }
    return Estimator(initialised({"seen": (4,)}, ["depth"], operations), transforms or {})


def values(*shape, seed=2):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.5


def standardize(values):
    transform = Standardize()
    transform.fit(values)
    return transform


@pytest.mark.parametrize(
    "transform", [Asinh(0.01), Log(), Scale(2000.0), standardize(values(30, 1))], ids=repr
)
def test_what_is_transformed_on_the_way_in_and_back_on_the_way_out_keeps_its_unit(transform):
    seen = values(20, 1)
    estimate = passing_through({"seen": transform, "depth": transform}).estimate({"seen": seen})[
        "depth"
    ]
    torch.testing.assert_close(estimate, seen)


def test_inputs_are_transformed_and_outputs_transformed_back_each_by_its_own_or_left_as_they_are():
    model = passing_through({"seen": Log(), "depth": Scale(10.0)})
    seen = values(20, 1)
    torch.testing.assert_close(model.estimate({"seen": seen})["depth"], 10 * seen.log())
    torch.testing.assert_close(model.outputs({"seen": seen.log()})["depth"], seen.log())
    torch.testing.assert_close(model({"seen": seen})["depth"], 10 * seen.log())
    model, seen = passing_through({}), values(20, 1)
    assert torch.equal(model.estimate({"seen": seen})["depth"], seen)
    assert torch.equal(model.transformed("seen", seen), seen)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_estimates_do_not_depend_on_the_batch_size(batch_size):
    model, seen = learning({"depth": Log()}), values(50, 4)
    torch.testing.assert_close(
        model.estimate({"seen": seen}, batch_size)["depth"], model.estimate({"seen": seen})["depth"]
    )


def test_estimating_drops_nothing_learns_nothing_and_leaves_the_model_training():
    model, seen = learning(), values(50, 4)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (model.estimate({"seen": seen})["depth"] for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    more = {"displacement": torch.zeros(3, 1, 2, 2), "seen": seen, "depth": torch.zeros(50, 1)}
    assert torch.equal(model.estimate(more)["depth"], first), (
        "samples may carry more than the network needs"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.network.modules())
    model.eval()
    model.estimate({"seen": seen})
    assert not any(module.training for module in model.network.modules())


def test_saved_weights_and_fitted_transforms_make_the_same_estimates_in_a_fresh_model():
    seen = values(50, 4)
    trained = learning({"seen": standardize(3 * seen), "depth": standardize(values(30, 1))})
    trained.train()({"seen": seen})  # moves the running means of batch normalisation
    fresh = learning({"seen": Standardize(), "depth": Standardize()})
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(
        fresh.estimate({"seen": seen})["depth"], trained.estimate({"seen": seen})["depth"]
    )


def test_gradients_reach_the_observations_through_the_whole_model():
    model = learning({"seen": Asinh(0.1), "depth": Log()}).eval()
    seen = values(3, 4).requires_grad_()
    model({"seen": seen})["depth"].sum().backward()
    assert (seen.grad.abs().sum(1) > 0).all()


def cleaning(transform):
    """A model that makes of `seen` half of `seen`: an output that is an input, too."""

    class Half(torch.nn.Module):
        def forward(self, x):
            return x / 2

    network = initialised({"seen": (4,)}, ["seen"], {"halved": Operation(lambda shape: Half())})
    return Estimator(network, {"seen": transform})


@pytest.mark.parametrize("count", [1, 50, 300])
def test_an_output_that_is_an_input_comes_back_by_what_each_sample_was(count):
    seen = values(count, 4)
    deviation, mean = torch.std_mean(seen, dim=1, keepdim=True, correction=0)
    assert (deviation > 0).all()
    estimate = cleaning(PerSample()).estimate({"seen": seen})["seen"]
    torch.testing.assert_close(estimate, mean + (seen - mean) / 2)
    made = cleaning(PerSample())
    with torch.no_grad():
        torch.testing.assert_close(made({"seen": seen})["seen"], estimate)
        outputs = made.outputs({"seen": made.transformed("seen", seen)})
        torch.testing.assert_close(made.in_units(outputs, {"seen": seen})["seen"], estimate)


def test_a_chain_brings_back_an_output_that_is_an_input_step_by_step():
    seen = values(50, 4)
    logarithms = seen.log()
    mean = logarithms.mean(dim=1, keepdim=True)
    expected = (mean + (logarithms - mean) / 2).exp()
    torch.testing.assert_close(
        cleaning(Chain(["log", "per_sample"])).estimate({"seen": seen})["seen"], expected
    )


def test_an_output_that_is_no_input_is_not_told_of_a_truth_that_comes_along():
    model, seen = learning({"depth": PerSample()}), values(50, 4)
    with pytest.raises(ValueError, match="per_sample"):
        model({"seen": seen, "depth": torch.zeros(50, 1)})
