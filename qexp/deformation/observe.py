"""Files are read, brought into one system, and written as one observation with its noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from qexp.deformation.maps import draw_tracks
from qexp.deformation.options import ESTIMATE, NONE, ObserveOptions
from qexp.deformation.per_file import Request, count_of, requests_of
from qexp.deformation.semivariograms import draw_semivariograms
from qexp.errors import NotFoundError, QexpError
from qexp.figures.canvas import require_width, use_style
from qexp.figures.writing import require_formats, save
from qexp.observations.noise import (
    MOST_CORRELATED,
    NoiseEstimate,
    SignalFree,
    declared,
    in_rectangle,
    out_of_circle,
    with_noise,
)
from qexp.observations.observation import (
    CorrelatedNoise,
    Look,
    Observation,
    Track,
    convergence,
    require_overlap,
    require_sound,
    stations_twice,
    write_observation,
)
from qexp.observations.projection import by_north, crs_of, in_one_system
from qexp.observations.reading import LARGE_DISPLACEMENT, METRES, Reading, ReadOptions, angles_of
from qexp.observations.reduction import Reduction, reduced_points, reduction


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
    sources: Sequence[Path],
    options: ObserveOptions,
    target: Path | None = None,
    figures: Sequence[Path] = (),
) -> Observed:
    """Read files of satellite tracks and of GNSS stations as one observation, and write it.

    target   the observation file; None: it is not written
    figures  the map of the tracks in each format; semivariograms are drawn beside it, with `_noise`
             behind the name
    Raises QexpError before anything is written.
    """
    require_width(options.width)
    pictures = chain.from_iterable(map(pictures_of, figures))
    require_targets(target, [*pictures], options.overwrite)
    requests = requests_of(sources, options)
    readings, units = _read(requests, options.crs)
    _require_one_error(readings, options)
    if options.name is None:
        readings = _distinct_names(readings)
    units_by_track = dict[str, ReadOptions]()
    for key, of_file in units.items():
        units_by_track |= {track.name: of_file for track in readings[key].tracks}
    observation = in_one_system(readings, options.crs)
    require_sound(observation, _sources(readings))
    require_overlap(observation)
    twice = list(stations_twice(observation))
    # Before points are averaged: the means of cells have another semivariogram.
    observation, estimates = with_noises(
        observation, options, lambda: _points(readings, observation)
    )
    sizes = list[int]()
    warnings = list[str]()
    for path, reading in readings.items():
        sizes += [reading.size or len(track.x) for track in reading.tracks]
        warnings += [f"{path}: {text}" for text in reading.warnings]
    plan = requests[0].options.reduction  # the same for all files
    if plan is not None:
        plan_here = plan.in_system(observation.crs)
        means = tuple(reduced_points(track, plan_here) for track in observation.tracks)
        observation = replace(observation, tracks=means)
    warnings += [*_tiny_errors(readings), *twice, *_unlike(observation, units_by_track)]
    each = zip(observation.tracks, sizes, strict=True)
    summaries = [summary_of(track, size, observation.crs) for track, size in each]
    warnings += _unusual_headings(options, summaries)
    for name, estimate in estimates.items():
        warnings += _doubts(name, estimate)
    warnings += [*_cells_of_noise(observation, plan), *_too_many_correlated(observation)]
    files = []
    if target is not None:
        lines = [
            f"{one.name}: {one.points:,} points count, {one.masked:,} do not" for one in summaries
        ]
        write_observation(observation, target, options.history, "\n".join(lines + warnings))
        files.append(target)
    for figure in figures:
        title = target.name if target is not None else _sources(readings)
        files += draw(observation, estimates, figure, title, options)
    return Observed(observation, summaries, warnings, files, estimates)


def _read(
    requests: Sequence[Request], crs: str | None
) -> tuple[dict[str, Reading], dict[str, ReadOptions]]:
    """What the files hold, and the units of those that take one; both by the files' names.

    crs  of coordinates that name none themselves
    """
    readings: dict[str, Reading] = {}
    units: dict[str, ReadOptions] = {}
    files = Counter(request.path for request in requests)
    for request in requests:
        path = request.path
        reader = request.reader
        options = request.options
        key = str(path)
        if files[path] > 1 and options.variable is not None:
            key = f"{path}, '{options.variable}'"
            options = replace(options, name=options.name or options.variable)
        if key in readings:
            raise QexpError(f"{key} is given twice")
        reading = reader.read(path, options)
        if "north" in reader.takes:
            reading = by_north(reading, options.north, crs)
        if reading.look is not None:
            tracks = (replace(track, look=reading.look) for track in reading.tracks)
            reading = replace(reading, tracks=tuple(tracks))
        readings[key] = reading
        if "unit" in reader.takes:
            units[key] = options
    return readings, units


def _distinct_names(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """The readings, with the part of their files' paths that differs before names that several of
    them have.
    """
    files = Counter(track.name for reading in readings.values() for track in reading.tracks)
    paths = {path: Path(path).absolute() for path in readings}
    apart = dict(readings)
    for name in [name for name, count in files.items() if count > 1]:
        sharing = list[str]()
        for path, reading in readings.items():
            if any(track.name == name for track in reading.tracks):
                sharing.append(path)
        ways = [tuple(reversed(paths[path].with_suffix("").parts)) for path in sharing]
        levels = (parts for parts in zip(*ways, strict=False) if len(set(parts)) == len(parts))
        for path, part in zip(sharing, next(levels, ()), strict=False):
            tracks = [*apart[path].tracks]
            for index, track in enumerate(tracks):
                if track.name == name:
                    tracks[index] = replace(track, name=f"{part}_{name}")
            apart[path] = replace(apart[path], tracks=tuple(tracks))
    return apart


def _points(readings: Mapping[str, Reading], observation: Observation) -> Mapping[str, Track]:
    """Points of the tracks that their readers have reduced, by name, in the system of the
    observation.
    """
    drawn = dict[str, Reading]()
    for path, reading in readings.items():
        if reading.points is not None:
            drawn[path] = replace(reading, tracks=(reading.points(),))
    tracks = in_one_system(drawn, observation.crs).tracks if drawn else ()
    return {track.name: track for track in tracks}


def require_targets(target: Path | None, pictures: Sequence[Path], overwrite: bool) -> None:
    """Raises QexpError for files that must not be written."""
    if target is not None and target.suffix.lower() not in (".nc", ".nc4"):
        raise QexpError(f"`to={target}`: an observation file is NetCDF; let its name end in .nc")
    for path in ([] if target is None else [target]) + [*pictures]:
        if path.exists() and not overwrite:
            raise QexpError(
                f"{path} exists already; choose another name, or replace it with `overwrite=True`"
            )
        if not path.absolute().parent.is_dir():
            raise NotFoundError(f"{path}: there is no folder {path.parent}")


def _sources(readings: Mapping[str, Reading]) -> str:
    return next(iter(readings)) if len(readings) == 1 else f"{len(readings)} files"


# What a user should look at, in the tracks beside each other and in their noise.

DOUBTED_ERROR_RATIO, DOUBTED_DISPLACEMENT_RATIO = 3.0, 100.0
"""Of a track's errors to its largest displacement, and of two of these: units are doubted then."""
SMALL_DISPLACEMENT = 2e-4
"""Displacements [m] below which all of a track's are doubted."""
LEAST_ERROR = 5e-5
"""Errors of single points and components of stations [m] below which they are doubted."""


