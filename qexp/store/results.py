"""What commands on a finished run add to its results: limits, intervals, calibrations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qexp.base import files
from qexp.base.quantities import in_words
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

LIMIT = "limit.json"
"""In a run's `results`."""


@dataclass(frozen=True, kw_only=True)
class LeastErrors(Part):
    """The errors of the exact posteriors of one variable, in its unit."""

    unit: str
    """Unit of the errors."""
    mae: float
    """Mean absolute error of the exact posterior median."""
    mae_error: float
    """Standard error of `mae`, over samples."""
    rmse: float
    """Root mean square error of the exact posterior mean."""
    rmse_error: float
    """Standard error of `rmse`, over samples."""
    difference: float
    """Mean difference of the medians from those by grids half as fine, or by half of the draws, relative to `mae`."""


@dataclass(frozen=True, kw_only=True)
class Limit(Part):
    """The limit of a dataset: the errors of the exact posteriors of its samples, with its whole distributions as prior.

    Over samples of that prior they are the least that any method can reach on average. Over the intervals that are held
    out for the test they are not: who knew these could do better.
    """

    dataset: str
    """Name of the dataset's spec."""
    seed: int
    """Of the samples: they are the test samples of runs with this seed, if these have as many."""
    samples: int
    """Number of samples."""
    whole: bool = False
    """Whether the samples are drawn from the whole prior; false: from its test part, where some of it is held out."""
    images: tuple[str, ...]
    """Images that the posteriors are based on."""
    given: tuple[str, ...] = ()
    """Varying variables that are known besides the images, as inputs of the network."""
    sampled: bool = False
    """Whether posteriors were sampled, rather than integrated."""
    doubted: int = 0
    """Number of samples whose draws are not to be trusted."""
    variables: Mapping[str, LeastErrors]
    """Variable → its errors."""

    @property
    def meaning(self) -> str:
        """Whether the errors are the least possible, in words."""
        if self.whole:
            return "on average over that prior, from which the samples are drawn, no method has smaller errors"
        return "the samples are those of its held-out intervals: a method that knew these could have smaller errors"


def limit_of(directory: RunDirectory) -> Limit | None:
    """The limit that was computed for a run's own test part, if it was. Raises DamagedError."""
    file = directory.results / LIMIT
    if not (directory.held_out and file.is_file()):
        return None
    return Limit.read(file)


def keep_limit(directory: RunDirectory, limit: Limit) -> None:
    """Write the limit into a run, beside its results."""
    files.make_folder(directory.results)
    files.write_json(directory.results / LIMIT, limit.document())


# How many held-out rows the intervals of the other rows' errors cover: `results/intervals.json` of a run.


INTERVALS, INTERVALS_OF_ROWS = "intervals.json", "intervals.csv"
"""In `results`: coverages; and the interval of every row."""

USUAL = 0.9
"""Coverage of the intervals that are kept for each row."""

OVERALL = "overall"
"""Kind of the group of all rows."""


@dataclass(frozen=True, kw_only=True)
class Coverage(Part):
    """How many rows of a group lie in their intervals."""

    output: str
    """Name of the output."""
    interval: float
    """Coverage by which the interval is named: 0.9 from the 5 % to the 95 % quantile."""
    promised: float
    """Coverage that the number of units allows; less than `interval` if they are too few."""
    of: str
    """Kind of the group, such as `core`, or `overall`."""
    name: str
    """Name of the group; empty for all rows."""
    n: int
    """Number of its rows."""
    covered: int
    """Number of its rows that lie in their intervals."""
    range: tuple[float, float]
    """95 % Clopper–Pearson interval of the share that is covered, as if rows were independent."""
    mean_width: float | None
    """Mean width of the intervals, in the output's unit; null if one is infinite."""


@dataclass(frozen=True, kw_only=True)
class HeldOutIntervals(Part):
    """Intervals of held-out rows, each from the errors of all other units."""

    unit: str
    """What is exchangeable: `row`, or the kind of group that is held out, such as `mission`."""
    units: int
    """Number of units."""
    heads: tuple[str, ...] = ()
    """Outputs whose intervals are laid around quantiles of a posterior head; those of others around the estimate."""
    coverages: tuple[Coverage, ...]
    """By output and interval: of all rows, then by group."""


def intervals_of(directory: RunDirectory) -> HeldOutIntervals | None:
    """The intervals that are kept in a run or in an evaluation, if they are. Raises DamagedError."""
    file = directory.results / INTERVALS
    if not file.is_file():
        return None
    return HeldOutIntervals.read(file)


# How sure the posteriors of a run may be: `results/calibration.json`, and its numbers in `calibration.nc`.
#
# Those are of the network's head and the whole prior; other kinds have names of their own: `calibration_refined.json`.


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

CLEAR = 3.0
"""Standard errors from where a mean is called too high or too low."""

