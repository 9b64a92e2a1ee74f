"""What observe and invert are asked for. Lengths are in m, angles in degrees, by default."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.options import (
    Computing,
    Counted,
    Displaying,
    Report,
    as_warning,
    figure_formats,
    option,
    print_width,
    python_only,
    uncounted,
)
from qexp.base.seeds import require_seed
from qexp.base.shell_values import finite, pairs, read_columns, read_values
from qexp.base.text import number_in
from qexp.errors import QexpError, shortened

ESTIMATE, NONE = "estimate", "none"
"""Noise that is estimated from the data, and noise that is taken away."""

PER_TRACK = "per-track"
OFFSETS = (PER_TRACK, NONE)

METHODS = ("auto", "sampler")

NOISE_MODELS = SAMPLED, FIXED = ("sampled", "fixed")

FIGURE_ENDINGS = (".png", ".pdf", ".svg")

STAGES = SEARCHING, BETWEEN, TESTING = (
    "searching the best fit",
    "finding intervals",
    "testing the residuals",
)
"""What is done for a source, in order."""

Staged = Callable[[str, str, float], None]
"""Takes a source, one of STAGES, and the share of it that is done."""


def unstaged(source: str, stage: str, share: float) -> None: ...


USUAL_DRAWS, MOST_DRAWS = 2000, 1_000_000

IN_TWO_FILES = (
    "a name is for all files that have such a column; of grids give `variable` for each, and of"
    " tables with other names make an observation of each and join these"
)
"""What to do if files have one thing in columns of two names."""

Each = str | Sequence[str] | None
"""One text for all files, or one for each in order."""

Angles = float | str | Path | Sequence[float | str | Path] | None
"""Degrees or a raster of them, for all files or for each in order."""

Files = str | Path | Sequence[str | Path] | None
"""A file for all tracks, or one for each in order."""


def read_bounds(option: str, texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`["depth=0.5:5"]` → `{"depth": (0.5, 5.0)}`; an end that is left out is infinite."""

    def ends(text: str) -> tuple[float, float]:
        low, colon, high = text.partition(":")
        pair = float(low or "-inf"), float(high or "inf")
        if not (colon and (low or high) and pair[0] < pair[1]):
            raise ValueError
        return pair

    form = "write parameter=low:high, the smaller first, for example depth=0.5:5"
    return pairs(option, texts, form, ends)


def read_numbers(option: str, text: str) -> list[float]:
    """`1,2.5` → [1.0, 2.5]."""
    try:
        return [finite(number) for number in text.split(",")]
    except ValueError:
        raise QexpError(
            f"{option} {shortened(text)}: write numbers with commas between them"
        ) from None


def read_numbers_of_files(option: str, texts: Sequence[str]) -> list[float]:
    """`["0.4,0.5"]`, and `["0.4", "0.5"]` → [0.4, 0.5]."""
    return [number for text in texts for number in read_numbers(option, text)]


def read_numbers_or_files(option: str, texts: Sequence[str]) -> list[float | Path]:
    """`["34", "incidence.tif"]` → 34.0 and a path; `["36,41"]` → 36.0 and 41.0."""
    read: list[float | Path] = []
    for text in texts:
        numbers = [number_in(number) for number in text.split(",")]
        if any(number is not None and not math.isfinite(number) for number in numbers):
            raise QexpError(f"{option} {shortened(text)}: a number of degrees, or a file")
        known = [number for number in numbers if number is not None]
        read += known if len(known) == len(numbers) else [Path(text)]
    return read


def read_position(option: str, text: str) -> tuple[float, float]:
    """`426000,4519000` → (426000.0, 4519000.0)."""
    try:
        east, north = map(finite, text.split(","))
    except ValueError:
        raise QexpError(
            f"{option} {shortened(text)}: write EAST,NORTH in metres, such as 426000,4519000"
        ) from None
    return east, north


def read_three_files(option: str, texts: Sequence[str]) -> list[tuple[Path, ...]]:
    """`["a.tif,b.tif,c.tif"]` → the paths of each text."""
    read = [tuple(map(Path, text.split(","))) for text in texts]
    for text, paths in zip(texts, read, strict=True):
        if len(paths) != 3:
            raise QexpError(f"{option} {shortened(text)}: write 3 files with commas between them")
    return read


