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
    overwrite: bool = False,
    history: str = "qexp.observe",
    **asked: Any,
) -> Observed:
    """Read files of satellite tracks and GNSS stations as one observation; see `qexp observe`.

    to       the observation file to write; None: nothing is written
    gnss     files that are read as tables of GNSS stations
    history  how it was made, for the file's attribute of that name
    asked    what the files do not say: crs, columns, unit; and one value, or a list with one for each file: name,
             error, incidence and heading [degrees, or a raster], look, and what `Asked` has for grids and reductions
    returns  the `observation` (m), its `tracks` in numbers, `warnings`, and the `files` that were written
    Raises QexpError before anything is written.
    """
    from qexp.analysis.observing.observe import observe as read

    several = [sources] if isinstance(sources, str | Path) else sources
    target = None if to is None else Path(to)
    return read([Path(one) for one in several], [Path(one) for one in gnss], asked, target, overwrite, history)