def _tiny_errors(readings: Mapping[str, Reading]) -> Iterator[str]:
    for path, reading in readings.items():
        for track in (track.where_observed() for track in reading.tracks):
            if not track.size or track.instrument.unit != "m":
                continue
            of_one = track.error if track.count is None else track.error * np.sqrt(track.count)
            error = np.median(of_one)
            if error < LEAST_ERROR:
                yield (
                    f"{path}: the errors are {1e3 * error:.2g} mm, less than any that are measured;"
                    " they count in the unit of the displacements; of variances, write the square"
                    " roots"
                )


def _unlike(observation: Observation, units: Mapping[str, ReadOptions]) -> Iterator[str]:
    """What makes the units of displacements and errors suspicious beside each other.

    units  of the files of tracks, by the tracks' names; not of those that have units of their own
    """
    tracks = [track.where_observed() for track in observation.tracks]
    tracks = [track for track in tracks if track.instrument.unit == "m"]
    largest = {track.name: np.abs(track.displacement).max(initial=0.0) for track in tracks}
    moved = {name: most for name, most in largest.items() if most > 0}
    if not moved:
        return
    for track in tracks:
        error = np.median(track.error)
        if error > DOUBTED_ERROR_RATIO * largest[track.name]:
            yield (
                f"the errors of '{track.name}' are {error:.3g} m, but its displacements only up to"
                f" {largest[track.name]:.3g} m; `error` counts in `unit`, of tables of `gnss` in"
                " `gnss_unit`, and in m without these, whatever headers say"
            )
    least = min(moved, key=lambda name: moved[name])
    most = max(moved, key=lambda name: moved[name])
    smaller = "mm" if moved[most] > LARGE_DISPLACEMENT else "cm"
    if most in units:
        another, metres = (units[most].with_unit(unit) for unit in (smaller, "m"))
    else:
        another, metres = "`unit` where its file is read", "`unit=m` where its file is read"
    if moved[most] > DOUBTED_DISPLACEMENT_RATIO * moved[least]:
        yield (
            f"the displacements of '{most}' are up to {moved[most]:.3g} m,"
            f" {moved[most] / moved[least]:,.0f} times those of '{least}', up to {moved[least]:.3g}"
            f" m; if their units differ, give that of '{most}': {another}"
        )
    elif moved[most] < SMALL_DISPLACEMENT:
        yield (
            f"all displacements are less than {1e3 * moved[most]:.2g} mm; if they are in metres,"
            f" say so: {metres}"
        )