@dataclass(frozen=True)
class ObserveOptions:
    """Options of `qexp observe`."""

    panels: ClassVar = {
        "Files": "gnss name columns band variable epochs bounds nodata coherence least_coherence dem",
        "Geometry": "crs incidence heading look north direction geometry",
        "Units": "unit gnss_unit error phase wavelength sensor",
        "Noise": "noise noise_area noise_mask noise_ramp keep_errors",
        "Reduction": "reduce smallest_cell largest_cell least_share",
        "Output": "to figure no_figure formats style width overwrite as_json",
    }

    to: str | Path | None = option(
        None,
        "The observation file to write; without it the observation is only described.",
        "OBS.nc",
    )
    _: KW_ONLY
    gnss: Sequence[str | Path] = option(
        (), "A table of GNSS stations, with any header or none.", "FILE ...", shell=list[Path]
    )
    name: Each = option(
        None,
        "Name of the track; the file's name if left out. One for each file.",
        "TRACK",
        also="Repeat it.",
        shell=list[str],
    )
    columns: Mapping[str, str | int] | Sequence[int] | None = option(
        None,
        "What the columns of tables hold, by name or position from 1: east, north (or longitude,"
        " latitude), los, error, los_east, los_north, los_up (or incidence, heading), elevation; of"
        " GNSS tables displacement_east, …, error_east, …; each for the files that have such a"
        " column. Or the positions of east, north, los, error and the vector, in this order.",
        "WHAT=COLUMN,...|N,N,...",
        read=partial(read_columns, twice=IN_TWO_FILES),
    )
    unit: Each = option(
        None,
        "Unit of displacements and errors, m if left out; once for all files, or for each. Not for"
        " `gnss`.",
        "m|cm|mm",
        shell=list[str],
    )
    gnss_unit: str | Sequence[str] = option(
        (),
        "Unit in the tables of `gnss`, m if left out or what their header says; once, or for each.",
        "m|cm|mm",
    )
    error: float | Sequence[float] | None = option(
        None,
        "Standard deviation of displacements whose file has none, in the unit of `unit`, for tables"
        " of `gnss` in that of `gnss_unit`; not needed where the noise is estimated. Once, or for"
        " each file, tables of `gnss` last.",
        "NUMBER",
        shell=list[str],
        read=read_numbers_of_files,
    )
    nodata: Sequence[float] = option(
        (),
        "A number that means no data in any of the files, besides those that they name.",
        "NUMBER ...",
        shell=list[float],
    )
    crs: str | None = option(
        None,
        "Coordinate reference system of the observation, and of coordinates whose file names none."
        " Geographic coordinates (EPSG:4326, or columns longitude and latitude) are projected to"
        " it, or to the UTM zone of their centre.",
        "EPSG:CODE",
    )
    incidence: Angles = option(
        None,
        "Incidence of files without lines of sight, from the vertical, or a raster of it; once, or"
        " for each file, such as 36,41.",
        "DEGREES|FILE",
        shell=list[str],
        read=read_numbers_or_files,
    )
    heading: Angles = option(
        None,
        "Direction of flight, clockwise from north, such as -10 or 190, or a raster; once, or for"
        " each file, such as -12,-168.",
        "DEGREES|FILE",
        shell=list[str],
        read=read_numbers_or_files,
    )
    look: Each = option(
        None,
        "Side to which the satellite looks, right if left out; once for all files with headings, in"
        " columns or by `heading`, or for each of them.",
        "right|left",
        shell=list[str],
    )
    north: Each = option(
        None,
        "North to which lines of sight and components of stations refer in a file of projected"
        " coordinates: grid (the default) or true. They are rotated to the observation's grid"
        " north. Once, or for each file.",
        "true|grid",
        shell=list[str],
    )
    phase: bool | None = option(
        None, "Grids hold unwrapped phase in radians, which needs `wavelength` or `sensor`."
    )
    wavelength: float | Sequence[float] | None = option(
        None,
        "Wavelength of the radar; grids then hold phase, and displacements are phase × (−wavelength"
        " / 4π). Once, or for each file.",
        "METRES",
        shell=list[float],
    )
    sensor: Each = option(
        None,
        "A satellite in place of its wavelength, such as sentinel-1, cosmo-skymed, terrasar-x,"
        " alos-2 or envisat.",
        "NAME",
        shell=list[str],
    )
    direction: Sequence[str | Path] | Sequence[Sequence[str | Path]] | None = option(
        None,
        "Rasters of the components of the unit vector from the ground to the satellite; once, or"
        " for each file.",
        "EAST,NORTH,UP",
        read=read_three_files,
    )
    coherence: Files = option(
        None,
        "Raster of coherence on the same grid; once, or for each file.",
        "FILE",
        shell=list[Path],
    )
    least_coherence: float | None = option(
        None, "Pixels of less coherence are masked; 0.3 if left out.", "NUMBER"
    )
    dem: Files = option(
        None,
        "Raster of elevations in m on the same grid; once, or for each file.",
        "FILE",
        shell=list[Path],
    )
    band: int | None = option(None, "Band to read where a GeoTIFF has several, from 1.", "N")
    variable: Each = option(
        None, "Variable to read where a NetCDF or HDF5 file has several.", "NAME", shell=list[str]
    )
    epochs: Sequence[str] | None = option(
        None,
        "First and last date of a time series of MintPy or LiCSBAS, such as 20200131 and 20200212;"
        " the first is subtracted from the last.",
        "FIRST,LAST",
        shell=str,
        read=lambda _, text: text.split(","),
    )
    geometry: Files = option(
        None,
        "File with the line of sight, geometryGeo.h5, if it is not where MintPy puts it.",
        "FILE",
        shell=list[Path],
    )
    bounds: Sequence[float] | None = option(
        None,
        "Part of a grid to read: west, east, south and north in the file's own coordinates, metres"
        " or degrees.",
        "WEST,EAST,SOUTH,NORTH",
        read=read_numbers,
    )
    reduce: str | None = option(
        None,
        "Average pixels or points over square cells, which are split until: quadtree:T, the"
        " standard deviation in each is at most T m; resolution:T,DEPTH,EAST,NORTH, each is needed"
        " at most T (0 to 1) for a point source at this depth (m) and place; or uniform:N, cells of"
        " N × N pixels.",
        "CRITERION:NUMBERS",
    )
    smallest_cell: int | None = option(
        None,
        "Side of the smallest cells; for points, in median distances to the nearest point.",
        "PIXELS",
    )
    largest_cell: int | None = option(
        None, "Side of the largest cells; an eighth of the grid's side if left out.", "PIXELS"
    )
    least_share: float | None = option(
        None,
        "Share of a cell's pixels that must be observed, 0.5 if left out; cells with less are split"
        " or dropped.",
        "SHARE",
    )
    noise: str | Sequence[str] = option(
        (),
        "Correlated noise: estimated from the semivariogram of points without signal, or declared"
        " (exponential or gaussian; m², m, m²), or none. Errors become the square root of the"
        " nugget. Once, or for each track.",
        "estimate|none|TYPE:SILL,RANGE,NUGGET",
    )
    noise_area: Sequence[float] | None = option(
        None,
        "Estimate the noise in this rectangle, which the signal does not reach: east, east, north,"
        " north in metres. If left out, the best-fitting point source is subtracted, and the points"
        " that it moves most are not used.",
        "EAST0,EAST1,NORTH0,NORTH1",
        read=read_numbers,
    )
    noise_mask: Sequence[float] | None = option(
        None,
        "Estimate the noise outside this circle: east, north and radius in metres.",
        "EAST,NORTH,RADIUS",
        read=read_numbers,
    )
    noise_ramp: bool = option(
        False, "Subtract a plane before the noise is estimated, such as that of orbits."
    )
    keep_errors: bool = option(False, "Keep the errors of the files beside the correlated noise.")
    figure: str | Path | None = option(
        None,
        "Map of the tracks, with NAME_noise for semivariograms.",
        "FILE.png|pdf|svg",
        also="Beside the file of --to if left out.",
    )
    formats: Sequence[str] = figure_formats()
    style: str | Path | None = option(
        None, "A matplotlib style file: fonts, sizes, lines.", "FILE.mplstyle"
    )
    width: str | None = print_width()
    overwrite: bool = option(False, "Replace existing files.")
    history: str = python_only(
        "qexp.observe", "How it was made, for the file's attribute of that name"
    )
    warn: Report = python_only(as_warning, "Receives each of the `warnings`")

    @property
    def noises(self) -> Sequence[str]:
        """One noise for all radar tracks, or one for each; none leaves them as they are."""
        return [self.noise] if isinstance(self.noise, str) else self.noise

    @property
    def pictures(self) -> list[Path]:
        """The map of the tracks in each format. Raises QexpError for another in its name."""
        if self.figure is None:
            return []
        figure = Path(self.figure)
        if tuple(self.formats) == ("png",):
            return [figure]
        if figure.suffix in FIGURE_ENDINGS:
            raise QexpError(
                f"`figure={figure}`: its ending is its format; leave that out where `formats`"
                " says it"
            )
        return [figure.with_name(f"{figure.name}.{ending}") for ending in self.formats]

    @property
    def gnss_units(self) -> Sequence[str]:
        return [self.gnss_unit] if isinstance(self.gnss_unit, str) else self.gnss_unit


