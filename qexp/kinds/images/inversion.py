"""A run on images of deformation as the inversion of an observation asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qexp.base.outputs import PERIOD, estimate_of, numbers_in, periods_in
from qexp.base.quantities import number_with_unit
from qexp.deformation.by_network import Images, Tested, TrainedNetwork
from qexp.errors import QexpError, some
from qexp.kinds.figures import table
from qexp.kinds.images.experiment import trained_on
from qexp.kinds.images.prediction import ImageModel, OfHeads, image_model
from qexp.kinds.images.spec import generator_in_words
from qexp.kinds.options import PredictOptions
from qexp.kinds.prediction import MOST_DATA
from qexp.networks.feature_distance import UNUSUAL_SHARE
from qexp.simulation.generators import DeformationImages
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory


def network_of(directory: RunDirectory, device: str) -> TrainedNetwork:
    """The network of a finished run. Raises QexpError if it estimates no numbers of a source of
    deformation.
    """
    spec = directory.training_spec()
    dataset = trained_on(directory)
    if not isinstance(dataset.generator, DeformationImages):
        raise QexpError(
            f"{directory.name} was not trained on images of a source of deformation, which qexp"
            " invert needs"
        )
    model = image_model(directory, PredictOptions("", "", device=device))
    heads = model.posteriors if isinstance(model.posteriors, OfHeads) else None

    def estimate(inputs: Images) -> dict[str, float]:
        return {name: float(made.middle[0]) for name, made in model.estimate(inputs).items()}

    def interval(inputs: Images, ends: tuple[float, float]) -> dict[str, tuple[float, float]]:
        assert heads is not None
        quantiles = heads.posterior_of(inputs).quantiles(ends)
        return {name: (float(low), float(high)) for name, ((low, high),) in quantiles.items()}

    trained = {}
    for name, output in numbers_in(model.outputs).items():
        if output.trained is not None:
            trained[name] = output.trained
    return TrainedNetwork(
        run=directory.name,
        dataset=dataset,
        sources=dataset.generator.sources,
        words=generator_in_words(spec["dataset"]),
        periods=periods_in(model.outputs),
        inputs=list(model.layout.inputs),
        estimate=estimate,
        interval=interval if heads else None,
        trained=trained,
        tested=lambda: estimates_of_test(directory, list(model.outputs)),
        untrained=lambda inputs, estimates, tracks: _outside(model, inputs, estimates, tracks),
    )


def estimates_of_test(directory: RunDirectory, outputs: Sequence[str]) -> dict[str, Tested] | None:
    """Output → its test samples; None for a run without any."""
    path = directory.results / TEST_PREDICTIONS
    if not path.exists():
        return None
    predictions = table(path)
    tested = {}
    for name in outputs:
        truth, estimate = (
            predictions[each].astype(np.float64) for each in (name, estimate_of(name))
        )
        tested[name] = Tested(truth.values, estimate.values, estimate.attrs.get(PERIOD))
    return tested


def _outside(
    model: ImageModel, inputs: Images, estimates: Mapping[str, float], tracks: Mapping[str, str]
) -> list[str]:
    """Sentences on what lies outside of the training data: estimates, statistics of inputs, and
    features of these.
    """
    sentences = []
    for name, output in numbers_in(model.outputs).items():
        trained = output.trained
        unit = output.unit
        if trained is not None and trained.beyond(estimates[name]):
            estimate = number_with_unit(f"{float(trained.moved(estimates[name])):.3g}", unit)
            ends = number_with_unit(f"{trained.low:.3g} to {trained.high:.3g}", unit)
            sentences.append(
                f"the network's estimate of {name}, {estimate}, lies outside {MOST_DATA}, {ends}"
            )
    seen = model.seen()
    untrained = dict[str, list[str]]()
    for statistic, far in seen.outside(inputs).items():
        if far[0]:
            numbers = untrained.setdefault(statistic.input, [])
            numbers.append(seen.described(statistic, inputs, model.layout.units))
    for name, numbers in untrained.items():
        what = tracks.get(name, name)
        sentences.append(
            f"{what} lies outside the range of the network's training data: {some(numbers)}"
        )
    if (
        model.features is not None
        and (share := float(model.features().p_values(inputs)[0])) < UNUSUAL_SHARE
    ):
        sentences.append(
            "the network's features of the observation are unlike those of its training data: only "
            f"{100 * share:.2g} % of these lie as far from their mean"
        )
    return sentences
