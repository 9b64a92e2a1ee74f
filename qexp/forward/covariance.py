"""Covariance functions: the covariance of a stationary, isotropic field between two points, by their distance.

distance  any shape, any floating type  [m], not negative
sill      the field's variance          [m2]; a partial sill where a nugget is added to it
returns   like `distance`               [m2]

The semivariogram that belongs to each is sill - covariance.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.special
import torch
from torch import Tensor


def exponential(distance: Tensor, sill: float, correlation_range: float) -> Tensor:
    """sill · exp(-distance / range); at a distance of one range it has fallen to 1/e.

    Chilès and Delfiner (2012), Geostatistics, section 2.5. The "practical range", to 5 % of the sill, is three ranges.
    """
    return sill * torch.exp(-distance / correlation_range)


def gaussian(distance: Tensor, sill: float, correlation_range: float) -> Tensor:
    """sill · exp(-(distance / range)²); at a distance of one range it has fallen to 1/e.

    Chilès and Delfiner (2012), Geostatistics, section 2.5. Fields are so smooth that the matrix is singular to rounding
    where the points are dense; it needs a nugget to be inverted.
    """
    return sill * torch.exp(-((distance / correlation_range) ** 2))


def von_karman(distance: Tensor, sill: float, outer_scale: float, hurst: float) -> Tensor:
    """sill · 2^(1-H) / Γ(H) · (distance / L)^H · K_H(distance / L), of a power-law spectrum that has an outer scale L.

    outer_scale  L [m]; the field is self-affine at much smaller distances, and uncorrelated at much larger ones
    hurst        H, 0 < H < 1; the power spectrum is proportional to (1 + (kL)²)^-(H + 1) in two dimensions, to
                 (1 + (kL)²)^-(H + 1/2) along a line, and the semivariogram grows with distance^(2H)

    Von Kármán (1948), Proc. Natl. Acad. Sci. 34, 530-539; Goff and Jordan (1988), J. Geophys. Res. 93, 13589-13608.
    """
    scaled = np.atleast_1d(distance.detach().double().cpu().numpy()) / outer_scale
    values = np.full(scaled.shape, sill)
    apart = scaled > 0
    values[apart] *= (
        2 ** (1 - hurst) / math.gamma(hurst) * scaled[apart] ** hurst * scipy.special.kv(hurst, scaled[apart])
    )
    return torch.from_numpy(values).to(distance).view(distance.shape)


def von_karman_sill(difference: float, distance: float, outer_scale: float, hurst: float) -> float:
    """The sill of a `von_karman` field whose values at two points `distance` apart differ by `difference`.

    difference  standard deviation of the difference [m]; its square is twice the semivariogram
    """
    correlation = von_karman(torch.tensor(distance, dtype=torch.float64), 1.0, outer_scale, hurst).item()
    return difference**2 / (2 * (1 - correlation))
