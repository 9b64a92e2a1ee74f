import math

import numpy as np
import pytest
import scipy.stats
import torch

from qexp.networks.estimator import Estimator, Posterior, PosteriorMixture
from qexp.networks.heads import CLASSES, HEADS, Categorical, Gaussian, Mixture
from qexp.networks.losses import negative_log_likelihood
from qexp.networks.network import Branch, BranchError, Network, Operation
from qexp.networks.transforms import Log, NormalScore, Scale
from tests.networks.parts import initialised, operation, values

ALL_HEADS = pytest.mark.parametrize("name", [name for name in HEADS if name != CLASSES])
DENSE = operation("denses", filters=[16], bias=True)


def head(name, **parameters):
    return Operation(lambda *context: HEADS[name].build(*context, **parameters), ends=True)


def network(name, outputs=("a", "b"), inputs=5, **parameters):
    return initialised(
        {"seen": (inputs,)}, outputs, {"dense": DENSE, "posterior": head(name, **parameters)}
    )


def gaussian(samples=4, outputs=3, seed=3):
    below = torch.tril(values(samples, outputs, outputs, seed=seed), -1)
    diagonal = torch.diag_embed(values(samples, outputs, seed=seed + 1).exp())
    return Gaussian(values(samples, outputs, seed=seed + 2).double(), (below + diagonal).double())


def by_torch(density):
    return torch.distributions.MultivariateNormal(
        density.mean, torch.linalg.inv(density.factor @ density.factor.mT)
    )


