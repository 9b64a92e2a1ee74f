"""Green's function of an elastic half-space, to test sources against; depth counts downwards, as
the third axis does.

Mindlin (1936), Physics 7, 195-202: the displacement by a point force inside, with a shear modulus
of 1.
"""

import math

import numpy as np
import torch
from torch.autograd.functional import jacobian

DOUBLE = torch.float64
STATIONS = torch.tensor(
    [[0.0, 0.0], [1200.0, 500.0], [-3000.0, 2500.0], [400.0, -1800.0]], dtype=DOUBLE
)


def sources(*rows):
    return torch.tensor(rows, dtype=DOUBLE)


def uplifted_volume(kernel, source, poisson_ratio, scale=1.0):
    """What the surface rises by, by rings around the origin out to infinity, about as many within
    `scale` as beyond.
    """
    node, weight = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(100))
    angle, azimuth = (node + 1) * math.pi / 4, torch.arange(64, dtype=DOUBLE) * math.pi / 32
    radius, width = scale * angle.tan(), scale * weight * math.pi / 4 / angle.cos() ** 2
    stations = radius[:, None, None] * torch.stack([azimuth.cos(), azimuth.sin()], -1)
    up = kernel(source, stations.flatten(0, 1), poisson_ratio)[0, :, 2].unflatten(
        0, stations.shape[:2]
    )
    return (2 * math.pi * radius * width * up.mean(1)).sum().item()


def greens_function(receiver, force_at, poisson_ratio):
    """(..., 3, 3) displacement i by a unit force j; points are (..., 3) east, north, depth."""
    return full_space(receiver, force_at, poisson_ratio) + image(receiver, force_at, poisson_ratio)


def full_space(receiver, force_at, poisson_ratio):
    """Kelvin's solution."""
    offset = receiver - force_at
    distance = offset.norm(dim=-1)[..., None, None]
    isotropic = (3 - 4 * poisson_ratio) * torch.eye(3, dtype=offset.dtype) / distance
    directed = offset[..., :, None] * offset[..., None, :] / distance**3
    return (isotropic + directed) / (16 * math.pi * (1 - poisson_ratio))


def image(receiver, force_at, poisson_ratio):
    """What the free surface adds to Kelvin's solution; smooth everywhere below it."""
    nu = poisson_ratio
    x, y = (receiver - force_at)[..., :2].unbind(-1)
    z, c = receiver[..., 2], force_at[..., 2]
    r = torch.sqrt(x**2 + y**2 + (z + c) ** 2)
    s, m, n = r + z + c, 3 - 4 * nu, 4 * (1 - nu) * (1 - 2 * nu)

    def along(x):
        return (
            1 / r
            + m * x**2 / r**3
            + 2 * c * z / r**3 * (1 - 3 * x**2 / r**2)
            + n / s * (1 - x**2 / (r * s))
        )

    across = x * y * (m / r**3 - 6 * c * z / r**5 - n / (r * s**2))
    down_by_horizontal = m * (z - c) / r**3 - 6 * c * z * (z + c) / r**5 + n / (r * s)
    outward_by_down = m * (z - c) / r**3 + 6 * c * z * (z + c) / r**5 - n / (r * s)
    down = (
        (8 * (1 - nu) ** 2 - m) / r
        + (m * (z + c) ** 2 - 2 * c * z) / r**3
        + 6 * c * z * (z + c) ** 2 / r**5
    )
    rows = [
        [along(x), across, x * outward_by_down],
        [across, along(y), y * outward_by_down],
        [x * down_by_horizontal, y * down_by_horizontal, down],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2) / (
        16 * math.pi * (1 - nu)
    )


def by_moments(moments, at, stations, poisson_ratio):
    """Surface displacement (..., station, 3), up positive, by moment tensors (..., source, 3, 3) at
    points (source, 3).
    """

    def displacement(at):
        receivers = torch.cat([stations, torch.zeros_like(stations[:, :1])], dim=-1)
        return greens_function(receivers[:, None, :], at, poisson_ratio).sum(dim=1)

    # A source moves its own term of the sum alone, so that one pass gives the derivatives for all.
    gradient = jacobian(displacement, at, vectorize=True)
    down = torch.einsum("nijsk,...sjk->...ni", gradient, moments)
    return down * torch.tensor([1.0, 1.0, -1.0], dtype=at.dtype)


def stress(strain, poisson_ratio):
    """Hooke's law with a shear modulus of 1."""
    lame = 2 * poisson_ratio / (1 - 2 * poisson_ratio)
    return lame * strain.trace() * torch.eye(3, dtype=strain.dtype) + 2 * strain
