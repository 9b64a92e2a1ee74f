"""How sure the posteriors of a run may be: `results/calibration.json`, and its numbers in
`calibration.nc`.

Those are of the network's head and the whole prior; other kinds have names of their own:
`calibration_refined.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from qexp.base import files, formats
from qexp.base.quantities import in_words, number_with_unit
from qexp.metrics.meaning import number
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

HEAD, REFINED, RECALIBRATED = "head", "refined", "recalibrated"
"""Whose posteriors are tested: the head's, the likelihood's, or the head's as an earlier
calibration widens them.
"""
KINDS = HEAD, REFINED, RECALIBRATED

WHOLE = "all"
"""The part of the distributions that is the whole prior."""

GIVEN = "given"
"""In place of a part: simulations of another dataset, or of arrays."""

FEW_OBSERVATIONS = 20
"""Observations in a cell below which nothing is said of it."""

INTERVAL = 0.9
"""Probability of the intervals whose widths are reported, and whose coverage is tested in cells."""

WELL_ABOVE = 10.0
"""Signal-to-noise ratio from which widths are compared with the Cramér–Rao bound."""

CLEAR_ERRORS = 3.0
"""Standard errors from where a mean is called too high or too low."""

TELLING_RATIO = 0.85
"""Ratio of widths that observations must show before silence is called calibrated: some 500 do."""

SLIGHT_DIFFERENCE = 0.03
"""Difference from 0.9 of the share in 90 % intervals below which they are slightly wrong."""

SIGNIFICANT_P = 0.05
"""Probability with which any test finds a fault in calibrated posteriors (Bonferroni)."""


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
    """Where the 90 % intervals of an output are too narrow or too wide, by where the estimates
    lie.
    """

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
    """Of a regression of whether intervals hold the truth on all estimates, against a constant
    share.
    """
    fewest: CellShare | None = None
    """The cell in which the fewest intervals hold the truth, if one has enough observations."""
    most: CellShare | None = None
    """The one in which the most do."""


@dataclass(frozen=True, kw_only=True)
class WidthRatio(Part):
    """The median ratio of widths of 90 % intervals to those of exact posteriors."""

    median: float
    """1 if the posteriors are as sharp as can be."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the median."""


@dataclass(frozen=True, kw_only=True)
class BoundRatio(Part):
    """The median ratio of widths of 90 % intervals to 3.29 standard deviations of the Cramér–Rao
    bound.
    """

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
    """Of the ranks of the true values: the probability that those in calibrated posteriors leave
    the band as far.
    """
    mean_position: float
    """Mean share of draws below the true value: 0.5 if medians are right."""
    spread: float
    """Mean square of the positions' distance from 0.5, times 12: 1 if right, more if posteriors are
    too narrow.
    """
    width: float
    """Median width of 90 % intervals, in the output's unit."""
    coverage: tuple[CoverageShare, ...]
    """Of central intervals."""
    local: LocalCoverage
    """Where 90 % intervals are wrong."""
    width_ratio: WidthRatio | None = None
    """Widths beside those of exact posteriors, if these were computed."""
    bound_ratio: BoundRatio | None = None
    """Widths beside the Cramér–Rao bound, if there is one and exact posteriors were not
    computed.
    """

    @property
    def ratios(self) -> dict[str, WidthRatio | BoundRatio]:
        """Key of `RATIOS` → the ratio, of those that are known."""
        known = {"width_ratio": self.width_ratio, "bound_ratio": self.bound_ratio}
        return {name: ratio for name, ratio in known.items() if ratio is not None}

    @property
    def coverage_of_interval(self) -> CoverageShare:
        """Of the intervals of probability `INTERVAL`."""
        return min(self.coverage, key=lambda share: abs(share.probability - INTERVAL))

    @property
    def width_in_words(self) -> str:
        """The median width of 90 % intervals with its unit."""
        return number_with_unit(number(self.width), self.unit)


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
        return min(self.coverage, key=lambda share: share.p_value)


