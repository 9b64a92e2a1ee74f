import numpy as np
import pytest
import torch

from qexp.physics import interpolation
from qexp.physics.dislocation import okada, okada_image
from qexp.physics.ellipsoid import yang, yang_image
from qexp.physics.geometry import clockwise_rotation, grid, line_of_sight, pixel_axis, project
from tests.half_space import DOUBLE
from tests.physics.test_kernels import KERNELS

INTERPOLATED = {name: KERNELS[name] for name in KERNELS if name != "mogi" and KERNELS[name][1]}
CASES = pytest.mark.parametrize(
    ("kernel", "image", "sources"), INTERPOLATED.values(), ids=INTERPOLATED
)
DIRECTION = line_of_sight(
    torch.linspace(-3, 3, 34, dtype=DOUBLE), torch.linspace(0, 0.8, 34, dtype=DOUBLE)
)
LOOK = line_of_sight(*torch.tensor([[0.3], [0.6]], dtype=DOUBLE))


def error(kernel, image, sources, width, height, east_spacing, north_spacing, directions=DIRECTION):
    """Of images of the spacings' type of numbers, as a fraction of the largest pixel of each."""
    direction = directions[: len(sources)]
    east, north = pixel_axis(width, east_spacing), pixel_axis(height, north_spacing)
    stations = grid(east.double(), north.double()).expand(len(sources), -1, -1)
    exact = project(kernel(sources, stations, poisson_ratio=0.3), direction).unflatten(
        1, (height, width)
    )
    pixels = image(sources.to(east.dtype), east, north, direction.to(east.dtype), poisson_ratio=0.3)
    return ((pixels - exact) / exact.abs().amax((1, 2), keepdim=True)).abs().max()


@pytest.mark.slow
@CASES
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 5e-5)])
def test_images_are_the_displacement_seen_along_the_direction(kernel, image, sources, dtype, limit):
    spacing = torch.tensor([100.0], dtype=dtype)
    assert error(kernel, image, sources, 64, 64, spacing, spacing) < limit


@CASES
def test_grids_can_differ_from_source_to_source_and_in_width_and_height(kernel, image, sources):
    spacing = torch.linspace(60, 200, len(sources))
    assert error(kernel, image, sources, 50, 13, spacing, 2 * spacing) < 3e-5
    assert error(kernel, image, sources, 1, 40, spacing, 2 * spacing) < 3e-5


@CASES
def test_an_image_is_the_same_whatever_else_is_in_the_batch(kernel, image, sources):
    axis = pixel_axis(48, torch.tensor([130.0], dtype=DOUBLE))
    together = image(sources, axis, axis, DIRECTION[: len(sources)])
    for index in (0, 7, len(sources) - 1):
        part = slice(index, index + 1)
        torch.testing.assert_close(
            image(sources[part], axis, axis, DIRECTION[part]),
            together[part],
            rtol=1e-12,
            atol=1e-15,
        )


