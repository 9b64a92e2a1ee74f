"""qexp observe, invert"""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli.arguments import with_options
from qexp.cli.console import JsonOption, message, print_json, print_table, result, warning
from qexp.deformation.options import InvertOptions, ObserveOptions
from qexp.errors import QexpError, some
from qexp.metrics.meaning import number

if TYPE_CHECKING:
    from qexp.deformation.estimate import Estimate, Inversion
    from qexp.deformation.observe import TrackSummary
    from qexp.deformation.posterior import ParameterPosterior, SourcePosterior

# qexp observe


FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        help="One file for each satellite track: text or CSV with points, GeoTIFF, NetCDF or GMT grids, velocities and "
        "time series of MintPy and LiCSBAS, interferograms of LiCSAR; tables of GNSS stations; or observation files to "
        "join.",
    ),
]
NoFigureOption = Annotated[bool, typer.Option("--no-figure", help="Draw no figure.")]


@with_options(ObserveOptions)
def observe(
    options: ObserveOptions, files: FilesArgument = None, no_figure: NoFigureOption = False, as_json: JsonOption = False
) -> None:
    """Read observed displacements into one observation file, which qexp invert reads.

    Each file is a track of its own. Text files without a header have the columns east, north, line-of-sight
    displacement (m, positive toward the satellite), error, and the unit vector east, north, up from the ground to the
    satellite. Points with missing numbers are masked. Without --to the observation is only described; an observation
    file can be given again, to look at it or to change its noise.
    """
    if no_figure and options.figure is not None:
        raise QexpError("--figure and --no-figure contradict each other; keep one")
    beside = Path(options.to).with_suffix(".png") if options.to is not None and not no_figure else None
    observed = api.observe(files or [], **{**vars(options), "figure": options.figure or beside, "history": _history()})
    for text in observed.warnings:
        warning(text)
    if as_json:
        print_json({"tracks": [track.document() for track in observed.tracks], "files": [*map(str, observed.files)]})
        return
    for track in observed.tracks:
        message(f"{track.name}: {_words(track)}")
        if track.noise is not None:
            how = f", from {observed.estimates[track.name].how}" if track.name in observed.estimates else ""
            error = "; errors are the square root of the nugget" if track.error_is_nugget else ""
            message(f"{track.name}: noise {track.noise.words}{error}{how}")
    for path in observed.files:
        result(str(path))


def _history() -> str:
    """The command line, for the files that it makes."""
    return shlex.join(["qexp", *sys.argv[1:]])


SAID = 0.05
"""Difference of two headings [°] from which on both are printed."""


def _words(track: TrackSummary) -> str:
    names = "" if track.stations is None else f" {some(track.stations, 8)}"
    counted = f"point{'s' * (track.points != 1)}" if track.kind == "radar" else f"components of GNSS stations{names}"
    if track.averaged is not None:
        counted = f"means of {track.averaged:,} points"
    masked = f", {track.masked:,} masked" if track.masked else ""
    (west, east), (south, north) = track.east, track.north
    extent = f"{(east - west) / 1000:.4g} × {(north - south) / 1000:.4g} km"
    view = ""
    if track.incidence is not None and track.heading is not None and track.true_heading is not None:
        view = f", incidence {track.incidence:.1f}°, heading {track.heading:.1f}°"
        if abs(track.heading - track.true_heading) >= SAID:
            view += f" from grid north ({track.true_heading:.1f}° from true north)"
    return f"{track.points:,} {counted}{masked}, {extent}{view}, RMS {track.rms:.4g} m, error {track.error:.3g} m"


# qexp invert


ObservationArgument = Annotated[Path, typer.Argument(metavar="OBS.nc", help="An observation file of qexp observe.")]

UNDETERMINED = 1e9
"""Values and errors from here on are of what the data hardly determine; all of their digits would fill the table."""


@with_options(InvertOptions)
def invert(observation: ObservationArgument, options: InvertOptions, as_json: JsonOption = False) -> None:
    """Estimate the source of an observed deformation, with standard errors.

    With --run, a trained network estimates the source within a second, from the data resampled to its own pixels, and
    --refine follows the estimate to the minimum of least squares, also from starts around it, as far away as the
    network's errors on similar test samples. Without --run, the minimum is searched from many starts. Least squares are
    weighted by the full covariance of each track's noise; offsets and ramps are estimated along with the source.

    Positions are in metres of the observation's reference system, all else in the units of specs. Scaled errors are the
    standard errors times the root of the reduced χ² where that is above 1. The 95 % intervals are those of the profile
    likelihood, with the same factor; they also hold where parameters trade off. That one leaves out zero does not mean
    that there is a source: its position was searched for. Reduced χ² and BIC, on which a warning is given, say that.

    With --posterior, all sources that explain the data are drawn in proportion to how well they do: priors are those of
    the run's training data, or uniform between bounds; without bounds, amplitudes are uniform over plausible values.
    Offsets, ramps and the size of the noise are integrated over.
    """
    inversion = api.invert(observation, **{**vars(options), "history": _history()})
    for text in inversion.remarks:
        warning(text)
    if as_json:
        print_json(inversion.document())
    else:
        _print_inversion(inversion)
    if options.to is not None:
        message(f"result, tables and maps:{f' {options.to}' * as_json}")
        if not as_json:
            result(str(options.to))


