"""Weights by the full covariance of the noise, with the offset and the ramp of each track solved
exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.observations.noise import MOST_CORRELATED, covariance_matrix
from qexp.observations.observation import CorrelatedNoise, Track

LEAST_INDEPENDENT = 10 * np.finfo(np.float64).eps
"""Share, per point of a track, of a point's variance that those before it must leave; rounding
errors are as large.
"""


@dataclass(frozen=True)
class Block:
    """Points whose noise is independent of that of all others: those of a track.

    name        of the track
    error       (point,)         standard deviation of the noise that is independent from point to
                                 point [m]
    covariance  (point, point)   of all noise, where it is correlated [m²]; None: that of the
                                 independent noise alone
    nuisances   (point, column)  what is added in any amount to the displacement, such as a constant
    words       name of each column
    """

    name: str
    error: Array
    covariance: Array | None
    nuisances: Array
    words: tuple[str, ...] = ()

    @property
    def variance(self) -> Array:
        """Of all noise, (point,) [m²]."""
        return self.error**2 if self.covariance is None else self.covariance.diagonal()

    def select(self, points: NDArray[np.int64]) -> Block:
        """Some of the points."""
        covariance = None if self.covariance is None else self.covariance[np.ix_(points, points)]
        nuisances = self.nuisances[points]
        return replace(self, error=self.error[points], covariance=covariance, nuisances=nuisances)

    def with_error(self, deviation: float | Array) -> Block:
        """The block with further independent noise of this standard deviation, or these [m]."""
        total = self.covariance
        if total is not None:
            total = total + np.diag(np.full(len(total), deviation**2))
        return replace(self, error=np.hypot(self.error, deviation), covariance=total)

    def with_errors(self, errors: Array) -> Block:
        """The block with further errors, whose covariance is the sum of products of these samples,
        (sample, point) [m].

        Raises QexpError for more points than can be weighted by a full covariance.
        """
        _require_few(self.name, len(self.error))
        total = np.diag(self.error**2) if self.covariance is None else self.covariance
        return replace(self, covariance=total + errors.T @ errors)


class Weighting:
    """Residuals of all points → residuals of unit variance, without what nuisances explain.

    With C = L Lᵀ the covariance of a block and A its nuisances, a residual r becomes P L⁻¹ r, where
    P takes away all that the columns of L⁻¹A span. The sum of squares is then that of r − A b with
    the best b: nuisances need no iteration (Golub and Pereyra 1973, for nuisances that do not
    depend on other parameters).
    Raises QexpError for a covariance that is not positive definite, and for nuisances that points
    cannot tell apart.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        ends = np.cumsum([len(block.error) for block in blocks]).tolist()
        self.slices = [
            slice(end - len(block.error), end) for end, block in zip(ends, blocks, strict=True)
        ]
        self.nuisances = sum(block.nuisances.shape[1] for block in blocks)
        """Number of all columns of nuisances."""
        factors = [_factor(block) for block in blocks]
        pairs = zip(self.slices, blocks, factors, strict=True)
        self._parts = [(where, factor, *_basis(block, factor)) for where, block, factor in pairs]
        """Of each block its points, its factor, and the basis and the triangle of its nuisances."""

    @property
    def log_determinant(self) -> float:
        """Of the covariance of all blocks, by which likelihoods of different covariances differ."""
        diagonals = (
            factor if factor.dim() == 1 else factor.diagonal() for _, factor, *_ in self._parts
        )
        return sum(2 * float(diagonal.log().sum()) for diagonal in diagonals)

    @property
    def log_volume(self) -> float:
        """Logarithm of the determinants of the covariance and of AᵀC⁻¹A, by which likelihoods that
        are integrated over nuisances differ.
        """
        triangles = (triangle.diagonal() for *_, triangle in self._parts)
        return self.log_determinant + sum(2 * float(t.abs().log().sum()) for t in triangles)

    def with_errors(self, errors: Tensor) -> Weighting:
        """The weighting with further errors, whose samples are (sample, point) [m]; see
        `Block.with_errors`.
        """
        pairs = zip(self.blocks, self.slices, strict=True)
        return Weighting([block.with_errors(errors[:, where].numpy()) for block, where in pairs])

    def select(self, points: Sequence[NDArray[np.int64]]) -> Weighting:
        """The weighting of some points of each block."""
        pairs = zip(self.blocks, points, strict=True)
        return Weighting([block.select(some) for block, some in pairs])

    def with_nuisances(self, number: int, columns: Tensor, words: Sequence[str]) -> Weighting:
        """The weighting with further nuisances of a block, (column, point)."""
        changed = copy(self)
        block = self.blocks[number]
        more = np.concatenate([block.nuisances, columns.mT.numpy()], axis=1)
        block = replace(block, nuisances=more, words=(*block.words, *words))
        changed.blocks = (*self.blocks[:number], block, *self.blocks[number + 1 :])
        parts = [*self._parts]
        where, factor, *_ = parts[number]
        parts[number] = (where, factor, *_basis(block, factor))
        changed._parts = parts
        changed.nuisances = self.nuisances + len(columns)
        return changed

    def __call__(self, values: Tensor) -> Tensor:
        """Weighted values, without nuisances, of (..., point)."""
        pairs = enumerate(self.slices)
        parts = [self.of_block(number, values[..., where]) for number, where in pairs]
        return torch.cat(parts, dim=-1)

    def of_block(self, number: int, values: Tensor) -> Tensor:
        """Weighted values of a single block, likewise."""
        _, factor, basis, _ = self._parts[number]
        whitened = _whitened(values, factor)
        return whitened - (whitened @ basis) @ basis.mT if basis.shape[1] else whitened

    def coloured(self, weighted: Tensor) -> Tensor:
        """L times weighted values, (row, point): residuals again, but for nuisances [m]."""
        parts = []
        for where, factor, *_ in self._parts:
            rows = weighted[:, where]
            parts.append(rows * factor if factor.dim() == 1 else rows @ factor.mT)
        return torch.cat(parts, dim=-1)

    def adjoint(self, weighted: Tensor) -> Tensor:
        """L⁻ᵀ times weighted values, (row, point): of the weighted Jacobian, how estimates depend
        on the data.
        """
        parts = []
        for where, factor, *_ in self._parts:
            rows = weighted[:, where]
            if factor.dim() == 1:
                parts.append(rows / factor)
            else:
                parts.append(torch.linalg.solve_triangular(factor.mT, rows.mT, upper=True).mT)
        return torch.cat(parts, dim=-1)

    def solved(self, residuals: Tensor) -> list[Tensor]:
        """The best amounts of each block's nuisances, (..., column), for data minus model, (...,
        point).
        """
        amounts = []
        for where, factor, basis, triangle in self._parts:
            projected = (_whitened(residuals[..., where], factor) @ basis)[..., None]
            solved = torch.linalg.solve_triangular(triangle, projected, upper=True)
            amounts.append(solved[..., 0])
        return amounts

    def simulated(
        self, models: Tensor, data: Tensor, levels: Tensor, random: torch.Generator
    ) -> Tensor:
        """Data that could be seen in place of `data`, (draw, point) [m]: models with noise, and
        with nuisances.

        models  (draw, point) [m]
        levels  (draw,)  factors of the errors
        Amounts of the nuisances are drawn given `data` and the model, under a uniform prior.
        """
        drawn = models.clone()
        amounts = self.solved(data - models)
        for block, (where, factor, _, triangle), amount in zip(
            self.blocks, self._parts, amounts, strict=True
        ):
            scatter, noise = (
                torch.randn(len(models), size, generator=random, dtype=models.dtype)
                * levels[:, None]
                for size in (len(triangle), len(block.error))
            )
            amount = amount + torch.linalg.solve_triangular(triangle, scatter.mT, upper=True).mT
            drawn[:, where] += amount @ torch.from_numpy(block.nuisances).double().mT
            drawn[:, where] += noise * factor if factor.dim() == 1 else noise @ factor.mT
        return drawn

    def variances(self, jacobian: Tensor, of_parameters: Tensor) -> list[Tensor]:
        """Variances of the nuisances' amounts, (column,) per block.

        jacobian       (parameter, point)      derivatives of the model [m per unit]
        of_parameters  (parameter, parameter)  their covariance
        """
        variances = []
        for (*_, triangle), changes in zip(self._parts, self.solved(jacobian), strict=True):
            unit = torch.eye(len(triangle), dtype=triangle.dtype)
            inverse = torch.linalg.solve_triangular(triangle, unit, upper=True)
            propagated = torch.einsum("pc,pq,qc->c", changes, of_parameters, changes)
            variances.append(inverse.square().sum(dim=1) + propagated)
        return variances


