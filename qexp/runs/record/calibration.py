"""How sure the posteriors of a run may be: `results/calibration.json`, and its numbers in `calibration.nc`.

Those are of the network's head and the whole prior; other kinds have names of their own: `calibration_refined.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.parts import MisfitError, Part

HEAD, REFINED = "head", "refined"
"""Whose posteriors are tested: the network head's, or those of the likelihood, found from the network's estimates."""

WHOLE = "all"
"""The part of the distributions that is the whole prior."""

FEW = 20
"""Draws in a cell below which nothing is said of it."""

INTERVAL = 0.9
"""Probability of the intervals whose widths are reported, and whose coverage is looked at in cells."""

WELL_ABOVE = 10.0
"""Signal-to-noise ratio from which widths are compared with the Cramér–Rao bound."""

SIGNIFICANT = 0.05
"""Probability with which the tests of a calibration together find any fault in calibrated posteriors (Bonferroni)."""


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
class BoundRatio(Part):
    """The median ratio of widths of 90 % intervals to 3.29 standard deviations of the Cramér–Rao bound."""

    median: float
    """Below 1 is possible: the bound is asymptotic, and knows no prior."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the median."""
    observations: int
    """Number of observations whose signal is well above the noise, which are compared."""
    of: int
    """Number of observations among which these are."""


@dataclass(frozen=True, kw_only=True)
class OutputCalibration(Part):
    """How sure the posteriors of one output may be."""

    LEFT_OUT = ("width_ratio", "bound_ratio")

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
    bound_ratio: BoundRatio | None = None
    """Widths beside the Cramér–Rao bound, if there is one and exact posteriors were not computed."""


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

    @property
    def kind(self) -> str:
        """`head` or `refined`; with the part, if the values are not from the whole prior: `head_train`."""
        of = REFINED if self.refined else HEAD
        return of if self.part == WHOLE else f"{of}_{self.part}"

    @property
    def regions(self) -> dict[str, Regions]:
        """Regions of all outputs together, by name; none for a single output, of which the ranks say all."""
        found = {"density": self.density, "balls": self.balls} if len(self.outputs) > 1 else {}
        return {name: region for name, region in found.items() if region is not None}

    @property
    def p_values(self) -> list[float]:
        """Of all tests: of the ranks and of the places of each output, and of regions of all."""
        of_outputs = [p_value for one in self.outputs.values() for p_value in (one.p_value, one.local.p_value)]
        return [*of_outputs, *(region.p_value for region in self.regions.values())]

    @property
    def least(self) -> float:
        """The p-value below which a test finds a fault."""
        return SIGNIFICANT / len(self.p_values)

    @property
    def faults(self) -> int:
        """The number of tests that find one."""
        return sum(p_value < self.least for p_value in self.p_values)


def numbers_name(kind: str) -> str:
    """The file, in a run's `results`, of the numbers of a kind of calibration."""
    return "calibration.nc" if kind == HEAD else f"calibration_{kind}.nc"


def record_name(kind: str) -> str:
    """The file, in a run's `results`, of what is recorded of it."""
    return "calibration.json" if kind == HEAD else f"calibration_{kind}.json"


def calibrations_of(directory: RunDirectory) -> dict[str, Calibration]:
    """Kind → the calibration that is kept in a run, that of the head first. Raises DamagedError."""
    if not directory.held_out:
        return {}
    found = [_read(file) for file in sorted(directory.results.glob("calibration*.json"))]
    return {one.kind: one for one in sorted(found, key=lambda one: one.kind)}


def _read(file: Path) -> Calibration:
    try:
        return Calibration.from_document(files.read_json(file))
    except MisfitError as misfit:
        raise DamagedError(f"{file} is damaged: {misfit}") from None


def keep_calibration(directory: RunDirectory, calibration: Calibration, numbers: bytes) -> None:
    """Write a calibration into a run, in place of the one of its kind; `numbers` is the content of a NetCDF file."""
    files.make_folder(directory.results)
    record = directory.results / record_name(calibration.kind)
    # In between no record tells of numbers that are not there.
    record.unlink(missing_ok=True)
    files.write_bytes(directory.results / numbers_name(calibration.kind), numbers)
    files.write_json(record, calibration.document())
