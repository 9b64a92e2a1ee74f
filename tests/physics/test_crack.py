import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from torch.autograd.functional import jacobian

from qexp.physics import crack
from qexp.physics.crack import penny
from tests.half_space import DOUBLE, STATIONS, by_moments, sources, uplifted_volume


def responses(wavenumbers, poisson_ratio):
    """Of a half-space to an axisymmetric opening and slip at depth 1, per Hankel component; shear
    modulus 1.

    returns  surface displacement (wavenumber, outward and up, opening and slip), and tractions on
             the crack

    The equations of elasticity for (outward, down, shear traction, normal traction) as a system of
    first order in depth: its matrix exponential leads from the free surface to the crack, and below
    it only decaying solutions are.
    """
    lame = 2 * poisson_ratio / (1 - 2 * poisson_ratio)
    surfaces, tractions = [], []
    for k in wavenumbers:
        stiff = lame + 2
        shear = [k**2 * (stiff - lame**2 / stiff), 0, 0, k * lame / stiff]
        matrix = np.array(
            [[0, k, 1, 0], [-lame * k / stiff, 0, 0, 1 / stiff], shear, [0, 0, -k, 0]]
        )
        _, vectors, _ = scipy.linalg.schur(matrix, sort="lhp")
        above = scipy.linalg.expm(matrix)[:, :2]
        # of roof against floor: up is minus down
        jump = np.array([[0, 1.0], [-1.0, 0], [0, 0], [0, 0]])
        solution = np.linalg.solve(np.hstack([above, -vectors[:, :2]]), jump)
        surfaces.append(np.diag([1.0, -1.0]) @ solution[:2])
        tractions.append(above[2:] @ solution[:2])
    return np.array(surfaces), np.array(tractions)


def by_galerkin(depth, poisson_ratio, stations, terms=12, panels=40):
    """Surface displacement (station, outward and up) of a crack of radius 1 under pressure 1,
    without its equations.

    Opening and slip are sums whose Hankel transforms are spherical Bessel functions, of odd and of
    even order; the sums are those that balance the pressure on the average over each of their
    terms.
    """
    points, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(0, 34 / depth, panels + 1)
    k = (edges[:-1, None] + np.diff(edges)[:, None] * (points + 1) / 2).ravel()
    dk = (np.diff(edges)[:, None] / 2 * weights).ravel()
    surface, traction = responses(k * depth, poisson_ratio)
    # What opening and slip take: pull of the faces and their shear. Those of short waves are of an
    # unbounded body.
    needed = np.stack([-traction[:, 1], traction[:, 0]], axis=1) / (k * depth)[:, None, None]
    unbounded = 1 / (2 * (1 - poisson_ratio)) * np.eye(2)
    basis = np.array([scipy.special.spherical_jn(order, k) for order in range(1, 2 * terms + 1)])
    kinds = np.stack([basis[0::2], basis[1::2]])
    system = np.einsum("kij,k,imk,jnk->imjn", needed - unbounded, dk, kinds, kinds)
    # integrals over the squares of the Bessel functions
    squares = np.pi / (2 * (2 * np.arange(1, 2 * terms + 1) + 1))
    for kind, term in np.ndindex(2, terms):
        system[kind, term, kind, term] += unbounded[kind, kind] * squares[2 * term + kind]
    system = system.reshape(2 * terms, 2 * terms)
    pressure = np.zeros(2 * terms)
    pressure[0] = 1 / 3
    spectra = np.einsum("im,imk->ik", np.linalg.solve(system, pressure).reshape(2, terms), kinds)
    outward, up = np.einsum("kij,jk->ik", surface, spectra)
    return np.array(
        [
            [scipy.special.j1(k * r) @ (outward * dk), scipy.special.j0(k * r) @ (up * dk)]
            for r in stations
        ]
    )


@pytest.mark.parametrize(
    ("depth", "poisson_ratio", "terms"),
    [(0.3, 0.25, 18), (0.5, 0.1, 14), (1.0, 0.45, 10), (3.0, 0.3, 8)],
)
def test_the_displacement_is_that_of_a_crack_solved_from_the_equations_of_elasticity(
    depth, poisson_ratio, terms
):
    radius, pressure, distances = 1500.0, 0.02, [0.0, 0.3, 1.0, 2.5]
    expected = radius * pressure * by_galerkin(depth, poisson_ratio, distances, terms)
    direction = torch.tensor([0.6, 0.8], dtype=DOUBLE)
    away = radius * torch.tensor(distances, dtype=DOUBLE)[:, None] * direction
    stations = torch.tensor([100.0, -50.0], dtype=DOUBLE) + away
    displacement = penny(
        sources([100.0, -50.0, depth * radius, radius, pressure]), stations, poisson_ratio
    )[0].numpy()
    scale = np.abs(expected).max()
    assert displacement[:, 2] == pytest.approx(expected[:, 1], abs=1e-9 * scale)
    assert displacement[:, :2] == pytest.approx(
        expected[:, :1] * direction.numpy(), abs=1e-9 * scale
    )