CROWDED = 0.05
"""Share of a posterior's draws at an edge of the prior beyond which that is said."""

EMULATOR = "run:"
"""Before the name of a run that is a source."""


@dataclass(frozen=True)
class InvertOptions(Computing, Displaying):
    """Options of `qexp invert`. Raises QexpError for wrong and contradicting values."""

    panels: ClassVar = {
        "Sources": "source fixed bounds offsets ramps robust starts seed",
        "A network": "run refine centre device trust_code",
        "The posterior": "posterior draws method declared_noise noise_model",
        "Detection": "false_alarms detectable",
        "Output": "to spacing degrees formats width overwrite as_json",
    }

    _: KW_ONLY
    run: Any = option(
        None,
        "A finished run, whose network estimates the source: name, unique prefix or path.",
        "RUN",
        shell=str,
        complete="runs",
    )
    refine: bool = option(
        False, "Refine the network's estimate by least squares on the original points."
    )
    centre: tuple[float, float] | None = option(
        None,
        "East and north of the centre of the images of `run`, in metres, the largest displacement"
        " if left out; or of an emulator's, which move with its source if left out; or the place of"
        " `detectable`, the middle of the points if left out.",
        "EAST,NORTH",
        read=read_position,
    )
    source: str | Sequence[str] | None = option(
        None,
        "Source to estimate, several joined by '+'; mogi if left out; run:NAME is an emulator. Of"
        " several, the best by AICc and BIC.",
        "NAME[+NAME]",
        also="Repeat it to compare them.",
        complete="sources",
    )
    offsets: str = option(
        PER_TRACK,
        "Estimate a constant offset for each radar track, too, or for none; with none, nothing is "
        "subtracted for a network that was trained without offsets.",
        "per-track|none",
    )
    ramps: bool = option(False, "Estimate a plane for each radar track, too.")
    robust: bool = option(
        False,
        "Errors of single points have Student's t distribution: outliers, such as wrongly unwrapped"
        " points, count for less.",
    )
    fixed: Mapping[str, float] = option(
        {},
        "Value of a parameter that is not to be estimated, such as depth=2 (km) or east=426000"
        " (m).",
        "--fix PARAMETER=VALUE ...",
        example='{"depth": 2}',
        read=read_values,
    )
    bounds: Mapping[str, tuple[float, float]] = option(
        {},
        "Limits of an estimate, such as depth=0.5:5.",
        "PARAMETER=LOW:HIGH ...",
        example='{"depth": (0.5, 5)}',
        read=read_bounds,
    )
    starts: int | None = option(
        None,
        "Starts of the search: 32, distributed over all parameters; with `run` 8, near the"
        " network's estimate.",
        "N",
        shown=False,
    )
    posterior: bool = option(
        False, "Also draw from the posterior: intervals, correlations, and files of `to`."
    )
    draws: int | None = option(None, "Number of draws from the posterior; 2,000 if left out.", "N")
    method: str | None = option(
        None,
        "How the posterior is found; if left out importance sampling, and chains where that cannot"
        " be trusted.",
        "|".join(METHODS),
    )
    declared_noise: bool = option(
        False, "In the posterior, errors count as declared, rather than up to an unknown factor."
    )
    noise_model: str | None = option(
        None,
        "In the posterior, the noise of each track (sill, range, nugget) is sampled with the source,"
        " or fixed but for a factor; if left out sampled where it was estimated from the data.",
        "|".join(NOISE_MODELS),
    )
    false_alarms: float = option(
        0.01,
        "A source is seen if noise alone shows one as strong with at most this probability.",
        "P",
    )
    detectable: bool = option(
        False,
        "Also map the least amplitude, such as a volume change, that would be seen with a"
        " probability of 90 %, by geometry and noise alone: at three depths or a fixed one, and over"
        " depth below `centre`.",
    )
    seed: int = option(0, "Random seed of the starts.")
    degrees: bool = option(False, "Angles in degrees rather than radians.")
    to: str | Path | None = option(
        None, "A new folder for tables (JSON, CSV, NetCDF), maps, GeoTIFF, KML and GeoJSON.", "DIR"
    )
    spacing: float | None = option(
        None,
        "Size of the cells of GeoTIFF files of scattered points, which get none without it.",
        "METRES",
    )
    overwrite: bool = option(False, "Replace the folder of an earlier inversion.")
    formats: Sequence[str] = figure_formats()
    width: str | None = print_width()
    on_drawn: Counted = python_only(
        uncounted,
        "Takes the number of draws from the posterior that are tried, and of all at most; a bar if"
        " left out",
    )
    on_stage: Staged = python_only(
        unstaged,
        "Takes the source that is estimated, what is done for it, and the share of that; a bar if"
        " left out",
    )
    history: str = python_only(
        "qexp.invert", "How it was made, for the files' attribute of that name"
    )
    warn: Report = python_only(as_warning, "Receives each of the `remarks`")

    def counted(self, source: str, stage: str) -> Counted:
        """What tells `on_stage` how much of a stage is done, of its steps, and of all at most."""
        return lambda done, count: self.on_stage(source, stage, done / max(count, 1))

    @property
    def sources(self) -> list[str]:
        """The models that are compared."""
        if self.source is None or isinstance(self.source, str):
            return [self.source or "mogi"]
        return list(self.source)

    @property
    def emulators(self) -> list[str]:
        """The runs among the sources, each as it is written there."""
        words = [word.strip() for text in self.sources for word in text.split("+")]
        return [word for word in dict.fromkeys(words) if word.startswith(EMULATOR)]

    @property
    def least_squares(self) -> bool:
        """Whether the estimates are those of least squares; a posterior needs them."""
        return self.run is None or self.refine or self.posterior

    def __post_init__(self) -> None:
        if self.offsets not in OFFSETS:
            raise QexpError(f"`offsets={self.offsets}`: choose from {' and '.join(OFFSETS)}")
        if self.starts is not None and self.starts < 1:
            raise QexpError(f"`starts={self.starts}`: at least one")
        self._require_posterior_options()
        if self.spacing is not None and not self.spacing > 0:
            raise QexpError(f"`spacing={self.spacing:g}`: must be a positive number of metres")
        require_seed(self.seed)
        for name, (low, high) in self.bounds.items():
            if not low < high:
                raise QexpError(
                    f"`bounds[{name}]`: the upper bound, {high:g}, must be above the lower one,"
                    f" {low:g}"
                )
        for name in self.sources:
            if self.sources.count(name) > 1:
                raise QexpError(f"`source={name}` is given twice")
        for name in self.fixed:
            if name in self.bounds:
                raise QexpError(f"`fixed[{name}]`: it has bounds, too; fix it or bound it")
        if not 0.001 <= self.false_alarms <= 0.5:
            raise QexpError(f"`false_alarms={self.false_alarms:g}`: choose from 0.001 to 0.5")
        if self.detectable and not self.least_squares:
            raise QexpError("`detectable` is for least squares; add `refine=True`")
        placed = self.centre is None or self.emulators or self.detectable
        if self.run is None and (self.refine or not placed):
            raise QexpError(
                "`refine` and `centre` are for a network's estimate; name its run with `run`"
            )
        if self.run is not None and (self.source is not None or self.degrees):
            raise QexpError(
                "`source` and `degrees` do not go with `run`: a network knows its sources and their"
                " units"
            )
        if not self.least_squares and (self.fixed or self.bounds or self.robust):
            raise QexpError(
                "`fixed`, `bounds` and `robust` are for least squares, and not for a network's"
                " estimate; add `refine=True`"
            )
        if self.to is None and (self.spacing is not None or self.overwrite):
            raise QexpError(
                "`spacing` and `overwrite` are for the files of `to`; name their folder, or leave"
                " them out"
            )

    def _require_posterior_options(self) -> None:
        if self.draws is not None and not 100 <= self.draws <= MOST_DRAWS:
            raise QexpError(f"`draws={self.draws}`: choose from 100 to {MOST_DRAWS:,}")
        if self.method is not None and self.method not in METHODS:
            raise QexpError(f"`method={self.method}`: choose from {', '.join(METHODS)}")
        if self.noise_model not in (None, *NOISE_MODELS):
            raise QexpError(
                f"`noise_model={self.noise_model}`: choose from {' and '.join(NOISE_MODELS)}"
            )
        if self.noise_model == SAMPLED and self.declared_noise:
            raise QexpError(
                "`noise_model=sampled` and `declared_noise` exclude each other: errors are unknown,"
                " or count as declared"
            )
        if self.noise_model == SAMPLED and self.robust:
            raise QexpError(
                "`noise_model=sampled` and `robust` exclude each other: outliers would count as a"
                " nugget"
            )
        given = self.draws, self.method, self.noise_model, self.declared_noise or None
        if not self.posterior and given != (None,) * 4:
            raise QexpError(
                "`draws`, `method`, `declared_noise` and `noise_model` are for a posterior; add"
                " `posterior=True`"
            )
