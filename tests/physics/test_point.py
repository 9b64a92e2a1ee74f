import math

import pytest
import scipy.integrate
import torch
from torch.autograd.functional import jacobian

from qexp.physics.geometry import grid, line_of_sight, pixel_axis, project
from qexp.physics.point import mctigue, mogi, mogi_image
from tests.half_space import by_moments, image as image_of_the_surface, stress

DOUBLE = torch.float64
DEPTH, VOLUME_CHANGE = 3000.0, 1e6


def sources(*rows):
    return torch.tensor(rows, dtype=DOUBLE)


def image(source, azimuth, incidence=0.33, height=64, width=64, pixel=100.0):
    spacing = torch.tensor([pixel], dtype=DOUBLE)
    direction = line_of_sight(torch.tensor([azimuth], dtype=DOUBLE), torch.tensor([incidence], dtype=DOUBLE))
    return mogi_image(source, pixel_axis(width, spacing), pixel_axis(height, spacing), direction)


def test_displacement_has_the_values_of_mogis_formula_worked_out_by_hand():
    # (1 - 0.25) / pi * 1e6 / 3000^2 above the source; at 1 km to the east, R^2 = 1e7 m2.
    stations = torch.tensor([[0.0, 0.0], [1000.0, 0.0]], dtype=DOUBLE)
    above, beside = mogi(sources([0.0, 0.0, DEPTH, VOLUME_CHANGE]), stations)[0]
    assert above.tolist() == pytest.approx([0, 0, 0.0265258238486], rel=1e-11)
    assert beside.tolist() == pytest.approx([0.00754938181567, 0, 0.022648145447], rel=1e-11)


def test_a_radar_image_sees_the_uplift_above_the_source_times_the_cosine_of_the_incidence():
    centre = image(sources([0.0, 0.0, 1000.0, 1e6]), azimuth=0.0)[0, 32, 32].item()
    assert centre == pytest.approx(0.22585097302, rel=1e-10)
    assert centre == pytest.approx(0.75 / math.pi * math.cos(0.33), rel=1e-12)


@pytest.mark.parametrize("poisson_ratio", [0.0, 0.25, 0.5])
def test_the_largest_uplift_is_one_minus_poisson_ratio_times_volume_change_over_pi_depth_squared(poisson_ratio):
    distance = torch.linspace(-9000, 9000, 1801, dtype=DOUBLE)
    stations = torch.stack([distance, torch.zeros_like(distance)], -1)
    uplift = mogi(sources([0.0, 0.0, DEPTH, VOLUME_CHANGE]), stations, poisson_ratio)[0, :, 2]
    expected = (1 - poisson_ratio) * VOLUME_CHANGE / (math.pi * DEPTH**2)
    assert uplift.max().item() == pytest.approx(expected, rel=1e-12)
    assert distance[uplift.argmax()].item() == 0


def test_the_largest_horizontal_displacement_is_at_depth_over_root_two_and_two_over_three_root_three_of_the_uplift():
    radius = torch.linspace(0, 3, 30001, dtype=DOUBLE) * DEPTH
    displacement = mogi(sources([0.0, 0.0, DEPTH, VOLUME_CHANGE]), torch.stack([torch.zeros_like(radius), radius], -1))[
        0
    ]
    horizontal = displacement[:, 1]
    assert (horizontal.max() / displacement[:, 2].max()).item() == pytest.approx(2 / (3 * math.sqrt(3)), rel=1e-7)
    assert radius[horizontal.argmax()].item() == pytest.approx(DEPTH / math.sqrt(2), rel=1e-3)


def test_the_uplifted_volume_is_the_volume_change_times_twice_one_minus_poisson_ratio():
    source = sources([0.0, 0.0, 1.0, 1.0])

    def uplift_of_ring(radius):
        station = torch.tensor([[radius, 0.0]], dtype=DOUBLE)
        return 2 * math.pi * radius * mogi(source, station, 0.3)[0, 0, 2].item()

    assert scipy.integrate.quad(uplift_of_ring, 0, math.inf)[0] == pytest.approx(2 * (1 - 0.3))


def test_an_inflating_source_pushes_away_from_itself_at_every_azimuth_and_equally_far():
    angle = torch.arange(0, 360, 10, dtype=DOUBLE).deg2rad()
    outward = torch.stack([angle.cos(), angle.sin()], -1)
    centre = torch.tensor([700.0, -400.0], dtype=DOUBLE)
    displacement = mogi(sources([700.0, -400.0, 2000.0, 1e6]), centre + 1500 * outward)[0]
    radial = (displacement[:, :2] * outward).sum(-1)
    assert (radial > 0).all()
    torch.testing.assert_close(displacement[:, :2], radial[:, None] * outward)
    torch.testing.assert_close(displacement, torch.cat([radial[0] * outward, displacement[:1, 2:].expand(36, 1)], -1))


def test_horizontal_is_to_vertical_displacement_as_distance_is_to_depth():
    station = torch.tensor([[2000.0, 1000.0]], dtype=DOUBLE)
    east, north, up = mogi(sources([0.0, 0.0, 4000.0, 1e6]), station)[0, 0].tolist()
    assert (east / up, north / up) == pytest.approx((2000 / 4000, 1000 / 4000))


def test_far_away_uplift_falls_with_the_cube_of_the_distance():
    far = torch.tensor([[1e6, 0.0], [2e6, 0.0]], dtype=DOUBLE)
    near, twice_as_far = mogi(sources([0.0, 0.0, 1000.0, 1e6]), far)[0, :, 2].tolist()
    assert near / twice_as_far == pytest.approx(8, rel=1e-5)