def _require_one_error(readings: Mapping[str, Reading], options: ObserveOptions) -> None:
    """Raises QexpError where one number of `error` would be of several lengths, or is of no use."""
    units = {path: reading.error_unit for path, reading in readings.items()}
    used = {path: unit for path, unit in units.items() if unit is not None}
    errors = options.error if isinstance(options.error, Sequence) else [options.error]
    if options.error is not None and not used:
        raise QexpError(
            f"`error` has no effect: {', '.join(readings)} has errors of its own; leave it out"
        )
    if len(set(used.values())) > 1 and len(errors) == 1:
        words = ", ".join(f"in {unit} for {path}" for path, unit in used.items())
        examples = [round(0.003 / METRES.get(unit, 1.0), 4) for unit in used.values()]
        raise QexpError(
            f"`error={errors[0]:g}` would count {words}; give each file its own, in order, those of"
            f" `gnss` last: `error={examples}`"
        )


MOST_FROM_NORTH = 60.0
"""Of headings from north or south, beyond which few satellites fly [degrees]; those that turn back
at 80° and more of latitude do nowhere else.
"""


def _unusual_headings(options: ObserveOptions, tracks: Sequence[TrackSummary]) -> Iterator[str]:
    """Doubts where tracks have their own incidences, but one heading, or a heading that is an
    azimuth, as it seems.
    """
    if count_of(options.incidence) > 1 and count_of(options.heading) == 1:
        yield (
            "all tracks have one heading, but each its own incidence; if they are ascending and"
            " descending, give each its heading, in order: `heading=[-13, 193]`"
        )
    for track in tracks:
        if track.look and track.heading and abs(abs(track.heading) - 90) < 90 - MOST_FROM_NORTH:
            yield (
                f"the heading of '{track.name}' is {track.heading:.0f}°, far from north and south,"
                " as that of few satellites; if this is the azimuth of the line of sight, from the"
                " ground to a satellite that looks to its right, the heading is azimuth + 90°,"
                f" here {(track.heading + 270) % 360 - 180:.0f}°, of azimuths that count clockwise"
                " from north; of those that count anticlockwise from north, as in ISCE and MintPy,"
                f" it is 90° − azimuth, here {(270 - track.heading) % 360 - 180:.0f}°"
            )


def _cells_of_noise(observation: Observation, plan: Reduction | None) -> Iterator[str]:
    """A reduction whose cells follow the noise of a track, or do not follow its signal."""
    for track in observation.tracks:
        if plan is None or track.count is None:
            continue
        whole = float(track.where_observed().displacement.std())
        deviation = _deviation(track)
        if plan.criterion.passes_over(whole):
            yield (
                f"all displacements of '{track.name}' have a standard deviation of {whole:.2g} m,"
                " so that the quadtree splits no cell; its threshold is in m, such as"
                f" `reduce=quadtree:{max(whole / 2, 1e-4):.1g}`"
            )
        if plan.criterion.follows(deviation):
            yield (
                f"the noise of '{track.name}' has a standard deviation of {deviation:.2g} m, by"
                " which the quadtree splits cells without a signal: they follow the noise, so that"
                " residuals come out larger than it, by some 10 % in χ²; observe it again with a"
                f" higher threshold, such as `reduce=quadtree:{2 * deviation:.1g}`"
            )


