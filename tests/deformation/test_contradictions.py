"""Mistakes in the tracks of an observation are named by the fit without them; right data have
none.
"""

from dataclasses import replace

import numpy as np
import pytest

import qexp
from qexp.observations.observation import Observation, Track
from tests.deformation.observed import CRS, ORIGIN, SOURCE, observed
from tests.inference.tracks import EXPONENTIAL, point_source


def stations(moved=(0.0, 0.0, 0.0)):
    """Ten stations, which all move by the same besides."""
    random = np.random.default_rng(5)
    x, y = (random.uniform(-3e3, 3e3, (2, 10)).T + ORIGIN).T
    error = np.array([0.001, 0.001, 0.003])
    seen = point_source(x, y, *SOURCE) + moved + error * random.normal(size=(10, 3))
    return Track(
        "gnss",
        "gnss",
        np.repeat(x, 3),
        np.repeat(y, 3),
        seen.ravel(),
        np.tile(error, 10),
        np.tile(np.eye(3), (10, 1)),
        np.ones(30, bool),
    )


def tracks(noise=EXPONENTIAL):
    ascending, descending = observed(noise, size=10).tracks
    return {"ascending": ascending, "descending": descending, "gnss": stations()}


def times(track, factor, errors=1.0):
    noise = track.noise and replace(track.noise, sill=track.noise.sill * errors**2)
    return replace(
        track, displacement=factor * track.displacement, error=errors * track.error, noise=noise
    )


def from_the_other_side(track):
    return replace(track, direction=track.direction * [-1, -1, 1])


def exchanged(seen):
    directions = {
        "ascending": seen["descending"].direction,
        "descending": seen["ascending"].direction,
    }
    return {
        **seen,
        **{
            name: replace(seen[name], direction=direction) for name, direction in directions.items()
        },
    }


def shifted(_, slope=None):
    """A corner, or all north of a line."""
    seen = tracks(None)
    track = seen["ascending"]
    part = (track.x < ORIGIN[0]) & (track.y > ORIGIN[1])
    if slope is not None:
        part = track.y > ORIGIN[1] + 500 + slope * (track.x - ORIGIN[0])
    return {**seen, "ascending": replace(track, displacement=track.displacement + 0.028 * part)}


def beside_another_source(_):
    """A fifth as strong, off to the north-east, without which no source of one point explains the
    tracks.
    """
    seen = observed(size=10).tracks
    further = (SOURCE[0] + 2000, SOURCE[1] + 1500, 2000.0, SOURCE[3] / 5)
    moved = [
        (point_source(track.x, track.y, *further) * track.direction).sum(axis=1) for track in seen
    ]
    return {
        track.name: replace(track, displacement=track.displacement + by)
        for track, by in zip(seen, moved, strict=True)
    }


def estimated(seen):
    return {
        name: (
            track
            if track.noise is None
            else replace(track, noise=replace(track.noise, estimated=True))
        )
        for name, track in seen.items()
    }


MISTAKES = {
    "exchanged headings": (
        exchanged,
        ["with the headings of 'ascending' and 'descending' exchanged the reduced χ² is "],
    ),
    "exchanged headings by estimated noise": (
        lambda seen: estimated(
            exchanged({name: seen[name] for name in ("ascending", "descending")})
        ),
        [
            "larger than the estimated noise",
            "with the headings of 'ascending' and 'descending' exchanged",
        ],
    ),
    "the other side": (
        lambda seen: {**seen, "descending": from_the_other_side(seen["descending"])},
        ["with 'descending' seen from the other side"],
    ),
    "a sign": (
        lambda seen: {**seen, "descending": times(seen["descending"], -1)},
        ["with the sign of 'descending' turned"],
    ),
    "a unit and its errors": (
        lambda seen: {**seen, "ascending": times(seen["ascending"], 10, 10)},
        [
            "with the displacements of 'ascending' multiplied by 0.1, or those of all others by 10"
            " (their unit?)"
        ],
    ),
    "a unit below its noise": (
        lambda seen: {**seen, "ascending": times(seen["ascending"], 0.1)},
        [
            "with the displacements of 'ascending' multiplied by 10, or those of all others by 0.1"
            " (their unit?)"
        ],
    ),
    "stations on a plate": (
        lambda seen: {**seen, "gnss": stations((0.021, 0.014, 0.0))},
        ["without a motion that all stations of 'gnss' share (0.02", "a plate, or another frame?"],
    ),
    "stations on a plate alone": (
        lambda seen: {"gnss": stations((0.021, 0.014, 0.0))},
        ["without a motion that all stations of 'gnss' share (0.02"],
    ),
    "a step": (
        shifted,
        ["of the points of 'ascending', those around", "mm lower, as after an unwrapping error"],
    ),
    "a step along a slanting line": (
        lambda seen: {"ascending": shifted(seen, 0.4)["ascending"]},
        ["mm lower, as after an unwrapping error"],
    ),
    "a step alone": (
        lambda seen: {"ascending": shifted(seen)["ascending"]},
        ["mm lower, as after an unwrapping error"],
    ),
    "another source": (beside_another_source, []),
    "nothing": (lambda seen: seen, []),
    "nothing by estimated noise": (estimated, []),
}


@pytest.mark.heavy
@pytest.mark.parametrize(("made", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_by_the_fit_without_it(made, said):
    seen = made(tracks())
    warned = []
    inversion = qexp.invert(Observation(tuple(seen.values()), CRS), starts=4, warn=warned.append)
    remarks = " ".join(inversion.remarks)
    assert all(words in remarks for words in said), remarks
    assert ("the reduced χ² is" in remarks) is bool(said)
    assert warned == inversion.remarks


@pytest.mark.heavy
def test_the_factor_of_each_track_is_1_within_its_error_and_that_of_a_single_one_is_not_told():
    seen = tracks()
    result = qexp.invert(Observation(tuple(seen.values()), CRS), starts=4)
    for track in result.tracks.values():
        factor, error = track.factor
        assert abs(factor - 1) < 4 * error < 1
    assert {"rms", "error", "offset", "n", "factor"} <= {*result.document()["tracks"]["gnss"]}
    alone = qexp.invert(Observation((seen["ascending"],), CRS), starts=4)
    assert alone.tracks["ascending"].factor is None
