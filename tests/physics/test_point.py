import math

import pytest
import torch
from torch.autograd.functional import jacobian

from qexp.physics.geometry import grid, line_of_sight, pixel_axis, project
from qexp.physics.point import mctigue, mogi, mogi_image
from tests.half_space import (
    DOUBLE,
    by_moments,
    image as image_of_the_surface,
    sources,
    stress,
    uplifted_volume,
)

DEPTH, VOLUME_CHANGE = 3000.0, 1e6


def test_displacement_has_the_values_of_mogis_formula_worked_out_by_hand():
    # (1 - 0.25) / pi * 1e6 / 3000^2 above the source; at 1 km to the east, R^2 = 1e7 m2.
    stations = torch.tensor([[0.0, 0.0], [1000.0, 0.0]], dtype=DOUBLE)
    above, beside = mogi(sources([0.0, 0.0, DEPTH, VOLUME_CHANGE]), stations)[0]
    assert above.tolist() == pytest.approx([0, 0, 0.0265258238486], rel=1e-11)
    assert beside.tolist() == pytest.approx([0.00754938181567, 0, 0.022648145447], rel=1e-11)


def test_the_largest_horizontal_displacement_is_at_depth_over_root_two_and_two_over_three_root_three_of_the_uplift():
    radius = torch.linspace(0, 3, 30001, dtype=DOUBLE) * DEPTH
    stations = torch.stack([torch.zeros_like(radius), radius], -1)
    (displacement,) = mogi(sources([0.0, 0.0, DEPTH, VOLUME_CHANGE]), stations)
    horizontal = displacement[:, 1]
    assert (horizontal.max() / displacement[:, 2].max()).item() == pytest.approx(
        2 / (3 * math.sqrt(3)), rel=1e-7
    )
    assert radius[horizontal.argmax()].item() == pytest.approx(DEPTH / math.sqrt(2), rel=1e-3)


def test_the_uplifted_volume_is_the_volume_change_times_twice_one_minus_poisson_ratio():
    assert uplifted_volume(mogi, sources([0.0, 0.0, 1.0, 1.0]), 0.3) == pytest.approx(2 * (1 - 0.3))


def test_an_inflating_source_pushes_away_from_itself_at_every_azimuth_and_equally_far():
    angle = torch.arange(0, 360, 10, dtype=DOUBLE).deg2rad()
    outward = torch.stack([angle.cos(), angle.sin()], -1)
    centre = torch.tensor([700.0, -400.0], dtype=DOUBLE)
    displacement = mogi(sources([700.0, -400.0, 2000.0, 1e6]), centre + 1500 * outward)[0]
    radial = (displacement[:, :2] * outward).sum(-1)
    assert (radial > 0).all()
    torch.testing.assert_close(displacement[:, :2], radial[:, None] * outward)
    torch.testing.assert_close(
        displacement, torch.cat([radial[0] * outward, displacement[:1, 2:].expand(36, 1)], -1)
    )


def test_the_image_kernel_equals_projecting_the_station_kernel():
    def uniform(low, high, count=16):
        return low + (high - low) * torch.rand(
            count, dtype=DOUBLE, generator=torch.Generator().manual_seed(3)
        )

    batch = torch.stack(
        [uniform(-2e3, 2e3), uniform(-2e3, 2e3), uniform(500, 5e3), uniform(-3e6, 3e6)], -1
    )
    direction = line_of_sight(uniform(-math.pi, math.pi), uniform(0, math.pi / 2))
    for height, width in ((12, 12), (5, 9), (9, 4), (1, 7)):
        east, north = pixel_axis(width, uniform(50, 200)), pixel_axis(height, uniform(50, 200))
        direct = mogi_image(batch, east, north, direction, 0.3)
        projected = project(mogi(batch, grid(east, north), 0.3), direction).unflatten(
            1, (height, width)
        )
        torch.testing.assert_close(direct, projected, rtol=1e-12, atol=1e-14)


def test_gradients_of_images_are_those_of_finite_differences_in_source_grid_and_look():
    batch = sources([0.1, -0.2, 1.0, 2.0], [0.5, 0.3, 0.7, -1.0]).requires_grad_()
    spacing = torch.tensor([0.3, 0.4], dtype=DOUBLE, requires_grad=True)
    look = torch.tensor([[0.3, 0.4], [-1.0, 0.9]], dtype=DOUBLE, requires_grad=True)

    def image_of(source, spacing, look):
        return mogi_image(
            source, pixel_axis(4, spacing), pixel_axis(3, spacing), line_of_sight(*look.unbind(-1))
        )

    assert torch.autograd.gradcheck(image_of, (batch, spacing, look))


STATIONS = torch.tensor([[0.0, 0.0], [1200.0, 500.0], [-3000.0, 2500.0]], dtype=DOUBLE)


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_a_sphere_much_smaller_than_its_depth_is_a_point_source_of_its_volume_change(poisson_ratio):
    sphere = sources([100.0, 50.0, 5000.0, 5.0, 0.02])
    point = sources([100.0, 50.0, 5000.0, math.pi * 5**3 * 0.02])
    torch.testing.assert_close(
        mctigue(sphere, STATIONS, poisson_ratio),
        mogi(point, STATIONS, poisson_ratio),
        rtol=1e-8,
        atol=0,
    )


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_the_second_order_of_a_sphere_is_the_moment_that_answers_the_stress_reflected_by_the_surface(
    poisson_ratio,
):
    nu, depth = poisson_ratio, 2000.0
    centre = torch.tensor([0.0, 0.0, depth], dtype=DOUBLE)
    # Under pressure 1 a cavity of radius 1 acts as an isotropic moment; the surface reflects this
    # strain onto it:
    moment = 2 * math.pi * (1 - nu) / (1 - 2 * nu)

    def reflected(receiver):
        gradient = jacobian(
            lambda at: image_of_the_surface(receiver, at, nu), centre, create_graph=True
        )
        return moment * torch.einsum("ijj->i", gradient)

    gradient = jacobian(reflected, centre)
    strain = (gradient + gradient.T) / 2
    # Eshelby (1957): what a sphere must strain by itself to be free of stress, the reflected one
    # included.
    mean = strain.trace() / 3 * torch.eye(3, dtype=DOUBLE)
    free_strain = mean / (1 - (1 + nu) / (3 * (1 - nu))) + (strain - mean) / (
        1 - 2 * (4 - 5 * nu) / (15 * (1 - nu))
    )
    expected = by_moments(
        4 / 3 * math.pi * stress(free_strain, nu)[None], centre[None], STATIONS, nu
    )
    radius, pressure = 800.0, 0.01
    first = mogi(sources([0.0, 0.0, depth, math.pi * radius**3 * pressure]), STATIONS, nu)[0]
    second = mctigue(sources([0.0, 0.0, depth, radius, pressure]), STATIONS, nu)[0] - first
    torch.testing.assert_close(second, pressure * radius**6 * expected, rtol=1e-10, atol=1e-15)