@pytest.mark.slow
@CASES
def test_gradients_are_those_of_the_displacement(kernel, image, sources):
    source = sources[:6].clone().requires_grad_()
    spacing = torch.linspace(90, 140, 6, dtype=DOUBLE, requires_grad=True)
    direction = DIRECTION[:6].clone().requires_grad_()
    weight = torch.randn(6, 64, 60, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    east, north = pixel_axis(60, spacing), pixel_axis(64, spacing)
    exact = project(kernel(source, grid(east, north)), direction).unflatten(1, (64, 60))
    expected = torch.autograd.grad(
        (weight * exact).sum(), (source, spacing, direction), retain_graph=True
    )
    gradients = torch.autograd.grad(
        (weight * image(source, east, north, direction)).sum(), (source, spacing, direction)
    )
    for gradient, exact_gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(
            gradient, exact_gradient, rtol=1e-8, atol=1e-10 * exact_gradient.abs().max().item()
        )


def test_a_deep_source_takes_few_points_and_a_shallow_one_each_pixel():
    points = []

    def evaluate(members, east, north):
        points.append((len(members), north.shape[1], east.shape[1]))
        return east[:, None, :] * north[:, :, None] * 0

    axis = pixel_axis(64, torch.tensor([100.0]))
    for depth in (5000.0, 1.0):
        interpolation.smooth_image(evaluate, torch.tensor([[[0.0, 0.0, depth]]] * 3), axis, axis)
    (_, few, _), shallow = points
    assert few <= 16
    assert shallow == (3, 64, 64)


def log_uniform(random, low, high):
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def geometry(name, random, largest):
    """A source of any shape that is not wider than its image, its top between 1 % and 30 times a
    pixel deep.
    """
    height, width = random.integers(
        1 if name == "mogi" else 24, largest, size=2, endpoint=True
    ).tolist()
    pixels = [log_uniform(random, 20, 300) for _ in "xy"]
    half = max(height * pixels[1], width * pixels[0]) / 2
    top = pixels[0] * log_uniform(random, 0.01, 30)
    position = [random.uniform(-1.3, 1.3) * half for _ in "xy"]
    sizes = sorted((half * log_uniform(random, 1e-3, 1.0) for _ in range(3)), reverse=True)
    turns, amplitude = random.uniform(-3, 3, size=3).tolist(), random.choice([-1, 1])
    tilt = random.choice([0.0, 1e-6, np.pi / 2 - 1e-6, np.pi / 2, random.uniform(0, np.pi / 2)])
    slips = (amplitude * random.uniform(0, 1, size=3)).tolist()
    upwards = clockwise_rotation(torch.tensor([turns], dtype=DOUBLE))[0, 2].numpy()
    source = {
        "mogi": lambda: [*position, top, amplitude * 1e6],
        "mctigue": lambda: [*position, top + sizes[1], sizes[1], amplitude * 1e-3],
        "pcdm": lambda: [*position, top, *turns, *(1e6 * slip for slip in slips)],
        "penny": lambda: [*position, max(top, 0.0101 * sizes[1]), sizes[1], amplitude * 1e-3],
        "yang": lambda: [
            *position,
            top + np.hypot(sizes[1] * np.sin(tilt), max(sizes[2], sizes[1] / 9) * np.cos(tilt)),
            sizes[1],
            max(sizes[2], sizes[1] / 9),
            turns[0],
            tilt,
            amplitude * 1e-3,
        ],
        "okada": lambda: [
            *position,
            top + sizes[1] / 2 * np.sin(tilt),
            *sizes[:2],
            turns[0],
            tilt,
            *slips,
        ],
        "cdm": lambda: [
            *position,
            top + float(abs(upwards * np.array(sizes)).sum()),
            *turns,
            *sizes,
            amplitude,
        ],
    }
    return torch.tensor([source[name]()], dtype=DOUBLE), height, width, pixels


def largest_error(name, random, largest):
    """Of an image at its pixels around the largest displacement and at random ones, over the
    largest displacement.
    """
    source, height, width, (x_spacing, y_spacing) = geometry(name, random, largest)
    kernel, image, _ = KERNELS[name]
    east, north = (
        pixel_axis(n, torch.tensor([size], dtype=DOUBLE))
        for n, size in ((width, x_spacing), (height, y_spacing))
    )
    direction = line_of_sight(
        *torch.tensor([[random.uniform(-3, 3)], [random.uniform(0, 0.8)]], dtype=DOUBLE)
    )
    pixels = image(source, east, north, direction, poisson_ratio=0.3)[0]
    peak = int(pixels.abs().argmax())
    rows = torch.tensor(
        [
            *random.integers(height, size=400),
            *[peak // width] * 200,
            *random.integers(height, size=200),
        ]
    )
    columns = torch.tensor(
        [
            *random.integers(width, size=400),
            *random.integers(width, size=200),
            *[peak % width] * 200,
        ]
    )
    points = torch.stack([east[0, columns], north[0, rows]], dim=-1)[None]
    exact = project(kernel(source, points, poisson_ratio=0.3), direction)[0]
    return float(
        (pixels[rows, columns] - exact).abs().max()
        / torch.maximum(exact.abs().max(), pixels.abs().max())
    )


@pytest.mark.heavy
@pytest.mark.parametrize("name", INTERPOLATED)
def test_images_equal_the_kernel_however_large_shallow_and_long_they_are(name):
    # its quadrature takes seconds
    random, cases = np.random.default_rng(0), (1 if name == "penny" else 4)
    assert max(largest_error(name, random, 320) for _ in range(cases)) < 1e-5


@pytest.mark.parametrize(
    ("name", "beside"), [("mctigue", 3.0), ("pcdm", 3.0), ("okada", 3.0), ("okada", 20.0)]
)
def test_sources_beside_the_image_are_seen_to_single_precision(name, beside):
    """Their displacements in the image are thousands of times smaller than those above them."""
    random = np.random.default_rng(3)
    kernel, image, _ = KERNELS[name]
    spacing = torch.tensor([50.0])
    for _ in range(5):
        source = geometry(name, random, 64)[0].float().double()
        source[0, :2] = torch.tensor([beside, -0.4 * beside]) * 1600
        assert error(kernel, image, source, 64, 64, spacing, spacing, LOOK) < 3e-5


@pytest.mark.heavy
@pytest.mark.parametrize("name", INTERPOLATED)
def test_large_images_of_many_sources_equal_the_kernel(name):
    random, (largest, cases) = np.random.default_rng(1), (300, 3) if name == "penny" else (1024, 6)
    assert max(largest_error(name, random, largest) for _ in range(cases)) < 1e-5


@pytest.mark.parametrize("plunge", [0.0, 1.2, np.pi / 2])
def test_small_spheroids_are_as_sharp_as_point_sources(plunge):
    """Twice as many points are no use to larger ones; these were wrong by up to 3e-4 in single
    precision.
    """
    random = np.random.default_rng(6)
    spacing = torch.tensor([100.0])
    for _ in range(20):
        depth = log_uniform(random, 1500, 5000)
        sizes = depth * log_uniform(random, 0.01, 0.1) * np.array([1.0, random.uniform(0.12, 0.9)])
        position = random.uniform(-2500, 2500, size=2)
        source = torch.tensor(
            [[*position, depth, *sizes, random.uniform(-3, 3), plunge, 1e-3]], dtype=torch.float32
        )
        assert error(yang, yang_image, source.double(), 64, 64, spacing, spacing, LOOK) < 1e-5


def test_a_fault_close_below_the_surface_is_computed_pixel_by_pixel():
    """20 km by 10 km, with its top 10 m deep, on images of more pixels than points of any
    interpolant.
    """
    dip = np.radians(60)
    source = torch.tensor(
        [[0, 0, 10 + 5e3 * np.sin(dip), 20e3, 10e3, 0.5, dip, 1, 1, 0]], dtype=DOUBLE
    )
    spacing = torch.tensor([100.0], dtype=DOUBLE)
    assert error(okada, okada_image, source, 300, 300, spacing, spacing, LOOK) < 1e-12


def test_large_images_that_are_computed_pixel_by_pixel_are_made_in_parts(monkeypatch):
    monkeypatch.setattr(interpolation, "MOST_POINTS", 5 * 300)
    sizes = []

    def evaluate(members, east, north):
        sizes.append(len(members) * north.shape[1] * east.shape[1])
        return east[:, None, :] + 2 * north[:, :, None]

    axis = pixel_axis(300, torch.tensor([100.0], dtype=DOUBLE))
    image = interpolation.smooth_image(
        evaluate, torch.tensor([[[0, 0, 1], [9e3, 9e3, 1]]] * 2, dtype=DOUBLE), axis, axis
    )
    torch.testing.assert_close(image, (axis[:, None, :] + 2 * axis[:, :, None]).expand(2, -1, -1))
    assert max(sizes) <= 5 * 300


def test_a_polynomial_in_the_stretched_position_is_interpolated_exactly():
    axis = pixel_axis(64, torch.tensor([100.0], dtype=DOUBLE))

    def field(east, north):
        return torch.asinh(east / 3000)[:, None, :] ** 3 * (
            1 + torch.asinh(north / 3000)[:, :, None] ** 2
        )

    singular = torch.tensor([[[0.0, 0.0, 3000.0]]], dtype=DOUBLE)
    image = interpolation.smooth_image(
        lambda members, east, north: field(east, north), singular, axis, axis
    )
    torch.testing.assert_close(image, field(axis, axis), rtol=0, atol=1e-13)
