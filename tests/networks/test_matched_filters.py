import numpy as np
import pytest
import torch

from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.kinds.networks import model_of
from qexp.kinds.objects import dataset_of, initial_model
from qexp.kinds.tables import BUILT_IN
from qexp.networks.modules import MatchedFilters
from qexp.simulation.noise import ExponentialNoise, Grid

SHAPE = (1, 12, 16)
LAYOUT = Grid(12, 16, torch.tensor([200.0]), torch.tensor([200.0]))
NOISE = ExponentialNoise(1.0)


def templates():
    """Smooth hills of several widths in pixels, (3, 1, 12, 16)."""
    rows, columns = torch.meshgrid(torch.arange(12) - 6.0, torch.arange(16) - 8.0, indexing="ij")
    return torch.stack(
        [
            torch.exp(-(rows.square() + columns.square()) / (2 * width**2))[None]
            for width in (1, 2, 4)
        ]
    )


def matched():
    filters = MatchedFilters(SHAPE, variable="depth", low=0.5, high=8.0, count=3)
    filters.match(templates(), NOISE.without_correlation(templates()[:, 0], LAYOUT)[:, None])
    return filters


def noise(count, seed=1):
    return NOISE.draw(count, LAYOUT, torch.Generator().manual_seed(seed))[:, None]


@pytest.mark.slow
def test_noise_alone_makes_features_of_unit_variance():
    features = matched()(noise(20_000))
    assert features.std(0).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert features.mean(0).abs().max() < 0.04


@pytest.mark.slow
def test_no_other_linear_feature_has_a_larger_ratio_of_signal_to_noise():
    noises = noise(20_000).flatten(1)
    random = torch.Generator().manual_seed(2)
    for template, best in zip(templates().flatten(1), matched().filters, strict=True):
        others = [
            template,
            *(
                best + 0.2 * best.std() * torch.randn(best.shape, generator=random)
                for _ in range(5)
            ),
        ]
        reached, *ratios = (
            ((one @ template) / (noises @ one).std()).item() for one in (best, *others)
        )
        assert all(ratio < reached for ratio in ratios)


def test_a_feature_grows_with_its_template_whose_strength_does_not_matter_to_the_filters():
    features = matched()(torch.cat([templates(), 3 * templates()]))
    torch.testing.assert_close(features[3:], 3 * features[:3])
    assert (features[:3].diagonal() > 0).all()
    filters = MatchedFilters(SHAPE, variable="depth", low=0.5, high=8.0, count=3)
    scaled = templates() * torch.tensor([1e-6, 1.0, 1e6])[:, None, None, None]
    filters.match(scaled, NOISE.without_correlation(scaled[:, 0], LAYOUT)[:, None])
    torch.testing.assert_close(filters.filters, matched().filters, rtol=1e-3, atol=1e-5)


@pytest.mark.heavy
def test_a_model_of_a_spec_has_filters_like_the_images_of_its_dataset_kept_with_its_weights_and_not_trained(
    workspace,
):
    spec = experience("mogi_noisy", {}, Workspace(workspace)).document
    model = initial_model(spec, BUILT_IN, Seeds(0))
    filters = model.network.operations["sources"]
    quiet = {**spec["dataset"], "fixed": {**spec["dataset"]["fixed"], "noise": 0.0}}
    dataset = dataset_of(quiet, BUILT_IN)
    volumes = np.full(len(filters.values), 2.0)
    images = dataset.observe({"depth": filters.values, "delta_volume": volumes}, torch.Generator())[
        "displacement"
    ]
    assert model.network.operations["sources"](images).argmax(1).tolist() == list(
        range(len(filters.values))
    )
    name = "network.operations.sources.filters"
    assert name not in dict(model.named_parameters())
    assert model_of(spec, BUILT_IN).state_dict()[name].shape == model.state_dict()[name].shape