def test_a_gaussian_density_is_that_of_torch_with_the_inverse_of_its_precision():
    density, at = gaussian(), values(7, 4, 3, seed=9).double()
    torch.testing.assert_close(density.log_prob(at), by_torch(density).log_prob(at))
    deviations = by_torch(density).covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    quantiles = density.quantiles(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
    expected = scipy.stats.norm.ppf(
        [0.05, 0.5, 0.95], density.mean[..., None], deviations[..., None]
    )
    np.testing.assert_allclose(quantiles, expected, rtol=1e-6)
    assert torch.equal(density.middle(), density.mean)


def test_draws_of_a_gaussian_density_have_its_mean_and_covariance():
    density = gaussian(2)
    drawn = density.draws(200_000, torch.Generator().manual_seed(1))
    expected = by_torch(density)
    torch.testing.assert_close(drawn.mean(0), expected.mean, atol=0.02, rtol=0.01)
    for sample in range(2):
        covariance = expected.covariance_matrix[sample]
        scale = covariance.diagonal().sqrt()
        assert (
            (torch.cov(drawn[:, sample].T) - covariance) / (scale[:, None] * scale)
        ).abs().max() < 0.02


def test_posteriors_of_several_networks_have_the_density_quantiles_and_variances_of_their_equal_mixture():
    densities = [gaussian(5, 2, seed) for seed in (5, 15, 25)]
    made = PosteriorMixture(
        [Posterior({("a", "b"): density}, {"a": Scale(2.0)}) for density in densities]
    )
    at = values(7, 5, 2, seed=9).double()
    parts = [
        by_torch(density).log_prob(at * torch.tensor([0.5, 1.0])) + math.log(0.5)
        for density in densities
    ]
    torch.testing.assert_close(made.log_prob(at), torch.stack(parts).exp().mean(0).log())
    means = 2 * torch.stack([density.mean[:, 0] for density in densities]).numpy()
    deviations = 2 * torch.stack([density.deviations()[:, 0] for density in densities]).numpy()
    quantiles = made.quantiles([0.05, 0.5, 0.95])["a"].numpy()
    below = scipy.stats.norm.cdf(quantiles, means[..., None], deviations[..., None]).mean(axis=0)
    np.testing.assert_allclose(below, [[0.05, 0.5, 0.95]] * 5, atol=2e-3)
    np.testing.assert_allclose(
        made.own_deviations()["a"], np.sqrt(np.square(deviations).mean(axis=0)), rtol=5e-3
    )
    drawn = made.draws(60_000, torch.Generator().manual_seed(0))[..., 0].numpy()
    total = np.square(made.own_deviations()["a"].numpy()) + means.var(axis=0)
    np.testing.assert_allclose(drawn.var(axis=0), total, rtol=0.03)


@pytest.mark.slow
def test_a_mixture_is_that_of_torch_and_its_quantiles_have_their_probability():
    parts = [gaussian(3, 2, seed) for seed in (5, 15, 25, 35)]
    components = Gaussian(
        torch.stack([part.mean for part in parts]), torch.stack([part.factor for part in parts])
    )
    density = Mixture(torch.log_softmax(values(4, 3).double(), dim=-1), components)
    at = values(4, 2, seed=9).double()
    families = torch.distributions
    by_torch_alone = families.MixtureSameFamily(
        families.Categorical(logits=density.log_weights), by_torch(density.components)
    )
    torch.testing.assert_close(density.log_prob(at), by_torch_alone.log_prob(at))
    probabilities = torch.tensor([0.02, 0.3, 0.5, 0.9], dtype=torch.float64)
    quantiles = density.quantiles(probabilities)
    drawn = density.draws(100_000, torch.Generator().manual_seed(1))
    below = (drawn[..., None] < quantiles).double().mean(0)
    torch.testing.assert_close(below, probabilities.expand_as(below), atol=0.006, rtol=0)


@pytest.mark.heavy
@ALL_HEADS
def test_a_density_integrates_to_one_and_its_draws_lie_where_it_is_high(name):
    net = network(name)
    density = net.density("posterior", net.features({"seen": values(2, 5)})["posterior"])
    axis = torch.linspace(-12, 12, 401)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = density.log_prob(grid[:, None].expand(-1, 2, -1)).exp()
        drawn = density.draws(20_000, torch.Generator().manual_seed(1))
    cell = float(axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.sum(0) * cell, torch.ones(2), atol=1e-3, rtol=0)
    mean = (grid[:, None] * mass[..., None]).sum(0) * cell
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
    below = (drawn[..., None] < density.quantiles(torch.tensor([0.1, 0.5, 0.9]))).float().mean(0)
    torch.testing.assert_close(
        below, torch.tensor([0.1, 0.5, 0.9]).expand_as(below), atol=0.02, rtol=0
    )


@ALL_HEADS
def test_the_loss_reaches_every_weight_and_estimates_are_medians(name):
    net = network(name)
    seen = {"seen": values(8, 5)}
    features = net.features(seen)
    assert list(features) == ["posterior"]
    density = net.density("posterior", features["posterior"])
    negative_log_likelihood(density, values(8, 2, seed=5)).backward()
    for weight in net.parameters():
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
    estimates = net(seen)
    torch.testing.assert_close(torch.cat([estimates["a"], estimates["b"]], 1), density.middle())


def test_mixture_components_that_begin_alike_part_in_training():
    net = network("mixture_posterior", components=3)
    density = net.density("posterior", net.features({"seen": torch.zeros(1, 5)})["posterior"])
    assert len({round(one, 6) for one in density.components.mean[0, :, 0].tolist()}) == 3


@pytest.mark.parametrize(("widest", "expected"), [({}, math.exp(9)), ({"widest": 2.0}, 2.0)])
def test_no_component_reaches_the_widest_deviation_whatever_the_weights(widest, expected):
    head = HEADS["mixture_posterior"].build((5,), 1, components=3, **widest)
    for weights, number in zip(head.parameters(), (0, -14 * math.atanh(9 / 14)), strict=True):
        torch.nn.init.constant_(weights, number)
    deviations = head.density(torch.zeros(1, 5)).components.deviations()
    torch.testing.assert_close(deviations, torch.full((1, 3, 1), expected), rtol=1e-3, atol=0)


def test_the_weights_of_components_are_a_softmax_of_this_temperature():
    heads = [
        HEADS["mixture_posterior"].build((5,), 2, components=3, **own)
        for own in ({}, {"temperature": 0.25})
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    usual, sharper = (head.density(values(7, 5)) for head in heads)
    torch.testing.assert_close(
        sharper.log_weights, torch.log_softmax(4 * usual.log_weights, dim=-1)
    )
    assert torch.equal(sharper.components.mean, usual.components.mean)


@pytest.mark.heavy
@ALL_HEADS
def test_a_trained_head_has_the_posterior_of_a_linear_model_in_closed_form(name):
    """y = A x + noise, x standard normal: precision I + AᵀA / σ², mean its inverse times Aᵀy /
    σ².
    """
    mixing, deviation = values(5, 2, seed=11), 0.5
    precision = torch.eye(2) + mixing.T @ mixing / deviation**2
    net = network(name)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    steps = 600
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    random = torch.Generator().manual_seed(4)

    def batch(count):
        truth = torch.randn(count, 2, generator=random)
        return truth, truth @ mixing.T + deviation * torch.randn(count, 5, generator=random)

    for _ in range(steps):
        truth, seen = batch(256)
        loss = negative_log_likelihood(
            net.density("posterior", net.features({"seen": seen})["posterior"]), truth
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    truth, seen = batch(2000)
    exact = torch.distributions.MultivariateNormal(
        seen @ mixing / deviation**2 @ torch.linalg.inv(precision), precision_matrix=precision
    )
    with torch.no_grad():
        density = net.density("posterior", net.features({"seen": seen})["posterior"])
        lost = (exact.log_prob(truth) - density.log_prob(truth)).mean()
        quantiles = density.quantiles(torch.tensor([0.05, 0.95]))
    assert 0 < lost + 0.01 < 0.06
    width = (quantiles[..., 1] - quantiles[..., 0]).mean(0)
    expected = 2 * scipy.stats.norm.ppf(0.95) * torch.linalg.inv(precision).diagonal().sqrt()
    torch.testing.assert_close(width, expected.float(), rtol=0.08, atol=0)


X = ("seen",)


@pytest.mark.parametrize(
    ("branches", "outputs", "complaint"),
    [
        ([(X, ("a",), ("posterior", "dense"))], ["a"], "ends a branch; leave out what follows it"),
        (
            [(X, ("a",), ("posterior",)), (X, ("b",), ("posterior",))],
            ["a", "b"],
            "which is used once",
        ),
        ([(X, ("a", "b"), ("posterior",))], ["a"], "'b' is no output"),
        (
            [(X, ("a",), ("posterior",)), (("a",), ("b",), ("dense",))],
            ["a", "b"],
            "no branch can start from 'a'",
        ),
        (
            [(X, ("posterior",), ("posterior",))],
            ["posterior"],
            "the name of an output; rename the operation",
        ),
    ],
)
def test_a_head_that_does_not_end_a_branch_in_outputs_is_an_error(branches, outputs, complaint):
    operations = {"dense": DENSE, "posterior": head("gaussian_posterior")}
    with pytest.raises(BranchError, match=complaint):
        Network({"seen": (5,)}, outputs, operations, [Branch(*one) for one in branches])


PRIOR = {"type": "uniform", "parameters": {"a": 2.0, "b": 5.0}}


@pytest.mark.heavy
def test_a_posterior_in_units_stays_within_its_prior_integrates_to_one_and_has_quantiles_that_rise():
    density = Gaussian(torch.tensor([[0.5, 0.3]]), torch.tensor([[[2.5, 0.0], [0.5, 1.5]]]))
    posterior = Posterior(
        {("depth", "radius"): density}, {"depth": NormalScore(PRIOR), "radius": Log()}
    )
    drawn = posterior.draws(5000, torch.Generator().manual_seed(1))
    assert drawn.shape == (5000, 1, 2)
    assert 2 <= drawn[..., 0].min() < drawn[..., 0].max() <= 5
    assert drawn[..., 1].min() > 0
    depth, radius = torch.linspace(2, 5, 1201)[1:-1], torch.logspace(-3, 3, 801)
    mass = (
        posterior.log_prob(torch.cartesian_prod(depth, radius)).exp().view(len(depth), len(radius))
    )
    assert float(torch.trapezoid(torch.trapezoid(mass, radius), depth)) == pytest.approx(
        1, abs=0.01
    )
    density = Gaussian(torch.tensor([[1.0]]), torch.tensor([[[2.0]]]))
    quantiles = Posterior({("a",): density}, {"a": Scale(-10.0)}).quantiles([0.05, 0.5, 0.95])["a"]
    assert (quantiles.diff() > 0).all()
    assert quantiles[0, 1] == -10
    assert math.isclose(quantiles[0, 2], -10 + 5 * 1.6448536, rel_tol=1e-5)


@pytest.mark.parametrize(
    "distribution",
    [
        PRIOR,
        {"type": "log_normal", "parameters": {"mu": 0.5, "sigma": 1.0}},
        {
            "type": "truncated_normal",
            "parameters": {"mu": 3.0, "sigma": 1.0, "low": 0.5, "high": 6.0},
        },
        {"type": "log_uniform", "parameters": {"low": 0.1, "high": 10.0}},
        # whose last two nodes are one number
        {"type": "uniform", "parameters": {"a": 1e5, "b": 1e5 + 1}},
    ],
    ids=lambda one: one["type"],
)
def test_normal_scores_are_the_normal_quantiles_of_probabilities_and_come_back(distribution):
    transform = NormalScore(distribution)
    probability = np.linspace(1e-6, 1 - 1e-6, 1001)
    exact = torch.from_numpy(transform.distribution.quantile(probability))[:, None]
    scores = transform(exact)
    np.testing.assert_allclose(scores[:, 0], scipy.stats.norm.ppf(probability), atol=1e-5)
    torch.testing.assert_close(transform.inverse(scores), exact, rtol=1e-6, atol=0)
    low, high = transform.distribution.support()
    ends = transform.inverse(torch.tensor([[-50.0], [50.0]]))
    assert low <= ends[0] < ends[1] <= high
    assert transform(torch.tensor([[low], [high]], dtype=torch.float64)).isfinite().all()


def test_a_model_without_a_head_says_how_to_get_a_posterior():
    plain = Network(
        {"seen": (5,)}, ["a"], {"dense": DENSE}, [Branch(("seen",), ("a",), ("dense",))]
    )
    with pytest.raises(
        Exception, match="estimates a without a posterior; end its branch with a posterior head"
    ):
        Estimator(plain, {}).posterior({"seen": values(3, 5)})


def test_classes_are_learned_by_the_cross_entropy_and_estimated_by_probabilities():
    codes = torch.tensor([[0.0], [2.0], [1.0], [2.0]])
    given = {"seen": values(4, 5)}
    told = network(CLASSES, ["rock"], classes=3, smoothing=0.1, weights=[1.0, 2.0, 4.0])
    features = told.features(given)["posterior"]
    scores = told.operations["posterior"].linear(features)
    weights = torch.tensor([1.0, 2.0, 4.0])
    expected = torch.nn.functional.cross_entropy(
        scores, codes[:, 0].long(), weights, label_smoothing=0.1
    )
    loss = negative_log_likelihood(told.train().density("posterior", features), codes)
    torch.testing.assert_close(loss, expected)
    density = told.eval().density("posterior", features)
    undone = scores.softmax(-1) / weights
    probabilities = undone / undone.sum(-1, keepdim=True)
    torch.testing.assert_close(told(given)["rock"], probabilities)
    torch.testing.assert_close(
        negative_log_likelihood(density, codes),
        -probabilities.gather(1, codes.long()).log().mean(),
    )


def test_draws_of_classes_are_as_frequent_as_they_are_probable():
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    drawn = Categorical(probabilities.log()).draws(20_000, torch.Generator().manual_seed(2))
    assert drawn.shape == (20_000, 2, 1)
    shares = torch.stack([(drawn[..., 0] == code).float().mean(0) for code in range(3)], dim=1)
    torch.testing.assert_close(shares, probabilities, atol=0.02, rtol=0)
