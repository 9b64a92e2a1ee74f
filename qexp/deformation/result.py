"""The result of an inversion: estimates with their errors, and what the model leaves of each track; rival models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.deformation.posterior import SourcePosterior
from qexp.inference.fit import aicc, bic
from qexp.metrics.calibration import Misfit
from qexp.observations.observation import Observation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A parameter of a source, in its unit.

    Errors are None for a parameter that was fixed, is a network's estimate, or lies at a bound that was given.

    standard_error  by the declared noise
    scaled_error    the same times √χ²_reduced where that is above 1
    residual_error  by the covariance of the residuals themselves
    interval95      by the profile likelihood, with errors scaled likewise
    open_ends       whether its low and its high end are those of the search or of bounds, because the data give none
    """

    value: float
    unit: str
    standard_error: float | None = None
    scaled_error: float | None = None
    residual_error: float | None = None
    interval95: tuple[float, float] | None = None
    open_ends: tuple[bool, bool] = (False, False)
    fixed: bool = False
    at_bound: bool = False

    @property
    def spans_magnitudes(self) -> bool:
        """Whether the ends of the interval differ by more than a factor of ten."""
        low, high = self.interval95 or (0.0, 0.0)
        return low * high > 0 and max(abs(low), abs(high)) > 10 * min(abs(low), abs(high))

    def document(self) -> dict[str, Any]:
        made = {
            "value": self.value,
            "unit": self.unit,
            "standard_error": self.standard_error,
            "scaled_error": self.scaled_error,
            "interval95": None if self.interval95 is None else list(self.interval95),
        }
        ends = [end for end, is_open in zip(("low", "high"), self.open_ends, strict=True) if is_open]
        return {**made, "open_ends": ends} if ends else made


@dataclass(frozen=True)
class TrackResult:
    """What the inversion says of a track.

    rms       root mean square of the residuals [m]
    offset    that was estimated [m]; 0 without
    n         points that count
    offset_error, ramp, ramp_error  [m]; east and north, [m per km]; None if they were not estimated
    model     (point,)  displacement by the sources [m], at all points of the track, also those that do not count
    surface   (point,)  offset and ramp [m]
    residual  (point,)  displacement minus model and surface [m]; NaN at points that do not count
    """

    rms: float
    offset: float
    n: int
    offset_error: float | None
    ramp: tuple[float, float] | None
    ramp_error: tuple[float, float] | None
    model: Array
    surface: Array
    residual: Array

    def document(self) -> dict[str, Any]:
        return {"rms": self.rms, "offset": self.offset, "n": self.n}


@dataclass(frozen=True)
class Inversion:
    """The estimated sources of an observation.

    source         as it was asked for, such as "mogi"
    parameters     name → estimate
    tracks         name → what is left of it
    correlations   (parameter, parameter) of the estimated ones, named by `estimated`
    chi2, degrees  sum of squared residuals by the declared noise; points minus all that was estimated
    unknowns       parameters, offsets and ramps that were estimated
    iterations     of the start that ended in the minimum
    starts, agreeing  number of starts, and of those that ended in this minimum
    seconds        that estimating took, once everything was loaded
    network        what the network said, or None
    misfit         tests of the residuals of a fit against the declared noise; None for a network's estimate alone
    remarks        sentences that a reader of the result should know
    """

    source: str
    observation: Observation
    parameters: Mapping[str, Estimate]
    tracks: Mapping[str, TrackResult]
    estimated: Sequence[str]
    correlations: Array
    chi2: float
    degrees: int
    unknowns: int
    iterations: int
    starts: int
    agreeing: int
    converged: bool
    seconds: float
    network: Mapping[str, Any] | None = None
    misfit: Misfit | None = None
    remarks: Sequence[str] = ()
    posterior: SourcePosterior | None = None
    rivals: Sequence[Mapping[str, Any]] = field(default=())
    """Several sources that were compared, by their information criteria; empty for one."""

    @property
    def chi2_reduced(self) -> float:
        return self.chi2 / self.degrees

    def document(self) -> dict[str, Any]:
        """What `qexp invert --json` prints."""
        made = {
            "parameters": {name: one.document() for name, one in self.parameters.items()},
            "tracks": {name: one.document() for name, one in self.tracks.items()},
            "chi2_reduced": self.chi2_reduced,
            "misfit": None if self.misfit is None else _p_values(self.misfit),
            "iterations": self.iterations,
            "seconds": self.seconds,
            "network": None if self.network is None else dict(self.network),
        }
        if self.posterior is not None:
            made["posterior"] = self.posterior.document()
        return {**made, "comparison": [dict(one) for one in self.rivals]} if self.rivals else made


def _p_values(misfit: Misfit) -> dict[str, float]:
    names = ("p_value", "total", "smooth", "local")
    return {name: float(getattr(misfit, name)[0]) for name in names}


# Several models of one observation, compared by information criteria.


def compared(candidates: Sequence[Inversion]) -> list[Mapping[str, Any]]:
    """The criteria of candidates for one observation, the best by AICc first; differences are those to the best."""
    rows: list[dict[str, Any]] = [
        {
            "source": one.source,
            "unknowns": one.unknowns,
            "chi2_reduced": one.chi2_reduced,
            "aicc": aicc(one.chi2, one.observation.size, one.unknowns),
            "bic": bic(one.chi2, one.observation.size, one.unknowns),
        }
        for one in candidates
    ]
    best = {name: min(row[name] for row in rows) for name in ("aicc", "bic")}
    rows = [{**row, "delta_aicc": row["aicc"] - best["aicc"], "delta_bic": row["bic"] - best["bic"]} for row in rows]
    return sorted(rows, key=lambda row: row["aicc"])
