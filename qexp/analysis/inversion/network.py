"""The estimate of a trained network for an observation, on the network's own grid: the start of a refinement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qexp import assemble
from qexp.analysis.inversion.asked import Units, shown
from qexp.analysis.inversion.estimate import Candidate
from qexp.analysis.inversion.images import filled, image_of, peak_of, without_edge
from qexp.analysis.inversion.nearby import nearby
from qexp.analysis.inversion.views import SeenView, tracks_of, typical, views_of
from qexp.analysis.misfit.features import UNUSUAL
from qexp.analysis.prediction.images.estimates import Array, ImageModel
from qexp.analysis.prediction.images.model import image_model
from qexp.analysis.prediction.images.posteriors import OfHeads
from qexp.analysis.prediction.images.ranges import SEEN, statistics
from qexp.analysis.prediction.trained import MOST
from qexp.errors import QexpError
from qexp.inference.parameters import amplitudes
from qexp.metrics.metric import nearest
from qexp.observations.observation import Observation, Track
from qexp.observations.reading import angles_of
from qexp.physics.geometry import RIGHT
from qexp.quantities import Quantities, base_name, quantity, with_periods
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.generators import DeformationImages, Source
from qexp.simulation.noise import LinearNoise
from qexp.spec.kinds.generated import generator_in_words

ENDS = (0.025, 0.975)
"""Probabilities of the ends of intervals."""
MUCH_FILLED = 0.3
"""Share of interpolated pixels above which they are remarked on."""
RECENTRED = 2.0
"""Distance of a source from the centre of the image, in pixels, from which the image is centred anew."""


@dataclass(frozen=True)
class NetworkEstimate:
    """What a network says of an observation.

    candidate  the sources that it was trained on, which start at its estimate, or at the edge of its training data
    values     column → its estimate in SI units, relative to the centre of its images
    document   the part `network` of the result
    remarks    sentences about what lies outside of its training data, and what was filled
    """

    candidate: Candidate
    values: Mapping[str, float]
    document: Mapping[str, Any]
    remarks: Sequence[str]


@dataclass(frozen=True)
class _Network:
    """A run that is ready to estimate, with the geometry of what it was trained on."""

    name: str
    model: ImageModel
    dataset: GeneratedDataset
    quantities: Quantities
    """Those of the dataset, with the periods of what the network learns as angles."""
    sources: Sequence[Source]
    linear: frozenset[str]
    """Their amplitudes."""
    words: str
    """What its sources are: `mogi`, or `mogi chamber and okada dike`."""
    views: Sequence[SeenView]


def network_estimate(
    directory: RunDirectory,
    observation: Observation,
    centre: tuple[float, float] | None,
    device: str = "auto",
    others: int = 0,
    seed: int = 0,
) -> NetworkEstimate:
    """The estimate of a run's network for an observation.

    centre  position of the origin of its images [m]; None: the largest displacement, and then, if the network
            estimates a position, that
    others  number of further starts near the estimate, drawn with the seed; see `nearby`
    Raises QexpError for a run whose views or pixels do not fit the observation.
    """
    network = _opened(directory, device)
    tracks = tracks_of(network.views, observation)
    at = centre or peak_of(list(tracks.values()), max(network.views[0].pixel))
    inputs, made, remarks = _at(network, tracks, at)
    if centre is None and (position := _position(network, made, at)) is not None:
        at = position
        inputs, made, remarks = _at(network, tracks, at)
    units = Units(network.dataset.quantities, at)
    values, start, missing = _start(network, made)
    outside = [*_beyond(network, made), *_unlike(network.model, inputs, tracks), *_unusual(network.model, inputs)]
    said = [*remarks, *missing, *outside]
    document = {
        "run": network.name,
        "parameters": {shown(name): units.from_si(name, value) for name, value in values.items()},
        "views": {image: track.name for image, track in tracks.items()},
        "centre": list(at),
        "outside": outside,
    }
    # What all training data share belongs to the model, but for the position: theirs is that of the image.
    held = [name for name in start if name in network.dataset.fixed and base_name(name) not in ("x", "y")]
    near = [_start(network, one)[1] for one in nearby(directory, made, others, seed)]
    intervals = _intervals(network, inputs)
    varying = [name for name in start if name in network.dataset.test]
    distributions = {name: network.dataset.distributions[name] for name in varying}
    candidate = Candidate(network.words, network.sources, units, start, near, held, distributions, intervals)
    return NetworkEstimate(candidate, values, document, said)


def _intervals(network: _Network, inputs: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Column → ends of the 95 % interval by the posterior head, in SI units; empty without one."""
    if not isinstance(network.model.posteriors, OfHeads):
        return {}
    found = {}
    for name, ends in network.model.posteriors.of(inputs).quantiles(ENDS).items():
        factor = quantity(name, network.dataset.quantities).si_factor
        low, high = (factor * float(end) for end in ends[0])
        found[name] = low, high
    return found


