"""What the record of a file of estimates says of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.misfit.features import UNUSUAL
from qexp.analysis.prediction.images.posteriors import DOUBTED
from qexp.analysis.prediction.images.ranges import Statistic
from qexp.analysis.prediction.images.source import ImagePiece
from qexp.analysis.prediction.trained import BeyondTraining, TrainedRange
from qexp.estimates import estimate_of
from qexp.limits import Limits

Array = NDArray[np.float32]

MISFIT, FEATURES = "misfit_p", "features_p"
"""Columns with p-values: is the image anything that the simulator could have made?"""
OF_RESIDUALS = "p-value of the residuals of the best source being the declared noise"
OF_FEATURES = "share of training samples whose features lie as far from their mean in the network"
UNLIKE = 1e-3
"""p-value of residuals below which an image is counted as unlike the simulator's; of features, UNUSUAL."""
HARDLY = f"residuals with p < {UNLIKE:g} or features with p < {UNUSUAL:g}"
NAMED = 3
"""Largest number of samples without an estimate that are listed by name."""


class Tally:
    """Counts over the samples of a file, accumulated piece by piece.

    limits       output → limits of its estimates, if it has some
    trained      output → where its training data lie
    with_misfit  whether p-values are among the columns
    """

    def __init__(self, limits: Mapping[str, Limits], trained: Mapping[str, TrainedRange], with_misfit: bool) -> None:
        self._limits, self._with_misfit = dict(limits), with_misfit
        self.images = self.missing_count = self._outside = self._missing_pixels = 0
        self._missing: list[str] = []
        self._outside_in: dict[str, int] = {}
        self._unlike = self._doubted = 0
        self._beyond = BeyondTraining(trained)
        self._at_limits = dict.fromkeys(limits, 0)
        """Output with limits → number of estimates that lie at them."""

    def add(
        self, piece: ImagePiece, estimates: Mapping[str, Array], outside: Mapping[Statistic, NDArray[np.bool_]]
    ) -> NDArray[np.int16]:
        """Add a piece; returns the number of each sample's estimates that lie beyond the training data."""
        self.images += len(piece.names)
        self._missing_pixels += int(piece.missing.sum())
        missing = np.flatnonzero(piece.empty)
        self._missing += [piece.names[index] for index in missing[: max(NAMED - len(self._missing), 0)]]
        self.missing_count += len(missing)
        for one, beyond in outside.items():
            self._outside_in[str(one)] = self._outside_in.get(str(one), 0) + int(beyond.sum())
        self._outside += int(np.any(list(outside.values()), axis=0).sum())
        if self._with_misfit:
            self._unlike += int(np.sum((estimates[MISFIT] < UNLIKE) | (estimates[FEATURES] < UNUSUAL)))
        if DOUBTED in estimates:
            self._doubted += int(np.nansum(estimates[DOUBTED]))
        for name in self._at_limits:
            self._at_limits[name] += self._limits[name].reached(estimates[estimate_of(name)])
        return self._beyond.add({name: estimates[estimate_of(name)] for name in self._beyond.outputs}, len(piece.names))

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it."""
        return {
            "images": self.images,
            "outside": self._outside,
            "outside_in": {name: count for name, count in self._outside_in.items() if count},
            **self._beyond.document(),
            "missing_pixels": self._missing_pixels,
            "missing": self._missing,
            "missing_count": self.missing_count,
            **({DOUBTED: self._doubted} if self._doubted else {}),
            **({"unlike": self._unlike} if self._with_misfit else {}),
            **({"at_limits": self._at_limits} if self._at_limits else {}),
        }
