import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from qexp.physics import ellipsoid
from qexp.physics.ellipsoid import yang
from qexp.physics.point import mogi
from tests.half_space import (
    DOUBLE,
    STATIONS,
    full_space,
    greens_function,
    sources,
    stress,
    uplifted_volume,
)
from validation.plain_yang import plain_yang

PRESSURE = 0.01
TILTED = [100.0, -200.0, 2500.0, 1500.0, 600.0, 0.7, 0.9, PRESSURE]
"""east, north, depth, semi-major, semi-minor, strike, plunge, pressure over shear modulus"""


def varied(**values):
    names = ["east", "north", "depth", "semi_major", "semi_minor", "strike", "plunge", "pressure"]
    return sources([values.get(name, usual) for name, usual in zip(names, TILTED, strict=True)])


def axes(source):
    """Unit vectors east, north, down: along the long axis, and two across it."""
    strike, plunge = source[5], source[6]
    along = torch.stack([plunge.cos() * strike.sin(), plunge.cos() * strike.cos(), plunge.sin()])
    across = torch.stack([strike.cos(), -strike.sin(), torch.zeros_like(strike)])
    return torch.stack([along, across, torch.linalg.cross(along, across)])


def surface(source, count):
    """Points of the spheroid from its centre, and elements of area times normal: both (point,
    3).
    """
    cosine, weight = np.polynomial.legendre.leggauss(count)
    azimuth = 2 * np.pi * np.arange(2 * count) / (2 * count)
    sine = np.sqrt(1 - cosine**2)[:, None]
    ball = np.stack(
        [cosine[:, None] + 0 * azimuth, sine * np.cos(azimuth), sine * np.sin(azimuth)], axis=-1
    )
    points = torch.from_numpy(ball.reshape(-1, 3))
    weights = torch.from_numpy(np.repeat(weight / count, 2 * count))
    semi = torch.stack([source[3], source[4], source[4]])
    return (semi * points) @ axes(source), math.pi * semi.prod() * weights[:, None] * (
        points / semi
    ) @ axes(source)


def moment_density(source, poisson_ratio):
    """Of a cavity in an unbounded body under pressure 1: M with Hooke(strain at the centre by M) -
    M = -1.

    The strain in an ellipsoid of uniform moment density is uniform (Eshelby 1957), so that one at
    the centre is enough: with Gauss's theorem an integral of Kelvin's solution over the surface.
    """
    at, area = surface(source, 120)

    def displacement(centre):
        return torch.einsum("sij,sk->ijk", full_space(centre, at, poisson_ratio), area)

    gradient = jacobian(displacement, torch.zeros(3, dtype=DOUBLE))
    along = torch.outer(axes(source)[0], axes(source)[0])
    columns = []
    for basis in (along, torch.eye(3, dtype=DOUBLE)):
        strain = torch.einsum("ijkl,jk->il", gradient, basis)
        columns.append((stress((strain + strain.T) / 2, poisson_ratio) - basis).flatten())
    columns, pressure = torch.stack(columns, dim=1), -torch.eye(3, dtype=DOUBLE).flatten()
    directed, isotropic = solution = torch.linalg.lstsq(columns, pressure[:, None]).solution[:, 0]
    # Two numbers answer to the pressure from all directions.
    torch.testing.assert_close(columns @ solution, pressure, rtol=0, atol=1e-11)
    return directed * along + isotropic * torch.eye(3, dtype=DOUBLE)


def by_surface(source, poisson_ratio):
    """Displacement by its moments all over the volume: with Gauss's theorem, by forces on its
    surface.
    """
    at, area = surface(source, 60)
    receivers = torch.cat([STATIONS, torch.zeros_like(STATIONS[:, :1])], dim=-1)
    green = greens_function(receivers[:, None, :], source[:3] + at, poisson_ratio)
    density = source[7] * moment_density(source, poisson_ratio)
    return torch.einsum("nsij,jk,sk->ni", green, density, area) * torch.tensor(
        [1.0, 1.0, -1.0], dtype=DOUBLE
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("poisson_ratio", "geometry"),
    [
        (0.1, {}),
        (0.25, {"strike": 4.0, "plunge": 0.3}),
        (0.45, {"semi_minor": 1300.0}),
        (0.25, {"plunge": math.pi / 2}),
        (0.4, {"plunge": 0.0, "strike": -2.0}),
        (0.3, {"semi_minor": 1500.0}),
        (0.2, {"semi_minor": 1500.0 - 1e-5}),
        (0.33, {"semi_major": 2000.0, "semi_minor": 250.0, "plunge": 0.6}),
    ],
)
def test_a_spheroid_moves_the_surface_as_its_moments_do_through_the_half_space_green_s_function(
    poisson_ratio, geometry
):
    source = varied(**geometry)
    expected = by_surface(source[0], poisson_ratio)
    torch.testing.assert_close(
        yang(source, STATIONS, poisson_ratio)[0],
        expected,
        rtol=0,
        atol=1e-9 * expected.abs().max().item(),
    )