def _opened(directory: RunDirectory, device: str) -> _Network:
    spec = directory.training_spec()
    dataset = assemble.generated_of(spec["dataset"], tables_of(directory))
    if not isinstance(dataset.generator, DeformationImages):
        raise QexpError(
            f"{directory.name} was not trained on images of a source of deformation, which qexp invert needs"
        )
    model = image_model(directory, device)
    views = views_of(dataset, list(model.layout.inputs))
    quantities = with_periods(dataset.quantities, model.periods)
    words = generator_in_words(spec["dataset"])
    sources = dataset.generator.sources
    linear = frozenset(
        f"{one.name}.{name}" if one.name else name for one in sources for name in amplitudes(one, quantities)
    )
    return _Network(directory.name, model, dataset, quantities, sources, linear, words, views)


def _at(
    network: _Network, tracks: Mapping[str, Track], centre: tuple[float, float]
) -> tuple[dict[str, Array], dict[str, float], list[str]]:
    """The inputs around a centre, the outputs in their units, and remarks on what was changed in the images."""
    wanted, inputs, remarks = network.model.layout.inputs, {}, []
    for view in network.views:
        track = tracks[view.image]
        values = image_of(track, view, centre).values
        gaps = ~np.isfinite(values)
        if not _trained_with_offsets(network.dataset, view.image):
            values, offset = without_edge(values)
            remarks.append(f"{track.name}: the median of its edge, {offset:.3g} m, was subtracted for the network")
        if mask_of(view.image) in wanted:
            inputs[mask_of(view.image)] = (~gaps).astype(np.float32)[None, None]
            values = np.where(gaps, 0.0, values)
        elif gaps.any():
            values = filled(values)
            if gaps.mean() > MUCH_FILLED:
                remarks.append(
                    f"{track.name}: {gaps.mean():.0%} of the network's pixels have no point and were interpolated; "
                    "train a network that takes masks as inputs to avoid that"
                )
        inputs[view.image] = values.astype(np.float32)[None, None]
    for name in wanted:
        if name not in inputs:
            inputs[name] = np.array([[_scalar(network, name, tracks)]], dtype=np.float32)
    estimates = network.model.estimate(inputs)[0]
    made = dict(zip(network.model.outputs, map(float, estimates), strict=True))
    return inputs, made, remarks


def _trained_with_offsets(dataset: GeneratedDataset, image: str) -> bool:
    return any(isinstance(one.noise, LinearNoise) for one in dataset.noise.on(image))


