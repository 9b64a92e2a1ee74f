"""Sources of deformation estimated from real observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.api.runs import Run, directory_of
from qexp.errors import QexpError

if TYPE_CHECKING:
    from qexp.deformation.estimate import Inversion
    from qexp.deformation.observe import Observed
    from qexp.deformation.sources import PosteriorAsked
    from qexp.observations.observation import Observation
    from qexp.runs.invert import Destination


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
    from qexp.deformation.observe import NoiseAsked
    from qexp.deformation.observe import observe as read
    from qexp.store.directory import target_outside_of_runs

    several = [sources] if isinstance(sources, str | Path) else sources
    wanted = NoiseAsked([noise] if isinstance(noise, str) else noise, noise_area, noise_mask, noise_ramp, keep_errors)
    target, picture = (None if path is None else target_outside_of_runs(path) for path in (to, figure))
    drawn_with = None if style is None else Path(style)
    return read(
        [Path(one) for one in several], [Path(one) for one in gnss], asked, wanted,
        [gnss_unit] if isinstance(gnss_unit, str) else gnss_unit, target, picture, drawn_with, overwrite, history,
    )  # fmt: skip


def invert(
    observation: Observation | str | Path,
    *,
    run: Run | str | None = None,
    refine: bool = False,
    centre: tuple[float, float] | None = None,
    source: str | Sequence[str] | None = None,
    offsets: str = "per-track",
    ramps: bool = False,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    starts: int | None = None,
    posterior: bool = False,
    draws: int | None = None,
    method: str | None = None,
    declared_noise: bool = False,
    seed: int = 0,
    degrees: bool = False,
    to: str | Path | None = None,
    spacing: float | None = None,
    overwrite: bool = False,
    history: str = "qexp.invert",
    trust_code: bool = False,
    device: str = "auto",
    workspace: str | Path | None = None,
) -> Inversion:
    """Estimate the sources of an observation; see `qexp invert`.

    observation  that of `qexp.observe`, or the path of its file
    run          a trained run, whose network estimates the sources that it was trained on
    refine       follow its estimate to the minimum of least squares, which gives standard errors
    centre       east, north of the centre of the network's images [m]; the largest displacement if left out
    source       without a run: a name such as "mogi", several joined by "+"; or a list of such, which are compared
    offsets      "per-track" or "none"
    fixed        parameter → value: east, north in metres of the coordinate reference system, others in units of specs
    bounds       parameter → (low, high), infinite where there is none
    starts       without a run: 32 if left out, spread over all parameters; with one: 8, near the network's estimate
    posterior    also draw from it, by a `method`; `draws` are 2,000 if left out; with `declared_noise`, errors count as
                 declared, not up to an unknown factor
    degrees      without a run: angles are in degrees rather than radians
    to           a folder for tables, maps and rasters, those of scattered points with a `spacing` [m]
    returns      `parameters`, `tracks`, `posterior`, and the `document()` that `--json` prints; of several sources the
                 one with the lowest AICc; `rivals` has the criteria of all
    Raises QexpError before anything is written.
    """
    from qexp.deformation.sources import Asked
    from qexp.kinds.tables import tables_here
    from qexp.runs.invert import by_least_squares, by_network, opened

    of_posterior = _posterior(posterior, draws, method, declared_noise)
    asked = Asked(offsets, ramps, fixed or {}, bounds or {}, starts, seed, of_posterior)
    destination = _destination(to, spacing, overwrite, history)
    if run is None:
        _require_without_run(refine, centre)
        made = by_least_squares(opened(observation), _several(source), asked, tables_here(workspace), degrees)
    else:
        _require_with_run(source, degrees)
        directory = directory_of(run, workspace, trust_code)
        made = by_network(opened(observation), directory, asked, refine=refine, centre=centre, device=device)
    return _kept(made, destination)


def _destination(to: str | Path | None, spacing: float | None, overwrite: bool, history: str) -> Destination | None:
    from qexp.runs.invert import Destination
    from qexp.store.directory import target_outside_of_runs

    if to is not None:
        return Destination(target_outside_of_runs(to), spacing, overwrite, history)
    if spacing is not None or overwrite:
        raise QexpError("--spacing and --overwrite are for the files of --to; name their folder, or leave them out")
    return None


def _posterior(wanted: bool, draws: int | None, method: str | None, declared_noise: bool) -> PosteriorAsked | None:
    from qexp.deformation.sources import PosteriorAsked

    if wanted:
        usual = PosteriorAsked()
        return PosteriorAsked(
            usual.draws if draws is None else draws, usual.method if method is None else method, not declared_noise
        )
    if draws is not None or method is not None or declared_noise:
        raise QexpError("--draws, --method and --declared-noise are for a posterior; add --posterior")
    return None


def _kept(made: Sequence[Inversion], destination: Destination | None) -> Inversion:
    """The first of them, written with the others if there is a destination."""
    from qexp.runs.invert import written

    if destination is not None:
        written(made, destination)
    return made[0]


def _several(source: str | Sequence[str] | None) -> list[str]:
    return [source or "mogi"] if source is None or isinstance(source, str) else list(source)


def _require_without_run(refine: bool, centre: tuple[float, float] | None) -> None:
    if refine or centre is not None:
        raise QexpError("--refine and --centre are for a network's estimate; name its run with --run")


def _require_with_run(source: str | Sequence[str] | None, degrees: bool) -> None:
    if source is not None or degrees:
        raise QexpError("--source and --degrees do not go with --run: a network knows its sources and their units")
