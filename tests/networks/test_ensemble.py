import json

import pytest
import torch

import qexp
from qexp.base.outputs import Limits
from qexp.kinds.ensembles import EnsembleDirectory
from qexp.networks.estimator import (
    CACHED_NUMBERS,
    Ensemble,
    Estimator,
    _batches,
    batch_for,
    mean,
    spread,
    stacked_estimates,
)
from qexp.networks.heads import GaussianHead
from qexp.networks.network import Operation
from qexp.networks.transforms import Angle, Log, Standardize
from tests.networks.parts import initialised, operation


def network(seed, width=16, activation="leaky_relu"):
    dense = operation("denses", filters=[width, 1], activation=activation)
    operations = {
        "norm": operation("batch_norm"),
        "drop": operation("dropout", rate=0.5),
        "dense": dense,
    }
    return initialised({"seen": (4,)}, ["tio2"], operations, seed=seed)


def ensemble(count):
    models = []
    for seed in range(count):
        scaling = Standardize()
        scaling.fit(torch.rand(30, 4, generator=torch.Generator().manual_seed(seed)))
        models.append(Estimator(network(seed), {"seen": scaling, "tio2": Log()}))
    return Ensemble(models)


SEEN = torch.rand(10_000, 4, generator=torch.Generator().manual_seed(9))


def estimates(ensemble):
    """(network, sample, 1), in the batches of the ensemble."""
    alone = Ensemble(ensemble.models, [1] * len(ensemble.models))
    return torch.stack([fold.middle for fold in alone.estimated({"seen": SEEN})["tio2"].folds])


def test_each_network_estimates_with_its_own_weights_and_transforms_as_it_does_alone():
    several = ensemble(3)
    made = estimates(several)
    assert made.shape == (3, len(SEEN), 1)
    for model, alone in zip(several.models, made, strict=True):
        torch.testing.assert_close(alone, model.estimate({"seen": SEEN})["tio2"])


