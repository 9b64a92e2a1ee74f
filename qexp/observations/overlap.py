"""Whether the tracks of an observation see the same area."""

from __future__ import annotations

from qexp.errors import QexpError
from qexp.observations.observation import Observation, Track

Box = tuple[float, float, float, float]
"""Least and greatest x, then y [m]."""


def require_overlap(observation: Observation) -> None:
    """Raise QexpError if some radar tracks share no area with the others, not even by way of further ones."""
    boxes = {track.name: _box(track) for track in observation.tracks if track.kind == "radar"}
    if not boxes:
        return
    first, *apart = boxes
    together = [first]
    for name in together:  # it grows meanwhile
        near = [other for other in apart if _meet(boxes[name], boxes[other])]
        together += near
        apart = [other for other in apart if other not in near]
    if apart:
        here, there = _extent(boxes[apart[0]]), _extent(boxes[first])
        raise QexpError(
            f"track '{apart[0]}' ({here}) does not overlap with '{first}' ({there}), so that they did not see the same "
            "event; make an observation of each, or check the coordinate reference systems of the files"
        )


def _box(track: Track) -> Box:
    seen = track.seen()
    return float(seen.x.min()), float(seen.x.max()), float(seen.y.min()), float(seen.y.max())


def _meet(one: Box, other: Box) -> bool:
    return all(one[low] <= other[low + 1] and other[low] <= one[low + 1] for low in (0, 2))


def _extent(box: Box) -> str:
    west, east, south, north = (side / 1000 for side in box)
    return f"{west:.1f} to {east:.1f} km east, {south:.1f} to {north:.1f} km north"
