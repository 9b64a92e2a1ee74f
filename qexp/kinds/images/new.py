"""First specs for an observation: simulated tracks like its own, and a network for a source."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base.arrays import Array
from qexp.base.options import as_warning
from qexp.deformation.by_network import SeenView, image_of, peak_of
from qexp.errors import QexpError
from qexp.kinds.options import NewOptions
from qexp.observations.observation import Track, is_observation, read_observation, spacing
from qexp.observations.reading import angles_of
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.spec.reading import Document

OUTPUTS = ["x", "y", "depth", "delta_volume"]

SIDE, POINTS_APART = 32, 2.0
"""Pixels along a side of the images, at most: 48 leave time for half of the steps, and a loss 0.6
higher. The least side of a pixel in distances between points: with half of its pixels without one,
an image makes depths too small.
"""

SHALLOW, DEEP = 1.5, 0.4
"""Depths: the least in pixels, which show no narrower source; the largest as a share of the extent,
as the displacement of a deeper source looks like an offset.
"""

OF_SIGNAL, UPLIFT = 2.0, 0.75 / math.pi
"""Times as strong or weak as the signal a source may be; its uplift × depth² / volume change."""

HIDDEN = 0.1, 0.8
"""Share of hidden pixels in training: around a source, images may reach beyond the tracks."""


def takes(path: Path) -> bool:
    return path.is_file() and is_observation(path)


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of a dataset of a point source below flat ground, as the radar tracks of an
    observation see it.

    Images have square pixels and are as large as the area of the tracks. The position is uniform
    over its middle half. Depths are log-uniform between `SHALLOW` and `DEEP`, and so are volume
    changes, from those that make half of the observed signal at the least depth to those that make
    twice of it at the largest.
    Raises QexpError for an observation of stations alone, or without a signal.
    """
    if options.outputs or options.groups:
        raise QexpError(
            "`outputs` and `groups` are for tables and simulations; leave them out for an"
            " observation"
        )
    observation = read_observation(path)
    tracks = [track.where_observed() for track in observation.tracks if track.instrument.imaging]
    if not tracks:
        raise QexpError(
            f"{path} has GNSS stations alone, and networks take radar tracks; without one: qexp"
            f" invert {path}"
        )
    if len(tracks) < len(observation.tracks):
        as_warning(
            "the network sees the radar tracks alone; `qexp invert --refine` takes the GNSS"
            " stations, too"
        )
    places = np.concatenate([[track.x, track.y] for track in tracks], axis=1)
    extent = float(np.ptp(places, axis=1).max())
    apart = [spacing(track.x, track.y) for track in tracks if track.spread is None]
    pixel = _short(max(extent / SIDE, POINTS_APART * max(apart, default=0), 1))
    side = 8 * min(max(math.ceil(extent / pixel / 8), 1), SIDE // 8)
    centre = peak_of(tracks, pixel)
    views, images = [], []
    for track in tracks:
        view = SeenView(track.name, side, side, (pixel, pixel), track.direction, None)
        views.append(view)
        images.append(image_of(track, view, centre))
    signal = max(map(_signal, images), key=abs)
    if not signal:
        raise QexpError(f"{path}: its displacements are the same everywhere, which no source makes")
    low = min(SHALLOW * pixel, DEEP / 4 * extent)
    high = DEEP * extent
    weak = abs(signal) * low**2 / OF_SIGNAL
    strong = abs(signal) * high**2 * OF_SIGNAL
    volumes = np.geomspace(weak, strong, 33) / UPLIFT / 1e6
    volume = _distribution("log_uniform", low=_short(volumes[0]), high=_short(volumes[-1]))
    if signal < 0:
        volume = _distribution("quantiles", values=[-_short(change) for change in volumes[::-1]])
    position = _distribution("uniform", a=-_short(extent / 4000), b=_short(extent / 4000))
    depth = _distribution("log_uniform", low=_short(low / 1000), high=_short(high / 1000))
    offset = max(abs(signal) / 4, *(abs(float(np.median(track.displacement))) for track in tracks))
    noises = [_distribution("offset", standard_deviation=_short(offset))]
    for number, (track, view, image) in enumerate(zip(tracks, views, images, strict=True)):
        squared = image_of(replace(track, displacement=track.error**2), view, centre)
        noises += [noise | {"views": [number]} for noise in _noise(track, image, squared, pixel)]
    return {
        "path": None,
        "generation_type": "mogi",
        "angles": "degrees",
        "size": [side, side],
        "views": [_view(track, _short(pixel / 1000)) for track in tracks],
        "varyings": {name: [] for name in OUTPUTS},
        "distributions": dict(zip(OUTPUTS, (position, position, depth, volume), strict=True)),
        "noise_model": noises,
    }


def experience(document: Document, dataset: GeneratedDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience for the posterior, from masked images."""
    inputs = [name for image in dataset.images for name in (image, mask_of(image))]
    scale = document["noise_model"][0]["parameters"]["standard_deviation"]
    silu = {"activation": "silu"}
    operations = {
        "join": {"module": "concatenate"},
        "wide": {"module": "conv", "parameters": {"filters": [16], "stride": 2, **silu}},
        "deep": {"module": "conv", "parameters": {"filters": [32, 32], "stride": 2, **silu}},
        "dense": {"module": "denses", "parameters": {"filters": [256, 256], "bias": True, **silu}},
        "silu": {"module": "activation", "parameters": silu},
        "posterior": {"module": "mixture_posterior", "parameters": {"components": 4}},
    }
    model = {
        "inputs": {name: {"size": [*dataset.size, 1]} for name in inputs},
        "outputs": OUTPUTS,
        "operations": operations,
        "branches": [{"x_name": inputs, "y_name": OUTPUTS, "operations": [*operations]}],
    }
    return model, {
        "inputs": inputs,
        "outputs": OUTPUTS,
        "split": [0.8, 0.2],
        "sizes": [8192, 1000, 1000],
        "epochs": 70,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "schedule": "one_cycle",
        "gradient_clip": 5.0,
        "transforms": {
            image: {"type": "asinh", "parameters": {"scale": scale}} for image in dataset.images
        },
        "losses": "negative_log_likelihood",
    }


def _distribution(kind: str, **parameters: Any) -> Document:
    return {"type": kind, "parameters": parameters}


def _signal(image: Array) -> float:
    """The largest displacement from the median, with its sign, but for one pixel in 200."""
    moved = np.sort(image[np.isfinite(image)])
    moved = (moved - np.median(moved))[len(moved) // 200 : len(moved) - len(moved) // 200]
    return float(moved[np.abs(moved).argmax()])


def _view(track: Track, side: float) -> Document:
    incidence, heading = angles_of(track.direction.mean(axis=0)[None], track.look)
    named = {"name": track.name} if re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", track.name) else {}
    look = {"look": "left"} if track.look == "left" else {}
    return {
        **named,
        "heading": round(float(heading[0]), 2),
        "incidence": round(float(incidence[0]), 2),
        **look,
        "x_res": side,
        "y_res": side,
    }


def _noise(track: Track, image: Array, squared: Array, pixel: float) -> list[Document]:
    """Noise of a pixel: what is correlated as it is, the variance of points divided by how many are
    in one; and gaps.

    squared  errors of points, squared, in the pixels of the image
    """
    hidden = ~np.isfinite(image)
    independent = float(np.nanmedian(squared)) / max(len(track.x) / (~hidden).sum(), 1)
    noise = _distribution("white", standard_deviation=_short(math.sqrt(independent)))
    known = track.noise
    if known is not None and known.sill > 0:
        noise = _distribution(
            known.type,
            range=_short(known.range / 1000),
            sill=_short(known.sill),
            nugget=_short(independent),
        )
    begins = sum((np.diff(hidden, axis=axis, prepend=False) & hidden).sum() for axis in (0, 1))
    patch = pixel / 1000 * max(2 * hidden.sum() / max(begins, 1), 1)
    share = _short(np.clip(hidden.mean(), *HIDDEN))
    return [noise, _distribution("decorrelation", share=share, patch_size=_short(patch))]


def _short(value: float) -> float:
    return float(f"{value:.3g}")
