"""Calibrations of a run as its page, listings and tables show them, and what is said of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from qexp.base.quantities import in_words
from qexp.base.text import Table
from qexp.metrics.meaning import NONE
from qexp.results.calibration import (
    GIVEN,
    HEAD,
    INTERVAL,
    KINDS,
    PARTS,
    REGION,
    REGIONS,
    WELL_ABOVE,
    WHOLE,
    BoundRatio,
    Calibration,
    OutputCalibration,
    Regions,
    calibrations_of,
    chance,
    verdicts_of,
)
from qexp.results.capabilities import Columns, Parts, Results
from qexp.results.intervals import intervals_of


class Calibrations(Results):
    """All kinds of calibration of a run; its columns also have the coverage of held-out rows."""

    section = "Calibration"
    folded = "how sure its posteriors may be"

    @cached_property
    def calibrations(self) -> dict[str, Calibration]:
        return calibrations_of(self.directory)

    def document(self) -> dict[str, Any]:
        documents = {kind: kept.document() for kind, kept in self.calibrations.items()}
        return {"calibration": next(iter(documents.values()), None), "calibrations": documents}

    def tables(self) -> Parts:
        return calibration_tables(self.calibrations.values())

    def figures(self) -> Sequence[Path]:
        return sorted(self.directory.results.glob("figures/calibration_*.png"))

    def columns(self) -> Columns:
        columns: Columns = {}
        intervals = intervals_of(self.directory)
        # of all held-out rows together
        for coverage in [] if intervals is None else intervals.overall:
            if coverage.n:
                numbers = columns.setdefault(coverage.output, {})
                numbers[f"coverage_{100 * coverage.interval:.0f}"] = coverage.covered / coverage.n
                if coverage.interval == INTERVAL and coverage.mean_width is not None:
                    numbers[WIDTH] = coverage.mean_width
        for kind, calibration in self.calibrations.items():
            for output, numbers in _columns_of(calibration).items():
                named = {_column(kind, name): value for name, value in numbers.items()}
                columns.setdefault(output, {}).update(named)
        return columns

    def compared(self) -> Columns:
        names = [_column(kind, name) for kind in COLUMN_KINDS for name in COMPARED]
        columns = self.columns()
        for output, numbers in columns.items():
            columns[output] = {name: numbers[name] for name in names if name in numbers}
        return columns

    @staticmethod
    def possible_columns(units: Mapping[str, str]) -> dict[str, str]:
        columns = {}
        for output, unit in [*units.items(), (JOINT, "")]:
            for name in ON_ALL if output is JOINT else ON_OUTPUT:
                for kind in COLUMN_KINDS:
                    column = f"calibration.{output}.{_column(kind, name)}"
                    columns[column] = unit if name == WIDTH else ""
        return columns


# Columns of listings.
#
# `calibration.depth.coverage_90` is of the network's head on the whole prior, or of held-out rows;
# of other kinds of calibration it is `calibration.depth.refined.coverage_90`. So nothing is
# compared that is not alike.

WIDTH = "width"

ON_OUTPUT = (
    *(f"coverage_{percent}" for percent in (50, 68, 90, 95)),
    "p_value",
    WIDTH,
    "width_ratio",
    "bound_ratio",
)
"""Last steps of columns on one output."""

ON_ALL = ("passed", "density_p_value", "balls_p_value", "c2st")
"""Last steps of columns on all outputs together."""

JOINT = "joint"
"""In place of an output, in columns on all outputs together."""

PASSED = "passed"
"""1 if no test finds a fault, else 0: its mean is the share of runs that pass."""

COMPARED = (PASSED, "coverage_90", WIDTH, "width_ratio", "bound_ratio", "density_p_value", "c2st")
"""Last steps of what runs are compared by."""

COLUMN_KINDS = [kind if part == WHOLE else f"{kind}_{part}" for kind in KINDS for part in PARTS]


def _column(kind: str, name: str) -> str:
    return name if kind == HEAD else f"{kind}.{name}"


def _columns_of(calibration: Calibration) -> Columns:
    columns: Columns = {}
    for name, output in calibration.outputs.items():
        numbers = {f"coverage_{100 * one.probability:.0f}": one.share for one in output.coverage}
        numbers |= {"p_value": output.p_value, WIDTH: output.width}
        ratios = {key: one.median for key, one in output.ratios.items()}
        columns[name] = numbers | ratios
    joint = {PASSED: float(calibration.faults == 0)}
    if calibration.density is not None:
        joint["density_p_value"] = calibration.density.p_value
    joint["balls_p_value"] = calibration.balls.p_value
    if calibration.exact is not None:
        joint["c2st"] = calibration.exact.accuracy
    return {**columns, JOINT: joint}


def _sentences(calibration: Calibration) -> Iterator[str]:
    """What was tested, what each test says of it, and how wide the intervals are."""
    method = "the network's posterior head"
    if calibration.refined:
        method = "the likelihood, from the network's estimates"
    if calibration.recalibrated:
        method += f", recalibrated by the {PARTS[calibration.recalibrated]}"
    drawn = "given" if calibration.part == GIVEN else f"drawn from the {calibration.part_in_words}"
    coverage = next(iter(calibration.outputs.values())).coverage_of_interval
    low, high = (100 * end for end in coverage.expected)
    yield (
        f"calibration: {calibration.observations:,} observations of {calibration.dataset}, {drawn}"
        f" (seed {calibration.seed}), {calibration.draws:,} draws from the posterior of each, by"
        f" {method}; right {100 * coverage.probability:g} % intervals hold {low:.1f} to"
        f" {high:.1f} % of as many"
    )
    if calibration.caution:
        yield calibration.caution
    if calibration.doubted:
        yield (
            f"of {calibration.doubted:,} observations the samples are not to be trusted, by the"
            " diagnostics of their method"
        )
    verdicts = verdicts_of(calibration)
    for name, output in calibration.outputs.items():
        for test in verdicts:
            yield from test.sentences if test.subject == name else ()
        yield from _sentence_on_widths(name, output)
    if any("bound_ratio" in output.ratios for output in calibration.outputs.values()):
        yield "this bound is asymptotic and knows no prior: ratios below one are possible"
    for test in verdicts:
        yield from test.sentences if test.name == REGION else ()
    if (exact := calibration.exact) is not None:
        share = 100 * exact.accuracy
        error = 100 * exact.standard_error
        yield (
            f"a classifier distinguishes the draws of {exact.observations} posteriors from those of"
            f" exact ones in {share:.1f} ± {error:.1f} % of cases (C2ST: 50 % if they are equal;"
            f" for the worst {100 * exact.largest:.0f} %; {exact.classifier})"
        )
    yield what_would_be_noticed(calibration)


def _sentence_on_widths(name: str, output: OutputCalibration) -> Iterator[str]:
    """Widths beside those of exact posteriors, or beside the bound."""
    for ratio in output.ratios.values():
        median, low, high = map(_ratio_in_words, (ratio.median, *ratio.interval))
        others = "those of exact posteriors"
        counted = ""
        if isinstance(ratio, BoundRatio):
            others = "3.29 standard deviations of the Cramér–Rao bound"
            counted = (
                f" of the {ratio.observations:,} of {ratio.of:,} observations with a"
                f" signal-to-noise ratio above {WELL_ABOVE:g},"
            )
        yield (
            f"the 90 % intervals of {in_words(name)} are {median} times as wide as {others}"
            f" (median{counted or ','} with 95 % interval {low} to {high})"
        )


def _ratio_in_words(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"


def what_would_be_noticed(calibration: Calibration) -> str:
    """Which faults so many observations would show, so that nobody takes silence for soundness."""
    observations = f"{calibration.observations:,} observations"
    if not calibration.notices_narrow or calibration.notices_shift is None:
        return (
            f"{observations} would show hardly any fault, so that silence means little; take more"
        )
    return (
        f"power of the test: had posteriors been {100 * (1 - calibration.notices_narrow):.0f} % too"
        f" narrow, or their medians off by {calibration.notices_shift:.2g} of their standard"
        f" deviations, the ranks of {observations} would show it in nine of ten cases; smaller"
        " faults can stay unseen"
    )


# Tables of calibrations.

RATIOS = {"width_ratio": "exact", "bound_ratio": "bound"}
"""Ratio of widths of intervals → what they are compared with."""


def calibration_tables(calibrations: Collection[Calibration]) -> Parts:
    """All that is said of a run's calibrations: verdicts, one table, and sentences on each."""
    for calibration in calibrations:
        kind = f"{calibration.kind_in_words}: " if len(calibrations) > 1 else ""
        yield f"{kind}{calibration.verdict}"
    if calibrations:
        yield _table_of_kinds(calibrations)
    for calibration in calibrations:
        yield from _sentences(calibration)