@dataclass(frozen=True, kw_only=True)
class ExactComparison(Part):
    """Draws beside those of exact posteriors of the same observations, distinguished by a
    classifier.
    """

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
    recalibrated: str = ""
    """The part whose calibration widened the posteriors; empty if none did."""
    caution: str = ""
    """Why even sound posteriors would not be calibrated on these observations; empty if they
    would.
    """
    doubted: int = 0
    """Number of observations whose draws are, by the diagnostics of their method, not to be
    trusted.
    """
    part: str
    """Part of the distributions that the values were drawn from: all, train, validation or test; or
    given.
    """
    seed: int
    """Of the observations and draws."""
    observations: int
    """Values drawn from the prior, each with a simulated observation."""
    draws: int
    """Draws from the posterior of each observation."""
    created: str
    """When it was made, in UTC."""
    notices_narrow: float
    """Ratio of widths of too narrow intervals to calibrated ones that ranks show in nine of ten
    cases; 0 if none.
    """
    notices_shift: float | None
    """Shift of medians, in posterior standard deviations, that ranks show in nine of ten cases;
    null if none.
    """
    outputs: Mapping[str, OutputCalibration] = field(default_factory=dict)
    """Output → its calibration."""
    density: Regions | None = None
    """Regions of highest posterior density; null where densities are unknown."""
    balls: Regions
    """Balls around random points (TARP), in shares of the prior."""
    exact: ExactComparison | None = None
    """Comparison with exact posteriors, if these were computed."""

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read a document; in old ones `observations` are called `draws`, and `draws` `samples`."""
        if isinstance(document, dict) and "samples" in document:
            today = {"draws": "observations", "samples": "draws"}
            document = {today.get(key, key): value for key, value in document.items()}
        return super().from_document(document)

    @property
    def kind(self) -> str:
        """Whose posteriors, with the part if it is not the whole prior: `head`, `refined_train`."""
        return self._posteriors if self.part == WHOLE else f"{self._posteriors}_{self.part}"

    @property
    def _posteriors(self) -> str:
        if self.refined:
            return REFINED
        return RECALIBRATED if self.recalibrated else HEAD

    @property
    def part_in_words(self) -> str:
        return PARTS.get(self.part, self.part)

    @property
    def kind_in_words(self) -> str:
        """`head`, `head, training part`: whose posteriors, and where they were tested."""
        part = "" if self.part == WHOLE else f", {self.part_in_words}"
        return self._posteriors + part

    @property
    def regions(self) -> dict[str, Regions]:
        """Regions of all outputs together, by name; none for one output, of which ranks say all."""
        regions = {"density": self.density, "balls": self.balls} if len(self.outputs) > 1 else {}
        return {name: region for name, region in regions.items() if region is not None}

    @property
    def tests(self) -> int:
        """How many there are: of the ranks and the places of each output, and of regions of all."""
        return 2 * len(self.outputs) + len(self.regions)

    @property
    def least(self) -> float:
        """The p-value below which a test finds a fault."""
        return SIGNIFICANT_P / self.tests

    @property
    def faults(self) -> int:
        """The number of tests that find one."""
        return sum(test.faulty for test in verdicts_of(self))


REGIONS = {"density": "regions of highest density", "balls": "balls around random points (TARP)"}
"""Kind of regions of all outputs → what they are called."""

PARTS = {
    WHOLE: "whole prior",
    "train": "training part",
    "validation": "validation part",
    "test": "test part",
    GIVEN: "given simulations",
}
"""Part of the distributions → what it is called."""


def with_verdict(calibration: Calibration) -> Calibration:
    """A calibration that says in a line what its tests find: `depth: slightly too wide; ...`."""
    verdicts = verdicts_of(calibration)
    sound = "calibrated" if calibration.notices_narrow >= TELLING_RATIO else "no fault seen"
    words = []
    for name in calibration.outputs:
        faults = [test.words for test in verdicts if test.subject == name and test.faulty]
        words.append(f"{in_words(name)}: {faults[0] if faults else sound}")
    words += [test.words for test in verdicts if test.name == REGION and test.faulty]
    part = {WHOLE: "", GIVEN: " that were given"}.get(
        calibration.part, f" of the part '{calibration.part}'"
    )
    words.append(f"{calibration.observations:,} observations{part}")
    if calibration.doubted:
        words.append(f"{calibration.doubted:,} of them with samples that are not to be trusted")
    head = not (calibration.refined or calibration.recalibrated or calibration.caution)
    wrong = [test.words for test in verdicts if test.name == RANKS and test.faulty]
    if head and wrong:
        # Longer training makes narrow posteriors narrower.
        longer = "" if any("too narrow" in fault for fault in wrong) else "longer training, "
        words.append(f"{longer}more simulations or a recalibration may help")
    words += ["see the caution"] if calibration.caution else []
    return replace(calibration, verdict="; ".join(words))


def name_of_file(kind: str, ending: str) -> str:
    """The file in a run's `results` of a kind of calibration: record (json) or numbers (nc)."""
    return f"calibration.{ending}" if kind == HEAD else f"calibration_{kind}.{ending}"


