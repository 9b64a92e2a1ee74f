"""What holds for every kernel: batches, precision, gradients, and sources that cannot be."""

import math

import pytest
import torch

from qexp.physics import crack, ellipsoid
from qexp.physics.crack import penny, penny_image
from qexp.physics.dislocation import cdm, cdm_image, okada, okada_image
from qexp.physics.ellipsoid import yang, yang_image
from qexp.physics.point import mctigue, mctigue_image, mogi, mogi_image, pcdm, pcdm_image
from tests.half_space import DOUBLE, STATIONS, sources


def uniform(low, high, count, seed):
    low, high = torch.tensor(low, dtype=DOUBLE), torch.tensor(high, dtype=DOUBLE)
    return low + (high - low) * torch.rand(count, len(low), dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


POINTS = uniform([-2e3, -2e3, 500, -3e6], [2e3, 2e3, 5e3, 3e6], 10, seed=5)
SPHEROIDS = torch.cat(
    [
        uniform([-5e3, -5e3, 1600, 600, 100, -3, 0, -0.01], [5e3, 5e3, 6e3, 1500, 600, 6, 1.57, 0.01], 30, seed=1),
        sources([0.0, 0.0, 1300.0, 1200.0, 200.0, 0.3, 1.5, 0.01], [0.0, 300.0, 3e3, 900.0, 900.0, 0, 0, 0.01]),
        sources(
            [0.0, 0.0, 2500.0, 1500.0, 600.0, 0.7, math.pi / 2, 0.01], [9.0, 9.0, 2e3, 1500.0, 600.0, 0.7, 0, 0.01]
        ),
    ]
)
CRACKS = uniform([-5e3, -5e3, 400, 300, -0.01], [5e3, 5e3, 6e3, 3000, 0.01], 30, seed=2)
SPHERES = uniform([-5e3, -5e3, 1300, 300, -0.01], [5e3, 5e3, 6e3, 1200, 0.01], 30, seed=3)
COMPOUNDS = uniform([-5e3, -5e3, 500] + 3 * [-3] + 3 * [-1e6], [5e3, 5e3, 6e3] + 3 * [3] + 3 * [2e6], 30, seed=4)
PLANES = uniform(
    [-2e3, -2e3, 1500, 50, 50, 0, 0, -1, -1, -1], [2e3, 2e3, 5e3, 2e3, 2e3, 6, math.pi, 1, 1, 1], 12, seed=6
)
PLANES[2:4, 6] = torch.tensor([math.pi / 2, math.pi / 2 - 2e-3])
ROTATIONS = [(0, 0, 0), (0.3, -0.5, 0.8), (math.pi / 2, 0, 0), (1e-9, 1e-7, 0.4), (0.03, 0.02, -0.4), (2.0, 3.0, -4.0)]
CROSSED = sources(*([300.0, -400.0, 3000.0, *rotation, 700.0, 90.0, 500.0, 1.0] for rotation in ROTATIONS))

KERNELS = {
    "mogi": (mogi, mogi_image, POINTS),
    "mctigue": (mctigue, mctigue_image, SPHERES),
    "pcdm": (pcdm, pcdm_image, COMPOUNDS),
    "penny": (penny, penny_image, CRACKS),
    "yang": (yang, yang_image, SPHEROIDS),
    "okada": (okada, okada_image, PLANES),
    "cdm": (cdm, cdm_image, CROSSED),
}
"""Name → kernel, the same for images, and sources."""


@pytest.mark.parametrize("name", KERNELS)
def test_batches_are_their_sources_one_by_one_and_single_precision_is_enough(name, monkeypatch):
    kernel, _, batch = KERNELS[name]
    stations = STATIONS + 50 * torch.arange(len(batch), dtype=DOUBLE)[:, None, None]
    together = kernel(batch, stations)
    alone = torch.cat([kernel(batch[index : index + 1], stations[index]) for index in range(len(batch))])
    torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-15)
    for module in (crack, ellipsoid):
        monkeypatch.setattr(module, "BLOCK", 8)
    torch.testing.assert_close(kernel(batch, stations), alone, rtol=1e-11, atol=1e-15)
    single = kernel(batch.float(), stations.float())
    assert single.dtype == torch.float32
    assert ((single.double() - together).abs().amax((1, 2)) / together.abs().amax((1, 2))).max() < 2e-5
    assert kernel(batch[:0], STATIONS).shape == (0, len(STATIONS), 3)


AMPLITUDES = {"mogi": 3, "mctigue": 4, "pcdm": 6, "penny": 4, "yang": 7, "okada": 7, "cdm": 9}
"""Name → the first of the columns to which displacement is proportional."""