@pytest.mark.parametrize("plunge", [0.0, 1e-9, 0.6, math.pi / 2 - 1e-9, math.pi / 2])
def test_a_sphere_is_a_point_source_of_its_volume_change_whatever_its_plunge(plunge):
    source = varied(semi_minor=1500.0, plunge=plunge)
    point = sources([100.0, -200.0, 2500.0, math.pi * 1500**3 * PRESSURE])
    torch.testing.assert_close(
        yang(source, STATIONS, 0.3), mogi(point, STATIONS, 0.3), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("poisson_ratio", "plunge"), [(0.1, 0.4), (0.25, 0.8), (0.45, 1.2)])
def test_the_closed_form_of_the_integrals_gives_the_same(poisson_ratio, plunge):
    source = varied(plunge=plunge, strike=2.5)
    _, _, *parameters = source[0].tolist()
    east, north = (STATIONS - source[0, :2]).T.numpy()
    expected = torch.from_numpy(
        np.stack(plain_yang(east, north, *parameters, poisson_ratio), axis=-1)
    )
    torch.testing.assert_close(
        yang(source, STATIONS, poisson_ratio)[0], expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("about", [0.0, math.pi / 2])
def test_displacement_is_continuous_through_the_horizontal_and_the_vertical(about):
    before, at, after = (
        yang(varied(plunge=about + step), STATIONS)[0] for step in (-1e-6, 0.0, 1e-6)
    )
    torch.testing.assert_close((before + after) / 2, at, rtol=0, atol=1e-11 * at.abs().max().item())


def test_displacement_is_continuous_where_the_quadrature_changes():
    focus = ellipsoid._short(DOUBLE) * 2500
    inside, outside = (
        yang(varied(semi_minor=math.sqrt(1500**2 - (focus * factor) ** 2)), STATIONS)
        for factor in (1 - 1e-6, 1 + 1e-6)
    )
    torch.testing.assert_close(inside, outside, rtol=1e-11, atol=0)


@pytest.mark.heavy
@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_the_uplifted_volume_is_that_by_a_uniform_load_of_the_surface_by_reciprocity(poisson_ratio):
    # A uniform load on a wide disc shortens the ground below its middle by (1 - 2 nu) / 2 of the
    # load over the shear modulus, and by half as much sideways (Boussinesq 1885).
    source = varied(east=0.0, north=0.0)
    volume = uplifted_volume(yang, source, poisson_ratio, scale=2500.0)
    east, north, down = moment_density(source[0], poisson_ratio).diagonal()
    density = (1 - 2 * poisson_ratio) / 2 * (down + (east + north) / 2)
    expected = 4 / 3 * math.pi * 1500 * 600**2 * PRESSURE * density
    assert volume == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.heavy
def test_the_longest_spheroid_is_computed_where_it_touches_the_surface():
    pipe = {"semi_minor": 1500 / ellipsoid.LONGEST_SPHEROID, "depth": 1500.01}
    upright, leaning = (
        yang(varied(**pipe, plunge=math.pi / 2 - angle), STATIONS) for angle in (0.0, 1e-7)
    )
    torch.testing.assert_close(upright, leaning, rtol=1e-4, atol=1e-12)
    assert upright.isfinite().all()


def test_the_gradient_at_a_sphere_is_the_limit_of_those_at_spheroids():
    def gradient(semi_minor):
        return jacobian(lambda source: yang(source, STATIONS), varied(semi_minor=semi_minor))

    at, near = gradient(1500.0), gradient(1500.0 - 1e-3)
    assert at.isfinite().all()
    angles, others = [5, 6], [0, 1, 2, 3, 4, 7]
    assert at[..., angles].abs().max() < 1e-12
    scale = at[..., others].abs().amax(dim=(0, 1, 2, 3))
    torch.testing.assert_close(
        at[..., others] / scale, near[..., others] / scale, rtol=0, atol=1e-5
    )
    differences = (
        yang(varied(semi_minor=1500.0), STATIONS) - yang(varied(semi_minor=1499.99), STATIONS)
    ) / 0.01
    torch.testing.assert_close(at[..., 0, 4], differences, rtol=1e-4, atol=1e-9)
