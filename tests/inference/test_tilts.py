"""Dips and plunges that go past 0 and 90°."""

import math

import numpy as np
import pytest
import torch

from qexp.base.quantities import QUANTITIES
from qexp.inference.fit import best
from qexp.inference.parameters import Coordinates, along_the_other_side, searches, within_limits
from qexp.physics.dislocation import okada
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import problem_of, two_tracks

SOURCES = {
    "okada": (300.0, -200.0, 3000.0, 4000.0, 2000.0, 0.7, 1.2, 0.3, -0.5, 1.0),
    "yang": (300.0, -200.0, 3000.0, 1000.0, 500.0, 0.7, 1.2, 0.01),
}
TILT = {"okada": "dip", "yang": "plunge"}
STATIONS = 3000 * torch.randn(
    30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
)


def coordinates_of(name, fixed=None, bounds=None):
    sources = GENERATORS[name].build().sources
    found = searches(sources, STATIONS.numpy(), QUANTITIES, bounds or {})
    return sources[0], Coordinates([one.parameter for one in found], fixed or {})


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_past_the_limits_is_the_same_as_the_one_between_them(name):
    source, coordinates = coordinates_of(name)
    tilts = torch.linspace(-math.pi, 2 * math.pi, 31, dtype=torch.float64)
    values = torch.tensor([SOURCES[name]], dtype=torch.float64).repeat(len(tilts), 1)
    values[:, source.variables.index(TILT[name])] = tilts
    at, signs = within_limits(coordinates.from_values(values), coordinates.tilts)
    written = coordinates.values(at)
    tilt = written[:, source.variables.index(TILT[name])]
    assert tilt.min() >= 0
    assert tilt.max() <= math.pi / 2
    moved, expected = (source.kernel(one, STATIONS) for one in (written, values))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-13)
    step = 1e-6 * torch.eye(len(values[0]), dtype=torch.float64)
    for row in (2, 8, 20, 29):
        before, after = (
            source.kernel(coordinates.values(one + step), STATIONS)
            - source.kernel(coordinates.values(one), STATIONS)
            for one in (coordinates.from_values(values[row][None]), at[row][None])
        )
        torch.testing.assert_close(after, before * signs[row][:, None, None], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(
    ("fixed", "slips"), [({"strike_slip": 0.0, "dip_slip": 0.0}, (0.0, 0.0)), ({}, (0.3, -0.5))]
)
def test_a_level_dislocation_along_its_other_side_is_the_same(fixed, slips):
    source, coordinates = coordinates_of("okada", fixed)
    level = torch.tensor([SOURCES["okada"]], dtype=torch.float64)
    level[:, 6:9] = torch.tensor([0.0, *slips], dtype=torch.float64)
    steep = torch.tensor([SOURCES["okada"]], dtype=torch.float64)
    other = along_the_other_side(
        coordinates.from_values(torch.cat([level, steep])), coordinates.tilts
    )
    values = coordinates.values(other)
    assert len(values) == 1
    torch.testing.assert_close(values[0, 3:5], level[0, [4, 3]])
    torch.testing.assert_close(
        source.kernel(values, STATIONS), source.kernel(level, STATIONS), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    ("fixed", "bounds", "free"),
    [
        ({}, {}, True),
        ({"strike_slip": 0.0}, {}, True),
        ({"strike_slip": 0.2}, {}, False),
        ({"strike": 0.7}, {}, False),
        ({}, {"dip": (0.5, 1.4)}, False),
        ({}, {"strike": (0.5, 1.4)}, False),
    ],
)
def test_what_was_asked_for_of_a_tilt_and_what_changes_with_it_holds(fixed, bounds, free):
    _, coordinates = coordinates_of("okada", fixed, bounds)
    assert bool(torch.isinf(coordinates.high[coordinates.names.index("dip")])) == free
    assert bool(coordinates.tilts) == free


@pytest.mark.heavy
def test_a_dike_is_found_from_a_start_that_dips_to_the_other_side():
    source = (0.0, 0.0, 3000.0, 4000.0, 2000.0, 0.7, 1.5, 0.0, 0.0, 1.0)
    truth = torch.tensor([source], dtype=torch.float64)
    tracks = two_tracks(okada, source, error=1e-3, size=12, spacing=800.0)
    problem, _ = problem_of("okada", tracks, {"strike_slip": 0.0, "dip_slip": 0.0})
    start = truth.clone()
    start[0, 5] += math.pi - 0.1
    fit = best(problem, start)
    assert fit.at_bounds == ()
    assert fit.chi2_reduced == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(fit.values[5:7], truth[0, 5:7], atol=0.02)
    np.testing.assert_allclose(
        fit.covariance, best(problem, truth).covariance, rtol=1e-3, atol=1e-11
    )
