"""How sure the posteriors of a run may be: `results/calibration.json`, and its numbers in `calibration.nc`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qexp import files
from qexp.errors import DamagedError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import OVERALL, HeldOutIntervals, intervals_of
from qexp.runs.record.parts import MisfitError, Part

RECORD, NUMBERS = "calibration.json", "calibration.nc"
"""In a run's `results`."""

FEW = 20
"""Draws in a cell below which nothing is said of it."""

INTERVAL = 0.9
"""Probability of the intervals whose widths are reported, and whose coverage is looked at in cells."""

FIELD = "calibration"
"""First key of its columns in listings: `calibration.depth.coverage_90`."""

WIDTH = "width"

OF_OUTPUT = (*(f"coverage_{percent}" for percent in (50, 68, 90, 95)), "p_value", WIDTH, "width_ratio")
"""Last keys of columns on one output."""

OF_ALL = ("density_p_value", "balls_p_value", "c2st")
"""Last keys of columns on all outputs together."""

COMPARED = ("coverage_90", WIDTH, "width_ratio", "density_p_value", "c2st")
"""Last keys of what runs are compared by."""

JOINT = "joint"
"""In place of an output, in columns on all outputs together."""


@dataclass(frozen=True, kw_only=True)
class CoverageShare(Part):
    """How many true values lie in intervals or regions that should hold a given share of them."""

    probability: float
    """The share that they should hold."""
    share: float
    """The share that they hold."""
    expected: tuple[float, float]
    """Where the share lies for calibrated intervals, with probability 0.95."""
    p_value: float
    """Of the exact binomial test."""


@dataclass(frozen=True, kw_only=True)
class LocalShare(Part):
    """The share of intervals that hold the truth at one place."""

    share: float
    """By a regression on all estimates."""
    estimates: Mapping[str, float]
    """Output → its estimate there, in its unit."""


@dataclass(frozen=True, kw_only=True)
class LocalCoverage(Part):
    """Where the 90 % intervals of an output are too narrow or too wide, by where the estimates lie."""

    axes: tuple[str, ...]
    """Outputs by whose estimates observations are put into cells."""
    cells: int
    """Cells with enough observations."""
    narrow: int
    """Of them, those whose intervals are too narrow beyond chance."""
    wide: int
    """Those whose intervals are too wide beyond chance."""
    p_value: float
    """Of a regression of whether intervals hold the truth on all estimates, against a constant share."""
    lowest: LocalShare
    """Where the fewest intervals hold the truth, by that regression."""
    highest: LocalShare
    """Where the most do."""


@dataclass(frozen=True, kw_only=True)
class WidthRatio(Part):
    """The median ratio of widths of 90 % intervals to those of exact posteriors."""

    median: float
    """1 if the posteriors are as sharp as can be."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the median."""


@dataclass(frozen=True, kw_only=True)
class OutputCalibration(Part):
    """How sure the posteriors of one output may be."""

    LEFT_OUT = ("width_ratio",)

    unit: str
    """Unit of the output."""
    p_value: float
    """Of the ranks of the true values: the probability that those in calibrated posteriors leave the band as far."""
    mean_position: float
    """Mean share of draws below the true value: 0.5 if medians are right."""
    spread: float
    """Mean square of the positions' distance from 0.5, times 12: 1 if right, more if posteriors are too narrow."""
    width: float
    """Median width of 90 % intervals, in the output's unit."""
    coverage: tuple[CoverageShare, ...]
    """Of central intervals."""
    local: LocalCoverage
    """Where 90 % intervals are wrong."""
    width_ratio: WidthRatio | None = None
    """Widths beside those of exact posteriors, if these were computed."""


@dataclass(frozen=True, kw_only=True)
class Regions(Part):
    """How many true values lie in regions of all outputs together."""

    p_value: float
    """Of the distribution of the probabilities in the smallest regions that hold the truth."""
    coverage: tuple[CoverageShare, ...]
    """Of these regions."""


@dataclass(frozen=True, kw_only=True)
class ExactComparison(Part):
    """Draws beside those of exact posteriors of the same observations, distinguished by a classifier."""

    observations: int
    """Number of observations."""
    classifier: str
    """The classifier."""
    accuracy: float
    """Mean cross-validated accuracy (C2ST): 0.5 if the posteriors are exact."""
    standard_error: float
    """Of the mean, over observations."""
    largest: float
    """Accuracy for the observation whose posterior is furthest from the exact one."""


