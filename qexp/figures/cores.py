"""Estimates for spectra of cores: against what was measured, and down each core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.figures.canvas import COLOURS, LEFT, RIGHT, TITLE, panels, sized, titled
from qexp.figures.panel_grid import panel_grid
from qexp.metrics.built_in import coefficient_of_determination, root_mean_squared_error
from qexp.quantities import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

MARKERS = ("o", "^", "s", "D", "v", "P")
"""Together with the colours they distinguish about forty cores; of more cores none is named."""

SIDE, WIDTH_OF_LIST = 4.6, 1.9
"""Width of the figure without its legend, and of a column of the legend [inch]."""

LISTED = 21
"""Number of cores in a column of the legend."""

PROFILES_IN_A_ROW, MOST_PROFILES = 8, 32

MEASURED, ESTIMATED = COLOURS[6], COLOURS[0]

LONGEST = 17
"""Largest number of characters of a core's name that are shown."""


@dataclass(frozen=True)
class Estimates:
    """Estimates of one number for spectra of cores, in the number's own unit."""

    name: str
    unit: str
    cores: Sequence[str]
    """(row,)"""
    depths: ArrayLike
    """(row,), downwards; NaN where unknown."""
    estimated: ArrayLike
    """(row,)"""
    measured: ArrayLike | None = None
    """(row,), NaN where nothing was measured; None if no row has a measured value."""
    depth_unit: str = "mm"
    interval: tuple[ArrayLike, ArrayLike] | None = None
    """Lower and upper end of each estimate's interval, (row,) each."""

    def label(self, what: str) -> str:
        """The label of an axis: `estimated toc (wt%)`."""
        words = f"{what} {self.name.replace('_', ' ')}".strip()
        return f"{words} ({typeset(self.unit)})" if self.unit else words


