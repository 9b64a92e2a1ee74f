"""Images of a track on the grid of a network: means over its pixels, with what no point is seen in filled or masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.inversion.views import SeenView
from qexp.errors import QexpError
from qexp.observations.observation import Array, Track
from qexp.observations.reduction import spacing

LARGEST_SPACING = 3.0
"""Of the points of a track, in pixels: an image of more distant ones would be made of gaps."""
LEAST_SEEN = 0.02
"""Smallest share of the pixels of an image in which there are points."""


@dataclass(frozen=True)
class TrackImage:
    """A track on a grid.

    values  (height, width)  means over the pixels [m], rows from south to north; NaN where no point is seen
    """

    values: Array

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.isfinite(self.values)


def image_of(track: Track, view: SeenView, centre: tuple[float, float]) -> TrackImage:
    """The points that count as means over the pixels of a view, whose origin lies at a centre [m].

    Raises QexpError if the points are too far apart for the pixels, or lie outside of the image.
    """
    seen = track.seen()
    apart = spacing(seen.x, seen.y)
    if apart > LARGEST_SPACING * max(view.pixel):
        raise QexpError(
            f"the pixels of the run's {view.called} are {view.pixel[0]:g} × {view.pixel[1]:g} m, but the points of "
            f"track '{track.name}' are {apart:.4g} m apart; use a run with larger pixels, or reduce the data less"
        )
    column, row = (
        np.floor((along - middle) / step + count / 2 + 0.5).astype(np.int64)
        for along, middle, step, count in zip(
            (seen.x, seen.y), centre, view.pixel, (view.width, view.height), strict=True
        )
    )
    inside = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    flat, size = row[inside] * view.width + column[inside], view.height * view.width
    counts = np.bincount(flat, minlength=size)
    sums = np.bincount(flat, weights=seen.displacement[inside], minlength=size)
    values = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0).reshape(view.height, view.width)
    if view.seen is not None:
        values[~view.seen] = np.nan
    if np.isfinite(values).mean() < LEAST_SEEN:
        raise QexpError(
            f"track '{track.name}' has points in {np.isfinite(values).mean():.1%} of the pixels of the run's "
            f"{view.called}, {view.width} × {view.height} of {view.pixel[0]:g} × {view.pixel[1]:g} m around "
            f"{centre[0]:.0f}, {centre[1]:.0f}; give the centre of the deformation with --centre"
        )
    return TrackImage(values)


def without_edge(values: Array) -> tuple[Array, float]:
    """The image without the median of its edge, which is taken for its offset [m]; and that median.

    The edge is the outer eighth of the image, or all of it where no pixel is seen there.
    """
    height, width = values.shape
    inner = np.zeros(values.shape, np.bool_)
    inner[height // 8 : height - height // 8, width // 8 : width - width // 8] = True
    edge = values[~inner & np.isfinite(values)]
    offset = float(np.median(edge)) if len(edge) else float(np.nanmedian(values))
    return values - offset, offset


def filled(values: Array) -> Array:
    """The image with gaps interpolated linearly from the pixels around them, and by the nearest one at its edges."""
    from scipy.interpolate import griddata

    known = np.isfinite(values)
    if known.all():
        return values
    places, gaps = np.argwhere(known), np.argwhere(~known)
    whole = values.copy()
    nearest = griddata(places, values[known], gaps, method="nearest")
    # Fewer pixels, or those on a line, span no triangle.
    spans = np.linalg.matrix_rank(places - places.mean(axis=0)) == 2
    linear = griddata(places, values[known], gaps, method="linear") if spans else np.full(len(gaps), np.nan)
    whole[~known] = np.where(np.isfinite(linear), linear, nearest)
    return whole


def peak_of(tracks: Sequence[Track], pixel: float) -> tuple[float, float]:
    """Where the displacement differs most from the median of its track [m], after means over cells of some pixels."""
    best, place = -1.0, (0.0, 0.0)
    for track in tracks:
        seen = track.seen()
        size = 4 * pixel
        cells = np.stack([np.floor(seen.x / size), np.floor(seen.y / size)], axis=1)
        _, own, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        own = own.ravel()
        away = np.abs(np.bincount(own, weights=seen.displacement - np.median(seen.displacement)) / counts)
        away = np.where(counts >= min(4, counts.max()), away, 0.0)
        top = int(away.argmax())
        if away[top] > best:
            best = float(away[top])
            place = float(seen.x[own == top].mean()), float(seen.y[own == top].mean())
    return place