@pytest.mark.parametrize("poisson_ratio", [0.1, 0.25, 0.45])
def test_far_below_the_surface_a_crack_is_a_point_that_opens_by_the_volume_of_a_crack_in_an_unbounded_body(
    poisson_ratio,
):
    # Sneddon (1946), Proc. R. Soc. A 187, 229-260: 8 (1 - nu) / 3 radius^3 pressure / shear
    # modulus.
    nu, radius = poisson_ratio, 2.0
    volume = 8 * (1 - nu) / 3 * radius**3
    lame = 2 * nu / (1 - 2 * nu)
    moment = volume * torch.diag(torch.tensor([lame, lame, lame + 2], dtype=DOUBLE))
    expected = by_moments(
        moment[None], torch.tensor([[0.0, 0.0, 2000.0]], dtype=DOUBLE), STATIONS, nu
    )
    displacement = penny(sources([0.0, 0.0, 2000.0, radius, 1.0]), STATIONS, nu)[0]
    torch.testing.assert_close(displacement, expected, rtol=3e-6, atol=0)


@pytest.mark.parametrize("depth", [0.3, 1.0, 4.0])
def test_the_uplifted_volume_is_the_volume_of_the_crack(depth):
    uplifted = uplifted_volume(penny, sources([0.0, 0.0, depth, 1.0, 1.0]), 0.3)
    solved = crack._crack(torch.tensor([[depth]], dtype=DOUBLE), 64)
    volume = 2 * math.pi * (solved.node * solved.opening).sum() * 2 * (1 - 0.3)
    assert uplifted == pytest.approx(volume.item(), rel=1e-8)


def test_reflected_stress_opens_a_shallow_crack_wider_and_at_great_depth_the_opening_is_a_half_ellipse():
    deep, shallow = (
        crack._crack(torch.tensor([[depth]], dtype=DOUBLE), 32) for depth in (1e4, 0.3)
    )
    volumes = [(solved.node * solved.opening).sum().item() for solved in (deep, shallow)]
    assert volumes[0] == pytest.approx(2 / (3 * math.pi), rel=1e-10)
    assert deep.slip.abs().max() < 1e-8
    assert volumes[1] > 3 * volumes[0]


def test_above_the_centre_the_ground_only_rises_and_tilts_nowhere():
    station = torch.tensor([[0.0, 0.0]], dtype=DOUBLE)
    source = sources([0.0, 0.0, 600.0, 2000.0, 0.01])
    assert penny(source, station)[0, 0, :2].tolist() == [0, 0]
    gradient = jacobian(lambda at: penny(source, at)[0, 0], station)[:, 0]
    assert gradient[2].tolist() == [0, 0]
    assert gradient[0, 0] == gradient[1, 1] > 0


def test_shallow_cracks_are_solved_right_whatever_the_number_of_threads():
    shallow = torch.tensor([[0.1], [0.11], [0.12]], dtype=DOUBLE)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = crack._crack(shallow, 80).opening
    finally:
        torch.set_num_threads(threads)
    alone = [crack._crack(depth[None], 80).opening for depth in shallow]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("widest", "error"), [(2.5, 1e-12), (15, 1e-9), (40, 1e-8), (99, 1e-6)])
def test_cracks_between_others_are_those_that_are_solved_for_themselves(widest, error):
    away = torch.logspace(-3, 3, 60, dtype=DOUBLE)
    for radius in np.geomspace(widest / 2.4, widest, 3):
        depth = torch.tensor([[1 / radius]], dtype=DOUBLE)
        solved = crack._crack(depth, math.ceil(30 + 9 / math.asinh(1 / radius)))
        outward, up = crack._displacement(solved, away[None] ** 2)
        source = sources([0.0, 0.0, 1 / radius, 1.0, 1.0])
        moved = penny(source, torch.stack([away, 0 * away], -1), 0.5)[0]
        scale = error * up.abs().max()
        torch.testing.assert_close(moved[:, 0], (outward * away)[0], rtol=0, atol=scale)
        torch.testing.assert_close(moved[:, 2], up[0], rtol=0, atol=scale)


def test_the_widest_crack_lies_in_the_last_interval_not_in_one_of_its_own():
    [(_, displaced)] = crack._blocks(
        torch.tensor([[crack.LEAST_DEPTH]], dtype=DOUBLE), torch.zeros(1, 1, dtype=DOUBLE)
    )
    assert displaced.args[1] == crack.INTERVALS - 1


@pytest.mark.heavy
def test_the_displacement_converges_and_is_continuous_where_the_number_of_nodes_changes(
    monkeypatch,
):
    depths = torch.linspace(0.1, 3, 60, dtype=DOUBLE)
    batch = torch.stack(
        [0 * depths, 0 * depths, depths, torch.ones_like(depths), torch.ones_like(depths)], -1
    )
    stations = torch.tensor([[0.0, 0.0], [0.97, 0.0], [1.4, 0.3]], dtype=DOUBLE)
    usual = penny(batch, stations)
    monkeypatch.setattr(crack, "enough_nodes", lambda rate, dtype: torch.full(rate.shape, 320))
    scale = usual.abs().amax(dim=(1, 2), keepdim=True)
    few = slice(0, 60, 20)
    assert ((penny(batch[few], stations) - usual[few]) / scale[few]).abs().max() < 1e-10
