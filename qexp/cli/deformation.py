"""qexp observe, invert"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import completion, texts
from qexp.cli.arguments import DeviceOption, StyleOption, TrustCodeOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, result, warning
from qexp.errors import QexpError, shortened, some
from qexp.metrics.meaning import number

if TYPE_CHECKING:
    from qexp.deformation.estimate import Estimate, Inversion
    from qexp.deformation.observe import Observed, TrackSummary
    from qexp.deformation.posterior import ParameterPosterior, SourcePosterior

PhaseOption = Annotated[
    bool, typer.Option("--phase", help="Grids hold unwrapped phase in radians, which needs --wavelength or --sensor.")
]
WavelengthOption = Annotated[
    list[float] | None,
    typer.Option(
        "--wavelength",
        metavar="METRES",
        help="Wavelength of the radar; grids then hold phase, and displacements are phase × (−wavelength / 4π). Once, "
        "or for each file.",
    ),
]
SensorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sensor",
        metavar="NAME",
        help="A satellite in place of its wavelength, such as sentinel-1, cosmo-skymed, terrasar-x, alos-2 or envisat.",
    ),
]
DirectionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--direction",
        metavar="EAST,NORTH,UP",
        help="Rasters of the components of the unit vector from the ground to the satellite; once, or for each file.",
    ),
]
CoherenceOption = Annotated[
    list[Path] | None,
    typer.Option("--coherence", metavar="FILE", help="Raster of coherence on the same grid; once, or for each file."),
]
LeastCoherenceOption = Annotated[
    float | None,
    typer.Option("--least-coherence", metavar="NUMBER", help="Pixels of less coherence are masked; 0.3 if left out."),
]
DemOption = Annotated[
    list[Path] | None,
    typer.Option("--dem", metavar="FILE", help="Raster of elevations in m on the same grid; once, or for each file."),
]
BandOption = Annotated[
    int | None, typer.Option("--band", metavar="N", help="Band to read where a GeoTIFF has several, from 1.")
]
VariableOption = Annotated[
    list[str] | None,
    typer.Option("--variable", metavar="NAME", help="Variable to read where a NetCDF or HDF5 file has several."),
]
EpochsOption = Annotated[
    str | None,
    typer.Option(
        "--epochs",
        metavar="FIRST,LAST",
        help="Two dates of a time series of MintPy or LiCSBAS, such as 20200131,20200212; their difference is read.",
    ),
]
GeometryOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--geometry",
        metavar="FILE",
        help="File with the positions of pixels and the line of sight, if it is not where MintPy or LiCSBAS puts it: "
        "geometryGeo.h5, geometryRadar.h5 for files in radar coordinates, or EQA.dem_par for binaries of LiCSBAS.",
    ),
]
BoundsOption = Annotated[
    str | None,
    typer.Option(
        "--bounds",
        metavar="WEST,EAST,SOUTH,NORTH",
        help="Part of a grid to read, in the file's own coordinates: metres, or degrees.",
    ),
]
ReduceOption = Annotated[
    str | None,
    typer.Option(
        "--reduce",
        metavar="CRITERION:NUMBERS",
        help="Average pixels or points over square cells, which are split until: quadtree:T, the standard deviation in "
        "each is at most T m; quadtree_plane:T, likewise about the best plane; resolution:T,DEPTH,EAST,NORTH, each "
        "is needed at most T (0 to 1) for a point source at this depth (m) and place; or uniform:N, cells of N × N "
        "pixels.",
    ),
]
SmallestCellOption = Annotated[
    int | None,
    typer.Option(
        "--smallest-cell",
        metavar="PIXELS",
        help="Side of the smallest cells; for points, in median distances to the nearest point.",
    ),
]
LargestCellOption = Annotated[
    int | None,
    typer.Option(
        "--largest-cell", metavar="PIXELS", help="Side of the largest cells; an eighth of the grid's side if left out."
    ),
]
LeastShareOption = Annotated[
    float | None,
    typer.Option(
        "--least-share",
        metavar="SHARE",
        help="Share of a cell's pixels that must be observed, 0.5 if left out; cells with less are split or dropped.",
    ),
]

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
    phase: PhaseOption = False, wavelength: WavelengthOption = None,
    sensor: SensorOption = None, direction: DirectionOption = None,
    coherence: CoherenceOption = None, least_coherence: LeastCoherenceOption = None,
    dem: DemOption = None, band: BandOption = None,
    variable: VariableOption = None, epochs: EpochsOption = None,
    geometry: GeometryOption = None, bounds: BoundsOption = None,
    reduce: ReduceOption = None, smallest_cell: SmallestCellOption = None,
    largest_cell: LargestCellOption = None, least_share: LeastShareOption = None,
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
    _print_observation(seen)


SAID = 0.05
"""Difference of two headings [°] from which on both are printed."""


def _print_observation(seen: Observed) -> None:
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


# qexp invert


ObservationArgument = Annotated[Path, typer.Argument(metavar="OBS.nc", help="An observation file of qexp observe.")]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="A finished run, whose network estimates the source: name, unique prefix or path.",
        autocompletion=completion.runs,
    ),
]
RefineOption = Annotated[
    bool, typer.Option("--refine", help="Refine the network's estimate by least squares on the original points.")
]
CentreOption = Annotated[
    str | None,
    typer.Option(
        "--centre",
        metavar="EAST,NORTH",
        help="Centre of the network's images, in metres; the largest displacement if left out.",
    ),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME[+NAME]",
        help="Source to estimate, several joined by '+'; mogi if left out. Repeat to compare several by AICc and BIC.",
        autocompletion=completion.sources,
    ),
]
OffsetsOption = Annotated[
    str,
    typer.Option(metavar="per-track|none", help="Estimate a constant offset for each radar track, too, or for none."),
]
RampsOption = Annotated[bool, typer.Option("--ramps", help="Estimate a plane for each radar track, too.")]
FixOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        metavar="PARAMETER=VALUE",
        help="Value of a parameter that is not to be estimated, such as depth=2 (km) or east=426000 (m); repeat for "
        "more.",
    ),
]
ParameterBoundsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bounds", metavar="PARAMETER=LOW:HIGH", help="Limits of an estimate, such as depth=0.5:5; repeat for more."
    ),
]
StartsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Starts of the search: 32, distributed over all parameters; with --run 8, near the network's estimate.",
        show_default=False,
    ),
]
PosteriorOption = Annotated[
    bool, typer.Option("--posterior", help="Also draw from the posterior: intervals, correlations, and files of --to.")
]
DrawsOption = Annotated[
    int | None, typer.Option("--draws", metavar="N", help="Number of draws from the posterior; 2,000 if left out.")
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="auto|laplace|importance|sampler|grid",
        help="How the posterior is found; if left out importance sampling, and chains where that cannot be trusted.",
    ),
]
DeclaredNoiseOption = Annotated[
    bool,
    typer.Option(
        "--declared-noise", help="In the posterior, errors count as declared, rather than up to an unknown factor."
    ),
]
SeedOption = Annotated[int, typer.Option(help="Random seed of the starts.")]
DegreesOption = Annotated[bool, typer.Option("--degrees", help="Angles in degrees rather than radians.")]
FolderOption = Annotated[
    Path | None,
    typer.Option("--to", metavar="DIR", help="A new folder for tables (JSON, CSV, NetCDF), maps (PNG) and GeoTIFF."),
]
SpacingOption = Annotated[
    float | None,
    typer.Option(
        "--spacing", metavar="METRES", help="Size of the cells of GeoTIFF files of scattered points, which get none "
        "without it.",
    ),
]  # fmt: skip
OverwriteFolderOption = Annotated[bool, typer.Option("--overwrite", help="Replace the folder of an earlier inversion.")]

UNDETERMINED = 1e9
"""Values and errors from here on are of what the data hardly determine; all of their digits would fill the table."""


def invert(
    observation: ObservationArgument,
    run: RunOption = None,
    refine: RefineOption = False,
    centre: CentreOption = None,
    source: SourceOption = None,
    offsets: OffsetsOption = "per-track",
    ramps: RampsOption = False,
    fix: FixOption = None,
    bounds: ParameterBoundsOption = None,
    starts: StartsOption = None,
    posterior: PosteriorOption = False,
    draws: DrawsOption = None,
    method: MethodOption = None,
    declared_noise: DeclaredNoiseOption = False,
    seed: SeedOption = 0,
    degrees: DegreesOption = False,
    to: FolderOption = None,
    spacing: SpacingOption = None,
    overwrite: OverwriteFolderOption = False,
    as_json: JsonOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
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
    made = api.invert(
        observation, run=run, refine=refine, centre=position_of("--centre", centre), source=source, offsets=offsets,
        ramps=ramps, fixed=texts.fixed(fix or []), bounds=bounds_of(bounds or []), starts=starts,
        posterior=posterior, draws=draws, method=method, declared_noise=declared_noise, seed=seed, degrees=degrees,
        to=to, spacing=spacing, overwrite=overwrite, history=shlex.join(["qexp", *sys.argv[1:]]),
        trust_code=trust_code, device=device, workspace=workspace,
    )  # fmt: skip
    for text in made.remarks:
        warning(text)
    if as_json:
        print_json(made.document())
    else:
        _print_inversion(made)
    if to is not None:
        message("result, tables and maps:" if not as_json else f"result, tables and maps: {to}")
        if not as_json:
            result(str(to))


def bounds_of(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`["depth=0.5:5"]` → `{"depth": (0.5, 5.0)}`; an end that is left out is infinite."""
    read: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, ends = text.partition("=")
        low, colon, high = ends.partition(":")
        try:
            if not (equals and colon and name and (low or high)):
                raise ValueError
            pair = float(low or "-inf"), float(high or "inf")
            if not pair[0] < pair[1]:
                raise ValueError
        except ValueError:
            raise QexpError(
                f"--bounds {shortened(text)}: write parameter=low:high, the smaller first, for example depth=0.5:5"
            ) from None
        if name in read:
            raise QexpError(f"--bounds {name} is given twice; keep one")
        read[name] = pair
    return read


