import pytest
import torch

from qexp.forward import interpolation
from qexp.forward.crack import penny, penny_image
from qexp.forward.ellipsoid import yang, yang_image
from qexp.forward.geometry import grid, line_of_sight, pixel_axis, project
from qexp.forward.point import mctigue, mctigue_image, pcdm, pcdm_image

DOUBLE = torch.float64


def uniform(low, high, count, seed):
    random = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(low, dtype=DOUBLE), torch.tensor(high, dtype=DOUBLE)
    return low + (high - low) * torch.rand(count, len(low), dtype=DOUBLE, generator=random)


SPHEROIDS = torch.cat(
    [
        uniform([-5e3, -5e3, 1600, 600, 100, -3, 0, -0.01], [5e3, 5e3, 6e3, 1500, 600, 6, 1.57, 0.01], 30, seed=1),
        torch.tensor([[0.0, 0.0, 1300.0, 1200.0, 200.0, 0.3, 1.5, 0.01], [0.0, 300.0, 3e3, 900.0, 900.0, 0, 0, 0.01]]),
    ]
)
CRACKS = uniform([-5e3, -5e3, 400, 300, -0.01], [5e3, 5e3, 6e3, 3000, 0.01], 30, seed=2)
SPHERES = uniform([-5e3, -5e3, 1300, 300, -0.01], [5e3, 5e3, 6e3, 1200, 0.01], 30, seed=3)
COMPOUNDS = uniform([-5e3, -5e3, 500] + 3 * [-3] + 3 * [-1e6], [5e3, 5e3, 6e3] + 3 * [3] + 3 * [2e6], 30, seed=4)
CASES = pytest.mark.parametrize(
    ("image", "kernel", "sources"),
    [
        (yang_image, yang, SPHEROIDS),
        (penny_image, penny, CRACKS),
        (mctigue_image, mctigue, SPHERES),
        (pcdm_image, pcdm, COMPOUNDS),
    ],
    ids=["yang", "penny", "mctigue", "pcdm"],
)
DIRECTION = line_of_sight(torch.linspace(-3, 3, 32, dtype=DOUBLE), torch.linspace(0, 0.8, 32, dtype=DOUBLE))


def error(image, kernel, sources, width, height, east_spacing, north_spacing):
    """Of images of the spacings' type of numbers, as a fraction of the largest pixel of each."""
    direction = DIRECTION[: len(sources)]
    east, north = pixel_axis(width, east_spacing), pixel_axis(height, north_spacing)
    stations = grid(east.double(), north.double()).expand(len(sources), -1, -1)
    exact = project(kernel(sources, stations, 0.3), direction).unflatten(1, (height, width))
    seen = image(sources.to(east.dtype), east, north, direction.to(east.dtype), 0.3)
    return ((seen - exact) / exact.abs().amax((1, 2), keepdim=True)).abs().max()


@CASES
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 3e-5)])
def test_images_are_the_displacement_seen_along_the_direction(image, kernel, sources, dtype, limit):
    spacing = torch.tensor([100.0], dtype=dtype)
    assert error(image, kernel, sources, 64, 64, spacing, spacing) < limit


@CASES
def test_grids_can_differ_from_source_to_source_and_in_width_and_height(image, kernel, sources):
    spacing = torch.linspace(60, 200, len(sources))
    assert error(image, kernel, sources, 50, 13, spacing, 2 * spacing) < 3e-5
    assert error(image, kernel, sources, 1, 40, spacing, 2 * spacing) < 3e-5


@CASES
def test_an_image_is_the_same_whatever_else_is_in_the_batch(image, kernel, sources):
    axis = pixel_axis(48, torch.tensor([130.0], dtype=DOUBLE))
    together = image(sources, axis, axis, DIRECTION[: len(sources)])
    for index in (0, 7, len(sources) - 1):
        place = slice(index, index + 1)
        torch.testing.assert_close(
            image(sources[place], axis, axis, DIRECTION[place]), together[place], rtol=1e-12, atol=1e-15
        )


@CASES
def test_gradients_are_those_of_the_displacement(image, kernel, sources):
    source = sources[:6].clone().requires_grad_()
    spacing = torch.linspace(90, 140, 6, dtype=DOUBLE, requires_grad=True)
    direction = DIRECTION[:6].clone().requires_grad_()
    weight = torch.randn(6, 64, 60, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    east, north = pixel_axis(60, spacing), pixel_axis(64, spacing)
    exact = project(kernel(source, grid(east, north)), direction).unflatten(1, (64, 60))
    expected = torch.autograd.grad((weight * exact).sum(), (source, spacing, direction), retain_graph=True)
    seen = torch.autograd.grad((weight * image(source, east, north, direction)).sum(), (source, spacing, direction))
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10 * other.abs().max().item())


def test_a_deep_source_takes_few_points_and_a_shallow_one_each_pixel():
    points = []

    def seen(places, east, north):
        points.append((len(places), north.shape[1], east.shape[1]))
        return east[:, None, :] * north[:, :, None] * 0

    axis = pixel_axis(64, torch.tensor([100.0]))
    for depth in (5000.0, 1.0):
        interpolation.smooth_image(seen, torch.tensor([[[0.0, 0.0, depth]]] * 3), axis, axis)
    (_, few, _), shallow = points
    assert few <= 16
    assert shallow == (3, 64, 64)


def test_a_polynomial_in_the_stretched_position_is_interpolated_exactly():
    axis = pixel_axis(64, torch.tensor([100.0], dtype=DOUBLE))

    def field(east, north):
        return torch.asinh(east / 3000)[:, None, :] ** 3 * (1 + torch.asinh(north / 3000)[:, :, None] ** 2)

    singular = torch.tensor([[[0.0, 0.0, 3000.0]]], dtype=DOUBLE)
    image = interpolation.smooth_image(lambda places, east, north: field(east, north), singular, axis, axis)
    torch.testing.assert_close(image, field(axis, axis), rtol=0, atol=1e-13)
