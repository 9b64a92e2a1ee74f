"""First specs for an observation: simulated tracks like its own, and a network that estimates a point source of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from qexp.base.options import as_warning
from qexp.deformation.by_network import SeenView, image_of, peak_of
from qexp.errors import QexpError
from qexp.kinds.options import NewOptions
from qexp.observations.observation import Track, is_observation, read_observation, spacing
from qexp.observations.reading import angles_of
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.noise import Blocks, Grid, Noise
from qexp.simulation.noise_models import NOISES
from qexp.spec.reading import Document

OUTPUTS = "x", "y", "depth", "delta_volume"

SIDE, POINTS_APART = 48, 1.5
"""Pixels along a side of the images, at most; and the least side of a pixel, in distances between points."""

DEPTHS = 2.0, 0.4
"""The least in pixels, as images do not show narrower sources; the largest as a share of the extent, as wider ones look
like an offset.
"""

OF_SIGNAL, UPLIFT = 2.0, 0.75 / math.pi
"""Times as strong or weak as the observed signal a source may be; and the uplift above one, times depth² / volume change.
"""

HIDDEN, LEAST_PATCH = (0.1, 0.8), 1.0
"""Share of hidden pixels in training: around a source, images may reach beyond the tracks; and the least patch in pixels.
"""


def takes(path: Path) -> bool:
    return path.is_file() and is_observation(path)


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of a dataset of a point source below flat ground, as the radar tracks of an observation see it.

    Images have square pixels and cover the tracks, around the largest displacement as in `qexp invert`. The position is
    uniform over the middle half. Depth is log-uniform between `DEPTHS`, and so is the volume change, from half of what
    makes the observed signal at the least depth to twice what makes it at the largest.
    Raises QexpError for an observation of stations alone, or without a signal.
    """
    if options.outputs or options.groups:
        raise QexpError("`outputs` and `groups` are for tables and simulations; leave them out for an observation")
    observation = read_observation(path)
    tracks = [track.where_observed() for track in observation.tracks if track.kind == "radar"]
    if not tracks:
        raise QexpError(f"{path} has GNSS stations alone, and networks take radar tracks; without one: qexp invert {path}")
    if len(tracks) < len(observation.tracks):
        as_warning("the network sees the radar tracks alone; `qexp invert --refine` takes the GNSS stations, too")
    places = np.concatenate([[track.x, track.y] for track in tracks], axis=1)
    extent, apart = float(np.ptp(places, axis=1).max()), [spacing(of.x, of.y) for of in tracks if of.spread is None]
    pixel = float(f"{max(extent / SIDE, POINTS_APART * max(apart, default=0), 1):.3g}")
    side, centre = min(8 * math.ceil(extent / pixel / 8), SIDE), peak_of(tracks, pixel)
    seen = [Seen(track, side, pixel, centre) for track in tracks]
    signal = max((of.signal for of in seen), key=abs)
    if not signal:
        raise QexpError(f"{path}: its displacements are the same everywhere, which no source makes")
    low, high = DEPTHS[0] * pixel, DEPTHS[1] * extent
    volumes = np.geomspace(abs(signal) * low**2 / OF_SIGNAL, abs(signal) * high**2 * OF_SIGNAL, 33) / UPLIFT / 1e6
    volume: Document = {"type": "log_uniform", "parameters": {"low": _short(volumes[0]), "high": _short(volumes[-1])}}
    if signal < 0:
        volume = {"type": "quantiles", "parameters": {"values": [-_short(of) for of in volumes[::-1]]}}
    position = {"type": "uniform", "parameters": {"a": -_short(extent / 4000), "b": _short(extent / 4000)}}
    depth = {"type": "log_uniform", "parameters": {"low": _short(low / 1000), "high": _short(high / 1000)}}
    offset = max(abs(signal) / 4, *(abs(float(np.median(track.displacement))) for track in tracks))
    return {
        "path": None,
        "generation_type": "mogi",
        "angles": "degrees",
        "size": [side, side],
        "views": [of.view for of in seen],
        "varyings": {name: [] for name in OUTPUTS},
        "distributions": dict(zip(OUTPUTS, (position, position, depth, volume), strict=True)),
        "noise_model": [
            {"type": "offset", "parameters": {"standard_deviation": _short(offset)}},
            *(noise | {"views": [number]} for number, of in enumerate(seen) for noise in of.noise),
        ],
    }


