"""The views of a run's dataset and the tracks of an observation that are seen from the same direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.observations.observation import Observation, Track
from qexp.observations.reading import angles_of
from qexp.physics.geometry import azimuth_of_heading, line_of_sight
from qexp.quantities import quantity
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.views import DISPLACEMENT, GNSS

Array = NDArray[np.float64]

TOLERANCE = 5.0
"""Largest angle between the lines of sight of a view and of its track [degrees]."""

PROBABILITIES = np.linspace(0.005, 0.995, 9)
"""Quantiles of angles that vary in the training data, between which the directions of a view lie."""


@dataclass(frozen=True)
class SeenView:
    """An input image of a network: its geometry.

    image         the input, such as "displacement_1"
    height, width  in pixels
    pixel         width and height of a pixel [m]
    directions    (direction, 3)  unit vectors to the satellite that occur in its training data
    seen          (height, width)  False where the training data never have a value; None: everywhere
    name          of the view in its dataset; empty if it has none
    """

    image: str
    height: int
    width: int
    pixel: tuple[float, float]
    directions: Array
    seen: NDArray[np.bool_] | None
    name: str = ""

    @property
    def called(self) -> str:
        """The input and the view's name, if it has one, for messages: `'displacement_1' (descending)`."""
        return f"'{self.image}'" + (f" ({self.name})" if self.name else "")

    @property
    def words(self) -> str:
        name = f"{self.name}; " if self.name else ""
        return f"'{self.image}' ({name}{_seen_from(self.directions.mean(axis=0))})"


def views_of(dataset: GeneratedDataset, inputs: Sequence[str]) -> list[SeenView]:
    """The views that a network takes as inputs. Raises QexpError if they are no radar images."""
    found = []
    for image in dataset.generator.images(dataset.variables):
        if image not in inputs:
            continue
        view = dataset.view(image)
        if view.points is not None or view.measures == GNSS:
            raise QexpError(
                f"the run was trained on the points of its own '{image}', which other observations do not have; "
                "a network for qexp invert --run takes radar images on a grid"
            )
        _, height, width = view.shape((dataset.height, dataset.width))
        suffix = image.removeprefix(DISPLACEMENT)
        pixel = tuple(1.0 * typical(dataset, name + suffix) * _factor(dataset, name) for name in ("x_res", "y_res"))
        seen = None if view.seen is None else view.seen.reshape(height, width).numpy()
        directions = _directions(dataset, suffix)
        found.append(SeenView(image, height, width, (pixel[0], pixel[1]), directions, seen, view.name))
    if not found:
        raise QexpError("no input of the run is an image of displacement, which qexp invert needs")
    return found


def typical(dataset: GeneratedDataset, name: str) -> float:
    """The value of a variable, in its unit; its median if it varies."""
    return float(_values(dataset, name)[len(PROBABILITIES) // 2])


def _values(dataset: GeneratedDataset, name: str) -> Array:
    if name in dataset.fixed:
        return np.full(len(PROBABILITIES), dataset.fixed[name])
    return dataset.distributions[name].quantile(PROBABILITIES)


def _factor(dataset: GeneratedDataset, name: str) -> float:
    return quantity(name, dataset.quantities).si_factor


def _directions(dataset: GeneratedDataset, suffix: str) -> Array:
    of_view = {name: name + suffix in dataset.variables for name in ("azimuth", "heading")}
    across = "azimuth" if of_view["azimuth"] or not of_view["heading"] else "heading"
    angles = [
        torch.from_numpy(_values(dataset, name + suffix) * _factor(dataset, name)) for name in (across, "incidence")
    ]
    toward, incidence = (one.flatten() for one in torch.meshgrid(*angles, indexing="ij"))
    look = dataset.view(DISPLACEMENT + suffix).look
    azimuth = toward if across == "azimuth" else azimuth_of_heading(toward, look)
    return line_of_sight(azimuth, incidence).numpy()


def tracks_of(views: Sequence[SeenView], observation: Observation) -> Mapping[str, Track]:
    """Image → the track that is seen from its direction, each track once. Raises QexpError if a view has none."""
    from scipy.optimize import linear_sum_assignment

    radar = [track for track in observation.tracks if track.kind == "radar"]
    if len(radar) < len(views):
        raise QexpError(
            f"the run takes {len(views)} views, {', '.join(view.words for view in views)}, but the observation has "
            f"{len(radar)} radar track{'' if len(radar) == 1 else 's'}; use a run with as many views, or no --run"
        )
    looks = [_mean_direction(track) for track in radar]
    angles = np.array([[_angle(view.directions, look) for look in looks] for view in views])
    found = {}
    for row, column in zip(*linear_sum_assignment(angles), strict=True):
        view, track = views[row], radar[column]
        if angles[row, column] > TOLERANCE:
            tracks = ", ".join(f"'{one.name}' ({_seen_from(look)})" for one, look in zip(radar, looks, strict=True))
            raise QexpError(
                f"no track is seen from the direction of the run's {view.words}: the nearest deviates by "
                f"{angles[row, column]:.0f}°; the observation has {tracks}"
            )
        found[view.image] = track
    return found


def _mean_direction(track: Track) -> Array:
    mean = track.seen().direction.mean(axis=0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit


def _angle(directions: Array, look: Array) -> float:
    """Angle to the nearest of several directions [degrees]."""
    return float(np.degrees(np.arccos(np.clip(directions @ look, -1, 1)).min()))


def _seen_from(look: Array) -> str:
    incidence, heading = angles_of(look[None])
    return f"incidence {incidence[0]:.1f}°, heading {heading[0]:.1f}°"
