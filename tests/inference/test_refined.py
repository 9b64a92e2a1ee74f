"""Least squares from an estimate that is far off."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from qexp.base.quantities import QUANTITIES
from qexp.inference.fit import POOR, best, prepare_problem, refine_fit
from qexp.inference.parameters import searches
from qexp.physics.dislocation import okada
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import ASCENDING, DESCENDING, EXPONENTIAL, track

DIKE = GENERATORS["okada"].build().sources
NO_SLIP = {"strike_slip": 0.0, "dip_slip": 0.0}
SHALLOW = (3900.0, 3900.0, 1950.0, 7000.0, 3750.0, np.radians(-44.0), np.radians(89.5), 0.0, 0.0, 2.3)


@pytest.mark.heavy
def test_a_strong_dike_below_the_surface_is_found_from_an_estimate_that_is_far_off():
    tracks = []
    for index, look in enumerate((ASCENDING, DESCENDING)):
        one = track(look=look, source=(0.0, 0.0, 1e4, 0.0), noise=EXPONENTIAL, seed=index, size=14, spacing=1700.0)
        moved = okada(torch.tensor([SHALLOW]), torch.from_numpy(np.stack([one.x, one.y], axis=1)))[0].numpy()
        tracks.append(
            dataclasses.replace(one, displacement=one.displacement + (moved * one.direction).sum(1), name=str(index))
        )
    stations = np.stack([tracks[0].x, tracks[0].y], axis=1)
    of_dike = searches(DIKE, stations, QUANTITIES, {})
    problem = prepare_problem(tracks, DIKE, of_dike, NO_SLIP, offsets=True, ramps=False)
    from_truth = best(problem, torch.tensor([SHALLOW]))
    far_off = torch.tensor([[-4000.0, 0.0, 3000.0, 4000.0, 2000.0, 0.5, 1.2, 0.0, 0.0, 1.0]], dtype=torch.float64)
    assert best(problem, far_off).chi2_reduced > POOR
    found = refine_fit(problem, far_off, of_dike, seed=0)
    assert found.chi2_reduced < 1.1
    np.testing.assert_allclose(found.chi2, from_truth.chi2, rtol=1e-6)