def track_block(track: Track, offset: bool, ramp: bool) -> Block:
    """The block of a track whose points all count, with the nuisances that its instrument has.

    The ramp is in metres per kilometre east and north of the mean of the points.
    """
    columns = dict[str, Array]()
    if offset and "offset" in track.instrument.nuisances:
        columns["offset"] = np.ones(len(track.x))
    if ramp and "ramp" in track.instrument.nuisances:
        columns["ramp_east"] = (track.x - track.x.mean()) / 1e3
        columns["ramp_north"] = (track.y - track.y.mean()) / 1e3
    words = tuple(columns)
    nuisances = np.zeros((len(track.x), len(columns)))
    for number, column in enumerate(columns.values()):
        nuisances[:, number] = column
    if track.noise is None or track.noise.sill == 0:
        return Block(track.name, track.error, None, nuisances, words)
    _require_few(track.name, len(track.x))
    covariance = correlated_part(track, track.noise)
    covariance[np.diag_indices_from(covariance)] += track.error**2
    return Block(track.name, track.error, covariance, nuisances, words)


def correlated_part(track: Track, noise: CorrelatedNoise) -> Array:
    """The covariance of a noise between points, or components of stations, (point, point) [m²]."""
    covariance = covariance_matrix(track, noise)
    if not track.instrument.imaging:
        covariance *= track.direction @ track.direction.T
    return covariance