def position_of(option: str, text: str | None) -> tuple[float, float] | None:
    """`426000,4519000` → (426000.0, 4519000.0); None where there is no text."""
    if text is None:
        return None
    try:
        east, north = (float(part) for part in text.split(","))
        if not (math.isfinite(east) and math.isfinite(north)):
            raise ValueError
    except ValueError:
        raise QexpError(f"{option} {shortened(text)}: write EAST,NORTH in metres, such as 426000,4519000") from None
    return east, north


def _print_inversion(made: Inversion) -> None:
    columns = ["parameter", "value", "standard error", "scaled error", "95 % interval", "unit"]
    rows = []
    for name, of in made.parameters.items():
        errors = [digits(one, one) for one in (of.standard_error, of.scaled_error)]
        if of.fixed or (of.at_bound and of.standard_error is None):
            errors = ["fixed" if of.fixed else "at bound", ""]
        rows.append([name, digits(of.value, of.scaled_error), *errors, _interval(of), of.unit])
    print_table(columns, rows, right=columns[1:4])
    print()
    columns = ["track", "points", "RMS (m)", "offset (m)"]
    tracks = [
        [
            name,
            f"{of.n:,}",
            f"{of.rms:.4g}",
            "" if of.offset_error is None else f"{of.offset:.4f} ± {of.offset_error:.4f}",
        ]
        for name, of in made.tracks.items()
    ]
    print_table(columns, tracks, right=columns[1:])
    if made.posterior is not None:
        print()
        _print_posterior(made.posterior)
    if made.rivals:
        print()
        columns = ["source", "unknowns", "reduced χ²", "ΔAICc", "ΔBIC"]
        rows = [
            [
                one["source"], str(one["unknowns"]), number(one["chi2_reduced"]), f"{one['delta_aicc']:.1f}",
                f"{one['delta_bic']:.1f}",
            ]
            for one in made.rivals
        ]  # fmt: skip
        print_table(columns, rows, right=columns[1:])
    searched = f"{made.agreeing} of {made.starts} starts ended there, " if made.starts > 1 else ""
    message(
        f"{made.source}: reduced χ² {made.chi2_reduced:.3g}, {searched}{made.iterations} iterations, "
        f"{_in_seconds(made.seconds)}"
    )