def calibrations_of(directory: RunDirectory) -> dict[str, Calibration]:
    """Kind → the calibration that is kept in a run, that of the head first. Raises DamagedError."""
    if not directory.held_out:
        return {}
    recorded = [Calibration.read(file) for file in directory.results.glob("calibration*.json")]
    by_kind = {calibration.kind: calibration for calibration in recorded}
    for kind, calibration in by_kind.items():
        if not calibration.verdict:  # of an earlier version
            by_kind[kind] = with_verdict(calibration)
    return dict(sorted(by_kind.items()))


RECORD = "record"
"""In a file of numbers, what is recorded beside it."""


def record_to_restore(numbers: Path) -> bytes | None:
    """The record of numbers that a killed process did not write; None if it did, b"" if unknown."""
    import h5py

    record = numbers.with_suffix(".json")
    try:
        with h5py.File(numbers) as file:
            formats.require_own_numbers(file)
            created = file.attrs["created"]
            text = bytes(file[RECORD][()]) if RECORD in file else b""
    except (OSError, KeyError):
        return b""
    with suppress(FileNotFoundError):
        if Calibration.read(record).created == created:
            return None
    return text


def keep_calibration(directory: RunDirectory, calibration: Calibration, numbers: bytes) -> None:
    """Write a calibration into a run, in place of the one of its kind; `numbers`: a NetCDF file."""
    files.make_folder(directory.results)
    document = formats.json_bytes(calibration.document())
    record, table = (
        directory.results / name_of_file(calibration.kind, ending) for ending in ("json", "nc")
    )
    # Both are complete before either replaces an earlier one; of the numbers alone the record can
    # be written again.
    with files.replacing(record) as of_record, files.replacing(table) as of_numbers:
        of_numbers.write(numbers)
        of_record.write(document)
        of_record.flush()


# Verdicts: what each test says, in some words and in sentences.
#
# Among the tests of a calibration the least p-value is small by chance: what is called a fault has
# a probability of at most `SIGNIFICANT_P` for all tests together (Bonferroni). What the table of
# numbers shows without a fault is not said again.

RANKS, PLACES, REGION = "ranks", "places", "region"
"""Tests: of the ranks of an output, of where its intervals are wrong, and of regions of all."""


@dataclass(frozen=True)
class Verdict:
    """What one test finds.

    name       one of `RANKS`, `PLACES` and `REGION`
    subject    the output, or the regions in words
    faulty     whether it finds a fault
    words      the fault in some words, such as `too narrow`
    sentences  what is said of it beside the table, also without a fault
    """

    name: str
    subject: str
    faulty: bool
    words: str
    sentences: tuple[str, ...]


def verdicts_of(calibration: Calibration) -> list[Verdict]:
    """What all tests find: those of an output one after the other, then those of regions."""
    verdicts = []
    for name, output in calibration.outputs.items():
        verdicts.append(_verdict_on_ranks(name, output, calibration))
        verdicts.append(_verdict_on_places(name, output.local, calibration))
    for name, region in calibration.regions.items():
        subject = REGIONS[name]
        often = "more" if region.worst.share > region.worst.probability else "less"
        words = f"{subject} hold the truth {often} often than they should"
        share = 100 * region.worst.share
        probability = 100 * region.worst.probability
        sentence = (
            f"{words} ({equals(region.p_value)}): those of {probability:g} % in {share:.1f} % of"
            " observations"
        )
        faulty = region.p_value < calibration.least
        verdicts.append(Verdict(REGION, subject, faulty, words, (sentence,) if faulty else ()))
    return verdicts