def _scalar(network: _Network, name: str, tracks: Mapping[str, Track]) -> float:
    """The value of an input that is a number: of the geometry of a view's track, else that of the training data."""
    base, image = base_name(name), f"displacement{name.removeprefix(base_name(name))}"
    if base in ("incidence", "azimuth", "heading") and image in tracks:
        incidence, heading = (float(angle[0]) for angle in angles_of(tracks[image].seen().direction.mean(axis=0)[None]))
        flown = heading if network.dataset.view(image).look == RIGHT else heading + 180
        degrees = {"incidence": incidence, "heading": flown, "azimuth": -heading}[base]
        of_angle = quantity(base, network.dataset.quantities)
        # 192° and −168° are the same direction, but not to a network.
        return float(
            nearest(math.radians(degrees) / of_angle.si_factor, typical(network.dataset, name), of_angle.period)
        )
    if base == "noise":
        return float(np.mean([track.seen().error.mean() for track in tracks.values()]))
    return typical(network.dataset, name)


def _position(network: _Network, made: Mapping[str, float], centre: tuple[float, float]) -> tuple[float, float] | None:
    """The position of the first source, if the network estimates it, off the centre of the images and inside them."""
    names = network.sources[0].columns[:2]
    if not all(name in made for name in names):
        return None
    east, north = (made[name] * quantity(name, network.dataset.quantities).si_factor for name in names)
    view = network.views[0]
    inside = abs(east) < view.width * view.pixel[0] / 2 and abs(north) < view.height * view.pixel[1] / 2
    if math.hypot(east, north) < RECENTRED * max(view.pixel) or not inside:
        return None
    return centre[0] + east, centre[1] + north


def _start(network: _Network, made: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Column → estimate, and → start of a refinement, in SI units; and remarks on those that are not estimated."""
    values, start, missing = {}, {}, []
    for name in (name for source in network.sources for name in source.columns):
        value = made[name] if name in made else typical(network.dataset, name)
        if name not in made and name not in network.dataset.fixed:
            missing.append(
                f"{shown(name)} is not estimated by the network; it starts at the median of the training data"
            )
        factor = quantity(name, network.dataset.quantities).si_factor
        values[name], start[name] = factor * value, factor * _likely(network, name, value)
    return values, start, missing


def _likely(network: _Network, name: str, value: float) -> float:
    """The value, moved into the range of its training data: beyond, a network's estimate means little."""
    if name in network.linear or (trained := network.model.trained.get(name)) is None:
        return value
    return float(np.clip(trained.placed(value), trained.low, trained.high))


def _beyond(network: _Network, made: Mapping[str, float]) -> list[str]:
    """Remarks on estimates beyond the training data of their outputs."""
    said = []
    for name, trained in network.model.trained.items():
        if trained.beyond(made[name]):
            unit = network.model.outputs[name]
            said.append(
                f"the network's estimate of {name}, {float(trained.placed(made[name])):.3g} {unit}, lies outside "
                f"{MOST}, {trained.low:.3g} to {trained.high:.3g} {unit}"
            )
    return said


def _unusual(model: ImageModel, inputs: Mapping[str, Array]) -> list[str]:
    """A sentence if the network computes features that hardly any training sample has."""
    if model.features is None:
        return []
    share = float(model.features().p_values(inputs)[0])
    if share >= UNUSUAL:
        return []
    return [
        "the network's features of the observation are unlike those of its training data: only "
        f"{100 * share:.2g} % of these lie as far from their mean"
    ]


def _unlike(model: ImageModel, inputs: Mapping[str, Array], tracks: Mapping[str, Track]) -> list[str]:
    """A sentence for each input with statistics that no training sample had: these numbers, and the training's."""
    ranges, values = model.ranges(), statistics(inputs)
    beyond: dict[str, list[str]] = {}
    for one, outside in ranges.outside(inputs).items():
        if outside[0]:
            unit = "" if one.kind == SEEN else f" {model.layout.units[one.input]}".rstrip()
            low, high = ranges.of[one]
            number = f"{values[one][0]:.3g}{unit} (in training {low:.3g} to {high:.3g}{unit})"
            beyond.setdefault(one.input, []).append(f"{one.kind} {number}".strip())
    return [
        f"{tracks[name].name if name in tracks else name} lies outside the range of the network's training data: "
        + ", ".join(numbers)
        for name, numbers in beyond.items()
    ]
