"""Data that are combinations of displacements, such as tilts and lengths of lines."""

import numpy as np
import pytest
import torch

from qexp.inference.displacements import Deformation, Means, deformation_of
from qexp.observations.observation import Track
from qexp.physics.instruments import INSTRUMENTS, Combination, Instrument
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import point_source, track

SOURCE = (300.0, -200.0, 2000.0, 1e6)
MOGI = GENERATORS["mogi"].build().sources
BASE = 5.0
"""Distance of the two uplifts whose difference is a tilt [m]."""


def uplifts_on_both_sides(direction):
    up = np.broadcast_to([0.0, 0.0, 1.0], (2, *direction.shape))
    shift = BASE / 2 * np.stack([-direction[:, :2], direction[:, :2]])
    weight = np.repeat([[-1 / BASE], [1 / BASE]], len(direction), axis=1)
    return Combination(shift, up, weight)


@pytest.fixture
def tilts(monkeypatch):
    """Tiltmeters that measure the slope of the uplift toward east and north."""
    tilt = Instrument("tilts", ("east", "north"), "rad", combination=uplifts_on_both_sides)
    monkeypatch.setitem(INSTRUMENTS, "tilt", tilt)
    x, y = np.repeat([0.0, 900.0, -1500.0], 2), np.repeat([400.0, -700.0, 100.0], 2)
    ones, direction = np.ones(6), np.tile(np.eye(3)[:2], (3, 1))
    east, north, depth, volume = SOURCE
    away = np.stack([x - east, y - north], axis=1)
    distance = np.hypot(np.hypot(*away.T), depth)
    slope = -3 * 0.75 / np.pi * volume * depth / distance**5
    tilted = slope * np.where(direction[:, 0] == 1, away[:, 0], away[:, 1])
    return Track("tilt", "tilt", x, y, tilted, 1e-8 * ones, direction, ones == 1)


def test_tilts_are_the_slope_of_the_uplift(tilts):
    model = deformation_of(MOGI, [tilts], (0.0, 0.0))
    seen = model(torch.tensor([SOURCE], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(seen, tilts.displacement, rtol=1e-5)


def test_tilts_stay_differences_among_means_and_points_and_in_searches(tilts):
    radar = track(source=SOURCE, size=4)
    cells = track("cells", source=SOURCE, size=4)
    cells.__dict__.update(count=np.full(16, 25.0), spread=np.full((16, 2), 60.0))
    model = deformation_of(MOGI, [radar, tilts, cells], (0.0, 0.0))
    at_source = torch.tensor([SOURCE], dtype=torch.float64)
    alone = deformation_of(MOGI, [tilts], (0.0, 0.0))(at_source)[0]
    assert torch.equal(model(at_source)[0, 16:22], alone)
    points = torch.from_numpy(np.stack([tilts.x, tilts.y], axis=1))
    torch.testing.assert_close(model.positions[16:22], points)
    middles = model.in_middles()
    torch.testing.assert_close(middles(at_source)[0, 16:22], alone)
    torch.testing.assert_close(middles.positions, model.positions)
    assert len(middles.stations) == 16 + 2 * 6 + 16
    some = torch.tensor([3, 17, 30])
    torch.testing.assert_close(middles.select(some)(at_source), middles(at_source)[:, some])
    assert (model.shifts[16:22] == 0).all()  # what moves as a whole does not tilt
    torch.testing.assert_close(model.shifts[22:], torch.from_numpy(cells.direction))


def test_a_line_becomes_longer_by_the_difference_of_its_ends():
    ends = np.array([[-400.0, 100.0], [1200.0, 900.0]])
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    direction = torch.tensor([[*along, 0.0]] * 2, dtype=torch.float64)
    line = Means(torch.tensor([0, 0]), torch.tensor([-1.0, 1.0], dtype=torch.float64), 1)
    model = Deformation(MOGI, torch.from_numpy(ends), direction, means=line)
    first, second = point_source(*ends.T, *SOURCE)[:, :2] @ along
    for seen in (model, model.in_middles()):
        longer = seen(torch.tensor([SOURCE], dtype=torch.float64))
        torch.testing.assert_close(longer, torch.full((1, 1), second - first).double())
    torch.testing.assert_close(model.positions[0], torch.from_numpy(ends.mean(axis=0)))
