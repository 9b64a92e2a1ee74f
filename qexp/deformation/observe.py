"""Files are read, brought into one coordinate reference system, and written as one observation with its noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base import files
from qexp.deformation.maps import draw_semivariograms, draw_tracks
from qexp.deformation.options import ESTIMATE, NONE, ObserveOptions
from qexp.errors import NotFoundError, QexpError, some
from qexp.figures.canvas import require_formats, require_width, save, use_style
from qexp.observations.noise import NoiseEstimate, SignalFree, beyond, declared, with_noise, within
from qexp.observations.observation import (
    NORTHS,
    CorrelatedNoise,
    Look,
    Observation,
    Track,
    convergence,
    require_overlap,
    require_sound,
    write_observation,
)
from qexp.observations.projection import crs_of, in_one_system
from qexp.observations.readers import OF_SIGHT, READERS, REDUCING, Reader, reader_of
from qexp.observations.reading import LARGE, METRES, Reading, ReadOptions, angles_of
from qexp.observations.reduction import reduced_points
from qexp.observations.tables import GNSS, RADAR, Roles, asked_of_each, has_los, sight_in_columns


def with_noises(
    observation: Observation, options: ObserveOptions, points: Callable[[], Mapping[str, Track]]
) -> tuple[Observation, Mapping[str, NoiseEstimate]]:
    """The observation with the noises of the options, and those of them that were estimated, by track.

    points  gives some points of each track that holds means of cells: means have another semivariogram
    Raises QexpError.
    """
    radar = [track for track in observation.tracks if track.kind == "radar"]
    _require_use(options, radar)
    words = options.noises if len(options.noises) != 1 else [*options.noises] * len(radar)
    wanted = {track.name: word for track, word in zip(radar, words, strict=False)}
    unknown = [track for track in radar if wanted.get(track.name) == ESTIMATE]
    if any(track.count is not None for track in unknown):
        drawn = points()
        for track in unknown:
            if track.count is not None and track.name not in drawn:
                raise QexpError(
                    f"track '{track.name}' holds means of cells, from which the noise of points cannot be estimated; "
                    "give `noise=estimate` together with `reduce` where the files are read, or declare the noise"
                )
        unknown = [track if track.count is None else drawn[track.name] for track in unknown]
    estimates = _estimates(unknown, options)
    tracks = []
    for track in observation.tracks:
        word = wanted.get(track.name)
        if word is None:
            tracks.append(track)
        elif word == NONE:
            tracks.append(replace(track, noise=None))
        else:
            noise = replace(estimates[track.name].best, estimated=True) if word == ESTIMATE else declared(word)
            tracks.append(with_noise(track, noise, options.keep_errors))
    return replace(observation, tracks=tuple(tracks)), estimates


def _require_use(options: ObserveOptions, radar: Sequence[Track]) -> None:
    """Raises QexpError for options that contradict each other, or that nothing uses."""
    if options.noises and not radar:
        raise QexpError("`noise`: there is no satellite track; stations have errors of their own")
    if len(options.noises) > 1 and len(options.noises) != len(radar):
        raise QexpError(
            f"`noise` is given {len(options.noises)} times; give it once for all, or once for each of the {len(radar)} "
            f"satellite tracks: {', '.join(track.name for track in radar)}"
        )
    if options.noise_area is not None and options.noise_mask is not None:
        raise QexpError("`noise_area` and `noise_mask` both name the area without a signal; keep one")
    values = {name: getattr(options, name) for name in ("noise_area", "noise_mask", "noise_ramp")}
    useless = [name for name, value in values.items() if value is not None and value is not False]
    if useless and ESTIMATE not in options.noises:
        raise QexpError(f"`{useless[0]}` has no effect without `noise={ESTIMATE}`")
    if options.keep_errors and not set(options.noises) - {NONE}:
        raise QexpError("`keep_errors` has no effect without a noise; nothing else replaces the errors")


def _estimates(tracks: Sequence[Track], options: ObserveOptions) -> Mapping[str, NoiseEstimate]:
    if not tracks:
        return {}
    from qexp.deformation.signal import estimate_noise  # loads torch, without which files are read

    signal_free: SignalFree | None = None
    if options.noise_area is not None:
        west, east, south, north = _numbers("`noise_area`", options.noise_area, "EAST0,EAST1,NORTH0,NORTH1")
        if not (west < east and south < north):
            raise QexpError("`noise_area`: write EAST0,EAST1,NORTH0,NORTH1 in m, the smaller of two first")
        signal_free = within(west, east, south, north)
    if options.noise_mask is not None:
        signal_free = beyond(*_numbers("`noise_mask`", options.noise_mask, "EAST,NORTH,RADIUS"))
    estimates = estimate_noise(tracks, signal_free, options.noise_ramp)
    return {track.name: estimate for track, estimate in zip(tracks, estimates, strict=True)}


def _numbers(option: str, numbers: Sequence[float], form: str) -> Sequence[float]:
    if len(numbers) != form.count(",") + 1:
        raise QexpError(f"{option}: write {form} in m")
    return numbers


# What a track holds, in numbers: for messages and JSON.


@dataclass(frozen=True)
class TrackSummary:
    """One track in numbers; lengths in m, angles in degrees."""

    name: str
    kind: str
    points: int
    """Points that count; of GNSS stations, components."""
    averaged: int | None
    """Pixels or points of which these are the means; None if they are not means."""
    masked: int
    """Points that do not count; of means, pixels or points that are in none of them."""
    east: tuple[float, float]
    north: tuple[float, float]
    incidence: float | None
    """Mean over the points; None for GNSS."""
    heading: float | None
    """Mean over the points, from the north of the coordinates; None for GNSS."""
    true_heading: float | None
    """The same from true north."""
    look: Look | None
    """Side to which the satellite looks; None for GNSS, and if not known: headings are then those of a right-looking
    satellite."""
    rms: float
    """Root mean square of the displacements."""
    error: float
    """Median standard deviation of the noise that is independent from point to point."""
    noise: CorrelatedNoise | None
    stations: Sequence[str] | None = None
    """Names of the GNSS stations that have an observed component; None if they have no names."""

    @property
    def error_is_nugget(self) -> bool:
        return self.noise is not None and math.isclose(self.error**2, self.noise.nugget, rel_tol=1e-6)

    def document(self) -> dict[str, Any]:
        return asdict(self)


def summary_of(track: Track, size: int, crs: str | None) -> TrackSummary:
    """A track in numbers.

    size  number of pixels or points that were read
    crs   of its coordinates
    """
    observed = track.where_observed()
    averaged = None if observed.count is None else round(float(observed.count.sum()))
    incidence = heading = true_heading = None
    if track.kind == "radar":
        mean = observed.direction.mean(axis=0, keepdims=True)
        incidence, heading = (float(angle[0]) for angle in angles_of(mean, track.look))
        turn = 0.0 if crs is None else np.degrees(convergence(crs_of(crs), observed.x, observed.y)).mean()
        true_heading = float((heading + turn + 180) % 360 - 180)
    east, north = ((float(values.min()), float(values.max())) for values in (observed.x, observed.y))
    return TrackSummary(
        track.name, track.kind, observed.size, averaged, max(size - (averaged or observed.size), 0), east, north,
        incidence, heading, true_heading, track.look, float(np.sqrt(np.mean(observed.displacement**2))),
        float(np.median(observed.error)), track.noise,
        None if observed.station is None else list(dict.fromkeys(observed.station.tolist())),
    )  # fmt: skip


# Figures of an observation: its tracks as maps, and the semivariograms of their noise.


def pictures_of(figure: Path | None) -> Sequence[Path]:
    """The map, and the semivariograms beside it. Raises QexpError for a format that there is not."""
    if figure is None:
        return []
    require_formats([figure.suffix[1:]])
    return [figure, figure.with_name(f"{figure.stem}_noise{figure.suffix}")]


def draw(
    observation: Observation,
    estimates: Mapping[str, NoiseEstimate],
    figure: Path,
    title: str,
    style: str | Path | None,
    width: str | None = None,
) -> list[Path]:
    """Draw the map, and the semivariograms if there are any; returns the paths of the figures."""
    map_path, noise_path = pictures_of(figure)
    with use_style(None if style is None else Path(style), width):
        save(draw_tracks(observation, title), map_path)
        if not estimates:
            return [map_path]
        save(draw_semivariograms(estimates, f"{title}: semivariograms without the signal"), noise_path)
    return [map_path, noise_path]


# Files are read, brought into one coordinate reference system, and written as one observation file.

PER_FILE = (
    "name", "unit", "error", "incidence", "heading", "look", "north", "wavelength", "sensor", "direction", "coherence",
    "dem", "geometry", "variable",
)  # fmt: skip
"""What may be asked of each file: one value for all, or one for each in order."""
DOUBTED = 3.0
"""Ratio of the errors of a track and its largest displacement from which on their units are doubted."""
DIFFERENT, SMALL = 100.0, 2e-4
"""Ratio of the largest displacements of two tracks from which on their units are doubted; and displacements [m] below
which all of a track's are.
"""


@dataclass(frozen=True, repr=False)
class Observed:
    """An observation, and what a user should know of it."""

    observation: Observation
    tracks: Sequence[TrackSummary]
    warnings: Sequence[str]
    files: Sequence[Path]
    """What was written."""
    estimates: Mapping[str, NoiseEstimate] = field(default_factory=dict)
    """Name of a track → how its noise was estimated."""

    def __repr__(self) -> str:
        return repr(self.observation)


def observe(
    sources: Sequence[Path], options: ObserveOptions, to: Path | None = None, figure: Path | None = None
) -> Observed:
    """Read files of satellite tracks and of GNSS stations as one observation, and write it.

    to      the observation file; None: it is not written
    figure  the map of the tracks; semivariograms are drawn beside it, with `_noise` behind the name
    Raises QexpError before anything is written.
    """
    require_width(options.width)
    require_targets(to, pictures_of(figure), options.overwrite)
    chosen = _with_columns(list(_choose_readers(sources, options)), options)
    for name in _reading_values(options):
        if not any(name in reader.takes for _, reader, _ in chosen):
            names = ", ".join(str(path) for path, _, _ in chosen)
            raise QexpError(f"`{name}` has no effect on {names}; leave it out")
    readings, asked = _read(chosen, options)
    _require_one_error(readings, options)
    if options.name is None:
        readings = _distinct_names(readings)
    asked_by_track = {track.name: asked[key] for key in asked for track in readings[key].tracks}
    observation = in_one_system(readings, options.crs)
    require_sound(observation, _sources(readings))
    require_overlap(observation)
    twice = list(_twice(observation.tracks))
    # Before points are averaged: the means of cells have another semivariogram.
    observation, estimates = with_noises(observation, options, lambda: _points(readings, observation))
    sizes = [reading.size or len(track.x) for reading in readings.values() for track in reading.tracks]
    plan = ReadOptions(**{name: getattr(options, name) for name in REDUCING}).reduction
    if plan is not None:
        plan_here = plan.in_system(observation.crs)
        means = tuple(reduced_points(track, plan_here) for track in observation.tracks)
        observation = replace(observation, tracks=means)
    warnings = [f"{path}: {text}" for path, reading in readings.items() for text in reading.warnings]
    warnings += [*twice, *_unlike(observation, asked_by_track), *_one_heading(options)]
    files = []
    if to is not None:
        write_observation(observation, to, options.history)
        files.append(to)
    if figure is not None:
        title = to.name if to is not None else _sources(readings)
        files += draw(observation, estimates, figure, title, options.style, options.width)
    warnings += [text for name, estimate in estimates.items() for text in _doubts(name, estimate)]
    each = zip(observation.tracks, sizes, strict=True)
    summaries = [summary_of(track, size, observation.crs) for track, size in each]
    return Observed(observation, summaries, warnings, files, estimates)


def _read(
    chosen: Sequence[tuple[Path, Reader, ReadOptions]], options: ObserveOptions
) -> tuple[dict[str, Reading], dict[str, ReadOptions]]:
    """What the files hold, and what was asked of those that take a unit; both by the files' names."""
    readings: dict[str, Reading] = {}
    asked: dict[str, ReadOptions] = {}
    several = {path for path, count in Counter(path for path, *_ in chosen).items() if count > 1}
    for path, reader, read_options in chosen:
        variable, key = read_options.variable, str(path)
        if path in several and variable is not None:
            read_options, key = replace(read_options, name=read_options.name or variable), f"{path}, '{variable}'"
        if key in readings:
            raise QexpError(f"{key} is given twice")
        reading = reader.read(path, read_options)
        if "north" in reader.takes:
            reading = _by_north(reading, read_options.north, options.crs)
        if reading.look is not None:
            reading = replace(reading, tracks=tuple(replace(track, look=reading.look) for track in reading.tracks))
        readings[key] = reading
        if "unit" in reader.takes:
            asked[key] = read_options
    return readings, asked


