"""From where true values lie in their posteriors to what is said of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.calibration.observing import Block
from qexp.analysis.calibration.placing import HIGH, LOW, MEDIAN, Draws, Placed, Prior
from qexp.metrics.calibration import (
    Cells,
    Coverage,
    Uniformity,
    cells,
    cells_along,
    central_levels,
    coverages,
    trend,
    uniformity,
)
from qexp.runs.record.calibration import (
    INTERVAL,
    CellShare,
    CoverageShare,
    ExactComparison,
    LocalCoverage,
    OutputCalibration,
    Regions,
)
from qexp.seeds import Seeds

Array = NDArray[np.float64]

Ratios = Mapping[str, Any]
"""`width_ratio`: a `WidthRatio`, or `bound_ratio`: a `BoundRatio`; empty if neither is known."""


class Beside(Protocol):
    """Comparison of posteriors with what is known of the right ones."""

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among those to compare."""

    def ratios(self, seeds: Seeds) -> Sequence[Ratios]:
        """Of the widths of each output."""

    def recorded(self) -> ExactComparison | None:
        """What is recorded of the comparison with exact posteriors, if it is one."""


class Judged:
    """The statistics of outputs whose true values were placed in their posteriors."""

    def __init__(self, names: Sequence[str], placed: Placed, prior: Prior) -> None:
        self.names, self.placed, self.prior = list(names), placed, prior
        self.estimates = prior.shares(placed.quantiles[:, :, MEDIAN])
        """(observation, output), share of the prior below the posterior median."""
        self.truth = prior.shares(placed.truth)

    @cached_property
    def ranks(self) -> list[Uniformity]:
        """Of each output."""
        return [uniformity(column) for column in self.placed.positions.T]

    @cached_property
    def local(self) -> list[Local]:
        """Of each output."""
        return [self._local(place) for place in range(len(self.names))]

    @cached_property
    def regions(self) -> dict[str, Uniformity]:
        """`balls`, and `density` where densities are known."""
        levels = {"density": self.placed.density, "balls": self.placed.balls}
        return {name: uniformity(of) for name, of in levels.items() if len(of)}

    def central(self, place: int) -> Array:
        """The probability in the smallest central interval of an output that holds the truth, (observation,)."""
        return central_levels(self.placed.positions[:, place])

    def output(self, place: int, unit: str, ratios: Ratios) -> OutputCalibration:
        """What is recorded of an output; `ratios` of its widths, see `Beside`."""
        of, quantiles = self.placed.positions[:, place], self.placed.quantiles[:, place]
        return OutputCalibration(
            unit=unit,
            p_value=self.ranks[place].p_value,
            mean_position=float(of.mean()),
            spread=float(12 * np.square(of - 0.5).mean()),
            width=float(np.median(quantiles[:, HIGH] - quantiles[:, LOW])),
            coverage=_shares(coverages(self.central(place))),
            local=self._described(self.local[place]),
            **ratios,
        )

    def recorded(self, region: str) -> Regions | None:
        """What is recorded of regions of all outputs, `balls` or `density`; None where that is unknown."""
        if region not in self.regions:
            return None
        levels = getattr(self.placed, region)
        return Regions(p_value=self.regions[region].p_value, coverage=_shares(coverages(levels)))

    def _local(self, place: int) -> Local:
        """In cells of the output's own estimates and of those of the output that its coverage depends on most."""
        inside = self.central(place) <= INTERVAL
        others = [other for other in range(len(self.names)) if other != place]
        pairs = {other: trend(inside, self.estimates[:, [place, other]]) for other in others}
        axes = sorted([place, *([min(pairs, key=pairs.__getitem__)] if pairs else [])])
        number = cells_along(len(inside), len(axes), INTERVAL)
        by_estimates = cells(inside, self.estimates[:, axes], number, INTERVAL)
        by_truth = cells(inside, self.truth[:, axes], number, INTERVAL)
        return Local(axes, by_estimates, by_truth, trend(inside, self.estimates))

    def _described(self, local: Local) -> LocalCoverage:
        wrong, shares = local.by_estimates.wrong, local.by_estimates.share
        known = bool(np.isfinite(shares).any())
        return LocalCoverage(
            axes=tuple(self.names[place] for place in local.axes),
            cells=int(np.sum(~local.by_estimates.few)),
            narrow=int(np.sum(wrong < 0)),
            wide=int(np.sum(wrong > 0)),
            p_value=local.trend,
            fewest=self._cell(local, int(np.nanargmin(shares))) if known else None,
            most=self._cell(local, int(np.nanargmax(shares))) if known else None,
        )

    def _cell(self, local: Local, number: int) -> CellShare:
        """A cell by its number among all, in rows."""
        found = local.by_estimates
        cell = np.unravel_index(number, found.count.shape)
        between = {}
        for place, index, size in zip(local.axes, cell, found.count.shape, strict=True):
            low, high = self.prior.values(place, np.array([index, index + 1]) / size)
            between[self.names[place]] = float(low), float(high)
        return CellShare(share=float(found.share[cell]), observations=int(found.count[cell]), between=between)


@dataclass(frozen=True)
class Local:
    """The coverage of an output's intervals in cells.

    axes          places of the outputs whose estimates, or true values, are the axes of the cells
    by_estimates  calibrated intervals hold their share in every cell
    by_truth      calibrated intervals do not: fewer at the ends of the prior
    trend         p-value of the hypothesis that it does not depend on the estimates
    """

    axes: list[int]
    by_estimates: Cells
    by_truth: Cells
    trend: float


def _shares(found: Sequence[Coverage]) -> tuple[CoverageShare, ...]:
    return tuple(
        CoverageShare(probability=one.probability, share=one.share, expected=one.expected, p_value=one.p_value)
        for one in found
    )