def table_of_runs(calibrations: Mapping[str, Calibration]) -> Table:
    """A line for each run: its 90 % intervals, and whether a test finds a fault."""
    names, ratios = _outputs_and_ratios(calibrations.values())
    exact = ["C2ST"] if any(calibration.exact for calibration in calibrations.values()) else []
    columns = ["run", "tests"]
    for name in names:
        columns += [f"{name} in {100 * INTERVAL:g} %", f"{name} width"]
        columns += [f"{name} / {RATIOS[ratio]}" for ratio in ratios]
    rows = []
    for run, calibration in calibrations.items():
        faults = calibration.faults
        tests = f"{faults} of {calibration.tests} find a fault" if faults else "passed"
        cells = [run, tests]
        for name in names:
            output = calibration.outputs.get(name)
            if output is None:
                cells += [NONE] * (2 + len(ratios))
                continue
            cells += [f"{100 * output.coverage_of_interval.share:.1f} %", output.width_in_words]
            cells += _ratios_in_words(output, ratios)
        if exact:
            distinguished = calibration.exact
            cells += [f"{100 * distinguished.accuracy:.1f} %" if distinguished else NONE]
        rows.append(cells)
    kinds = dict.fromkeys(calibration.kind_in_words for calibration in calibrations.values())
    columns += exact
    return Table(f"calibration: {', '.join(kinds)}", columns, rows, frozenset(columns[2:]))