@dataclass(frozen=True, kw_only=True)
class Calibration(Part):
    """Posteriors of simulated observations beside the values that made these."""

    LEFT_OUT = ("density", "exact")

    dataset: str
    """Name of the dataset's spec."""
    refined: bool = False
    """Whether the posteriors are those of the likelihood, and not those of the network's head."""
    caution: str = ""
    """Why even sound posteriors would not be calibrated on these draws; empty if they would."""
    doubted: int = 0
    """Number of observations whose samples are, by the diagnostics of their method, not to be trusted."""
    part: str
    """Part of the distributions that the values were drawn from: all, train, validation or test."""
    seed: int
    """Of the observations and draws."""
    draws: int
    """Draws from the prior, each with a simulated observation."""
    samples: int
    """Samples from the posterior of each observation."""
    created: str
    """When it was made, in UTC."""
    notices_narrow: float
    """Ratio of widths of too narrow intervals to calibrated ones that ranks show in nine of ten cases; 0 if none."""
    notices_shift: float | None
    """Shift of medians, in posterior standard deviations, that ranks show in nine of ten cases; null if none."""
    outputs: Mapping[str, OutputCalibration] = field(default_factory=dict)
    """Output → its calibration."""
    density: Regions | None = None
    """Regions of highest posterior density; null where densities are unknown."""
    balls: Regions
    """Balls around random points (TARP), in shares of the prior."""
    exact: ExactComparison | None = None
    """Comparison with exact posteriors, if these were computed."""

    def columns(self) -> dict[str, dict[str, float]]:
        """Output → short name → number, for listings; `JOINT` has those on all outputs together."""
        found = {name: _columns(one) for name, one in self.outputs.items()}
        regions = {"density": self.density, "balls": self.balls}
        joint = {f"{name}_p_value": one.p_value for name, one in regions.items() if one is not None}
        return {**found, JOINT: {**joint, **({} if self.exact is None else {"c2st": self.exact.accuracy})}}


def _columns(one: OutputCalibration) -> dict[str, float]:
    shares = {f"coverage_{100 * of.probability:.0f}": of.share for of in one.coverage}
    sharp = {} if one.width_ratio is None else {"width_ratio": one.width_ratio.median}
    return {**shares, "p_value": one.p_value, WIDTH: one.width, **sharp}


def of_calibration(column: str) -> bool:
    """Whether a column is of a calibration, and so has no best value: intervals are to be right, and then narrow."""
    return column.startswith(f"{FIELD}.")


def calibration_of(directory: RunDirectory) -> Calibration | None:
    """The calibration that is kept in a run, if there is one. Raises DamagedError."""
    file = directory.results / RECORD
    if not (directory.held_out and file.is_file()):
        return None
    try:
        return Calibration.from_document(files.read_json(file))
    except MisfitError as misfit:
        raise DamagedError(f"{file} is damaged: {misfit}") from None


def keep_calibration(directory: RunDirectory, calibration: Calibration, numbers: bytes) -> None:
    """Write a calibration into a run, beside its results; `numbers` is the content of a NetCDF file."""
    files.make_folder(directory.results)
    # In between no record tells of numbers that are not there.
    (directory.results / RECORD).unlink(missing_ok=True)
    files.write_bytes(directory.results / NUMBERS, numbers)
    files.write_json(directory.results / RECORD, calibration.document())


def columns_of(directory: RunDirectory) -> dict[str, Any]:
    """Its columns for listings, those of intervals of held-out rows too; empty without any."""
    found, held_out = calibration_of(directory), intervals_of(directory)
    return {**({} if held_out is None else _of_held_out(held_out)), **({} if found is None else found.columns())}


def _of_held_out(intervals: HeldOutIntervals) -> dict[str, dict[str, float]]:
    """The coverages of all held-out rows together, and the mean width of 90 % intervals."""
    made: dict[str, dict[str, float]] = {}
    for one in intervals.coverages:
        if one.of == OVERALL and one.n:
            own = made.setdefault(one.output, {})
            own[f"coverage_{100 * one.interval:.0f}"] = one.covered / one.n
            if one.interval == INTERVAL and one.mean_width is not None:
                own[WIDTH] = one.mean_width
    return made