def experience(document: Document, dataset: GeneratedDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience that estimate the posterior of the source from masked images."""
    inputs = [name for image in dataset.images for name in (image, mask_of(image))]
    height, width = dataset.size
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
        "inputs": {name: {"size": [height, width, 1]} for name in inputs},
        "outputs": list(OUTPUTS),
        "operations": operations,
        "branches": [{"x_name": inputs, "y_name": list(OUTPUTS), "operations": [*operations]}],
    }
    return model, {
        "inputs": inputs,
        "outputs": list(OUTPUTS),
        "split": [0.8, 0.2],
        "sizes": [8192, 1000, 1000],
        "epochs": 40,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "schedule": "one_cycle",
        "transforms": {image: {"type": "asinh", "parameters": {"scale": scale}} for image in dataset.images},
        "losses": "negative_log_likelihood",
        "gradient_clip": 5.0,
    }


class Seen:
    """A track in the pixels of a square image around a centre, and what is declared of it."""

    def __init__(self, track: Track, side: int, pixel: float, centre: tuple[float, float]) -> None:
        self._track, self._pixel = track, pixel
        view = SeenView(track.name, side, side, (pixel, pixel), track.direction, None)
        self._image = image_of(track, view, centre)
        self._variance = image_of(replace(track, displacement=track.error**2), view, centre)

    @property
    def signal(self) -> float:
        """The largest displacement from the median, but for a few pixels, with its sign."""
        moved = self._image[np.isfinite(self._image)]
        moved = np.sort(moved - np.median(moved))[len(moved) // 200 : len(moved) - len(moved) // 200]
        return float(moved[np.abs(moved).argmax()])

    @property
    def view(self) -> Document:
        track, side = self._track, _short(self._pixel / 1000)
        incidence, heading = (float(of[0]) for of in angles_of(track.direction.mean(axis=0)[None], track.look))
        named = {"name": track.name} if re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", track.name) else {}
        look = {"look": "left"} if track.look == "left" else {}
        return {**named, "heading": round(heading, 2), "incidence": round(incidence, 2), **look, "x_res": side, "y_res": side}

    @property
    def noise(self) -> list[Document]:
        """The sill of the mean over a pixel; errors of points, divided by how many are in one; patches like the gaps."""
        track, hidden = self._track, ~np.isfinite(self._image)
        of_pixel = max(len(track.x) / (~hidden).sum(), 1.0)
        independent = float(np.nanmedian(self._variance)) / of_pixel
        noise: Document = {"type": "white", "parameters": {"standard_deviation": _short(math.sqrt(independent))}}
        if track.noise is not None:
            size = torch.tensor([self._pixel / 8])
            declared = {"range": _short(track.noise.range / 1000), "sill": track.noise.sill}
            built: Noise = NOISES[track.noise.type].build(**declared)
            sill = float(built.covariance_of_means(Grid(8, 8, size, size), Blocks(8, 8, 8))[0, 0])
            noise = {"type": track.noise.type, "parameters": {**declared, "sill": _short(sill), "nugget": _short(independent)}}
        begin = [np.diff(hidden, axis=axis, prepend=False) & hidden for axis in (0, 1)]
        patch = 2 * hidden.sum() / max(np.sum(begin), 1)
        share = float(np.clip(hidden.mean(), *HIDDEN))
        gaps = {"share": _short(share), "patch_size": _short(max(patch, LEAST_PATCH) * self._pixel / 1000)}
        return [noise, {"type": "decorrelation", "parameters": gaps}]


def _short(value: float) -> float:
    return float(f"{value:.3g}")
