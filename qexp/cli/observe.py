"""qexp observe"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import grid_options, texts
from qexp.cli.arguments import StyleOption
from qexp.cli.console import JsonOption, message, print_json, result, warning
from qexp.errors import QexpError, some

if TYPE_CHECKING:
    from qexp.analysis.observing.observe import Observed
    from qexp.analysis.observing.summary import TrackSummary

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        help="One file for each satellite track: text or CSV with points, GeoTIFF, NetCDF or GMT grids, velocities and "
        "time series of MintPy and LiCSBAS, interferograms of LiCSAR; tables of GNSS stations; or observation files to "
        "join.",
    ),
]
ToOption = Annotated[Path | None, typer.Option("--to", metavar="OBS.nc", help="The observation file to write.")]
GnssOption = Annotated[
    list[Path] | None,
    typer.Option("--gnss", metavar="FILE", help="A table of GNSS stations, with any header or none; repeat for more."),
]
NameOption = Annotated[
    list[str] | None,
    typer.Option(
        "--name", metavar="TRACK", help="Name of the track; repeat for each file. The file's name if left out."
    ),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="WHAT=COLUMN,...|N,N,...",
        help="What the columns of tables hold, by name or position from 1: east, north (or longitude, latitude), los, "
        "error, los_east, los_north, los_up (or incidence, heading), elevation; of GNSS tables displacement_east, …, "
        "error_east, …; or the positions of east, north, los, error and the vector, in this order.",
    ),
]
UnitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--unit",
        metavar="m|cm|mm",
        help="Unit of displacements and errors, m if left out; once for all files, or for each. Not for --gnss.",
    ),
]
GnssUnitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--gnss-unit",
        metavar="m|cm|mm",
        help="Unit in the tables of --gnss, m if left out or what their header says; once, or for each.",
    ),
]
ErrorOption = Annotated[
    list[float] | None,
    typer.Option(
        "--error",
        metavar="NUMBER",
        help="Standard deviation of displacements whose file has none, in the unit of --unit; once, or for each file.",
    ),
]
CrsOption = Annotated[
    str | None,
    typer.Option(
        "--crs",
        metavar="EPSG:CODE",
        help="Coordinate reference system of the observation, and of coordinates whose file names none. Geographic "
        "coordinates (EPSG:4326, or columns longitude and latitude) are projected to it, or to the UTM zone of their "
        "centre.",
    ),
]
IncidenceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--incidence",
        metavar="DEGREES|FILE",
        help="Incidence of files without lines of sight, from the vertical, or a raster of it; once, or for each file.",
    ),
]
HeadingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--heading",
        metavar="DEGREES|FILE",
        help="Direction of flight, clockwise from north, such as -10 or 190, or a raster; once, or for each file.",
    ),
]
LookOption = Annotated[
    list[str] | None,
    typer.Option("--look", metavar="right|left", help="Side to which the satellite looks; right if left out."),
]
NorthOption = Annotated[
    list[str] | None,
    typer.Option(
        "--north",
        metavar="true|grid",
        help="North to which lines of sight and components of stations refer in a file of projected coordinates: grid "
        "(the default) or true. They are rotated to the observation's grid north. Once, or for each file.",
    ),
]
NoiseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--noise",
        metavar="estimate|none|TYPE:SILL,RANGE,NUGGET",
        help="Correlated noise: estimated from the semivariogram of points without signal, or declared (exponential or "
        "gaussian; m², m, m²), or none. Errors become the square root of the nugget. Once, or for each track.",
    ),
]
NoiseAreaOption = Annotated[
    str | None,
    typer.Option(
        "--noise-area",
        metavar="EAST0,EAST1,NORTH0,NORTH1",
        help="Estimate the noise in this rectangle, which the signal does not reach, in metres. If left out, the "
        "best-fitting point source is subtracted, and the points that it moves most are not used.",
    ),
]
NoiseMaskOption = Annotated[
    str | None,
    typer.Option(
        "--noise-mask", metavar="EAST,NORTH,RADIUS", help="Estimate the noise outside this circle, in metres."
    ),
]
NoiseRampOption = Annotated[
    bool, typer.Option("--noise-ramp", help="Subtract a plane before the noise is estimated, such as that of orbits.")
]
KeepErrorsOption = Annotated[
    bool, typer.Option("--keep-errors", help="Keep the errors of the files beside the correlated noise.")
]
FigureOption = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE.png|pdf|svg",
        help="Map of the tracks, with NAME_noise for semivariograms; beside the file of --to if left out.",
    ),
]
NoFigureOption = Annotated[bool, typer.Option("--no-figure", help="Draw no figure.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


def observe(
    files: FilesArgument = None, to: ToOption = None, gnss: GnssOption = None, name: NameOption = None,
    columns: ColumnsOption = None, unit: UnitOption = None, gnss_unit: GnssUnitOption = None,
    error: ErrorOption = None, crs: CrsOption = None,
    incidence: IncidenceOption = None, heading: HeadingOption = None, look: LookOption = None,
    north: NorthOption = None,
    phase: grid_options.PhaseOption = False, wavelength: grid_options.WavelengthOption = None,
    sensor: grid_options.SensorOption = None, direction: grid_options.DirectionOption = None,
    coherence: grid_options.CoherenceOption = None, least_coherence: grid_options.LeastCoherenceOption = None,
    dem: grid_options.DemOption = None, band: grid_options.BandOption = None,
    variable: grid_options.VariableOption = None, epochs: grid_options.EpochsOption = None,
    geometry: grid_options.GeometryOption = None, bounds: grid_options.BoundsOption = None,
    reduce: grid_options.ReduceOption = None, smallest_cell: grid_options.SmallestCellOption = None,
    largest_cell: grid_options.LargestCellOption = None, least_share: grid_options.LeastShareOption = None,
    noise: NoiseOption = None, noise_area: NoiseAreaOption = None, noise_mask: NoiseMaskOption = None,
    noise_ramp: NoiseRampOption = False, keep_errors: KeepErrorsOption = False, figure: FigureOption = None,
    no_figure: NoFigureOption = False, style: StyleOption = None, overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Read observed displacements into one observation file, which qexp invert reads.

    Each file is a track of its own. Text files without a header have the columns east, north, line-of-sight
    displacement (m, positive toward the satellite), error, and the unit vector east, north, up from the ground to the
    satellite. Points with missing numbers are masked. Without --to the observation is only described; an observation
    file can be given again, to look at it or to change its noise.
    """
    if no_figure and figure is not None:
        raise QexpError("--figure and --no-figure contradict each other; keep one")
    beside = to.with_suffix(".png") if to is not None and not no_figure else None
    seen = api.observe(
        files or [], to, gnss=gnss or [], gnss_unit=gnss_unit or (), noise=noise or (),
        noise_ramp=noise_ramp, keep_errors=keep_errors,
        noise_area=texts.numbers("--noise-area", noise_area), noise_mask=texts.numbers("--noise-mask", noise_mask),
        figure=figure or beside, style=style, overwrite=overwrite, name=name,
        history=shlex.join(["qexp", *sys.argv[1:]]),
        columns=texts.columns(columns) if columns else None, unit=unit, error=error, crs=crs,
        incidence=texts.numbers_or_files("--incidence", incidence),
        heading=texts.numbers_or_files("--heading", heading), look=look, north=north,
        phase=phase or None, wavelength=wavelength, sensor=sensor, direction=texts.files("--direction", direction, 3),
        coherence=coherence, least_coherence=least_coherence, dem=dem, band=band, variable=variable,
        epochs=epochs.split(",") if epochs else None, geometry=geometry, bounds=texts.numbers("--bounds", bounds),
        reduce=reduce, smallest_cell=smallest_cell, largest_cell=largest_cell, least_share=least_share,
    )  # fmt: skip
    for text in seen.warnings:
        warning(text)
    if as_json:
        print_json({"tracks": [track.document() for track in seen.tracks], "files": [*map(str, seen.files)]})
        return
    _print(seen)


SAID = 0.05
"""Difference of two headings [°] from which on both are printed."""


def _print(seen: Observed) -> None:
    for track in seen.tracks:
        message(f"{track.name}: {_words(track)}")
        if track.noise is not None:
            how = f", from {seen.estimates[track.name].how}" if track.name in seen.estimates else ""
            error = "; errors are the square root of the nugget" if track.error_is_nugget else ""
            message(f"{track.name}: noise {track.noise.words}{error}{how}")
    for path in seen.files:
        result(str(path))


def _words(track: TrackSummary) -> str:
    named = "" if track.stations is None else f" {some(track.stations, 8)}"
    one = track.points == 1
    counted = ("point" if one else "points") if track.kind == "radar" else f"components of GNSS stations{named}"
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