@pytest.mark.parametrize("name", KERNELS)
def test_sources_move_with_their_stations_and_deflation_is_the_opposite_of_inflation(name):
    kernel, _, batch = KERNELS[name]
    expected, shift = kernel(batch, STATIONS), sources([1234.0, -567.0])
    moved, deflated = batch.clone(), batch.clone()
    moved[:, :2] += shift
    torch.testing.assert_close(kernel(moved, STATIONS + shift), expected, rtol=1e-9, atol=1e-14)
    deflated[:, AMPLITUDES[name] :] *= -3
    torch.testing.assert_close(kernel(deflated, STATIONS), -3 * expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kernel", [penny, yang])
def test_stations_in_double_precision_are_enough_for_it(kernel):
    assert kernel((CRACKS if kernel is penny else SPHEROIDS).float(), STATIONS).dtype == DOUBLE


SMALL = {
    mogi: [[0.1, -0.2, 1.0, 2.0], [0.5, 0.3, 0.7, -1.0]],
    mctigue: [[0.1, -0.2, 1.0, 0.6, 2.0], [0.5, 0.3, 0.7, 0.1, -1.0]],
    penny: [[0.1, -0.2, 1.0, 1.1, 2.0], [0.0, 0.0, 2.0, 0.6, -1.0]],
    yang: [
        [0.1, -0.2, 2.0, 1.2, 0.5, 0.4, 0.8, 1.0],
        [0.0, 0.0, 2.0, 1.2, 0.5, 0.4, math.pi / 2, 1.0],
        [0.0, 0.3, 1.5, 1.2, 0.7, 0.0, 0.0, 1.0],
    ],
    okada: [
        source
        for dip in (0.0, 0.8, math.pi / 2, math.pi / 2 - 1e-12, math.pi / 2 - 1e-7)
        for source in ([0.1, -0.2, 1.0, 1.2, 0.8, 0.4, dip, 1, -0.5, 0.7], [0, 0, 1, 1, 0.8, 0.0, dip, 0.5, 1, 1])
    ],
    cdm: [[0.1, -0.2, 3.0, *rotation, 0.7, 1.1, 0.5, 1.0] for rotation in ROTATIONS[:4]],
    pcdm: [[0.1, -0.2, 3.0, *rotation, 1.0, -2.0, 3.0] for rotation in ROTATIONS[:4]],
}


@pytest.mark.slow
@pytest.mark.parametrize("kernel", SMALL, ids=lambda kernel: kernel.__name__)
def test_gradients_are_those_of_finite_differences_also_above_edges_and_on_their_lines(kernel):
    stations = sources((0.0, 0.0), (0.1, -0.2), (0.0, 0.5), (0.0, 2.0), (1.0, -0.5))
    if kernel is not okada:
        stations = stations[[0, 1, 4]]
    for source in sources(*SMALL[kernel]).split(2):
        assert torch.autograd.gradcheck(kernel, (source.clone().requires_grad_(), stations.clone().requires_grad_()))


CRACK, SPHERE, POINT = [0.0, 0.0, 1000.0, 500.0, 0.01], [0.0, 0.0, 1000.0, 500.0, 0.01], [0.0, 0.0, 1000.0, 1e6]
PLANE = [0.0, 0.0, 3000.0, 1000.0, 1000.0, 0.0, math.pi / 2, 0.0, 0.0, 1.0]
SPHEROID = [100.0, -200.0, 2500.0, 1500.0, 600.0, 0.7, 0.9, 0.01]
UNIT = [300.0, -400.0, 3000.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
REFUSED = [
    *((mogi, POINT, {2: depth}, "depth must be positive") for depth in (0.0, -1000.0, math.nan)),
    (mctigue, SPHERE, {3: 1000.0}, "source 1 breaks the surface: its centre is 1000 m deep and its top 1000 m above"),
    (mctigue, SPHERE, {2: math.nan}, "depth must be positive"),
    (mctigue, SPHERE, {3: 0.0}, "radius must be positive"),
    (mctigue, SPHERE, {3: math.nan}, "radius must be positive"),
    (okada, PLANE, {2: 400.0}, "source 1 breaks the surface: its centre is 400 m deep and its top 500 m above"),
    (okada, PLANE, {2: -3000.0}, "depth must be positive"),
    (okada, PLANE, {2: math.nan}, "depth must be positive"),
    (okada, PLANE, {3: -1.0}, "length must not be negative"),
    (okada, PLANE, {4: math.nan}, "width must not be negative"),
    *((cdm, [*UNIT, 1.0], {2: value}, "depth must") for value in (-1.0, math.nan)),
    *((cdm, [*UNIT, 1.0], {7: value}, "semi-axes must") for value in (-1.0, math.nan)),
    *((pcdm, UNIT, {2: value}, "depth must") for value in (-1.0, math.nan)),
    (penny, CRACK, {2: 0.0}, "depth must be positive"),
    (penny, CRACK, {2: math.nan}, "depth must be positive"),
    (penny, CRACK, {3: -1.0}, "radius must be positive"),
    (penny, CRACK, {2: 9.0, 3: 1e3}, "source 1 is too wide for its depth: it is 9 m deep and its radius is 1000 m"),
    (yang, SPHEROID, {2: 1000.0}, "source 1 breaks the surface: its centre is 1000 m deep and its top 1232.76 m above"),
    (yang, SPHEROID, {2: -2500.0}, "depth must be positive"),
    (yang, SPHEROID, {2: math.nan}, "depth must be positive"),
    (yang, SPHEROID, {6: math.nan}, "source 1 breaks the surface"),
    (yang, SPHEROID, {4: 1600.0}, "semi_major must be at least semi_minor; source 1 has 1500 m and 1600 m"),
    (yang, SPHEROID, {4: 0.0}, "semi_minor must be positive"),
    (yang, SPHEROID, {2: 1175.0, 4: 0.5}, "source 1 is too slender for how close it comes to the surface"),
]


@pytest.mark.parametrize(("kernel", "usual", "changes", "message"), REFUSED)
def test_sources_that_cannot_be_are_refused_wherever_they_stand_in_the_batch(kernel, usual, changes, message):
    batch = sources(usual, [changes.get(column, value) for column, value in enumerate(usual)])
    axis, up = torch.linspace(-1e3, 1e3, 3, dtype=DOUBLE)[None], sources([0.0, 0.0, 1.0]).expand(2, -1)
    for call in (lambda: kernel(batch, STATIONS), lambda: KERNELS[kernel.__name__][1](batch, axis, axis, up)):
        with pytest.raises(ValueError, match=message):
            call()