def _deviation(track: Track) -> float:
    """The standard deviation of the noise of single points [m]; 0 where it is not known."""
    return 0.0 if track.noise is None else math.sqrt(track.noise.sill + track.noise.nugget)


THRESHOLDS_TO_TRY = [digit * 10.0**power for power in range(-4, 1) for digit in (1, 2, 5)]
"""Of the quadtree that is suggested for an observation with too many points [m]."""


def _too_many_correlated(observation: Observation) -> Iterator[str]:
    """What to do with what `qexp invert` refuses, with the finest quadtree that it takes."""
    noisy = [track for track in observation.tracks if track.noise and track.noise.sill]
    large = [track for track in noisy if track.size > MOST_CORRELATED]
    if not large:
        return
    words = (f"{track.name} has {track.size:,} points with correlated noise" for track in large)
    refused = f"{', '.join(words)}: `qexp invert` weighs at most {MOST_CORRELATED:,} of a track"
    for threshold in [step for step in THRESHOLDS_TO_TRY if step > max(map(_deviation, large))]:
        finest = reduction(f"quadtree:{threshold:g}")
        most = max(reduced_points(track, finest).size for track in large)
        if most <= MOST_CORRELATED:
            yield (
                f"{refused}; observe it again with `reduce=quadtree:{threshold:g}`, which leaves"
                f" {most:,} at most"
            )
            return
    yield (  # as means are not averaged again
        f"{refused}; observe the original files with a coarser `reduce`"
    )


LARGEST_NOISE = 0.025
"""Standard deviation [m] beyond which estimated noise is doubted: few atmospheres have more."""


def _doubts(name: str, estimate: NoiseEstimate) -> Iterator[str]:
    if (deviation := math.sqrt(estimate.best.sill + estimate.best.nugget)) > LARGEST_NOISE:
        yield (
            f"the noise of '{name}' is estimated as {1e3 * deviation:.0f} mm, more than that of"
            " nearly all radar images: a part of the signal counts as noise where one point source"
            " does not explain all tracks, as with exchanged headings; check headings, signs and"
            " units, or name an area without a signal by `noise_area` or `noise_mask`"
        )
    if not estimate.levels_off:
        yield (
            f"the semivariogram of '{name}' does not level off, so that sill and range are only"
            " lower limits; if a ramp is in the data, `noise_ramp=True` subtracts it; otherwise"
            " choose a larger part without signal"
        )
    if not estimate.resolved:
        yield (
            f"the noise of '{name}' is correlated over less than the"
            f" {estimate.measured.distance[0]:.4g} m between its nearest points, if at all, so that"
            " sill, range and nugget cannot be determined separately"
        )


