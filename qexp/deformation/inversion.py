"""What an inversion finds in users' units: parameters, fits of tracks, and rivals by criteria."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.arrays import Array
from qexp.inference.criteria import aicc, bic
from qexp.observations.observation import Observation

if TYPE_CHECKING:  # they load torch and scipy, and whoever lists inversions needs neither
    import xarray

    from qexp.deformation.posterior import SourcePosterior
    from qexp.metrics.calibration import Misfit

NORMAL, MOST_UNLIKE = 1.96, 3.0
"""Half of the width of 95 % intervals in errors to first order where these hold, and the largest
factor of their width from which on they do not, as with a size at a bound that trades off against a
pressure.
"""


@dataclass(frozen=True)
class Estimate:
    """A parameter of a source, in its unit.

    Errors are None for a parameter that was fixed, is a network's estimate, or lies at a bound.

    standard_error  by the declared noise
    scaled_error    the same times √χ²_reduced where that is above 1
    residual_error  by the covariance of the residuals themselves
    interval95      by the profile likelihood, with errors scaled likewise
    open_ends       whether its low and its high end are the search's or bounds, as data give none
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
    def has_error(self) -> bool:
        """Whether there is an error to first order, and the interval agrees with it: else it says
        nothing.
        """
        if self.scaled_error is None or self.interval95 is None:
            return self.scaled_error is not None
        low, high = self.interval95
        return self.scaled_error <= high - low <= MOST_UNLIKE * 2 * NORMAL * self.scaled_error

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Estimate:
        """From its document.

        Null stands for ends that were infinite, and what earlier versions did not write is as if
        nothing were known of it. Raises what dictionaries raise for a document that lacks a value.
        """
        known = dict(document)
        ends = document["interval95"]
        if ends is not None:
            known["interval95"] = tuple(math.nan if end is None else end for end in ends)
        said = document.get("open_ends", ())
        known["open_ends"] = "low" in said, "high" in said
        names = [field.name for field in fields(cls)]
        return cls(**{name: known[name] for name in names if name in known})

    def document(self) -> dict[str, Any]:
        low, high = self.open_ends
        return {**asdict(self), "open_ends": ["low"] * low + ["high"] * high}


@dataclass(frozen=True, repr=False)
class TrackResult:
    """What the inversion says of a track.

    rms       root mean square of the residuals [m]
    error     that of the declared noise, of which a correlated part may be offset or ramp [m]
    offset    that was estimated [m]; 0 without
    n         points that count
    factor    of the sources' displacement that fits the track best beside the others, which is 1
              for right data, and its standard error; None where the others do not tell it
    offset_error, ramp, ramp_error  [m]; east and north, [m per km]; None if they were not estimated
    model     (point,)  displacement by the sources [m], also at points that do not count
    surface   (point,)  offset and ramp [m]
    residual  (point,)  displacement minus model and surface [m]; NaN at points that do not count
    """

    rms: float
    error: float
    offset: float
    n: int
    offset_error: float | None
    ramp: tuple[float, float] | None
    ramp_error: tuple[float, float] | None
    model: Array
    surface: Array
    residual: Array
    factor: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return f"<{self.n:,} points of a track: RMS {self.rms:.4g} m, offset {self.offset:.4g} m>"

    def document(self) -> dict[str, Any]:
        arrays = ("model", "surface", "residual")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in arrays}


P_VALUES = ("p_value", "total", "smooth", "local")
"""Of a misfit: of all tests together, and of each."""


