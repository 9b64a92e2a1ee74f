"""Fisher information of deformation: how well data determine the parameters of a source, whatever the estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from qexp.estimation.problem import Problem


def covariances(information: Tensor) -> Tensor:
    """The inverse of each matrix of information, (..., coordinate, coordinate).

    Infinite where a coordinate is not determined.
    """
    unit = information.diagonal(dim1=-2, dim2=-1).sqrt()
    of_units = unit[..., :, None] * unit[..., None, :]
    inverse, failed = torch.linalg.inv_ex(information / of_units)
    positive = (inverse.diagonal(dim1=-2, dim2=-1) > 0).all(dim=-1)
    found: Tensor = (inverse / of_units).masked_fill(((failed != 0) | ~positive)[..., None, None], torch.inf)
    return found


def bounds(problem: Problem, values: Tensor) -> tuple[Tensor, Tensor]:
    """The Cramér–Rao bound at true values: the least standard deviation of unbiased estimates.

    Of Gaussian noise with covariance C and a model with Jacobian J by the free parameters, it is the root of the
    diagonal of (JᵀC⁻¹J)⁻¹; nuisances count as unknowns (Kay 1993, Fundamentals of Statistical Signal Processing I,
    eq. 3.31).

    values   (problem, parameter)  true values of all parameters in SI units
    returns  (problem, free parameter) in SI units, infinite where the data do not determine it; and the
             signal-to-noise ratio, (problem,): the root of χ² of the displacement that nuisances do not explain
    """
    coordinates = problem.coordinates.of(values)
    model, slopes = problem.derivatives(coordinates)
    weighted = problem.weighting(torch.cat([model[:, None], slopes], dim=1))
    signal, jacobian = weighted[:, 0], weighted[:, 1:]
    variances = covariances(jacobian @ jacobian.mT).diagonal(dim1=-2, dim2=-1)
    return variances.sqrt() * problem.coordinates.slopes(coordinates).abs(), signal.norm(dim=-1)