def with_noises(
    observation: Observation, options: ObserveOptions, points: Callable[[], Mapping[str, Track]]
) -> tuple[Observation, Mapping[str, NoiseEstimate]]:
    """The observation with the noises of the options, and those of them that were estimated, by
    track.

    points  gives some points of each track that holds means of cells: means have another
            semivariogram
    Raises QexpError.
    """
    images = [track for track in observation.tracks if track.instrument.imaging]
    _require_use(options, images)
    words = options.noises if len(options.noises) != 1 else [*options.noises] * len(images)
    wanted = {track.name: word for track, word in zip(images, words, strict=False)}
    unknown = [track for track in images if wanted.get(track.name) == ESTIMATE]
    if any(track.count is not None for track in unknown):
        drawn = points()
        for track in unknown:
            if track.count is not None and track.name not in drawn:
                raise QexpError(
                    f"track '{track.name}' holds means of cells, from which the noise of points"
                    " cannot be estimated; give `noise=estimate` together with `reduce` where the"
                    " files are read, or declare the noise"
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
            noise = (
                replace(estimates[track.name].best, estimated=True)
                if word == ESTIMATE
                else declared(word)
            )
            tracks.append(with_noise(track, noise, options.keep_errors))
    return replace(observation, tracks=tuple(tracks)), estimates


def _require_use(options: ObserveOptions, images: Sequence[Track]) -> None:
    """Raises QexpError for options that contradict each other, or that nothing uses."""
    if options.noises and not images:
        raise QexpError("`noise`: there is no satellite track; stations have errors of their own")
    if len(options.noises) > 1 and len(options.noises) != len(images):
        raise QexpError(
            f"`noise` is given {len(options.noises)} times; give it once for all, or once for each"
            f" of the {len(images)} satellite tracks: {', '.join(track.name for track in images)}"
        )
    if options.noise_area is not None and options.noise_mask is not None:
        raise QexpError(
            "`noise_area` and `noise_mask` both name the area without a signal; keep one"
        )
    values = {name: getattr(options, name) for name in ("noise_area", "noise_mask", "noise_ramp")}
    useless = [name for name, value in values.items() if value is not None and value is not False]
    if useless and ESTIMATE not in options.noises:
        raise QexpError(f"`{useless[0]}` has no effect without `noise={ESTIMATE}`")
    if options.keep_errors and not set(options.noises) - {NONE}:
        raise QexpError(
            "`keep_errors` has no effect without a noise; nothing else replaces the errors"
        )


def _estimates(tracks: Sequence[Track], options: ObserveOptions) -> Mapping[str, NoiseEstimate]:
    if not tracks:
        return {}
    from qexp.deformation.signal import estimate_noise  # loads torch, without which files are read

    signal_free: SignalFree | None = None
    if options.noise_area is not None:
        form = "EAST0,EAST1,NORTH0,NORTH1"
        west, east, south, north = _numbers("`noise_area`", options.noise_area, form)
        if not (west < east and south < north):
            raise QexpError(f"`noise_area`: write {form} in m, the smaller of two first")
        signal_free = in_rectangle(west, east, south, north)
    if options.noise_mask is not None:
        signal_free = out_of_circle(
            *_numbers("`noise_mask`", options.noise_mask, "EAST,NORTH,RADIUS")
        )
    estimates = estimate_noise(tracks, signal_free, options.noise_ramp)
    return {track.name: estimate for track, estimate in zip(tracks, estimates, strict=True)}


def _numbers(option: str, numbers: Sequence[float], form: str) -> Sequence[float]:
    if len(numbers) != form.count(",") + 1:
        raise QexpError(f"{option}: write {form} in m")
    return numbers


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
    """Side to which the satellite looks; None for GNSS, and if not known: headings are then those
    of a right-looking satellite.
    """
    rms: float
    """Root mean square of the displacements."""
    error: float
    """Median standard deviation of the noise that is independent from point to point."""
    noise: CorrelatedNoise | None
    stations: Sequence[str] | None = None
    """Names of the GNSS stations that have an observed component; None if they have no names."""

    @property
    def error_is_nugget(self) -> bool:
        if self.noise is None:
            return False
        return math.isclose(self.error**2, self.noise.nugget, rel_tol=1e-6)

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
    if track.instrument.line_of_sight:
        mean = observed.direction.mean(axis=0, keepdims=True)
        incidence, heading = (float(angle[0]) for angle in angles_of(mean, track.look))
        turn = 0.0
        if crs is not None:
            turn = np.degrees(convergence(crs_of(crs), observed.x, observed.y)).mean()
        true_heading = float((heading + turn + 180) % 360 - 180)
    stations = None if observed.station is None else list(dict.fromkeys(observed.station.tolist()))
    return TrackSummary(
        track.name,
        track.kind,
        observed.size,
        averaged,
        max(size - (averaged or observed.size), 0),
        (float(observed.x.min()), float(observed.x.max())),
        (float(observed.y.min()), float(observed.y.max())),
        incidence,
        heading,
        true_heading,
        track.look,
        float(np.sqrt(np.mean(observed.displacement**2))),
        float(np.median(observed.error)),
        track.noise,
        stations,
    )


def pictures_of(figure: Path) -> tuple[Path, Path]:
    """The map, and the semivariograms beside it. Raises QexpError for a format that there is
    not.
    """
    require_formats([figure.suffix[1:]])
    return figure, figure.with_name(f"{figure.stem}_noise{figure.suffix}")


def draw(
    observation: Observation,
    estimates: Mapping[str, NoiseEstimate],
    figure: Path,
    title: str,
    options: ObserveOptions,
) -> list[Path]:
    """Draw the map, and the semivariograms if there are any; returns the paths of the figures."""
    map_path, noise_path = pictures_of(figure)
    with use_style(None if options.style is None else Path(options.style), options.width):
        save(draw_tracks(observation, title), map_path)
        if not estimates:
            return [map_path]
        title = f"{title}: semivariograms without the signal"
        save(draw_semivariograms(estimates, title), noise_path)
    return [map_path, noise_path]