def estimates_by_core(estimates: Estimates, note: str) -> Figure:
    """Estimated against measured values with the identity line, and the RMSE of each core.

    note  caution on the numbers, may be empty
    """
    estimated, measured = _numbers(estimates.estimated), _numbers(estimates.measured)
    finite = np.isfinite(estimated) & np.isfinite(measured)
    estimated, measured, cores = estimated[finite], measured[finite], np.asarray(estimates.cores, dtype=str)[finite]
    names = list(dict.fromkeys(cores))
    told_apart = 1 < len(names) <= len(COLOURS) * len(MARKERS)
    made, (axis,) = panels(1, SIDE, SIDE)
    if told_apart:
        # The legend widens the figure, not the panel.
        whole = SIDE + -(-len(names) // LISTED) * sized(WIDTH_OF_LIST)
        made.set_size_inches(whole, SIDE)
        made.subplots_adjust(sized(LEFT) / whole, right=(SIDE - sized(RIGHT)) / whole)
    values = np.concatenate([estimated, measured]) if len(names) else np.array([0.0, 1.0])
    margin = 0.05 * np.ptp(values) or 0.5
    limits = (values.min() - margin, values.max() + margin)
    axis.plot(limits, limits, color="0.6", linewidth=1, zorder=1)
    for index, name in enumerate(names):
        those = cores == name
        axis.plot(
            measured[those],
            estimated[those],
            MARKERS[index // len(COLOURS)] if told_apart else "o",
            color=COLOURS[index % len(COLOURS)] if told_apart else COLOURS[0],
            markersize=4, alpha=0.65, mew=0, zorder=2,
            label=f"{_shown(name)}  {root_mean_squared_error(estimated[those], measured[those]):.3g}",
        )  # fmt: skip
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.set_aspect("equal", adjustable="box")
    axis.set_yticks([tick for tick in axis.get_xticks() if limits[0] <= tick <= limits[1]])
    axis.set_xlabel(estimates.label("measured"))
    axis.set_ylabel(estimates.label("estimated"))
    _write_numbers(axis, measured, estimated, estimates.unit)
    if told_apart:
        heading = f"core, and its RMSE ({typeset(estimates.unit)})" if estimates.unit else "core, and its RMSE"
        axis.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, title=heading,
            fontsize=sized(8), title_fontsize=sized(8), ncols=-(-len(names) // LISTED), alignment="left",
            handlelength=1.0, columnspacing=1.0,
        )  # fmt: skip
    titled(made, f"{len(estimated)} spectra of {len(names)} core{'s' if len(names) != 1 else ''}", note)
    return made


def down_core(estimates: Estimates, note: str, interval: str = "") -> Figure:
    """A panel per core, depth downwards: the estimates as a line, measured values as dots.

    Without depths, spectra are drawn in their order. Of many cores only some are drawn, evenly spread over their
    order, and the title says so.

    note      caution on the numbers, may be empty
    interval  what the intervals are, for the title
    """
    profiles = list(_profiles(estimates))
    drawn = [profiles[index] for index in _spread(len(profiles), MOST_PROFILES)]
    count = max(len(drawn), 1)
    width = max(1.25, 3.75 / count)  # so that the title of a single core can be read
    made, axes = panel_grid(count, PROFILES_IN_A_ROW, width, 3.0, across=0.5, down=0.8)
    for index, (axis, profile) in enumerate(zip(axes, drawn, strict=False)):
        _draw_profile(axis, profile)
        axis.set_title(_shown(profile.core), fontsize=sized(9), y=TITLE)
        if index % PROFILES_IN_A_ROW == 0:
            axis.set_ylabel(f"depth ({typeset(estimates.depth_unit)})" if profile.depths_known else "spectrum")
        if index + PROFILES_IN_A_ROW >= len(drawn):
            axis.set_xlabel(estimates.label(""), fontsize=sized(9))
    some = f", {len(drawn)} of {len(profiles)} cores" if len(drawn) < len(profiles) else ""
    dots = "; dots: measured" if estimates.measured is not None else ""
    dots += f"; band: {interval}" if estimates.interval is not None else ""
    titled(
        made, f"{estimates.name.replace('_', ' ')} down core{some}, each on its own scale; line: estimated{dots}", note
    )
    return made


@dataclass(frozen=True)
class _Profile:
    """A panel of one core, from top to bottom."""

    core: str
    depths: Array
    estimated: Array
    measured: Array
    low: Array
    high: Array
    """Ends of the intervals, NaN without any."""
    depths_known: bool


def _profiles(estimates: Estimates) -> Iterator[_Profile]:
    estimated, measured = _numbers(estimates.estimated), _numbers(estimates.measured)
    depths, cores = _numbers(estimates.depths), np.asarray(estimates.cores, dtype=str)
    if estimates.measured is None:
        measured = np.full(len(estimated), np.nan)
    low, high = (_numbers(end) for end in estimates.interval or (np.full(len(estimated), np.nan),) * 2)
    known = bool(np.isfinite(depths).any())
    names, owners = np.unique(cores, return_inverse=True)
    # Rows of a core need not be adjacent, but a search for each of many cores would be slow.
    order = np.argsort(owners, kind="stable")
    for name, rows in zip(names, np.split(order, np.cumsum(np.bincount(owners))[:-1]), strict=False):
        down = depths[rows] if known else np.arange(1, len(rows) + 1, dtype=np.float64)
        rows, down = rows[np.isfinite(down)], down[np.isfinite(down)]
        if len(rows):
            deeper = np.argsort(down, kind="stable")
            rows = rows[deeper]
            yield _Profile(str(name), down[deeper], estimated[rows], measured[rows], low[rows], high[rows], known)


def _draw_profile(axis: Axes, profile: _Profile) -> None:
    few = len(profile.depths) <= 60
    axis.fill_betweenx(profile.depths, profile.low, profile.high, color=ESTIMATED, alpha=0.18, linewidth=0, zorder=1)
    axis.plot(
        profile.estimated, profile.depths, "-", color=ESTIMATED, linewidth=1.3 if few else 0.8, zorder=2,
        marker="." if few else None, markersize=4,
    )  # fmt: skip
    axis.plot(profile.measured, profile.depths, "o", color=MEASURED, markersize=2.6, alpha=0.8, mew=0, zorder=3)
    axis.invert_yaxis()
    axis.tick_params(labelsize=sized(8))
    axis.locator_params(axis="x", nbins=3)
    axis.grid(alpha=0.25, linewidth=0.5)


def _write_numbers(axis: Axes, measured: Array, estimated: Array, unit: str) -> None:
    """Write text in the corner away from the identity line that has fewer points."""
    said = f"n = {len(measured)}"
    if len(measured):
        said += f"\nRMSE = {root_mean_squared_error(estimated, measured):.3g} {typeset(unit)}".rstrip()
        said += f"\nR² = {coefficient_of_determination(estimated, measured):.3f}"
    low, high = axis.get_xlim()
    x, y = (measured - low) / (high - low), (estimated - low) / (high - low)
    above, below = ((x < 0.4) & (y > 0.8)).sum(), ((x > 0.6) & (y < 0.2)).sum()
    place, vertical, horizontal = ((0.97, 0.03), "bottom", "right") if below < above else ((0.03, 0.97), "top", "left")
    axis.text(*place, said, transform=axis.transAxes, ha=horizontal, va=vertical, fontsize=sized(8.5), zorder=4)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _numbers(values: ArrayLike | None) -> Array:
    return np.asarray(np.nan if values is None else values, dtype=np.float64)


def _shown(core: str) -> str:
    """A core's name, shortened; a dollar sign does not start a formula."""
    return (core if len(core) <= LONGEST else core[: LONGEST - 1] + "…").replace("$", r"\$")