TELLING = 0.85
"""Ratio of widths that so many draws must show before silence is called calibrated: about 500 do."""

SLIGHT = 0.03
"""Difference of the share of truths in 90 % intervals from 0.9 below which their width is called slightly wrong."""

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
class CellShare(Part):
    """The share of intervals that hold the truth in one cell."""

    share: float
    """Of the observations in the cell."""
    observations: int
    """Their number."""
    between: Mapping[str, tuple[float, float]]
    """Output → the ends of the cell, between which its estimates lie, in its unit."""


@dataclass(frozen=True, kw_only=True)
class LocalCoverage(Part):
    """Where the 90 % intervals of an output are too narrow or too wide, by where the estimates lie."""

    LEFT_OUT = ("fewest", "most")

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
    fewest: CellShare | None = None
    """The cell in which the fewest intervals hold the truth, if one has enough observations."""
    most: CellShare | None = None
    """The one in which the most do."""

    @property
    def wrong(self) -> dict[str, int]:
        """`narrow` and `wide` → number of cells."""
        return {"narrow": self.narrow, "wide": self.wide}


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

    def width_fault(self, draws: int) -> str:
        """`narrow` or `wide` if the mean square of positions says so, whose standard error is known; or nothing."""
        spread = self.spread - 1
        return "" if abs(spread) <= CLEAR * math.sqrt(0.8 / draws) else "narrow" if spread > 0 else "wide"

    def median_fault(self, draws: int) -> str:
        """`low` or `high` if the mean position says that of medians; or nothing."""
        shift = self.mean_position - 0.5
        return "" if abs(shift) <= CLEAR / math.sqrt(12 * draws) else "low" if shift > 0 else "high"

    def verdict(self, of: Calibration) -> str:
        """Whether the output is calibrated, in some words."""
        draws, least = of.draws, of.least
        if self.p_value < least:
            (of_interval,) = (one for one in self.coverage if one.probability == INTERVAL)
            slightly = "slightly " if abs(of_interval.share - INTERVAL) < SLIGHT else ""
            width, median = self.width_fault(draws), self.median_fault(draws)
            said = [f"{slightly}too {width}"] if width else []
            said += [f"medians too {median}"] if median else []
            return " and ".join(said) or "posteriors of a wrong shape"
        if self.local.p_value < least:
            where = [f"too {kind} in {count}" for kind, count in self.local.wrong.items() if count]
            return f"calibrated on average, not everywhere{self._in_cells(where)}"
        return "calibrated" if of.notices_narrow >= TELLING else "no fault seen"

    def _in_cells(self, where: Sequence[str]) -> str:
        return f" ({', '.join(where)} of {self.local.cells} cells)" if where else ""


@dataclass(frozen=True, kw_only=True)
class Regions(Part):
    """How many true values lie in regions of all outputs together."""

    p_value: float
    """Of the distribution of the probabilities in the smallest regions that hold the truth."""
    coverage: tuple[CoverageShare, ...]
    """Of these regions."""

    @property
    def worst(self) -> CoverageShare:
        """That which differs most from what it should hold."""
        return min(self.coverage, key=lambda one: one.p_value)

    @property
    def fault(self) -> str:
        """How often they hold the truth, where that is wrong."""
        return "more often" if self.worst.share > self.worst.probability else "less often"


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

    verdict: str = ""
    """Whether the posteriors of each output, and of all together, are calibrated, in a line."""
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


REGIONS = {"density": "regions of highest density", "balls": "balls around random points (TARP)"}
"""Kind of regions of all outputs → what they are called."""


def with_verdict(of: Calibration) -> Calibration:
    """A calibration that says in a line what its tests find: `depth: slightly too wide; 2,000 observations`."""
    said = [f"{in_words(name)}: {one.verdict(of)}" for name, one in of.outputs.items()]
    wrong = {name: region for name, region in of.regions.items() if region.p_value < of.least}
    said += [f"{REGIONS[name]} hold the truth {region.fault} than they should" for name, region in wrong.items()]
    said.append(f"{of.draws:,} observations" + ("" if of.part == WHOLE else f" of the part '{of.part}'"))
    said += [f"{of.doubted:,} of them with samples that are not to be trusted"] if of.doubted else []
    return replace(of, verdict="; ".join([*said, *(["see the caution"] if of.caution else [])]))


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
    kept = [Calibration.read(file) for file in sorted(directory.results.glob("calibration*.json"))]
    judged = [one if one.verdict else with_verdict(one) for one in kept]
    return {one.kind: one for one in sorted(judged, key=lambda one: one.kind)}