@dataclass(frozen=True, repr=False)
class Inversion:
    """The estimated sources of an observation.

    source         as it was asked for, such as "mogi"
    parameters     name → estimate
    tracks         name → what is left of it
    correlations   (parameter, parameter) of the estimated ones, named by `estimated`
    chi2, degrees  sum of squared residuals by the declared noise; points minus unknowns
    unknowns       parameters, offsets and ramps that were estimated
    iterations     of the start that ended in the minimum
    starts, agreeing  number of starts, and of those that ended in this minimum
    seconds        that estimating took, once everything was loaded
    network        what the network said, or None
    detection      whether noise alone would show a source as strong, see `Detection.document`;
                   None for a network's estimate alone
    detectable     the least source that would be seen, if it was asked for
    misfit         tests of residuals against declared noise; None for a network's estimate alone
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
    detection: Mapping[str, Any] | None = None
    detectable: xarray.Dataset | None = None
    remarks: Sequence[str] = ()
    posterior: SourcePosterior | None = None
    log_determinant: float = 0.0
    """Of the covariance, to which approximations add their errors."""
    rivals: Sequence[Mapping[str, Any]] = field(default=())
    """Several sources that were compared, by their information criteria; empty for one."""
    averaged: Sequence[Mapping[str, Any]] = field(default=())
    """What the posteriors of several of these say together, see `averages`."""

    def __repr__(self) -> str:
        return f"<inversion by {self.source}: reduced χ² {self.chi2_reduced:.3g}>"

    @property
    def chi2_reduced(self) -> float:
        return self.chi2 / self.degrees

    def document(self) -> dict[str, Any]:
        """All numbers: what `qexp invert --json` prints, and `result.json` holds."""
        tracks = {}
        for track in self.observation.tracks:
            noise = None if track.noise is None else track.noise.words
            about = {"kind": track.kind, "noise": noise}
            tracks[track.name] = self.tracks[track.name].document() | about
        misfit = None
        if self.misfit is not None:
            misfit = {name: float(getattr(self.misfit, name)[0]) for name in P_VALUES}
        rows = zip(self.estimated, self.correlations.tolist(), strict=True)
        document = {
            "source": self.source,
            "parameters": {name: part.document() for name, part in self.parameters.items()},
            "tracks": tracks,
            "data": self.observation.size,
            "unknowns": self.unknowns,
            "chi2": self.chi2,
            "degrees_of_freedom": self.degrees,
            "chi2_reduced": self.chi2_reduced,
            "log_determinant": self.log_determinant,
            "misfit": misfit,
            "detection": self.detection,
            "correlations": {
                name: dict(zip(self.estimated, row, strict=True)) for name, row in rows
            },
            "converged": self.converged,
            "iterations": self.iterations,
            "starts": self.starts,
            "starts_in_this_minimum": self.agreeing,
            "seconds": self.seconds,
            "network": None if self.network is None else dict(self.network),
            "remarks": list(self.remarks),
            "crs": self.observation.crs,
        }
        if self.detectable is not None:
            least = self.detectable
            numbers = {name: least[name].values.tolist() for name in ("depth", "least_at_place")}
            document["detectable"] = {**least.attrs, **numbers}
        if self.posterior is not None:
            document["posterior"] = self.posterior.document()
        if self.rivals:
            document["comparison"] = [dict(part) for part in self.rivals]
            document["averaged"] = [dict(part) for part in self.averaged]
        return document


def compare_candidates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The criteria of candidates for one observation; differences are those to the best.

    records  the documents of inversions
    """
    least = min(record["log_determinant"] for record in records)
    rows: list[dict[str, Any]] = []
    for record in records:
        misfit = record["chi2"] + record["log_determinant"] - least
        numbers = misfit, record["data"], record["unknowns"]
        row = {name: record[name] for name in ("source", "unknowns", "chi2_reduced", "seconds")}
        rows.append({**row, "aicc": aicc(*numbers), "bic": bic(*numbers)})
    for name in ("aicc", "bic"):
        least = min(row[name] for row in rows)
        for row in rows:
            row[f"delta_{name}"] = row[name] - least
    return rows


def add_probabilities(rows: Sequence[dict[str, Any]], records: Sequence[Mapping[str, Any]]) -> None:
    """Add to the rows of `compare_candidates` the evidence of each source over that of none, and
    its probability where before the data all of them, and none, are as likely; and the priors.

    records  the documents of inversions, with posteriors
    """
    # of errors that differ between sources, as those of emulators do, no source has the best
    none = [
        record["posterior"].get("log_none", -record["log_determinant"] / 2) for record in records
    ]
    for row, record, own in zip(rows, records, none, strict=True):
        for name in ("log_evidence", "log_evidence_error"):
            row[name] = record["posterior"][name]
        row["log_evidence"] += own - max(none)
        free = record["posterior"]["parameters"].items()
        row["priors"] = {name: {**one["prior"], "unit": one["unit"]} for name, one in free}
    logs = [0.0, *(row["log_evidence"] for row in rows)]
    relative = [math.exp(log - max(logs)) for log in logs]
    of_all = sum(relative)
    for row, share in zip(rows, relative[1:], strict=True):
        row["probability"] = share / of_all


def averages(
    posteriors: Mapping[str, SourcePosterior], logs: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Each parameter that several sources have, by their draws in proportion to their
    probabilities: its posterior if one of these sources is the right one, whichever that is.

    posteriors, logs  source → its posterior, and → the logarithm of its evidence
    Angles that go all around are left out: they have no median. Hoeting, Madigan, Raftery and
    Volinsky (1999), Stat. Sci. 14, 382-417, eq. 1.
    """
    rows = []
    for name in dict.fromkeys(chain.from_iterable(one.parameters for one in posteriors.values())):
        those = {source: one for source, one in posteriors.items() if name in one.parameters}
        some = [one.parameters[name] for one in those.values()]
        if len(those) == 1 or any(parameter.at_edge is None for parameter in some):
            continue
        draws = [one.draws_of(name).ravel() for one in those.values()]
        sizes = [len(of_one) for of_one in draws]
        log_shares = np.array([logs[source] for source in those])
        weights = np.repeat(np.exp(log_shares - log_shares.max()) / sizes, sizes)
        together = np.concatenate(draws)
        order = together.argsort()
        below = weights[order].cumsum() - weights[order] / 2
        quantiles = np.interp([0.5, 0.05, 0.95], below / weights.sum(), together[order]).tolist()
        row = [name, some[0].unit, *quantiles, ", ".join(those)]
        keys = "parameter", "unit", "median", "low90", "high90", "sources"
        rows.append(dict(zip(keys, row, strict=True)))
    return rows