def _distinct_names(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """The readings, with the part of their files' paths that differs before names that several of them have."""
    files = Counter(track.name for reading in readings.values() for track in reading.tracks)
    paths = {path: Path(path).absolute() for path in readings}
    apart = dict(readings)
    for name in [name for name, count in files.items() if count > 1]:
        sharing = [path for path, reading in readings.items() if name in [track.name for track in reading.tracks]]
        ways = [tuple(reversed(paths[path].with_suffix("").parts)) for path in sharing]
        level = next((parts for parts in zip(*ways, strict=False) if len(set(parts)) == len(parts)), None)
        for path, part in zip(sharing, level or (), strict=False):
            tracks = (
                replace(track, name=f"{part}_{name}") if track.name == name else track for track in apart[path].tracks
            )
            apart[path] = replace(apart[path], tracks=tuple(tracks))
    return apart


def _by_north(reading: Reading, north: str | None, crs: str | None) -> Reading:
    """A reading whose directions refer to the north that was asked for; None: to that of its coordinates.

    crs  of coordinates that name none themselves
    """
    if north is not None:
        if north not in NORTHS:
            raise QexpError(f"`north={north}`: directions refer to {' or '.join(NORTHS)} north")
        return replace(reading, north=north)
    system = reading.crs or crs
    if system is None:
        return reading
    turns = [np.degrees(np.abs(convergence(crs_of(system), track.x, track.y))).max() for track in reading.tracks]
    if max(turns) < 1.0:  # degrees, from which on it matters to which north directions refer
        return reading
    doubt = (
        f"lines of sight are assumed to refer to grid north, which differs from true north by up to {max(turns):.1f}° "
        "here; say which with `north=grid` or `north=true`"
    )
    return replace(reading, warnings=(*reading.warnings, doubt))


def _points(readings: Mapping[str, Reading], observation: Observation) -> Mapping[str, Track]:
    """Points of the tracks that their readers have reduced, by name, in the system of the observation."""
    drawn = {
        path: replace(reading, tracks=(reading.points(),))
        for path, reading in readings.items()
        if reading.points is not None
    }
    tracks = in_one_system(drawn, observation.crs).tracks if drawn else ()
    return {track.name: track for track in tracks}


def _unlike(observation: Observation, asked: Mapping[str, ReadOptions]) -> Iterator[str]:
    """What makes the units of displacements and errors suspicious beside each other.

    asked  of the files of tracks, by the tracks' names; not of those that have units of their own
    """
    largest = {
        track.name: float(np.abs(track.where_observed().displacement).max(initial=0.0)) for track in observation.tracks
    }
    moved = {name: most for name, most in largest.items() if most > 0}
    if not moved:
        return
    for track in observation.tracks:
        if (error := float(np.median(track.where_observed().error))) > DOUBTED * largest[track.name]:
            yield (
                f"the errors of '{track.name}' are {error:.3g} m, but its displacements only up to "
                f"{largest[track.name]:.3g} m; `error` counts in `unit`, of tables of `gnss` in `gnss_unit`, and in m "
                "without these, whatever headers say"
            )
    least, most = min(moved, key=lambda name: moved[name]), max(moved, key=lambda name: moved[name])
    if most in asked:
        another, metres = (asked[most].with_unit(unit) for unit in ("mm" if moved[most] > LARGE else "cm", "m"))
    else:
        another, metres = "`unit` where its file is read", "`unit=m` where its file is read"
    if moved[most] > DIFFERENT * moved[least]:
        yield (
            f"the displacements of '{most}' are up to {moved[most]:.3g} m, {moved[most] / moved[least]:,.0f} times "
            f"those of '{least}', up to {moved[least]:.3g} m; if their units differ, give that of '{most}': {another}"
        )
    elif moved[most] < SMALL:
        yield f"all displacements are less than {1e3 * moved[most]:.2g} mm; if they are in metres, say so: {metres}"


def _require_one_error(readings: Mapping[str, Reading], options: ObserveOptions) -> None:
    """Raises QexpError where one number of `error` would be of several lengths, or is of no use."""
    used = {path: reading.error_unit for path, reading in readings.items() if reading.error_unit is not None}
    errors = options.error if isinstance(options.error, Sequence) else [options.error]
    if options.error is not None and not used:
        raise QexpError(f"`error` has no effect: {', '.join(readings)} has errors of its own; leave it out")
    if len(set(used.values())) > 1 and len(errors) == 1:
        words = ", ".join(f"in {unit} for {path}" for path, unit in used.items())
        raise QexpError(
            f"`error={errors[0]:g}` would count {words}; give each file its own, in order, those of `gnss` last: "
            f"`error={[round(0.003 / METRES[unit], 4) for unit in used.values()]}`"
        )


SAME_PLACE, NEAR = 1.0, 100.0
"""Distance [m] up to which points are one; and up to which stations of one name are."""
SAME = 1e-6
"""Difference of displacements [m] up to which they are the same data."""


def _twice(tracks: Sequence[Track]) -> Iterator[str]:
    """The stations that are there twice, with other displacements. Raises QexpError for the same data twice."""
    tracks = [track.where_observed() for track in tracks]
    for first, second in combinations([track for track in tracks if track.kind == "radar"], 2):
        if first.size == second.size and _same(first, second):
            raise QexpError(
                f"the tracks '{first.name}' and '{second.name}' hold the same {first.size:,} points, which would count "
                "twice; leave one out"
            )
    stations = [track for track in tracks if track.kind == "gnss"]
    pairs = list(_pairs(stations)) if stations else []
    alike = Counter((where, name) for where, name, same in pairs if same)
    of_all = Counter((where, name) for where, name, _ in pairs)
    for where in dict.fromkeys(where for where, _ in of_all):
        names = list(dict.fromkeys(name for there, name in of_all if there == where))
        equal = [name for name in names if alike[where, name] == of_all[where, name]]
        if equal:
            raise QexpError(f"{_stations(equal)} {where}, with the same displacements, which would count twice")
        yield f"{_stations(names)} {where}, with different displacements, of which all count; is one to go?"


def _stations(names: Sequence[str]) -> str:
    return f"station {names[0]} is" if len(names) == 1 else f"stations {some(names, 8)} are"


def _same(first: Track, second: Track) -> bool:
    """Whether two tracks of one size have the same points and displacements."""
    apart = np.hypot(first.x - second.x, first.y - second.y).max(initial=0)
    turned, moved = np.abs(first.direction - second.direction), np.abs(first.displacement - second.displacement)
    return bool(apart < SAME_PLACE and turned.max(initial=0) < 1e-3 and moved.max(initial=0) < SAME)


def _pairs(tracks: Sequence[Track]) -> Iterator[tuple[str, str, bool]]:
    """Two entries for the same component of a station: in which tracks, its name, and whether they are equal."""
    from scipy.spatial import KDTree

    owners = np.repeat([track.name for track in tracks], [track.size for track in tracks])
    names = np.concatenate([np.full(track.size, "") if track.station is None else track.station for track in tracks])
    places = np.concatenate([np.stack([track.x, track.y], axis=1) for track in tracks])
    directions = np.concatenate([track.direction for track in tracks])
    displacements = np.concatenate([track.displacement for track in tracks])
    for first, second in sorted(KDTree(places).query_pairs(NEAR)):
        near = np.hypot(*(places[first] - places[second])) < SAME_PLACE
        named = bool(names[first]) and bool(names[second])
        if np.abs(directions[first] - directions[second]).max() < 1e-2 and (
            names[first] == names[second] if named else near
        ):
            name = names[first] or names[second] or "at {:.0f} east, {:.0f} north".format(*places[first])
            here, there = owners[first], owners[second]
            where = f"twice in '{here}'" if here == there else f"in '{here}' and in '{there}'"
            yield where, str(name), bool(abs(displacements[first] - displacements[second]) < SAME)


def _one_heading(options: ObserveOptions) -> Iterator[str]:
    """A doubt where tracks have their own incidences, but one heading."""
    counts = [
        len(value) if isinstance(value, Sequence) and not isinstance(value, str) else int(value is not None)
        for value in (options.incidence, options.heading)
    ]
    if counts[0] > 1 and counts[1] == 1:
        yield (
            "all tracks have one heading, but each its own incidence; if they are ascending and descending, give each "
            "its heading, in order: `heading=[-13, 193]`"
        )


def _doubts(name: str, estimate: NoiseEstimate) -> Iterator[str]:
    if not estimate.levels_off:
        yield (
            f"the semivariogram of '{name}' does not level off, so that sill and range are only lower limits; if a "
            "ramp is in the data, `noise_ramp=True` subtracts it; otherwise choose a larger part without signal"
        )
    if not estimate.resolved:
        yield (
            f"the noise of '{name}' is correlated over less than the {estimate.measured.distance[0]:.4g} m between its "
            "nearest points, if at all, so that sill, range and nugget cannot be determined separately"
        )


def _reading_values(options: ObserveOptions) -> dict[str, Any]:
    """What the options say of how files are read."""
    values = {field.name: getattr(options, field.name, None) for field in fields(ReadOptions)}
    return {name: value for name, value in values.items() if value is not None}


def _choose_readers(sources: Sequence[Path], options: ObserveOptions) -> Iterator[tuple[Path, Reader, ReadOptions]]:
    """Each file with its reader and what is asked of it."""
    stations, gnss_unit = [Path(file) for file in options.gnss], options.gnss_units
    if not sources and not stations:
        raise QexpError("name at least one file")
    values = _reading_values(options)
    errors, follows = _errors(options, len(sources), len(stations)), _errors_follow(options)
    values.pop("error", None)
    if stations and values.get("unit") and not gnss_unit:
        raise QexpError(
            "`unit` is for the files and not for the tables of `gnss`; give theirs, too: `gnss_unit=UNIT`, such as mm"
        )
    if gnss_unit and not stations:
        raise QexpError("`gnss_unit` is for the tables of `gnss`; the unit of other files is `unit`")
    readers = [_reader(path, options) for path in sources]
    angles = {name: values.pop(name) for name in OF_SIGHT if name in values}
    sights = _sights(sources, readers, angles, options)
    for index, (path, reader) in enumerate(zip(sources, readers, strict=True)):
        of_file = {name: _typed(name, _of_file(name, value, index, len(sources))) for name, value in values.items()}
        of_file |= {name: _typed(name, value) for name, value in sights[index].items()}
        option = _unit_option("unit", values.get("unit"), index, len(sources))
        of_file |= {"error": errors[index], "error_follows": follows}
        yield path, reader, ReadOptions(**of_file, unit_option=option)
    for index, path in enumerate(stations):
        files.require_file(path)
        shared = {name: value for name, value in values.items() if name not in PER_FILE}
        unit = _of_file("gnss_unit", gnss_unit or None, index, len(stations))
        option = _unit_option("gnss_unit", gnss_unit or None, index, len(stations))
        of_table = {**shared, "error": errors[len(sources) + index], "unit": unit}
        yield path, READERS["gnss"], ReadOptions(**of_table, unit_option=option)


def _reader(path: Path, options: ObserveOptions) -> Reader:
    reader = reader_of(path)
    return READERS["points"] if reader is READERS["gnss"] and has_los(path, options.columns) else reader


OF_VECTORS = ("licsar", "licsbas", "mintpy")
"""Readers of files that have their lines of sight, unless incidence or heading replaces these."""


def _sights(
    sources: Sequence[Path], readers: Sequence[Reader], angles: Mapping[str, Any], options: ObserveOptions
) -> Sequence[Mapping[str, Any]]:
    """Those of the angles that count for each file: for tables those that they do not have in columns.

    If no file is left that could use one, it is for all, to be refused as these are read. One value for each file that
    uses it is enough.
    """
    count, taking = len(sources), [index for index, reader in enumerate(readers) if "incidence" in reader.takes]
    tables = [index for index in taking if angles and readers[index] is READERS["points"]]
    known = {index: sight_in_columns(sources[index], options.columns) for index in tables}
    if not {"incidence", "heading"} & angles.keys():
        vectors = [READERS[name] for name in OF_VECTORS]
        known |= {index: ("look",) for index in taking if readers[index] in vectors}
    sights: list[dict[str, Any]] = [{} for _ in sources]
    for name, value in angles.items():
        using = [index for index in taking if name not in known.get(index, ())] or taking
        several = len(value) if isinstance(value, Sequence) and not isinstance(value, str) else 1
        if name == "look" and several not in (1, len(using)):
            each = f", or once for each of the {len(using)} that need one" if len(using) > 1 else ""
            names = ", ".join(str(sources[index]) for index in using)
            raise QexpError(f"`look` is given {several} times; give it once{each}: {names}")
        for number, index in enumerate(using):
            one_each = several == len(using) > 1
            sights[index][name] = value[number] if one_each else _of_file(name, value, index, count)
    return sights


def _unit_option(name: str, value: Any, index: int, count: int) -> str:
    """How the unit of one of several files is given, with {} for it and the others as they are."""
    units = ["{}" if other == index else _of_file(name, value, other, count) or "m" for other in range(count)]
    return f"`{name}={units[0] if count == 1 else units}`"


def _errors(options: ObserveOptions, files: int, tables: int) -> Sequence[float | None]:
    """The error of each file and then of each table of stations; with one number for each file, tables have none."""
    given = options.error if isinstance(options.error, Sequence) else [options.error]
    if len(given) == 1:
        return [*given] * (files + tables)
    if len(given) == files + tables:
        return given
    return [*(_of_file("error", given, index, files) for index in range(files)), *[None] * tables]


def _errors_follow(options: ObserveOptions) -> bool:
    """Whether the noise of all tracks gives their errors."""
    words = [] if options.keep_errors else options.noises
    return bool(words) and all(word == ESTIMATE or (word != NONE and declared(word).nugget > 0) for word in words)


def _with_columns(
    chosen: Sequence[tuple[Path, Reader, ReadOptions]], options: ObserveOptions
) -> Sequence[tuple[Path, Reader, ReadOptions]]:
    """The files, each of several tables and grids with those of the columns that it has."""
    roles: dict[str, Roles] = {"gnss": GNSS, "points": RADAR, "grid": {"los": ()}}
    tables = {path: roles[name] for path, reader, _ in chosen for name in roles if reader is READERS[name]}
    if options.columns is None or len(tables) < 2:
        return chosen
    if not isinstance(options.columns, Mapping):
        if GNSS in tables.values() and RADAR in tables.values():
            raise QexpError(
                "`columns`: positions alone mean others in tables of stations than in those of a track; name what they "
                "hold: `columns={'east': '1', 'north': '2'}`"
            )
        return chosen
    shares = asked_of_each(tables, {word: str(column) for word, column in options.columns.items()})
    return [
        (path, reader, replace(asked, columns=shares[path] or None) if path in shares else asked)
        for path, reader, asked in chosen
    ]


def _of_file(name: str, value: Any, index: int, count: int) -> Any:
    if name not in (*PER_FILE, "gnss_unit") or isinstance(value, str) or not isinstance(value, Sequence):
        return value
    if name == "direction" and all(isinstance(part, str | Path) for part in value):  # three files for all
        return value
    if len(value) not in (1, count):
        raise QexpError(
            f"`{name}` is given {len(value)} times; give it once"
            + f" for all {count} files, or once for each" * (count > 1)
        )
    if name == "name" and count > 1 and len(value) == 1:
        raise QexpError(f"`name` is given once, but there are {count} files; give each a name, in order")
    return value[index % len(value)]


def _typed(name: str, value: Any) -> Any:
    """The names of files as paths."""
    if name not in ("incidence", "heading", "direction", "coherence", "dem", "geometry"):
        return value
    if isinstance(value, str):
        return Path(value)
    return tuple(map(Path, value)) if isinstance(value, Sequence) else value


def require_targets(to: Path | None, pictures: Sequence[Path], overwrite: bool) -> None:
    """Raises QexpError for files that must not be written."""
    if to is not None and to.suffix.lower() not in (".nc", ".nc4"):
        raise QexpError(f"`to={to}`: an observation file is NetCDF; let its name end in .nc")
    for path in ([] if to is None else [to]) + [*pictures]:
        if path.exists() and not overwrite:
            raise QexpError(f"{path} exists already; choose another name, or replace it with `overwrite=True`")
        if not path.absolute().parent.is_dir():
            raise NotFoundError(f"{path}: there is no folder {path.parent}")


def _sources(readings: Mapping[str, Reading]) -> str:
    return next(iter(readings)) if len(readings) == 1 else f"{len(readings)} files"