def _require_few(track: str, points: int) -> None:
    if points > MOST_CORRELATED:
        raise QexpError(
            f"track '{track}' has {points:,} points with correlated errors; at most"
            f" {MOST_CORRELATED:,} can be weighted by their full covariance: reduce them first with"
            " qexp observe --reduce"
        )


def _factor(block: Block) -> Tensor:
    """The errors of a block, (point,), or the lower Cholesky factor of its covariance, (point,
    point).
    """
    if block.covariance is None:
        return torch.from_numpy(block.error).double()
    total = torch.from_numpy(block.covariance).double()
    # numpy asks for large pages of memory, torch does not: that takes twice the time for thousands
    # of points.
    factor = torch.from_numpy(np.empty(total.shape)).mT
    failed = torch.zeros((), dtype=torch.int32)
    torch.linalg.cholesky_ex(total, out=(factor, failed))
    independent = factor.diagonal().square() / total.diagonal()
    # In exact arithmetic a pivot would be 0 where rounding errors leave a positive one, by which
    # all would be divided.
    least = LEAST_INDEPENDENT * len(independent)
    worst = int(failed) or (int(independent.argmin()) + 1 if independent.min() < least else 0)
    if worst:
        raise QexpError(
            f"track '{block.name}': the covariance of its noise is not positive definite: point"
            f" {worst} is determined by those before it; give points that lie close together a"
            " larger independent error (nugget)"
        )
    return factor


def _whitened(values: Tensor, factor: Tensor) -> Tensor:
    """L⁻¹ times (..., point)."""
    if factor.dim() == 1:
        return torch.div(values, factor)
    rows = values.reshape(-1, values.shape[-1])
    solved: Tensor = torch.linalg.solve_triangular(factor, rows.mT, upper=False)
    return solved.mT.reshape(values.shape)


def _basis(block: Block, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Q, (point, column), and R, (column, column), of the whitened nuisances."""
    columns = torch.from_numpy(block.nuisances).double()
    if not columns.shape[1]:
        return columns, columns.new_zeros(0, 0)
    basis, triangle = torch.linalg.qr(_whitened(columns.mT, factor).mT)
    diagonal = triangle.diagonal().abs()
    if triangle.shape[0] < triangle.shape[1] or bool(
        (diagonal <= 1e-9 * triangle.norm(dim=0)).any()
    ):
        raise QexpError(
            f"track '{block.name}': its {len(columns)} points cannot separate"
            f" {' and '.join(block.words)}; they lie on a line or are too few; leave out `ramps` or"
            " `offsets`"
        )
    return basis, triangle


LEAST_SHARE = 0.03
"""Of the sill, which the middle of an estimated nugget's prior is at least: semivariograms whose
points are far apart give next to none, whatever the noise.
"""


def raised_nugget(track: Track, noise: CorrelatedNoise) -> tuple[float, float]:
    """The middle of the prior of a track's nugget [m²], and its ratio to that of the errors."""
    count = np.ones(len(track.x)) if track.count is None else track.count
    nugget = float(np.mean(count * track.error**2))
    middle = max(nugget, LEAST_SHARE * noise.sill * noise.estimated)
    return middle, middle / nugget
