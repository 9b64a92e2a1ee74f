"""Samples of rows: the columns of a variable as a curve."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, sized, titled
from qexp.figures.panel_grid import panel_grid
from qexp.figures.wrapping import wrapped
from qexp.quantities import label, typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

WIDE, HIGH, IN_A_ROW = 2.7, 1.5, 3
"""Sizes of a panel [inch], and panels in a row."""

WORDS = 40
"""Largest number of characters of a line above a panel."""

MOST_NAMES, LONGEST, LEVEL = 14, 9, 24
"""Columns that are named on an axis, characters of their names, and characters that fit beside each other."""


MEASURED = {"nm": "wavelength", "µm": "wavelength", "um": "wavelength", "eV": "energy", "keV": "energy"}
"""What the numbers in the names of columns are, by the unit that follows them."""


@dataclass(frozen=True)
class RowSample:
    """One row of a variable's columns."""

    words: str
    values: Array
    """(column,)"""


def sample_rows(
    rows: Sequence[RowSample], columns: Sequence[str], name: str, unit: str, others: Array, title: str
) -> Figure:
    """A panel per row: its values over the columns, and in grey the range of 90 % of all rows.

    others  all rows of the dataset, (row, column)
    """
    numbers, words = positions(columns)
    lines = max(wrapped(row.words, WORDS).count("\n") for row in rows)
    upright = words is None and sum(len(column[:LONGEST]) for column in columns) > LEVEL
    made, axes = panel_grid(
        len(rows), IN_A_ROW, WIDE, HIGH, across=0.2, down=0.35 + 0.15 * lines, top=0.6 + 0.15 * lines,
        bottom=0.95 if upright else 0.5,
    )  # fmt: skip
    low, high = np.nanpercentile(others, (5, 95), axis=0)
    ends = _ends([low, high, *(row.values for row in rows)])
    for number, (axis, row) in enumerate(zip(axes, rows, strict=True)):
        if words is None:  # a line between columns without an order would say nothing
            axis.vlines(numbers, low, high, color="0.86", linewidth=sized(6))
        else:
            axis.fill_between(numbers, low, high, color="0.88", linewidth=0)
        line = "o" if words is None else "o-"
        axis.plot(numbers, row.values, line, color=COLOURS[0], markersize=sized(3), linewidth=1)
        axis.set_ylim(*ends)
        axis.set_title(wrapped(row.words, WORDS), fontsize=sized(8))
        lowest = number + IN_A_ROW >= len(rows)
        axis.tick_params(labelsize=sized(7), labelleft=number % IN_A_ROW == 0, labelbottom=lowest)
        _name_columns(axis, columns, words, lowest, 90 if upright else 0)
        if number % IN_A_ROW == 0:
            axis.set_ylabel(label(name, typeset(unit)), fontsize=sized(8))
    titled(made, f"{title}; grey: 90 % of all rows")
    return made


def positions(columns: Sequence[str]) -> tuple[Array, str | None]:
    """Positions of columns on an axis and its label: their numbers, such as 414 and 749 of `414nm` and `749nm`; else
    0, 1, 2, … and None.
    """
    matches = [re.fullmatch(r"(\D*)([0-9]+(?:\.[0-9]+)?)(\D*)", column) for column in columns]
    around = {(match[1], match[3]) for match in matches if match is not None}
    if None in matches or len(around) != 1:
        return np.arange(len(columns), dtype=np.float64), None
    numbers = np.array([float(match[2]) for match in matches if match is not None])
    if len(numbers) > 1 and not (np.diff(numbers) > 0).all():
        return np.arange(len(columns), dtype=np.float64), None
    ((before, after),) = around
    if not before and after.strip() in MEASURED:
        return numbers, f"{MEASURED[after.strip()]} ({after.strip()})"
    return numbers, " ".join(one.strip(" _-") for one in (before, after) if one.strip(" _-")) or "column"


def _name_columns(axis: Axes, columns: Sequence[str], words: str | None, lowest: bool, rotation: float) -> None:
    if words is not None:
        if lowest:
            axis.set_xlabel(words, fontsize=sized(8))
    elif len(columns) <= MOST_NAMES:
        names = [wrapped(column, 200)[:LONGEST] for column in columns]
        axis.set_xticks(range(len(columns)), names, rotation=rotation)
        axis.set_xlim(-0.5, len(columns) - 0.5)
    elif lowest:
        axis.set_xlabel("column", fontsize=sized(8))


def _ends(values: Sequence[Array]) -> tuple[float, float]:
    """The limits of an axis for all values, with a margin."""
    low, high = (float(end([end(one) for one in values])) for end in (np.nanmin, np.nanmax))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin
