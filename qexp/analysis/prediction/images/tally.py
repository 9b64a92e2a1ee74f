"""What the record of a file of estimates says of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction.images.ranges import Statistic
from qexp.analysis.prediction.images.source import ImagePiece
from qexp.estimates import estimate_of
from qexp.limits import Limits

Array = NDArray[np.float32]

MISFIT, FEATURES = "misfit_p", "features_p"
"""Columns with p-values: is the image anything that the simulator could have made?"""
OF_RESIDUALS = "p-value of the residuals of the best source being the declared noise"
OF_FEATURES = "share of training samples whose features lie as far from their mean in the network"
UNLIKE = 1e-3
"""p-value below which an image is counted as unlike the simulator's."""
NAMED = 3
"""Largest number of samples without an estimate that are listed by name."""


class Tally:
    """Counts over the samples of a file, accumulated piece by piece.

    limits       output → limits of its estimates, if it has some
    with_misfit  whether p-values are among the columns
    """

    def __init__(self, limits: Mapping[str, Limits], with_misfit: bool) -> None:
        self._limits, self._with_misfit = dict(limits), with_misfit
        self.images = self.missing_count = self._outside = self._missing_pixels = 0
        self._missing: list[str] = []
        self._outside_in: dict[str, int] = {}
        self._unlike = 0
        self._at_limits = dict.fromkeys(limits, 0)
        """Output with limits → number of estimates that lie at them."""

    def add(
        self, piece: ImagePiece, estimates: Mapping[str, Array], outside: Mapping[Statistic, NDArray[np.bool_]]
    ) -> None:
        self.images += len(piece.names)
        self._missing_pixels += int(piece.missing.sum())
        missing = np.flatnonzero(piece.empty)
        self._missing += [piece.names[index] for index in missing[: max(NAMED - len(self._missing), 0)]]
        self.missing_count += len(missing)
        for one, beyond in outside.items():
            self._outside_in[str(one)] = self._outside_in.get(str(one), 0) + int(beyond.sum())
        self._outside += int(np.any(list(outside.values()), axis=0).sum())
        if self._with_misfit:
            self._unlike += int(np.sum(np.fmin(estimates[MISFIT], estimates[FEATURES]) < UNLIKE))
        for name in self._at_limits:
            self._at_limits[name] += self._limits[name].reached(estimates[estimate_of(name)])

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it."""
        return {
            "images": self.images,
            "outside": self._outside,
            "outside_in": {name: count for name, count in self._outside_in.items() if count},
            "missing_pixels": self._missing_pixels,
            "missing": self._missing,
            "missing_count": self.missing_count,
            **({"unlike": self._unlike} if self._with_misfit else {}),
            **({"at_limits": self._at_limits} if self._at_limits else {}),
        }
