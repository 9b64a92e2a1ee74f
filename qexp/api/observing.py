"""Real observations of deformation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qexp.analysis.observing.observe import Observed


def observe(
    sources: str | Path | Sequence[str | Path],
    to: str | Path | None = None,
    *,
    gnss: Sequence[str | Path] = (),
    gnss_unit: str | Sequence[str] = (),
    noise: str | Sequence[str] = (),
    noise_area: Sequence[float] | None = None,
    noise_mask: Sequence[float] | None = None,
    noise_ramp: bool = False,
    keep_errors: bool = False,
    figure: str | Path | None = None,
    style: str | Path | None = None,
    overwrite: bool = False,
    history: str = "qexp.observe",
    **asked: Any,
) -> Observed:
    """Read files of satellite tracks and GNSS stations as one observation; see `qexp observe`.

    to           the observation file to write; None: it is not written
    gnss         files that are read as tables of GNSS stations
    gnss_unit    unit of their displacements and errors: "m" if left out, "cm" or "mm"; or a list with one for each
    noise        "estimate", "none" or "exponential:SILL,RANGE,NUGGET" [m², m, m²]; or a list with one for each track
    noise_area   east, east, north, north of a rectangle without signal [m], to estimate the noise from
    noise_mask   east, north, radius of a circle around the signal [m], which is left out
    noise_ramp   subtract a plane first
    keep_errors  do not replace the errors by the square root of the nugget
    figure       PNG, PDF or SVG of the tracks; that of semivariograms is written beside it as NAME_noise
    style        a matplotlib style file
    history      how it was made, for the file's attribute of that name
    asked        what the files do not say: crs, columns; and one value, or a list with one for each file: name,
                 unit, error, incidence and heading [degrees, or a raster], look, and what `Asked` has for grids and
                 reductions
    returns      the `observation` (m), its `tracks` in numbers, `warnings`, the `files` that were written, and
                 `estimates` of the noise by track
    Raises QexpError before anything is written.
    """
    from qexp.analysis.observing.noise import NoiseAsked
    from qexp.analysis.observing.observe import observe as read
    from qexp.runs.record import nesting

    several = [sources] if isinstance(sources, str | Path) else sources
    wanted = NoiseAsked([noise] if isinstance(noise, str) else noise, noise_area, noise_mask, noise_ramp, keep_errors)
    target, picture = (None if path is None else nesting.target(path) for path in (to, figure))
    drawn_with = None if style is None else Path(style)
    return read(
        [Path(one) for one in several], [Path(one) for one in gnss], asked, wanted,
        [gnss_unit] if isinstance(gnss_unit, str) else gnss_unit, target, picture, drawn_with, overwrite, history,
    )  # fmt: skip