def _verdict_on_ranks(name: str, output: OutputCalibration, calibration: Calibration) -> Verdict:
    """Whether an output's posteriors are too narrow or wide, or their medians too low or high."""
    coverage, faulty, sentences = (
        output.coverage_of_interval,
        output.p_value < calibration.least,
        [],
    )
    low, high = coverage.expected
    if not low <= coverage.share <= high:
        # What one test of several shows now and then is no fault.
        doubt, rest = ("", "") if faulty else ("perhaps ", ", but the ranks do not show it")
        sentences.append(
            f"the {100 * coverage.probability:g} % intervals of {in_words(name)} hold the truth in"
            f" {100 * coverage.share:.1f} %: {doubt}too"
            f" {'narrow' if coverage.share < low else 'wide'}{rest}"
        )
    slightly = "slightly " if abs(coverage.share - INTERVAL) < SLIGHT_DIFFERENCE else ""
    words = []
    faults = []
    shift = output.mean_position - 0.5
    spread = output.spread - 1
    if abs(spread) > CLEAR_ERRORS * math.sqrt(0.8 / calibration.observations):
        width = "narrow" if spread > 0 else "wide"
        words.append(f"{slightly}too {width}")
        faults.append(f"posteriors tend to be too {width}")
    if abs(shift) > CLEAR_ERRORS / math.sqrt(12 * calibration.observations):
        median = "low" if shift > 0 else "high"
        words.append(f"medians too {median}")
        lower = f"{100 * output.mean_position:.1f} % of the draws are below the truth"
        faults.insert(0, f"medians tend to be too {median}, as {lower}")
    if faulty:
        sentences.append(
            f"the ranks of the true {in_words(name)} among the draws are not uniform"
            f" ({equals(output.p_value)}):"
            f" {'; '.join(faults) or 'the shape of the posteriors is wrong'}"
        )
    in_short = " and ".join(words) or "posteriors of a wrong shape"
    return Verdict(RANKS, name, faulty, in_short, tuple(sentences))


def _verdict_on_places(name: str, local: LocalCoverage, calibration: Calibration) -> Verdict:
    """Whether an output's intervals are wrong in some places, by where the estimates lie."""
    intervals = f"the 90 % intervals of {in_words(name)}"
    faulty = local.p_value < calibration.least
    counts = {"narrow": local.narrow, "wide": local.wide}
    wrong = [f"too {kind} in {count}" for kind, count in counts.items() if count]
    words = "calibrated on average, not everywhere"
    if wrong:
        words += f" ({', '.join(wrong)} of {local.cells} cells)"
    axes = " and ".join(in_words(axis) for axis in local.axes)
    where = f"{' and '.join(wrong)} of {local.cells} cells of estimated {axes}"
    sentence = ""
    if not local.cells:
        sentence = f"where {intervals} are wrong is unknown: no cell has enough observations"
    elif faulty:
        sentence = (
            f"{intervals} hold the truth more often in some places than in others"
            f" ({equals(local.p_value)})"
        )
        sentence += f"; they are {where}" if wrong else ""
        if local.fewest is not None and local.most is not None:
            fewest, most = (_cell(cell, calibration) for cell in (local.fewest, local.most))
            sentence += f": in single cells from {fewest} to {most}"
    elif wrong:
        sentence = f"{intervals} are {where}"
    return Verdict(
        PLACES,
        name,
        faulty,
        words,
        (sentence,) if sentence else (),
    )


def _cell(cell: CellShare, calibration: Calibration) -> str:
    """`84 % (of 51 with depth 1.2 to 1.4 km, volume change 0.3 to 0.5 × 10⁶ m³)`."""
    ends = []
    for name, (low, high) in cell.between.items():
        values = number_with_unit(f"{low:.3g} to {high:.3g}", calibration.outputs[name].unit)
        ends.append(f"{in_words(name)} {values}")
    return f"{100 * cell.share:.0f} % (of {cell.observations:,} with {', '.join(ends)})"


def chance(p_value: float) -> str:
    """A p-value: `0.42`, `0.004`, `< 0.001`."""
    if p_value < 0.001:
        return "< 0.001"
    return f"{p_value:.1g}" if p_value < 0.01 else f"{p_value:.2f}"


def equals(p_value: float) -> str:
    """`p = 0.42`, `p < 0.001`."""
    words = chance(p_value)
    return f"p {words}" if words.startswith("<") else f"p = {words}"
