"""What is counted and drawn of the spectra in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction.spectra.sources import SpectrumPiece
from qexp.analysis.prediction.trained import BeyondTraining, TrainedRange
from qexp.figures.canvas import save
from qexp.figures.cores import Estimates, down_core
from qexp.limits import Limits

DRAWN = 10_000
"""Largest number of points in a figure."""
NAMED = 3
"""Largest number of spectra without an estimate that are listed by name."""


class Thinned:
    """An evenly spaced selection of spectra: all at first, then every second, every fourth, and so on.

    most  largest number of spectra that are kept
    """

    def __init__(self, most: int) -> None:
        self._most, self._every, self._seen = most, 1, 0
        self.cores: list[str] = []
        self.numbers: list[tuple[float, ...]] = []
        """Depth, then the estimates."""

    def add(self, cores: Sequence[str], depths: NDArray[np.float64], estimates: NDArray[np.floating]) -> None:
        for index in range(-self._seen % self._every, len(cores), self._every):
            self.cores.append(cores[index])
            self.numbers.append((float(depths[index]), *map(float, estimates[index])))
        self._seen += len(cores)
        while len(self.cores) > self._most:
            self.cores, self.numbers, self._every = self.cores[::2], self.numbers[::2], 2 * self._every


class Tally:
    """Counts and points of the figures, accumulated piece by piece."""

    def __init__(
        self, outputs: Mapping[str, str], limits: Mapping[str, Limits], trained: Mapping[str, TrainedRange]
    ) -> None:
        self._outputs, self._limits, self._beyond = dict(outputs), dict(limits), BeyondTraining(trained)
        self.spectra = self.missing_count = 0
        self.missing: list[str] = []
        self.at_limits = dict.fromkeys(limits, 0)
        """Output with limits → number of estimates that lie at them."""
        self._drawn = Thinned(DRAWN)

    def add(self, piece: SpectrumPiece, columns: NDArray[np.floating]) -> NDArray[np.int16]:
        """Add estimates with the ends of their intervals, as `SpectrumModel.estimate` gives them. Returns the number of
        each spectrum's estimates outside the range of the training data.
        """
        estimates = columns[:, :: columns.shape[1] // len(self._outputs)]
        missing = np.flatnonzero(~np.isfinite(estimates).all(axis=1))
        self.missing += [piece.names[index] for index in missing[: max(NAMED - len(self.missing), 0)]]
        self.missing_count += len(missing)
        self.spectra += len(piece.names)
        for name, values in zip(self._outputs, estimates.T, strict=True):
            if name in self.at_limits:
                self.at_limits[name] += self._limits[name].reached(values)
        self._drawn.add(piece.cores, piece.depths, columns)
        return self._beyond.add(dict(zip(self._outputs, estimates.T, strict=True)), len(piece.names))

    def document(self) -> dict[str, Any]:
        """For the record of the file."""
        counts = {"spectra": self.spectra, "missing": self.missing, "missing_count": self.missing_count}
        return counts | self._beyond.document() | ({"at_limits": self.at_limits} if self.at_limits else {})

    def draw(self, target: Path, depth_unit: str, caution: str, interval: str) -> list[Path]:
        """Draw a figure for each output, with the estimates along each core; returns their files.

        target    the file of estimates, which they are named after
        caution   of the run; empty without one
        interval  what the intervals promise, in words; empty without any
        """
        depths, *columns = np.array(self._drawn.numbers).T
        each, drawn = len(columns) // len(self._outputs), []
        for place, (name, unit) in enumerate(self._outputs.items()):
            values, *ends = columns[place * each : (place + 1) * each]
            path = target.with_suffix(".png")
            if len(self._outputs) > 1:
                path = path.with_stem(f"{path.stem}_{name}")
            band = (ends[0], ends[1]) if ends else None
            profiles = Estimates(name, unit, self._drawn.cores, depths, values, None, depth_unit, band)
            save(down_core(profiles, caution, interval), path)
            drawn.append(path)
        return drawn
