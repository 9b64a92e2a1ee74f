import math

import numpy as np
import pytest
import torch

from qexp.physics.dislocation import cdm, okada
from qexp.physics.geometry import clockwise_rotation
from qexp.physics.point import mogi, pcdm
from tests.half_space import DOUBLE, by_moments, sources, stress, uplifted_volume
from tests.physics.test_kernels import ROTATIONS
from validation.plain_okada import plain_okada

STATIONS = 4e3 * torch.randn(8, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
SLIPS = {"strike_slip": (1.0, 0.0, 0.0), "dip_slip": (0.0, 1.0, 0.0), "opening": (0.0, 0.0, 1.0)}
STEEP = [math.pi / 2 + step for step in (0.0, -1e-12, -1e-7, 1e-4, -0.04, -0.06)]


def sides(strike, dip):
    """Unit vectors along strike, up the dip, and across toward the hanging wall; east, north,
    down.
    """
    along = [math.sin(strike), math.cos(strike), 0.0]
    up = [-math.cos(strike) * math.cos(dip), math.sin(strike) * math.cos(dip), -math.sin(dip)]
    across = [math.cos(strike) * math.sin(dip), -math.sin(strike) * math.sin(dip), -math.cos(dip)]
    return torch.tensor([along, up, across], dtype=DOUBLE)


def spread_over(centre, first, second, normal, slips, stations, poisson_ratio, nodes=12):
    """Displacement (slip, station, 3) by a parallelogram of point sources, centre ± first ± second,
    by Gauss–Legendre quadrature.
    """
    node, weight = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(nodes))
    at = centre + node[:, None, None] * first + node[None, :, None] * second
    area = 4 * torch.linalg.cross(first, second).norm() * torch.outer(weight, weight).flatten() / 4
    strains = [(torch.outer(slip, normal) + torch.outer(normal, slip)) / 2 for slip in slips]
    stresses = torch.stack([stress(strain, poisson_ratio) for strain in strains])
    moments = area[:, None, None] * stresses[:, None]
    return by_moments(moments, at.flatten(0, 1), stations, poisson_ratio)


# Okada (1985), Table 2, cases 2 to 4; along strike, to the left of it, up; here strike is east, so
# that left is north.
TABLE_2 = [
    (4.0, 70.0, (2.0, 3.0), "strike_slip", (-8.689e-3, -4.298e-3, -2.747e-3)),
    (4.0, 70.0, (2.0, 3.0), "dip_slip", (-4.682e-3, -3.527e-2, -3.564e-2)),
    (4.0, 70.0, (2.0, 3.0), "opening", (-2.660e-4, 1.056e-2, 3.214e-3)),
    (4.0, 90.0, (0.0, 0.0), "strike_slip", (0.0, 5.253e-3, 0.0)),
    (4.0, 90.0, (0.0, 0.0), "dip_slip", (0.0, 0.0, 0.0)),
    (4.0, 90.0, (0.0, 0.0), "opening", (1.223e-2, 0.0, -1.606e-2)),
    (4.0, -90.0, (0.0, 0.0), "strike_slip", (0.0, -1.303e-3, 0.0)),
    (4.0, -90.0, (0.0, 0.0), "dip_slip", (0.0, 0.0, 0.0)),
    (4.0, -90.0, (0.0, 0.0), "opening", (3.507e-3, 0.0, -7.740e-3)),
]


@pytest.mark.parametrize(("lower_edge", "dip", "station", "slip", "expected"), TABLE_2)
def test_the_check_list_of_okada_1985_comes_out_to_its_last_digit(
    lower_edge, dip, station, slip, expected
):
    length, width, angle = 3.0, 2.0, math.radians(dip)
    centre = [length / 2, width / 2 * math.cos(angle), lower_edge - width / 2 * math.sin(angle)]
    source = sources([*centre, length, width, math.pi / 2, angle, *SLIPS[slip]])
    assert okada(source, sources(station))[0, 0].tolist() == pytest.approx(
        expected, rel=5e-4, abs=1e-15
    )


