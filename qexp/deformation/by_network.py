"""A trained network's estimate for an observation, on its own grid: the start of a refinement."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base.arrays import Array, Pair
from qexp.base.outputs import TrainedRange
from qexp.base.quantities import base_name, nearest, quantity, with_periods
from qexp.deformation.estimate import Candidate, estimate_sources
from qexp.deformation.inversion import Inversion
from qexp.deformation.options import NONE, InvertOptions
from qexp.errors import QexpError
from qexp.inference.displacements import SIGHT_TOLERANCE, deformation_of
from qexp.inference.parameters import Units, amplitudes, display_name
from qexp.observations.observation import Look, Observation, Track, spacing
from qexp.observations.reading import angles_of
from qexp.physics.geometry import RIGHT, azimuth_of_heading, line_of_sight
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.generators import Source
from qexp.simulation.noise import LinearNoise

PROBABILITIES = np.linspace(0.005, 0.995, 9)
"""Quantiles of angles that vary in training, between which the directions of a view lie."""


@dataclass(frozen=True)
class SeenView:
    """An input image of a network: its geometry.

    image         the input, such as "displacement_1"
    height, width  in pixels
    pixel         width and height of a pixel [m]
    directions    (direction, 3)  unit vectors to the satellite that occur in its training data
    seen          (height, width)  False where training data never have a value; None: all are seen
    name          of the view in its dataset; empty if it has none
    look          side to which the satellite looks
    middle        where pixel (height / 2, width / 2) lies: east, north [m]
    """

    image: str
    height: int
    width: int
    pixel: Pair
    directions: Array
    seen: NDArray[np.bool_] | None
    name: str = ""
    look: Look = "right"
    middle: Pair = (0.0, 0.0)

    @property
    def called(self) -> str:
        """The input and the view's name, if it has one, for messages: `'displacement_1'
        (descending)`.
        """
        return f"'{self.image}'" + (f" ({self.name})" if self.name else "")

    @property
    def words(self) -> str:
        name = f"{self.name}; " if self.name else ""
        return f"'{self.image}' ({name}{_seen_from(self.directions.mean(axis=0), self.look)})"


def views_of(dataset: GeneratedDataset, inputs: Collection[str]) -> list[SeenView]:
    """The views that a network takes as inputs. Raises QexpError if they are no radar images."""
    views = []
    for number, image in enumerate(dataset.images):
        if image not in inputs:
            continue
        view = dataset.view(image)
        if view.points is not None or not view.instrument.imaging:
            raise QexpError(
                f"the run was trained on the points of its own '{image}', which other observations"
                " do not have; a network for qexp invert --run takes radar images on a grid"
            )
        _, height, width = view.shape(dataset.size)
        medians = {name: np.array([typical(dataset, name)]) for name in dataset.test}
        sides = dataset.pixel_sizes(image, medians)
        pixel = float(sides[0][0]), float(sides[1][0])
        visible = None if view.visible is None else view.visible.reshape(height, width).numpy()
        directions = _directions(dataset, image, f"_{number}" if number else "")
        side: Look = "right" if view.look == RIGHT else "left"
        about = (view.name, side, dataset.middle(image))
        views.append(SeenView(image, height, width, pixel, directions, visible, *about))
    if not views:
        raise QexpError("no input of the run is an image of displacement, which qexp invert needs")
    return views


def typical(dataset: GeneratedDataset, name: str) -> float:
    """The value of a variable, in its unit; its median if it varies."""
    return float(_values(dataset, name)[len(PROBABILITIES) // 2])


def _values(dataset: GeneratedDataset, name: str) -> Array:
    if name in dataset.fixed:
        return np.full(len(PROBABILITIES), dataset.fixed[name])
    return dataset.distributions[name].quantile(PROBABILITIES)


def _directions(dataset: GeneratedDataset, image: str, suffix: str) -> Array:
    view = dataset.view(image)
    names = view.required(suffix, dataset.variables)[:2]  # azimuth or heading, and incidence
    if lacking := [f"'{name}'" for name in names if name not in dataset.variables]:
        raise QexpError(
            f"nothing says from where '{image}' is seen; give the dataset {' and '.join(lacking)},"
            " fixed"
        )
    angles = [torch.from_numpy(_values(dataset, name) * dataset.si_factor(name)) for name in names]
    azimuth, incidence = (angle.flatten() for angle in torch.meshgrid(*angles, indexing="ij"))
    if base_name(names[0]) == "heading":
        azimuth = azimuth_of_heading(azimuth, view.look)
    return line_of_sight(azimuth, incidence).numpy()


def tracks_of(views: Sequence[SeenView], observation: Observation) -> Mapping[str, Track]:
    """Image → the track seen from its direction, each once. Raises QexpError if a view has none."""
    from scipy.optimize import linear_sum_assignment

    images = [track for track in observation.tracks if track.instrument.imaging]
    if len(images) < len(views):
        raise QexpError(
            f"the run takes {len(views)} views, {', '.join(view.words for view in views)}, but the"
            f" observation has {len(images)} radar track{'s' * (len(images) != 1)}; use a run"
            " with as many views, or no `run`"
        )
    means = [track.where_observed().direction.mean(axis=0) for track in images]
    looks = np.stack([mean / np.linalg.norm(mean) for mean in means])
    cosines = np.stack([(view.directions @ looks.T).max(axis=0) for view in views])
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))  # to the nearest of a view's directions
    assigned = {}
    for row, column in zip(*linear_sum_assignment(angles), strict=True):
        view = views[row]
        track = images[column]
        if angles[row, column] > SIGHT_TOLERANCE:
            pairs = zip(images, looks, strict=True)
            tracks = ", ".join(
                f"'{other.name}' ({_seen_from(look, other.look)})" for other, look in pairs
            )
            raise QexpError(
                f"no track is seen from the direction of the run's {view.words}: the nearest"
                f" deviates by {angles[row, column]:.0f}°; the observation has {tracks}"
            )
        assigned[view.image] = track
    return assigned


def _seen_from(direction: Array, look: Look | None) -> str:
    incidence, heading = angles_of(direction[None], look)
    return (
        f"incidence {incidence[0]:.1f}°, heading"
        f" {heading[0]:.1f}°{', looking left' * (look == 'left')}"
    )


# Images of a track on the grid of a network: means over its pixels, with what no point is seen in
# filled or masked.

LARGEST_SPACING = 3.0
"""Of the points of a track, in pixels: an image of more distant ones would be made of gaps."""
LEAST_SEEN = 0.02
"""Smallest share of the pixels of an image in which there are points."""


def image_of(track: Track, view: SeenView, centre: Pair) -> Array:
    """The points that count as means over the pixels of a view, (height, width) [m], whose origin
    lies at a centre [m].

    Rows go from south to north; NaN where no point is seen. The mean of a cell fills all of its
    pixels.

    Raises QexpError if the points are too far apart for the pixels, or lie outside of the image.
    """
    points = track.where_observed()
    apart = spacing(points.x, points.y) if points.spread is None else 0.0  # cells lie side by side
    if apart > LARGEST_SPACING * max(view.pixel):
        raise QexpError(
            f"the pixels of the run's {view.called} are {view.pixel[0]:g} × {view.pixel[1]:g} m,"
            f" but the points of track '{track.name}' are {apart:.4g} m apart; use a run with"
            " larger pixels, or reduce the data less"
        )
    x, y, displacement, weight = _places_of(points, min(view.pixel))
    column = _pixel_numbers(x, centre[0], view.pixel[0], view.width)
    row = _pixel_numbers(y, centre[1], view.pixel[1], view.height)
    in_image = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    flat = row[in_image] * view.width + column[in_image]
    size = view.height * view.width
    counts = np.bincount(flat, weight[in_image], size)
    sums = np.bincount(flat, (weight * displacement)[in_image], size)
    values: Array = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    values = values.reshape(view.height, view.width)
    if view.seen is not None:
        values[~view.seen] = np.nan
    if np.isfinite(values).mean() < LEAST_SEEN:
        raise QexpError(
            f"track '{track.name}' has points in {np.isfinite(values).mean():.1%} of the pixels of"
            f" the run's {view.called}, {view.width} × {view.height} of {view.pixel[0]:g} ×"
            f" {view.pixel[1]:g} m around {centre[0]:.0f}, {centre[1]:.0f}; give the centre of the"
            " deformation with `centre`"
        )
    return values


def _pixel_numbers(positions: Array, middle: float, step: float, count: int) -> NDArray[np.int64]:
    return np.floor((positions - middle) / step + count / 2 + 0.5).astype(np.int64)


def _places_of(track: Track, pixel: float) -> tuple[Array, Array, Array, Array]:
    """East, north, displacement and weight of points; means of cells stand in several places, half
    a pixel apart.
    """
    if track.spread is None or track.count is None:
        return track.x, track.y, track.displacement, np.ones(len(track.x))
    from qexp.deformation.maps import sides_of  # loads what draws

    sides = sides_of(track.spread, track.count)
    counts = np.ceil(2 * sides / pixel).astype(np.int64)  # places east and north
    cell = np.repeat(np.arange(len(counts)), counts.prod(axis=1))
    number = np.arange(len(cell)) - np.searchsorted(cell, cell)
    place = np.stack([number % counts[cell, 0], number // counts[cell, 0]], axis=1)
    away = ((place + 0.5) / counts[cell] - 0.5) * sides[cell]
    x = track.x[cell] + away[:, 0]
    y = track.y[cell] + away[:, 1]
    areas = (sides / counts).prod(1)
    return x, y, track.displacement[cell], areas[cell]


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


def fill_gaps(values: Array) -> Array:
    """The image with gaps interpolated linearly from the pixels around them, and by the nearest one
    at its edges.
    """
    from scipy.interpolate import griddata

    finite = np.isfinite(values)
    if finite.all():
        return values
    positions = np.argwhere(finite)
    gaps = np.argwhere(~finite)
    image = values.copy()
    nearest = griddata(positions, values[finite], gaps, method="nearest")
    # Fewer pixels, or those on a line, span no triangle.
    spans = np.linalg.matrix_rank(positions - positions.mean(axis=0)) == 2
    linear = np.full(len(gaps), np.nan)
    if spans:
        linear = griddata(positions, values[finite], gaps, method="linear")
    image[~finite] = np.where(np.isfinite(linear), linear, nearest)
    return image


def peak_of(tracks: Sequence[Track], pixel: float) -> Pair:
    """Where the displacement differs most from the median of its track [m], after means over cells
    of some pixels.
    """
    best = -1.0
    peak = (0.0, 0.0)
    for track in tracks:
        points = track.where_observed()
        size = 4 * pixel
        cells = np.stack([np.floor(points.x / size), np.floor(points.y / size)], axis=1)
        _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        cell = cell.ravel()
        moved = points.displacement - np.median(points.displacement)
        away = np.abs(np.bincount(cell, weights=moved) / counts)
        away = np.where(counts >= min(4, counts.max()), away, 0.0)
        top = int(away.argmax())
        if away[top] > best:
            best = float(away[top])
            peak = float(points.x[cell == top].mean()), float(points.y[cell == top].mean())
    return peak


# Starts near a network's estimate: values that the truth may have, by the errors of the network on
# test samples.
#
# Least squares may have several minima close together, and the estimate itself need not lead to the
# lowest. How far the truth may be from it, and in which directions, is told by the test samples
# whose estimates are most like it.

ALIKE_SAMPLES = 100
"""Test samples whose errors an estimate may have."""


class Tested(NamedTuple):
    """An output of test samples, (sample,) each, in its unit; and its values' period, if any."""

    truth: Array
    estimate: Array
    period: float | None


def values_nearby(
    tested: Mapping[str, Tested], estimates: Mapping[str, float], count: int, seed: int
) -> list[dict[str, float]]:
    """Values that the truth may have, `count` times.

    tested     output → its test samples
    estimates  output → estimate in its unit
    """
    unlike, values = 0.0, {}
    for name, value in estimates.items():
        truth, estimate, period = tested[name]
        estimate = nearest(estimate, truth, period)
        positive = period is None and value > 0 and bool((truth > 0).all() and (estimate > 0).all())
        if positive:  # errors of a depth or a size are shares of it
            truth = np.log(truth)
            estimate = np.log(estimate)
            value = float(np.log(value))
        unlike = unlike + ((nearest(estimate, value, period) - value) / truth.std()) ** 2
        likely = value + truth - estimate
        values[name] = np.exp(likely) if positive else likely
    alike = np.argsort(unlike)[:ALIKE_SAMPLES]
    drawn = np.random.default_rng(seed).choice(alike, min(count, len(alike)), replace=False)
    nearby = list[dict[str, float]]()
    for sample in drawn:
        nearby.append({name: float(column[sample]) for name, column in values.items()})
    return nearby


ENDS = (0.025, 0.975)
"""Probabilities of the ends of intervals."""
MUCH_FILLED = 0.3
"""Share of interpolated pixels above which they are remarked on."""
RECENTRED_PIXELS = 2.0
"""Distance of a source from the image's centre [pixels] from which that is chosen anew."""


Images = Mapping[str, NDArray[np.float32]]
"""Input of a network → (1, ...)."""


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network trained on images of deformation, as the inversion of an observation asks it.

    run       the name of its run
    dataset   on which it was trained
    sources   what moved the ground there
    words     what they are: `mogi`, or `mogi chamber and okada dike`
    periods   output → the period of its values in its unit, where it was trained so
    inputs    their names
    estimate  (inputs) → output → its estimate, in its unit
    interval  (inputs, probabilities of both ends) → output → ends in its unit; None without a head
    trained   output → where its training data lie
    tested    () → output → its test samples; None if the run has none
    untrained (inputs, estimates, image → its track) → sentences on what was not in training
    """

    run: str
    dataset: GeneratedDataset
    sources: Sequence[Source]
    words: str
    periods: Mapping[str, float]
    inputs: Collection[str]
    estimate: Callable[[Images], dict[str, float]]
    interval: Callable[[Images, Pair], Mapping[str, Pair]] | None
    trained: Mapping[str, TrainedRange]
    tested: Callable[[], Mapping[str, Tested] | None]
    untrained: Callable[[Images, Mapping[str, float], Mapping[str, str]], list[str]]

    @cached_property
    def linear(self) -> frozenset[str]:
        """The amplitudes of its sources."""
        quantities = with_periods(self.dataset.quantities, self.periods)
        names = set[str]()
        for source in self.sources:
            prefix = f"{source.name}." if source.name else ""
            names |= {prefix + name for name in amplitudes(source, quantities)}
        return frozenset(names)

    @cached_property
    def views(self) -> list[SeenView]:
        return views_of(self.dataset, self.inputs)


STARTS_NEAR = 8
"""Of a refinement, if no number is given: the network's estimate and others near it."""


def by_network(
    observation: Observation, network: TrainedNetwork, options: InvertOptions
) -> list[Inversion]:
    """An observation inverted by a trained network, and from its estimate by least squares if they
    are asked for.

    Without a `centre` the network's images lie around the largest displacement, and then, if it
    estimates a position, around that. If it knows no offsets but tracks may have them, it also
    estimates the source from images without the median of their edge, which is an offset where the
    source is small against the image, but else signal; that estimate counts which explains the
    observation better. Least squares start there, or at the edge of the training data. Raises
    QexpError for a run whose views or pixels do not fit the observation.
    """
    dataset = network.dataset
    tracks = tracks_of(network.views, observation)
    doubtful = options.offsets != NONE and not all(
        _knows_offsets(network, view) for view in network.views
    )
    ways = (False, True) if doubtful else (False,)
    looks = [_look(network, tracks, options.centre, less_edges) for less_edges in ways]
    best = min(looks, key=lambda look: _unexplained(network, tracks, *look[:3:2]))
    centre, inputs, estimates, remarks = best
    units = Units(dataset.quantities, centre)
    values, start, missing = _start(network, estimates)
    names = {image: track.name for image, track in tracks.items()}
    strange = network.untrained(inputs, estimates, names)
    remarks += [*missing, *strange]
    in_units = {display_name(name): units.from_si(name, value) for name, value in values.items()}
    document = {
        "run": network.run,
        "parameters": in_units,
        "views": names,
        "centre": list(centre),
        "outside": strange,
    }
    # What all training data share belongs to the model, but for the position: theirs is that of the
    # image.
    constant = [
        name for name in start if name in dataset.fixed and base_name(name) not in ("x", "y")
    ]
    intervals: dict[str, Pair] = {}
    if network.interval is not None:
        for name, (low, high) in network.interval(inputs, ENDS).items():
            intervals[name] = dataset.si_factor(name) * low, dataset.si_factor(name) * high
    distributions = {name: dataset.distributions[name] for name in start if name in dataset.test}
    others = []
    if options.least_squares:
        count = (options.starts or STARTS_NEAR) - 1
        tested = network.tested()
        if tested and count > 0:
            nearby = values_nearby(tested, estimates, count, options.seed)
            others = [_start(network, values)[1] for values in nearby]
    else:
        start = values
        whose = "the estimate and its intervals are" if intervals else "the estimate is"
        remarks.append(f"{whose} the network's; `refine=True` gives standard errors")
    candidate = Candidate(
        network.words, network.sources, units, start, others, constant, distributions, intervals
    )
    return [estimate_sources(observation, candidate, options, network=document, remarks=remarks)]


def _knows_offsets(network: TrainedNetwork, view: SeenView) -> bool:
    components = network.dataset.noise.components_of(view.image)
    return any(isinstance(component.noise, LinearNoise) for component in components)


def _look(
    network: TrainedNetwork,
    tracks: Mapping[str, Track],
    centre: Pair | None,
    less_edges: bool,
) -> tuple[Pair, Images, dict[str, float], list[str]]:
    """The centre of the images, and what `_asked` says there.

    centre  None: the largest displacement, or the position that the network then estimates
    """
    middle = centre or peak_of(list(tracks.values()), max(network.views[0].pixel))
    seen = _asked(network, tracks, middle, less_edges)
    position = _position(network, seen[1], middle) if centre is None else None
    if position is not None:
        middle = position
        seen = _asked(network, tracks, position, less_edges)
    return (middle, *seen)


def _unexplained(
    network: TrainedNetwork,
    tracks: Mapping[str, Track],
    centre: Pair,
    estimates: Mapping[str, float],
) -> float:
    """The sum of squares of what an estimate leaves of the tracks, each with an offset, in units of
    their errors.
    """
    points = [track.where_observed() for track in tracks.values()]
    model = deformation_of(network.sources, points, centre)
    values = _start(network, estimates)[0]
    source = torch.tensor([[values[name] for name in model.names]], dtype=torch.float64)
    if not model.possible(source).all():
        return math.inf
    moved = np.split(model(source)[0].numpy(), np.cumsum([track.size for track in points])[:-1])
    left = 0.0
    for track, of_track in zip(points, moved, strict=True):
        remainder = track.displacement - of_track
        left += float(np.square((remainder - remainder.mean()) / track.error).sum())
    return left if math.isfinite(left) else math.inf


def _asked(
    network: TrainedNetwork,
    tracks: Mapping[str, Track],
    centre: Pair,
    less_edges: bool,
) -> tuple[Images, dict[str, float], list[str]]:
    """The inputs around a centre, the outputs in their units, and remarks on what was changed in
    the images.

    less_edges  whether images of views without offsets in training have the median of their edge
                subtracted
    """
    wanted = network.inputs
    remarks = []
    inputs: dict[str, NDArray[np.float32]] = {}
    for view in network.views:
        track = tracks[view.image]
        values = image_of(track, view, centre)
        gaps = ~np.isfinite(values)
        if less_edges and not _knows_offsets(network, view):
            values, offset = without_edge(values)
            remarks.append(
                f"{track.name}: the median of its edge, {offset:.3g} m, was taken for its offset"
                " and subtracted for the network, which was trained without offsets;"
                " `offsets=none` subtracts nothing"
            )
        if mask_of(view.image) in wanted:
            inputs[mask_of(view.image)] = (~gaps).astype(np.float32)[None, None]
            values = np.where(gaps, 0.0, values)
        elif gaps.any():
            values = fill_gaps(values)
            if gaps.mean() > MUCH_FILLED:
                remarks.append(
                    f"{track.name}: {gaps.mean():.0%} of the network's pixels have no point and"
                    " were interpolated; train a network that takes masks as inputs to avoid that"
                )
        inputs[view.image] = values.astype(np.float32)[None, None]
    for name in wanted:
        if name not in inputs:
            inputs[name] = np.array([[_scalar(network, name, tracks)]], dtype=np.float32)
    return inputs, network.estimate(inputs), remarks


def _scalar(network: TrainedNetwork, name: str, tracks: Mapping[str, Track]) -> float:
    """The value of an input that is a number: of the geometry of a view's track, else that of the
    training data.
    """
    base = base_name(name)
    image = f"displacement{name.removeprefix(base_name(name))}"
    if base in ("incidence", "azimuth", "heading") and image in tracks:
        direction = tracks[image].where_observed().direction.mean(axis=0)
        incidence, heading = (float(angle[0]) for angle in angles_of(direction[None]))
        flown = heading if network.dataset.view(image).look == RIGHT else heading + 180
        degrees = {"incidence": incidence, "heading": flown, "azimuth": -heading}[base]
        of_angle = quantity(base, network.dataset.quantities)
        value = math.radians(degrees) / of_angle.si_factor
        # 192° and −168° are the same direction, but not to a network.
        return float(nearest(value, typical(network.dataset, name), of_angle.period))
    if base == "noise":
        return float(np.mean([track.where_observed().error.mean() for track in tracks.values()]))
    return typical(network.dataset, name)


def _position(network: TrainedNetwork, estimates: Mapping[str, float], centre: Pair) -> Pair | None:
    """The position of the first source, if the network estimates it, off the centre of the images
    and inside them.
    """
    names = network.sources[0].columns[:2]
    if not all(name in estimates for name in names):
        return None
    east, north = (estimates[name] * network.dataset.si_factor(name) for name in names)
    view = network.views[0]
    width = view.width * view.pixel[0]
    height = view.height * view.pixel[1]
    in_image = abs(east) < width / 2 and abs(north) < height / 2
    if math.hypot(east, north) < RECENTRED_PIXELS * max(view.pixel) or not in_image:
        return None
    return centre[0] + east, centre[1] + north


def _start(
    network: TrainedNetwork, estimates: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Column → estimate, and → start of a refinement, in SI units; and remarks on those that are
    not estimated.
    """
    values = {}
    start = {}
    missing = []
    for name in chain.from_iterable(source.columns for source in network.sources):
        value = estimates[name] if name in estimates else typical(network.dataset, name)
        if name not in estimates and name not in network.dataset.fixed:
            missing.append(
                f"{display_name(name)} is not estimated by the network; it starts at the median of"
                " the training data"
            )
        factor = network.dataset.si_factor(name)
        trained = network.trained.get(name)
        values[name] = factor * value
        if name not in network.linear and trained is not None:
            # Beyond the range of its training data a network's estimate means little.
            value = float(np.clip(trained.moved(value), trained.low, trained.high))
        start[name] = factor * value
    return values, start, missing