def _table_of_kinds(calibrations: Collection[Calibration]) -> Table:
    """A row per output and kind of calibration, then one for each kind of region of all outputs."""
    names, ratios = _outputs_and_ratios(calibrations)
    texts = ["of", "posteriors"] if len(calibrations) > 1 else ["of"]
    probabilities = [share.probability for share in next(iter(calibrations)).balls.coverage]
    columns = [*texts, *(f"in {100 * probability:g} %" for probability in probabilities)]
    columns += ["p", "median width", *(f"width / {RATIOS[ratio]}" for ratio in ratios)]
    rows = []
    for name in names:
        for calibration in calibrations:
            output = calibration.outputs.get(name)
            if output is not None:
                first = [f"intervals of {in_words(name)}", calibration.kind_in_words]
                widths = [output.width_in_words, *_ratios_in_words(output, ratios)]
                rows.append([*first[: len(texts)], *_shares_in_words(output), *widths])
    for name, words in REGIONS.items():
        for calibration in calibrations:
            region = calibration.regions.get(name)
            if region is not None:
                first = [words, calibration.kind_in_words]
                widths = [NONE] * (1 + len(ratios))
                rows.append([*first[: len(texts)], *_shares_in_words(region), *widths])
    title = "true values in intervals and regions (%), by their probability"
    return Table(title, columns, rows, frozenset(columns[len(texts) :]))


def _shares_in_words(tested: OutputCalibration | Regions) -> list[str]:
    """The shares in intervals or regions, and the p-value."""
    shares = [f"{100 * share.share:.1f}" for share in tested.coverage]
    return [*shares, chance(tested.p_value)]


def _outputs_and_ratios(calibrations: Iterable[Calibration]) -> tuple[list[str], list[str]]:
    """The outputs of any of the calibrations, and what widths of any of them are compared with."""
    outputs: dict[str, set[str]] = {}
    for calibration in calibrations:
        for name, output in calibration.outputs.items():
            outputs.setdefault(name, set()).update(output.ratios)
    known = set().union(*outputs.values())
    return [*outputs], [ratio for ratio in RATIOS if ratio in known]


def _ratios_in_words(output: OutputCalibration, ratios: Sequence[str]) -> list[str]:
    known = {name: f"{ratio.median:.3g}" for name, ratio in output.ratios.items()}
    return [known.get(name, NONE) for name in ratios]