def keep_calibration(directory: RunDirectory, calibration: Calibration, numbers: bytes) -> None:
    """Write a calibration into a run, in place of the one of its kind; `numbers` is the content of a NetCDF file."""
    files.make_folder(directory.results)
    record, document = directory.results / record_name(calibration.kind), files.json_bytes(calibration.document())
    # Both are complete before either replaces an earlier one; where they differ, figures are refused by `created`.
    with (
        files.replacing(record) as of_record,
        files.replacing(directory.results / numbers_name(calibration.kind)) as of_numbers,
    ):
        of_numbers.write(numbers)
        of_record.write(document)
        of_record.flush()


# Numbers of a run's calibrations, and of the intervals of held-out rows, by the names of their columns in listings.
#
# `calibration.depth.coverage_90` is of the network's head on the whole prior, or of held-out rows; of other kinds of
# calibration it is `calibration.depth.refined.coverage_90`. So nothing is compared that is not alike.


CALIBRATION_FIELD = "calibration"
"""First key of the columns."""

WIDTH = "width"

OF_OUTPUT = (*(f"coverage_{percent}" for percent in (50, 68, 90, 95)), "p_value", WIDTH, "width_ratio", "bound_ratio")
"""Last keys of columns on one output."""

OF_ALL = ("passed", "density_p_value", "balls_p_value", "c2st")
"""Last keys of columns on all outputs together."""

JOINT = "joint"
"""In place of an output, in columns on all outputs together."""

PASSED = "passed"
"""1 if no test finds a fault, else 0: its mean is the share of runs that pass."""

COMPARED = (PASSED, "coverage_90", WIDTH, "width_ratio", "bound_ratio", "density_p_value", "c2st")
"""Last keys of what runs are compared by."""

COLUMN_KINDS = [
    of if part == WHOLE else f"{of}_{part}" for of in (HEAD, REFINED) for part in (WHOLE, "train", "validation", "test")
]

Columns = dict[str, dict[str, float]]
"""Output, or `JOINT` → the rest of a column's name → number."""


def calibration_columns(directory: RunDirectory) -> Columns:
    """The columns of a run; empty without calibrations and held-out rows."""
    held_out = intervals_of(directory)
    made = {} if held_out is None else _of_held_out(held_out)
    for kind, one in calibrations_of(directory).items():
        for output, numbers in _of_calibration(one).items():
            made.setdefault(output, {}).update({_column(kind, name): value for name, value in numbers.items()})
    return made


def compared_columns(directory: RunDirectory) -> Columns:
    """Those by which runs are compared."""
    found = calibration_columns(directory)
    return {
        output: {
            name: numbers[name]
            for kind in COLUMN_KINDS
            for last in COMPARED
            if (name := _column(kind, last)) in numbers
        }
        for output, numbers in found.items()
    }  # fmt: skip


def possible_calibration_columns(outputs: Iterable[str]) -> set[str]:
    """All columns that runs with these outputs can have."""
    last_keys = {**dict.fromkeys(outputs, OF_OUTPUT), JOINT: OF_ALL}
    return {
        f"{CALIBRATION_FIELD}.{output}.{_column(kind, last)}" for output, lasts in last_keys.items() for last in lasts
        for kind in COLUMN_KINDS
    }  # fmt: skip


def is_width(column: str) -> bool:
    """Whether a column has the unit of its output."""
    return column.rpartition(".")[2] == WIDTH


def is_of_calibration(metric: str) -> bool:
    """Whether a metric of a comparison is of a calibration: it has no best value, as intervals are to be right, and
    then narrow.
    """
    return metric.startswith(f"{CALIBRATION_FIELD}.")


def _column(kind: str, last: str) -> str:
    return last if kind == HEAD else f"{kind}.{last}"


def _of_calibration(of: Calibration) -> Columns:
    found = {name: _columns_of_output(one) for name, one in of.outputs.items()}
    regions = {"density": of.density, "balls": of.balls}
    joint = {f"{name}_p_value": one.p_value for name, one in regions.items() if one is not None}
    sharp = {} if of.exact is None else {"c2st": of.exact.accuracy}
    return {**found, JOINT: {PASSED: float(of.faults == 0), **joint, **sharp}}


def _columns_of_output(one: OutputCalibration) -> dict[str, float]:
    shares = {f"coverage_{100 * of.probability:.0f}": of.share for of in one.coverage}
    sharp = {} if one.width_ratio is None else {"width_ratio": one.width_ratio.median}
    bound = {} if one.bound_ratio is None else {"bound_ratio": one.bound_ratio.median}
    return {**shares, "p_value": one.p_value, WIDTH: one.width, **sharp, **bound}


def _of_held_out(intervals: HeldOutIntervals) -> Columns:
    """The coverages of all held-out rows together, and the mean width of 90 % intervals."""
    made: Columns = {}
    for one in intervals.coverages:
        if one.of == OVERALL and one.n:
            own = made.setdefault(one.output, {})
            own[f"coverage_{100 * one.interval:.0f}"] = one.covered / one.n
            if one.interval == INTERVAL and one.mean_width is not None:
                own[WIDTH] = one.mean_width
    return made
