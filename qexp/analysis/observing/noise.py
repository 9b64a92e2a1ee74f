"""The noise of an observation's tracks, as the user asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from qexp.errors import QexpError
from qexp.observations.noise import Area, NoiseEstimate, Outside, declared, with_noise
from qexp.observations.observation import Observation, Track

ESTIMATE, NONE = "estimate", "none"


@dataclass(frozen=True)
class NoiseAsked:
    """What is asked of the noise of radar tracks.

    noise        "estimate", "none" (takes it away) or TYPE:SILL,RANGE,NUGGET: one for all tracks, or one for each in
                 order; none at all leaves it as it is
    area         east and north limits of a part without signal [m]
    mask         east, north and radius of a circle around the signal [m]
    planes       subtract a plane before the noise is estimated
    keep_errors  do not replace the errors by the square root of the nugget
    """

    noise: Sequence[str] = ()
    area: Sequence[float] | None = None
    mask: Sequence[float] | None = None
    planes: bool = False
    keep_errors: bool = False


def with_noises(
    observation: Observation, asked: NoiseAsked, points: Callable[[], Mapping[str, Track]]
) -> tuple[Observation, Mapping[str, NoiseEstimate]]:
    """The observation with the noises asked for, and those of them that were estimated, by track.

    points  gives some points of each track that holds means of cells: means have another semivariogram
    Raises QexpError.
    """
    radar = [track for track in observation.tracks if track.kind == "radar"]
    _require_use(asked, radar)
    words = asked.noise if len(asked.noise) != 1 else [*asked.noise] * len(radar)
    wanted = {track.name: word for track, word in zip(radar, words, strict=False)}
    unknown = [track for track in radar if wanted.get(track.name) == ESTIMATE]
    if any(track.count is not None for track in unknown):
        unknown = _with_points(unknown, points())
    estimates = _estimates(unknown, asked)
    tracks = []
    for track in observation.tracks:
        word = wanted.get(track.name)
        if word is None:
            tracks.append(track)
        elif word == NONE:
            tracks.append(replace(track, noise=None))
        else:
            noise = replace(estimates[track.name].best, estimated=True) if word == ESTIMATE else declared(word)
            tracks.append(with_noise(track, noise, asked.keep_errors))
    return replace(observation, tracks=tuple(tracks)), estimates


def _with_points(tracks: Sequence[Track], points: Mapping[str, Track]) -> list[Track]:
    """The tracks with points in place of means of cells. Raises QexpError if they are not known any more."""
    for track in tracks:
        if track.count is not None and track.name not in points:
            raise QexpError(
                f"track '{track.name}' holds means of cells, from which the noise of points cannot be estimated; give "
                "--noise estimate together with --reduce where the files are read, or declare the noise"
            )
    return [track if track.count is None else points[track.name] for track in tracks]


def _require_use(asked: NoiseAsked, radar: Sequence[Track]) -> None:
    """Raises QexpError for options that contradict each other, or that nothing uses."""
    if asked.noise and not radar:
        raise QexpError("--noise: there is no satellite track; stations have errors of their own")
    if len(asked.noise) > 1 and len(asked.noise) != len(radar):
        raise QexpError(
            f"--noise is given {len(asked.noise)} times; give it once for all, or once for each of the {len(radar)} "
            f"satellite tracks: {', '.join(track.name for track in radar)}"
        )
    if asked.area is not None and asked.mask is not None:
        raise QexpError("--noise-area and --noise-mask both name the area without a signal; keep one")
    options = {"--noise-area": asked.area, "--noise-mask": asked.mask, "--noise-ramp": asked.planes or None}
    useless = [name for name, value in options.items() if value is not None]
    if useless and ESTIMATE not in asked.noise:
        raise QexpError(f"{useless[0]} has no effect without --noise {ESTIMATE}")
    if asked.keep_errors and not set(asked.noise) - {NONE}:
        raise QexpError("--keep-errors has no effect without a noise; nothing else replaces the errors")


def _estimates(tracks: Sequence[Track], asked: NoiseAsked) -> Mapping[str, NoiseEstimate]:
    if not tracks:
        return {}
    from qexp.analysis.observing.signal import estimated  # loads torch, without which files are read

    signal_free: Area | Outside | None = None
    if asked.area is not None:
        west, east, south, north = _numbers("--noise-area", asked.area, "EAST0,EAST1,NORTH0,NORTH1")
        if not (west < east and south < north):
            raise QexpError("--noise-area: write EAST0,EAST1,NORTH0,NORTH1 in m, the smaller of two first")
        signal_free = Area((west, east), (south, north))
    if asked.mask is not None:
        centre_east, centre_north, radius = _numbers("--noise-mask", asked.mask, "EAST,NORTH,RADIUS")
        signal_free = Outside(centre_east, centre_north, radius)
    found = estimated(tracks, signal_free, asked.planes)
    return {track.name: estimate for track, estimate in zip(tracks, found, strict=True)}


def _numbers(option: str, given: Sequence[float], form: str) -> Sequence[float]:
    if len(given) != form.count(",") + 1:
        raise QexpError(f"{option}: write {form} in m")
    return given