def _interval(of: Estimate) -> str:
    """The 95 % interval; of one that the data do not limit on a side, the other end."""
    if of.interval95 is None:
        return ""
    low, high = of.interval95
    width = (high - low) / 4
    ends = [digits(end, min(width, abs(end) / 10 or width) if of.spans_magnitudes else width) for end in of.interval95]
    if all(of.open_ends):
        return "not determined"
    if any(of.open_ends):
        return f"at most {ends[1]}" if of.open_ends[0] else f"at least {ends[0]}"
    return f"{ends[0]} to {ends[1]}"


def _print_posterior(made: SourcePosterior) -> None:
    columns = ["posterior", "median", "90 % interval", "prior", "unit"]
    rows = []
    for name, of in made.parameters.items():
        width = (of.high - of.low) / 4
        ends = f"{digits(of.low, width)} to {digits(of.high, width)}"
        rows.append(
            [
                name,
                digits(of.median, width),
                ends,
                f"{of.prior}, {_end(of.least, of)} to {_end(of.largest, of)}"
                + (f", {of.at_edge:.0%} at its edge" if of.is_cut else ""),
                of.unit,
            ]
        )
    print_table(columns, rows, right=columns[1:2])
    found = made.found
    numbers = [
        *([] if found.pareto_k is None else [f"Pareto k̂ {found.pareto_k:.2f}"]),
        *([] if found.r_hat is None else [f"R̂ {found.r_hat:.3f}"]),
        f"{found.ess:,.0f} effective draws",
        *([] if made.typical_noise_factor is None else [f"noise {made.typical_noise_factor:.3g} times the declared"]),
    ]
    message(f"posterior by {found.method}: {', '.join(numbers)}, {_in_seconds(made.seconds)}")


def _in_seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _end(value: float, of: ParameterPosterior) -> str:
    """An end of a prior, as roughly as its width allows."""
    return digits(value, (of.largest - of.least) / 10) if math.isfinite(value) else f"{value:g}".replace("inf", "∞")


def digits(value: float | None, error: float | None) -> str:
    """A number with as many decimal places as show two digits of its error."""
    if value is None:
        return ""
    if error is None or not math.isfinite(error) or error <= 0 or max(abs(value), error) >= UNDETERMINED:
        return f"{value:.6g}" if error is None or error <= 0 else f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f}" if places < 12 else f"{value:.6g}"
