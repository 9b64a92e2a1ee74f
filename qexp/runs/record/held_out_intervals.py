"""How many held-out rows the intervals of the other rows' errors cover: `results/intervals.json` of a run."""

from __future__ import annotations

from dataclasses import dataclass

from qexp import files
from qexp.errors import DamagedError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.parts import MisfitError, Part

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
    try:
        return HeldOutIntervals.from_document(files.read_json(file))
    except MisfitError as misfit:
        raise DamagedError(f"{file} is damaged: {misfit}") from None
