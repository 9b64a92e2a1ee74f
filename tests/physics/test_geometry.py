import math

import pytest
import torch

from qexp.physics.dislocation import okada
from qexp.physics.geometry import (
    azimuth_of_heading,
    grid,
    line_of_sight,
    over_topography,
    pixel_axis,
    project,
)
from qexp.simulation.generators import GENERATORS
from tests.half_space import DOUBLE, sources
from validation.topography import Cone, corrected, flat, reference


def test_the_line_of_sight_is_a_unit_vector_that_points_up_for_every_look():
    azimuth = torch.linspace(-7, 7, 57, dtype=DOUBLE).repeat_interleave(9)
    direction = line_of_sight(azimuth, torch.linspace(0, 1.5, 9, dtype=DOUBLE).repeat(57))
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(57 * 9, dtype=DOUBLE))
    assert (direction[:, 2] > 0).all()


@pytest.mark.parametrize(
    ("azimuth", "incidence", "expected"),
    [
        # seen toward the east, by a satellite in the west
        (0.0, math.pi / 6, [-0.5, 0, math.sqrt(3) / 2]),
        (math.pi / 2, math.pi / 6, [0, -0.5, math.sqrt(3) / 2]),
        (math.pi / 6, math.pi / 2, [-math.sqrt(3) / 2, -0.5, 0]),
        (-2.5, 0.0, [0, 0, 1]),
    ],
)
def test_the_azimuth_turns_from_east_to_north_and_the_incidence_from_the_vertical(
    azimuth, incidence, expected
):
    angles = (torch.tensor([angle], dtype=DOUBLE) for angle in (azimuth, incidence))
    assert line_of_sight(*angles)[0].tolist() == pytest.approx(expected, abs=1e-15)


def test_displacement_toward_the_satellite_is_positive_and_across_the_line_of_sight_is_nothing():
    direction = torch.tensor([[-0.6, 0.0, 0.8]], dtype=DOUBLE)
    displacement = torch.tensor(
        [[[0, 0, 2.0], [-1.0, 0, 0], [3.0, 0, 0], [0.8, 0, 0.6], [0, 5.0, 0]]], dtype=DOUBLE
    )
    assert project(displacement, direction)[0].tolist() == pytest.approx([1.6, 0.6, -1.8, 0, 0])


def test_each_displacement_of_a_batch_is_projected_along_its_own_direction():
    displacement = torch.eye(3, dtype=DOUBLE)[:, None, :].expand(3, 2, 3)
    projected = project(
        displacement, torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]], dtype=DOUBLE)
    )
    assert projected.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_pixel_i_lies_at_i_minus_half_the_count_pixels_from_the_origin():
    spacing = torch.tensor([100.0, 250.0], dtype=DOUBLE)
    assert pixel_axis(4, spacing).tolist() == [[-200, -100, 0, 100], [-500, -250, 0, 250]]
    assert pixel_axis(3, spacing)[0].tolist() == [-150, -50, 50]


def test_a_grid_lists_pixels_row_by_row_with_east_along_columns_and_north_along_rows():
    east, north = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0]])
    assert grid(east, north).tolist() == [[[1, 10], [2, 10], [3, 10], [1, 20], [2, 20], [3, 20]]]


def test_a_grid_unflattens_to_images_for_every_sample_of_a_batch():
    spacing = torch.tensor([10.0, 20.0, 40.0])
    pixels = grid(pixel_axis(5, spacing), pixel_axis(7, 2 * spacing)).unflatten(1, (7, 5))
    assert pixels[2, 6, 1].tolist() == [(1 - 2.5) * 40, (6 - 3.5) * 80]
    assert pixels[0, 0, 4].tolist() == [(4 - 2.5) * 10, (0 - 3.5) * 20]


@pytest.mark.parametrize(("look", "side"), [("right", 1), ("left", -1)])
def test_a_heading_and_the_side_of_the_look_give_the_vector_to_the_satellite(look, side):
    heading, incidence = (
        torch.tensor([value], dtype=DOUBLE) for value in (math.radians(-12.5), math.radians(34))
    )
    across = side * math.sin(incidence)
    expected = [-math.cos(heading) * across, math.sin(heading) * across, math.cos(incidence)]
    assert line_of_sight(azimuth_of_heading(heading, look), incidence)[0].tolist() == pytest.approx(
        expected, abs=1e-15
    )