def test_looking_eastward_the_western_flank_moves_toward_the_satellite_and_shifts_the_peak_west():
    # The satellite stands in the west and the flank west of an inflating source is pushed west.
    pixels = image(sources([0.0, 0.0, 2000.0, 1e6]), azimuth=0.0)[0]
    row, column = divmod(int(pixels.argmax()), 64)
    assert row == 32
    assert column < 32
    assert pixels[32, 12] > pixels[32, 52]


def test_a_source_east_and_north_of_the_centre_stands_at_higher_columns_and_rows():
    pixels = image(sources([1000.0, 2000.0, 500.0, 1e6]), azimuth=0.0, incidence=0.0, height=60, width=40)[0]
    assert divmod(int(pixels.argmax()), 40) == (30 + 20, 20 + 10)


def test_the_image_kernel_equals_projecting_the_station_kernel():
    random = torch.Generator().manual_seed(3)

    def uniform(low, high, count=16):
        return low + (high - low) * torch.rand(count, dtype=DOUBLE, generator=random)

    batch = torch.stack([uniform(-2e3, 2e3), uniform(-2e3, 2e3), uniform(500, 5e3), uniform(-3e6, 3e6)], -1)
    direction = line_of_sight(uniform(-math.pi, math.pi), uniform(0, math.pi / 2))
    for height, width in ((12, 12), (5, 9), (9, 4), (1, 7)):
        east, north = pixel_axis(width, uniform(50, 200)), pixel_axis(height, uniform(50, 200))
        direct = mogi_image(batch, east, north, direction, 0.3)
        projected = project(mogi(batch, grid(east, north), 0.3), direction).unflatten(1, (height, width))
        torch.testing.assert_close(direct, projected, rtol=1e-12, atol=1e-14)


def test_one_grid_can_serve_a_whole_batch_of_sources():
    batch = sources([0.0, 0.0, 1000.0, 1e6], [300.0, 0.0, 2000.0, 1e6], [0.0, 500.0, 3000.0, 2e6])
    direction = torch.tensor([[0.0, 0.6, 0.8]], dtype=DOUBLE).expand(3, -1)
    east, north = pixel_axis(6, torch.full((1,), 90.0, dtype=DOUBLE)), pixel_axis(4, torch.full((1,), 70.0).double())
    shared = mogi_image(batch, east, north, direction)
    assert shared.shape == (3, 4, 6)
    torch.testing.assert_close(shared, mogi_image(batch, east.expand(3, -1), north.expand(3, -1), direction))


def test_gradients_of_images_are_those_of_finite_differences_in_source_grid_and_look():
    batch = sources([0.1, -0.2, 1.0, 2.0], [0.5, 0.3, 0.7, -1.0]).requires_grad_()
    spacing = torch.tensor([0.3, 0.4], dtype=DOUBLE, requires_grad=True)
    look = torch.tensor([[0.3, 0.4], [-1.0, 0.9]], dtype=DOUBLE, requires_grad=True)

    def image_of(source, spacing, look):
        return mogi_image(source, pixel_axis(4, spacing), pixel_axis(3, spacing), line_of_sight(*look.unbind(-1)))

    assert torch.autograd.gradcheck(image_of, (batch, spacing, look))


STATIONS = torch.tensor([[0.0, 0.0], [1200.0, 500.0], [-3000.0, 2500.0]], dtype=DOUBLE)


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_a_sphere_much_smaller_than_its_depth_is_a_point_source_of_its_volume_change(poisson_ratio):
    sphere, point = sources([100.0, 50.0, 5000.0, 5.0, 0.02]), sources([100.0, 50.0, 5000.0, math.pi * 5**3 * 0.02])
    torch.testing.assert_close(
        mctigue(sphere, STATIONS, poisson_ratio), mogi(point, STATIONS, poisson_ratio), rtol=1e-8, atol=0
    )


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_the_second_order_of_a_sphere_is_the_moment_that_answers_the_stress_reflected_by_the_surface(poisson_ratio):
    nu, depth = poisson_ratio, 2000.0
    centre = torch.tensor([0.0, 0.0, depth], dtype=DOUBLE)
    # Under pressure 1 a cavity of radius 1 acts as an isotropic moment; the surface reflects this strain onto it:
    moment = 2 * math.pi * (1 - nu) / (1 - 2 * nu)

    def reflected(receiver):
        gradient = jacobian(lambda at: image_of_the_surface(receiver, at, nu), centre, create_graph=True)
        return moment * torch.einsum("ijj->i", gradient)

    gradient = jacobian(reflected, centre)
    strain = (gradient + gradient.T) / 2
    # Eshelby (1957): what a sphere must strain by itself to be free of stress, the reflected one included.
    mean = strain.trace() / 3 * torch.eye(3, dtype=DOUBLE)
    free_strain = mean / (1 - (1 + nu) / (3 * (1 - nu))) + (strain - mean) / (1 - 2 * (4 - 5 * nu) / (15 * (1 - nu)))
    expected = by_moments(4 / 3 * math.pi * stress(free_strain, nu)[None], centre[None], STATIONS, nu)
    radius, pressure = 800.0, 0.01
    first = mogi(sources([0.0, 0.0, depth, math.pi * radius**3 * pressure]), STATIONS, nu)[0]
    second = mctigue(sources([0.0, 0.0, depth, radius, pressure]), STATIONS, nu)[0] - first
    torch.testing.assert_close(second, pressure * radius**6 * expected, rtol=1e-10, atol=1e-15)
