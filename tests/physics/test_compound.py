import math

import pytest
import torch

from qexp.physics.dislocation import cdm
from qexp.physics.geometry import clockwise_rotation
from qexp.physics.point import mogi, pcdm
from tests.half_space import DOUBLE, sources
from tests.physics.test_dislocation import STATIONS, spread_over
from tests.physics.test_kernels import ROTATIONS

CENTRE = (300.0, -400.0, 3000.0)


def test_rotations_are_clockwise_about_the_fixed_axes_east_first_then_north_then_up():
    def turned(*omega):
        return clockwise_rotation(*(torch.tensor([angle], dtype=DOUBLE) for angle in omega))[0]

    quarter = math.pi / 2
    east, north, up = torch.eye(3, dtype=DOUBLE)
    torch.testing.assert_close(turned(0, 0, quarter), torch.stack([-north, east, up], 1))
    torch.testing.assert_close(turned(quarter, 0, 0), torch.stack([east, -up, north], 1))
    torch.testing.assert_close(turned(0, quarter, 0), torch.stack([up, north, -east], 1))
    angles = (0.3, -0.5, 0.8)
    torch.testing.assert_close(turned(*angles), turned(0, 0, 0.8) @ turned(0, -0.5, 0) @ turned(0.3, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_displacement_is_the_integral_of_mindlins_solution_over_the_three_rectangles(rotation, poisson_ratio):
    semi_axes, opening = (700.0, 900.0, 500.0), 0.7
    axes = clockwise_rotation(*sources(rotation)[0, :, None].unbind(0))[0] * sources((1.0,), (1.0,), (-1.0,))
    centre, edges = sources(CENTRE)[0], axes * sources(semi_axes)
    expected = sum(
        spread_over(centre, edges[:, a], edges[:, b], axes[:, c], opening * axes[:, c], STATIONS, poisson_ratio)
        for a, b, c in ((1, 2, 0), (0, 2, 1), (0, 1, 2))
    )
    source = sources([*CENTRE, *rotation, *semi_axes, opening])
    torch.testing.assert_close(cdm(source, STATIONS, poisson_ratio)[0], expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_small_rectangles_are_points_of_the_same_potency(rotation):
    a_x, a_y, a_z, opening = 7.0, 9.0, 5.0, 0.7
    potency = [4 * opening * area for area in (a_y * a_z, a_x * a_z, a_x * a_y)]
    points = pcdm(sources([*CENTRE, *rotation, *potency]), STATIONS, 0.3)
    rectangles = cdm(sources([*CENTRE, *rotation, a_x, a_y, a_z, opening]), STATIONS, 0.3)
    assert (rectangles - points).abs().max() < 1e-4 * points.abs().max()
    assert (rectangles - points).abs().max() > 1e-6 * points.abs().max()  # the size does show: they are two formulas


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.4])
def test_three_equal_potencies_are_a_point_of_mogi(poisson_ratio):
    volume = 2e6
    point = sources([*CENTRE, 0.3, -0.5, 0.8, volume / 3, volume / 3, volume / 3])
    change = volume * (1 + poisson_ratio) / (3 * (1 - poisson_ratio))
    expected = mogi(sources([*CENTRE, change]), STATIONS, poisson_ratio)
    torch.testing.assert_close(pcdm(point, STATIONS, poisson_ratio), expected, rtol=1e-12, atol=0)


def test_rectangles_may_touch_the_surface_but_not_pierce_it():
    touching = sources([0.0, 0.0, 800.0, 0.0, 0.0, 0.3, 600.0, 300.0, 800.0, 1.0])
    assert cdm(touching, sources((0.0, 0.0), (600.0, 0.0), (50.0, 20.0))).isfinite().all()
    with pytest.raises(ValueError, match="source 0 breaks the surface: its centre is 799 m deep and its top 800 m"):
        cdm(touching - sources([0.0, 0.0, 1.0, *[0.0] * 7]), STATIONS)
    corner = sources([0.0, 0.0, 799.0, math.pi / 4, 0.0, 0.0, 0.0, 600.0, 600.0, 1.0])
    with pytest.raises(ValueError, match=r"its top 848\.528 m"):
        cdm(corner, STATIONS)