def _print_inversion(inversion: Inversion) -> None:
    columns, rows = ["parameter", "value", "standard error", "scaled error", "95 % interval", "unit"], []
    for name, estimate in inversion.parameters.items():
        errors = [digits(error, error) for error in (estimate.standard_error, estimate.scaled_error)]
        if estimate.fixed or (estimate.at_bound and estimate.standard_error is None):
            errors = ["fixed" if estimate.fixed else "at bound", ""]
        rows.append([name, digits(estimate.value, estimate.scaled_error), *errors, _interval(estimate), estimate.unit])
    print_table(columns, rows, right=columns[1:4])
    print()
    columns, rows = ["track", "points", "RMS (m)", "offset (m)"], []
    for name, track in inversion.tracks.items():
        offset = "" if track.offset_error is None else f"{track.offset:.4f} ± {track.offset_error:.4f}"
        rows.append([name, f"{track.n:,}", f"{track.rms:.4g}", offset])
    print_table(columns, rows, right=columns[1:])
    if inversion.posterior is not None:
        print()
        _print_posterior(inversion.posterior)
    if inversion.rivals:
        print()
        columns, rows = ["source", "unknowns", "reduced χ²", "ΔAICc", "ΔBIC"], []
        for rival in inversion.rivals:
            differences = [f"{rival[key]:.1f}" for key in ("delta_aicc", "delta_bic")]
            rows.append([rival["source"], str(rival["unknowns"]), number(rival["chi2_reduced"]), *differences])
        print_table(columns, rows, right=columns[1:])
    searched = f"{inversion.agreeing} of {inversion.starts} starts ended there, " if inversion.starts > 1 else ""
    message(
        f"{inversion.source}: reduced χ² {inversion.chi2_reduced:.3g}, {searched}{inversion.iterations} iterations, "
        f"{_in_seconds(inversion.seconds)}"
    )


def _interval(estimate: Estimate) -> str:
    """The 95 % interval; of one that the data do not limit on a side, the other end."""
    if estimate.interval95 is None:
        return ""
    low, high = estimate.interval95
    width, spans = (high - low) / 4, estimate.spans_magnitudes
    ends = [digits(end, min(width, abs(end) / 10 or width) if spans else width) for end in (low, high)]
    if all(estimate.open_ends):
        return "not determined"
    if any(estimate.open_ends):
        return f"at most {ends[1]}" if estimate.open_ends[0] else f"at least {ends[0]}"
    return f"{ends[0]} to {ends[1]}"


def _print_posterior(posterior: SourcePosterior) -> None:
    columns, rows = ["posterior", "median", "90 % interval", "prior", "unit"], []
    for name, parameter in posterior.parameters.items():
        width = (parameter.high - parameter.low) / 4
        ends = f"{digits(parameter.low, width)} to {digits(parameter.high, width)}"
        prior = f"{parameter.prior}, {_end(parameter.least, parameter)} to {_end(parameter.largest, parameter)}"
        prior += f", {parameter.at_edge:.0%} at its edge" if parameter.is_cut else ""
        rows.append([name, digits(parameter.median, width), ends, prior, parameter.unit])
    print_table(columns, rows, right=columns[1:2])
    sampling, noise = posterior.found, posterior.typical_noise_factor
    numbers = [
        "" if sampling.pareto_k is None else f"Pareto k̂ {sampling.pareto_k:.2f}",
        "" if sampling.r_hat is None else f"R̂ {sampling.r_hat:.3f}",
        f"{sampling.ess:,.0f} effective draws",
        "" if noise is None else f"noise {noise:.3g} times the declared",
        _in_seconds(posterior.seconds),
    ]
    message(f"posterior by {sampling.method}: {', '.join(filter(None, numbers))}")


def _in_seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _end(value: float, parameter: ParameterPosterior) -> str:
    """An end of a prior, as roughly as its width allows."""
    if math.isfinite(value):
        return digits(value, (parameter.largest - parameter.least) / 10)
    return f"{value:g}".replace("inf", "∞")


def digits(value: float | None, error: float | None) -> str:
    """A number with as many decimal places as show two digits of its error."""
    if value is None:
        return ""
    if error is None or not math.isfinite(error) or error <= 0 or max(abs(value), error) >= UNDETERMINED:
        return f"{value:.6g}" if error is None or error <= 0 else f"{value:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{decimals}f}" if decimals < 12 else f"{value:.6g}"