@pytest.mark.parametrize("dip", [0.0, 0.3, 1.5, math.pi / 2])
def test_displacement_is_that_of_okadas_formulas_as_they_are_printed(dip):
    source = (3000.0, 2500.0, 1800.0, 0.7, dip, 1.0, -0.5, 0.7)
    expected = plain_okada(*STATIONS.T.numpy(), *source, poisson_ratio=0.3)
    displacement = okada(sources([0.0, 0.0, *source]), STATIONS, 0.3)[0]
    torch.testing.assert_close(
        displacement, torch.from_numpy(np.stack(expected, -1)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("poisson_ratio", [0.1, 0.45])
@pytest.mark.parametrize("dip", [0.0, 0.02, 0.9, *STEEP])
def test_displacement_is_the_integral_of_mindlins_solution_over_the_plane_at_any_dip(
    dip, poisson_ratio
):
    strike, length, width = 0.7, 2500.0, 1800.0
    along, up, across = sides(strike, dip)
    centre = torch.tensor([300.0, -400.0, 3000.0], dtype=DOUBLE)
    slips = sources(*SLIPS.values()) @ torch.stack([along, up, across])
    expected = spread_over(
        centre, length / 2 * along, width / 2 * up, across, slips, STATIONS, poisson_ratio
    )
    source = [*centre, length, width, strike, dip]
    for components, displacement in zip(SLIPS.values(), expected, strict=True):
        torch.testing.assert_close(
            okada(sources([*source, *components]), STATIONS, poisson_ratio)[0],
            displacement,
            rtol=1e-10,
            atol=1e-13,
        )


def test_the_dip_of_ninety_degrees_is_approached_without_a_step():
    dip = math.pi / 2 + torch.linspace(-0.1, 0.1, 2001, dtype=DOUBLE)
    source = sources([0.0, 0.0, 2000.0, 3000.0, 1500.0, 0.3, 0.0, 1.0, 1.0, 1.0]).repeat(
        len(dip), 1
    )
    source[:, 6] = dip
    third = okada(source, STATIONS).diff(dim=0, n=3)
    assert third.abs().max() < 1e-5 * 1e-4  # of a smooth function, by the cube of the step of 1e-4


@pytest.mark.parametrize(
    ("dip", "poisson_ratio", "share"),
    [(0, 0.3, 1), (math.pi / 2, 0.1, 0.6), (math.pi / 2, 0.4, 0.9)],
)
def test_a_sill_lifts_all_that_it_opens_and_a_vertical_dike_half_plus_poisson_ratio_of_it(
    dip, poisson_ratio, share
):
    # Of three equal potencies, V/3 each, the horizontal one lifts V/3, and a point of Mogi 2/3 (1 +
    # nu) V.
    source = sources([0.0, 0.0, 1.0, 1.2, 0.8, 0.4, dip, 0.0, 0.0, 1.0])
    assert uplifted_volume(okada, source, poisson_ratio) == pytest.approx(
        share * 1.2 * 0.8, rel=1e-6
    )


def test_a_left_lateral_fault_moves_the_far_side_to_the_left_and_a_thrust_lifts_the_side_it_dips_to():
    stations = sources((300.0, 0.0), (-300.0, 0.0))
    east, west = okada(
        sources([0.0, 0.0, 1001.0, 2e4, 2000.0, 0.0, math.pi / 2, 1.0, 0.0, 0.0]), stations
    )[0]
    assert east[1] > 0.2  # seen from the west, the east moves north, which is to the left
    assert west[1] < -0.2
    trace = sources((-1001.0, 0.0))
    thrust = sources([0.0, 0.0, 1001.0, 2e4, 2800.0, 0.0, math.pi / 4, 0.0, 1.0, 0.0])
    hanging, foot = okada(thrust, trace + stations)[0]
    assert hanging[2] > 0.2
    assert abs(foot[2]) < 0.2


def test_the_other_end_of_the_strike_with_the_supplement_of_the_dip_is_the_same_plane():
    source = sources([0.0, 0.0, 2e3, 1500.0, 1e3, 0.4, 1.1, 1.0, -0.5, 0.7])
    other = sources([0.0, 0.0, 2e3, 1500.0, 1e3, 0.4 + math.pi, math.pi - 1.1, 1.0, 0.5, 0.7])
    torch.testing.assert_close(okada(other, STATIONS), okada(source, STATIONS))
    negative = sources([0.0, 0.0, 2e3, 1500.0, 1e3, 0.4 + math.pi, -1.1, -1.0, 0.5, 0.7])
    torch.testing.assert_close(okada(negative, STATIONS), okada(source, STATIONS))


@pytest.mark.slow
def test_derivatives_taken_forward_and_backward_agree():
    source = sources([100.0, -200.0, 2e3, 1500.0, 1e3, 0.4, 1.1, 1.0, -0.5, 0.7])[0]

    def displacement(values):
        return okada(values[None], STATIONS)

    torch.testing.assert_close(
        torch.func.jacrev(displacement)(source), torch.func.jacfwd(displacement)(source)
    )


@pytest.mark.parametrize("dip", [0.6, math.pi / 2])
def test_a_plane_that_touches_the_surface_moves_both_sides_apart_and_its_trace_by_their_mean(dip):
    width = 2000.0
    centre = [width / 2 * math.cos(dip), 0.0, width / 2 * math.sin(dip)]
    source = sources([*centre, 4000.0, width, 0.0, dip, 1.0, 0.0, 0.0]).requires_grad_()
    near = 1e-3
    displacement = okada(
        source, sources((near, 100.0), (0.0, 100.0), (-near, 100.0), (0.0, 2000.0), (0.0, 5000.0))
    )[0]
    torch.testing.assert_close(
        displacement[0, 1] - displacement[2, 1], torch.tensor(1.0, dtype=DOUBLE), rtol=1e-5, atol=0
    )
    if dip == math.pi / 2:  # others miss their trace by a rounding
        torch.testing.assert_close(displacement[1], displacement[[0, 2]].mean(0), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(displacement.sum(), source)
    assert displacement.isfinite().all()
    assert gradient.isfinite().all()


# Three rectangles that cross, and points of the same potency.

CENTRE = (300.0, -400.0, 3000.0)


def test_rotations_are_clockwise_about_the_fixed_axes_east_first_then_north_then_up():
    def turned(*omega):
        return clockwise_rotation(torch.tensor([omega], dtype=DOUBLE))[0]

    quarter = math.pi / 2
    east, north, up = torch.eye(3, dtype=DOUBLE)
    torch.testing.assert_close(turned(0, 0, quarter), torch.stack([-north, east, up], 1))
    torch.testing.assert_close(turned(quarter, 0, 0), torch.stack([east, -up, north], 1))
    torch.testing.assert_close(turned(0, quarter, 0), torch.stack([up, north, -east], 1))
    torch.testing.assert_close(
        turned(0.3, -0.5, 0.8), turned(0, 0, 0.8) @ turned(0, -0.5, 0) @ turned(0.3, 0, 0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("poisson_ratio", [0.1, 0.45])
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_displacement_is_the_integral_of_mindlins_solution_over_the_three_rectangles(
    rotation, poisson_ratio
):
    semi_axes, opening = (700.0, 900.0, 500.0), 0.7
    axes = clockwise_rotation(sources(rotation))[0] * sources((1.0,), (1.0,), (-1.0,))
    centre, edges = sources(CENTRE)[0], axes * sources(semi_axes)
    expected = sum(
        spread_over(
            centre,
            edges[:, a],
            edges[:, b],
            axes[:, c],
            opening * axes[None, :, c],
            STATIONS,
            poisson_ratio,
        )[0]
        for a, b, c in ((1, 2, 0), (0, 2, 1), (0, 1, 2))
    )
    source = sources([*CENTRE, *rotation, *semi_axes, opening])
    torch.testing.assert_close(
        cdm(source, STATIONS, poisson_ratio)[0], expected, rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_small_rectangles_are_points_of_the_same_potency(rotation):
    a_x, a_y, a_z, opening = 7.0, 9.0, 5.0, 0.7
    potency = [4 * opening * area for area in (a_y * a_z, a_x * a_z, a_x * a_y)]
    points = pcdm(sources([*CENTRE, *rotation, *potency]), STATIONS, 0.3)
    rectangles = cdm(sources([*CENTRE, *rotation, a_x, a_y, a_z, opening]), STATIONS, 0.3)
    assert (rectangles - points).abs().max() < 1e-4 * points.abs().max()
    assert (
        rectangles - points
    ).abs().max() > 1e-6 * points.abs().max()  # the size does show: they are two formulas


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
    with pytest.raises(
        ValueError, match="source 0 breaks the surface: its centre is 799 m deep and its top 800 m"
    ):
        cdm(touching - sources([0.0, 0.0, 1.0, *[0.0] * 7]), STATIONS)
    with pytest.raises(ValueError, match=r"its top 848\.528 m"):
        cdm(sources([0.0, 0.0, 799.0, math.pi / 4, 0.0, 0.0, 0.0, 600.0, 600.0, 1.0]), STATIONS)