def test_the_mean_is_taken_as_losses_see_values_and_the_spread_in_the_output_s_own_unit():
    several = ensemble(5)
    each = estimates(several).double()
    made = several.estimated({"seen": SEEN})["tio2"]
    log_mean = each.log().mean(dim=0)
    torch.testing.assert_close(made.middle.double(), log_mean.exp(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(made.spread.double(), each.std(dim=0), rtol=1e-4, atol=1e-6)


def test_the_spread_of_few_networks_is_unbiased_and_says_how_their_mean_varies_from_seeds_to_seeds():
    repeats = torch.randn(4, 50_000, 1, generator=torch.Generator().manual_seed(2)) * 0.5 + 3.0
    plain = Estimator(network(0), {})
    of_seeds = spread(plain, "tio2", repeats).square().mean()
    assert of_seeds.item() == pytest.approx(0.25, rel=0.02)
    assert mean(plain, "tio2", repeats).var().item() == pytest.approx(of_seeds.item() / 4, rel=0.03)


def test_one_network_has_no_spread():
    alone = ensemble(1)
    made = alone.estimated({"seen": SEEN})["tio2"]
    assert torch.equal(made.middle, estimates(alone)[0])
    assert made.spread.isnan().all()


@pytest.mark.parametrize(
    ("width", "batch"), [(4, 4096), (32, 2048), (1000, 64), (2 * CACHED_NUMBERS, 64)]
)
def test_the_wider_the_network_the_smaller_its_batches(width, batch):
    assert batch_for(network(0, width)) == batch


def pointing(strike):
    """A network whose estimate is always one direction [degrees]."""
    made = initialised(
        {"seen": (4,)}, ["strike"], {"head": operation("denses", filters=[2], bias=True)}
    )
    weight, bias = made.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(Angle(360.0)(torch.tensor([[strike]]))[0])
    return Estimator(made, {"strike": Angle(360.0)})


def test_the_mean_of_angles_lies_between_them_and_their_spread_is_by_the_shorter_way_round():
    together = Ensemble([pointing(strike) for strike in (354.0, 357.0, 1.0, 4.0, 5.0)])
    made = together.estimated({"seen": SEEN[:3]})["strike"]
    around = torch.tensor([-6.0, -3.0, 1.0, 4.0, 5.0])
    torch.testing.assert_close(made.middle, around.mean().expand(3, 1), atol=0.02, rtol=0)
    torch.testing.assert_close(made.spread, around.std().expand(3, 1), atol=1e-3, rtol=0)


def test_all_networks_as_a_stack_estimate_as_they_do_in_turns():
    models = []
    for seed in range(3):
        scaling, operations = Standardize(), {"network": operation("one_d_cnn", filters=[4, 8])}
        scaling.fit(torch.rand(30, 4, generator=torch.Generator().manual_seed(seed)))
        model = Estimator(
            initialised({"seen": (4,)}, ["tio2"], operations, seed=seed),
            {"seen": scaling, "tio2": Log()},
        )
        models.append(model.eval())
    several = Ensemble(models)
    in_turns = several.estimated({"seen": SEEN[:300]})["tio2"]
    several._stacked = stacked_estimates(models)
    together = several.estimated({"seen": SEEN[:300]})["tio2"]
    torch.testing.assert_close(together.middle, in_turns.middle, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.spread, in_turns.spread, rtol=1e-4, atol=1e-5)


class Looking(Log):
    """A transform that looks at values, as none in one computation can."""

    def inverse(self, values):
        return super().inverse(values) if values.sum() > 0 else super().inverse(values) + 1


def test_networks_that_look_at_values_take_turns():
    assert (
        stacked_estimates(
            [Estimator(network(seed), {"tio2": Looking()}).eval() for seed in range(2)]
        )
        is None
    )


@pytest.mark.parametrize("other", [{"activation": "tanh"}, {"width": 8}])
def test_networks_of_other_layouts_take_turns(other):
    alike = [Estimator(network(seed), {}).eval() for seed in range(2)]
    assert stacked_estimates(alike) is not None
    assert stacked_estimates([*alike, Estimator(network(2, **other), {}).eval()]) is None


def test_whole_batches_are_computed_together_and_the_rest_as_alone():
    """So that estimates keep their bits, which products of other sizes than whole batches round
    differently.
    """
    sizes = [len(batch["seen"]) for batch in _batches(network(0), {"seen": SEEN[:700]}, 64, 4)]
    assert sizes == [256, 256, 64, 64, 60]


def test_what_any_of_its_runs_was_trained_on_is_inside_the_range_of_an_ensemble(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    runs = []
    for ends in ({"least": 1.0, "greatest": 4.0}, {"least": 0.5, "greatest": 3.0}, {}):
        with qexp.track("fit") as run:
            runs.append(run.directory)
        record = run.path / "run.json"
        columns = {"features": [{"column": "seen", **ends}], "targets": [{"column": "tio2"}]}
        record.write_text(json.dumps(json.loads(record.read_text()) | columns))
    together = EnsembleDirectory(runs[0].path, False, tuple(runs)).record()
    assert [(one.least, one.greatest) for one in together.features] == [(0.5, 4.0)]
    assert [(one.least, one.greatest) for one in together.targets] == [(None, None)]


def with_head(seed, limits=None):
    head = Operation(GaussianHead, ends=True)
    made = initialised({"seen": (4,)}, ["tio2"], {"head": head}, seed=seed)
    return Estimator(made, {"tio2": Log()}, limits).eval()


def test_one_network_and_an_ensemble_of_it_alone_estimate_the_same_quantiles_within_limits():
    model = with_head(1, {"tio2": Limits(0.5, 1.5)})
    alone = model.estimated({"seen": SEEN[:50]}, (0.05, 0.5, 0.95))["tio2"]
    together = Ensemble([model]).estimated({"seen": SEEN[:50]}, (0.05, 0.5, 0.95))["tio2"]
    torch.testing.assert_close(alone.middle, model.estimate({"seen": SEEN[:50]})["tio2"])
    torch.testing.assert_close(alone.middle, alone.quantiles[0.5])
    for share, values in alone.quantiles.items():
        assert values.shape == (50, 1)
        assert 0.5 <= values.min() <= values.max() <= 1.5
        torch.testing.assert_close(values, together.quantiles[share])
    assert alone.spread is None
    assert not model.estimated({"seen": SEEN[:50]})["tio2"].quantiles


def test_quantiles_of_several_networks_are_means_as_estimates_are():
    several = Ensemble([with_head(seed) for seed in range(3)])
    made = several.estimated({"seen": SEEN[:50]}, (0.05, 0.5))["tio2"]
    each = [model.estimated({"seen": SEEN[:50]}, (0.05,))["tio2"] for model in several.models]
    logarithms = torch.stack([one.quantiles[0.05] for one in each]).log()
    torch.testing.assert_close(made.quantiles[0.05], logarithms.mean(dim=0).exp())
    torch.testing.assert_close(made.quantiles[0.5], made.middle)
