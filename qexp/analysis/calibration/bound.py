"""Widths of intervals beside the Cramér–Rao bound, where exact posteriors are not computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from qexp.analysis.calibration.observing import PURPOSE, Block
from qexp.analysis.calibration.placing import Draws, Prior
from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.bounds import Bounds, bounds_of_samples
from qexp.analysis.matrix.refinement import Refinement
from qexp.errors import QexpError
from qexp.metrics.calibration import relative_width, widths
from qexp.runs.record.calibration import INTERVAL, WELL_ABOVE, BoundRatio
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import DeformationImages

Array = NDArray[np.float64]

MOST = 200
"""Observations whose bounds are computed."""

FEW = 30
"""As many of a block if more than that many have noise of their own, whose covariance is then factored for each."""

DEVIATIONS = 2 * norm.ppf((1 + INTERVAL) / 2)
"""Width of the interval of a normal density, in its standard deviations: 3.29 of 90 %."""


class BesideBound:
    """Comparison of the first observations with the bounds at their true values.

    The bound is that of all parameters of the sources that vary and are no inputs of the network. It is the width of
    posteriors where the signal is strong: it is asymptotic, and knows no prior. Observations with a signal-to-noise
    ratio below `WELL_ABOVE` are left out.

    names  outputs, in the order of the draws
    known  the network's inputs
    """

    def __init__(self, dataset: GeneratedDataset, names: Sequence[str], known: Collection[str]) -> None:
        self.names, self.compared = list(names), 0
        self._own: list[Array] = []
        self._bounds: list[Array] = []
        self._likelihood: Refinement | None = None
        generator = dataset.generator
        if not isinstance(generator, DeformationImages):
            return
        columns = {name for source in generator.sources for name in source.columns}
        self._unknown = [name for name in dataset.test if name in columns and name not in known]
        self._given = [name for name in dataset.test if name not in self._unknown]
        if set(names) - set(self._unknown):  # such as a noise level, which has no place in this bound
            return
        axes = [MatrixAxis(name, 0.0, 1.0, 1) for name in self._given]
        try:
            self._likelihood = Refinement(dataset, axes, dataset.fixed, self._unknown)
        except QexpError:  # noise without a known likelihood: then there is no bound
            return

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among the first."""
        count = min(max(MOST - block.start, 0), len(draws.values))
        if not count or self._likelihood is None:
            return
        try:
            found = self._bounds_of(self._likelihood, block, count)
        except QexpError:  # a covariance that cannot be factored
            self._likelihood = None
            return
        self.compared += len(found.signal)
        self._take(draws.values[: len(found.signal)], found)

    def _bounds_of(self, likelihood: Refinement, block: Block, count: int) -> Bounds:
        """Of the first observations of a block."""
        samples = {name: of[:count].cpu() for name, of in block.samples.items()}
        given, truth = ({name: block.values[name][:count] for name in names} for names in (self._given, self._unknown))
        if count > FEW and len(list(likelihood.alike(samples, given))) > FEW:
            return self._bounds_of(likelihood, block, FEW)
        return bounds_of_samples(likelihood, samples, given, truth)

    def _take(self, values: Array, found: Bounds) -> None:
        of_outputs = np.stack([found.deviations[name] for name in self.names], axis=1)
        taken = (found.signal >= WELL_ABOVE) & np.isfinite(of_outputs).all(axis=1)
        own = np.stack([widths(values[:, :, place], INTERVAL) for place in range(len(self.names))], axis=1)
        self._own.append(own[taken])
        self._bounds.append(DEVIATIONS * of_outputs[taken])

    def ratios(self, seeds: Seeds) -> list[dict[str, BoundRatio]]:
        """Of each output; empty without an observation to compare."""
        if self._likelihood is None or not sum(map(len, self._own)):
            return [{} for _ in self.names]
        own, bounds, found = np.concatenate(self._own), np.concatenate(self._bounds), list[dict[str, BoundRatio]]()
        for place, name in enumerate(self.names):
            ratio = relative_width(own[:, place], bounds[:, place], seeds.numpy(PURPOSE, "bounds", name))
            made = BoundRatio(median=ratio.median, interval=ratio.interval, observations=ratio.count, of=self.compared)
            found.append({"bound_ratio": made})
        return found

    def recorded(self) -> None:
        """Nothing: it is no comparison with exact posteriors."""
