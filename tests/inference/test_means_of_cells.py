"""Points that are means of cells are compared with the mean of the model, not with the model in the middle."""

import dataclasses

import numpy as np
import torch

from qexp.base.quantities import QUANTITIES
from qexp.inference.fit import best, prepare_problem, standard_errors
from qexp.inference.least_squares import deformation_of
from qexp.inference.parameters import searches
from qexp.observations.reduction import reduced_points, reduction
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import ASCENDING, point_source, track

MOGI = GENERATORS["mogi"].build().sources
SOURCE = (300.0, -200.0, 1500.0, 2e6)


def fitted(points):
    found = searches(MOGI, np.stack([points.x, points.y], axis=1), QUANTITIES, {})
    problem = prepare_problem([points], MOGI, found, {}, offsets=False, ramps=False)
    fit = best(problem, torch.tensor([[500.0, 0.0, 2000.0, 3e6]], dtype=torch.float64))
    return fit.values, standard_errors(fit)


def test_an_inversion_of_means_finds_what_all_points_say():
    """2,304 points with 5 mm of noise determine the depth to some metres; cells of 800 m must not shift it by tens."""
    points = track(source=SOURCE, size=48, spacing=200.0, error=0.005)
    everything, error = fitted(points)
    cells = reduced_points(points, reduction("uniform:4"))
    means, error_of_means = fitted(cells)
    assert (np.abs(means - everything) < error / 2).all()
    np.testing.assert_allclose(error_of_means, error, rtol=0.15)
    middles, _ = fitted(dataclasses.replace(cells, spread=None))
    assert np.abs(middles - everything)[2] > 3 * error[2]


def test_tracks_of_means_and_of_points_are_seen_together():
    points = track(source=SOURCE, size=8, spacing=800.0)
    cells = reduced_points(track(source=SOURCE, size=32, spacing=200.0, error=0.0), reduction("uniform:4"))
    tracks = [points, dataclasses.replace(cells, name="cells")]
    model = deformation_of(MOGI, tracks, (0.0, 0.0))
    seen = model(torch.tensor([SOURCE], dtype=torch.float64))[0].numpy()
    look = ASCENDING / np.linalg.norm(ASCENDING)
    np.testing.assert_allclose(seen[:64], point_source(points.x, points.y, *SOURCE) @ look, rtol=1e-12)
    np.testing.assert_allclose(seen[64:], cells.displacement, atol=1e-3 * np.abs(cells.displacement).max())
    assert model(torch.empty(0, 4, dtype=torch.float64)).shape == (0, 128)
