"""Numbers of a run's calibrations, and of the intervals of held-out rows, by the names of their columns in listings.

`calibration.depth.coverage_90` is of the network's head on the whole prior, or of held-out rows; of other kinds of
calibration it is `calibration.depth.refined.coverage_90`. So nothing is compared that is not alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from qexp.runs.record.calibration import HEAD, INTERVAL, REFINED, WHOLE, Calibration, OutputCalibration, calibrations_of
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import OVERALL, HeldOutIntervals, intervals_of

FIELD = "calibration"
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

KINDS = [
    of if part == WHOLE else f"{of}_{part}" for of in (HEAD, REFINED) for part in (WHOLE, "train", "validation", "test")
]

Columns = dict[str, dict[str, float]]
"""Output, or `JOINT` → the rest of a column's name → number."""


def columns_of(directory: RunDirectory) -> Columns:
    """The columns of a run; empty without calibrations and held-out rows."""
    held_out = intervals_of(directory)
    made = {} if held_out is None else _of_held_out(held_out)
    for kind, one in calibrations_of(directory).items():
        for output, numbers in _of_calibration(one).items():
            made.setdefault(output, {}).update({_named(kind, name): value for name, value in numbers.items()})
    return made


def compared_columns(directory: RunDirectory) -> Columns:
    """Those by which runs are compared."""
    found = columns_of(directory)
    return {
        output: {
            name: numbers[name] for kind in KINDS for last in COMPARED if (name := _named(kind, last)) in numbers
        }
        for output, numbers in found.items()
    }  # fmt: skip


def possible(outputs: Iterable[str]) -> set[str]:
    """All columns that runs with these outputs can have."""
    last_keys = {**dict.fromkeys(outputs, OF_OUTPUT), JOINT: OF_ALL}
    return {
        f"{FIELD}.{output}.{_named(kind, last)}" for output, lasts in last_keys.items() for last in lasts
        for kind in KINDS
    }  # fmt: skip


def of_width(column: str) -> bool:
    """Whether a column has the unit of its output."""
    return column.rpartition(".")[2] == WIDTH


def of_calibration(metric: str) -> bool:
    """Whether a metric of a comparison is of a calibration: it has no best value, as intervals are to be right, and
    then narrow.
    """
    return metric.startswith(f"{FIELD}.")


def _named(kind: str, last: str) -> str:
    return last if kind == HEAD else f"{kind}.{last}"


def _of_calibration(of: Calibration) -> Columns:
    found = {name: _of_output(one) for name, one in of.outputs.items()}
    regions = {"density": of.density, "balls": of.balls}
    joint = {f"{name}_p_value": one.p_value for name, one in regions.items() if one is not None}
    sharp = {} if of.exact is None else {"c2st": of.exact.accuracy}
    return {**found, JOINT: {PASSED: float(of.faults == 0), **joint, **sharp}}


def _of_output(one: OutputCalibration) -> dict[str, float]:
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