# Sources below topography.

SOURCE = sources(
    [100.0, -50, 2000, 1500, 900, 0.3, 1.1, 0.2, -0.1, 1.0],
    [0, 0, 3000, 900, 700, 2.0, 0.4, 0, 0, 2.0],
)
COARSE = 30, 24
"""Elements of the mesh."""

STATIONS = torch.tensor([[0.0, 0.0], [800.0, -300.0], [-2500.0, 4000.0]], dtype=DOUBLE)


def test_every_station_sees_the_source_as_deep_below_it_as_it_is(monkeypatch):
    elevation = torch.tensor([1200.0, -150.0, 0.0], dtype=DOUBLE)
    displacement = over_topography(okada, SOURCE, STATIONS, elevation)
    for index, height in enumerate(elevation):
        deeper = SOURCE.clone()
        deeper[:, 2] += height
        torch.testing.assert_close(
            displacement[:, index], okada(deeper, STATIONS)[:, index], rtol=1e-12, atol=0
        )
    monkeypatch.setattr("qexp.physics.geometry.STATIONS", 1)  # one source at a time
    torch.testing.assert_close(
        over_topography(okada, SOURCE, STATIONS.expand(2, -1, -1), elevation), displacement
    )


@pytest.mark.parametrize(("name", "values"), [
    ("okada", [100.0, -50, 2000, 1500, 900, 0.3, 1.1, 0.2, -0.1, 1.0]),
    ("okada", [0.0, 0, 2000, 1500, 900, 0.3, math.pi / 2, 0.2, -0.1, 1.0]),
    ("cdm", [0.0, 0, 2000, 0.4, 0.3, 0.2, 300, 400, 500, 1.0]),
    ("pcdm", [0.0, 0, 2000, 0.4, 0.3, 0.2, 3e6, -4e6, 5e6]),
    ("yang", [0.0, 0, 2000, 1500, 900, 0.3, 1.1, 1e-3]),
    ("yang", [0.0, 0, 2000, 700, 699.999, 0.3, 1.1, 1e-3]),
])  # fmt: skip
@pytest.mark.parametrize("precision", [torch.float32, DOUBLE])
def test_a_kernel_that_takes_elevations_moves_each_station_as_one_source_for_each_does(
    name, values, precision
):
    source = GENERATORS[name].build().sources[0]
    random = torch.Generator().manual_seed(0)
    stations = (5000 * torch.randn(40, 2, generator=random)).to(precision)
    elevation = (1200 * torch.rand(40, generator=random) - 50).to(precision)
    each = torch.tensor([values, values], dtype=precision) * torch.tensor(
        [[1.0], [1.01]], dtype=precision
    )
    assert DOUBLE in source.takes_elevation
    expected = over_topography(source.kernel, each, stations, elevation)
    # what was simulated before has the same bits
    tolerance = 0 if precision == torch.float32 else 1e-13
    displacement = source.displacements(each, stations[None], elevation)
    torch.testing.assert_close(
        displacement, expected, rtol=0, atol=tolerance * float(expected.abs().max())
    )
    with pytest.raises(ValueError, match=r"surface|depth"):
        source.displacements(each, stations[None], elevation - 2000)


def test_a_source_above_the_lowest_station_is_refused():
    with pytest.raises(ValueError, match=r"surface|depth"):
        over_topography(okada, SOURCE, STATIONS, torch.tensor([0.0, -1900.0, 0.0]))


def test_the_finite_elements_give_the_half_space_where_the_ground_is_flat():
    distance, outward, up = reference(Cone(5000.0, 0.0), 2000.0, *COARSE)
    expected = flat(2000.0, distance)
    for displacement, true in zip((outward, up), expected, strict=True):
        assert abs(displacement - true)[distance < 10_000].max() < 0.003 * expected[1].max()


@pytest.mark.parametrize(("height", "share"), [(450.0, 0.05), (1800.0, 0.15)])
def test_under_a_cone_the_correction_is_much_nearer_to_the_finite_elements_than_flat_ground(
    height, share
):
    cone = Cone(5000.0, height)
    distance, _, up = reference(cone, 3000.0, *COARSE)
    largest = up.max()
    with_correction = abs(corrected(cone, 3000.0, distance)[1] - up).max()
    assert with_correction < share * largest
    assert with_correction < 0.2 * abs(flat(3000.0, distance)[1] - up).max()
