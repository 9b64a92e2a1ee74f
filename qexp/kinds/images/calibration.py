"""Calibration of a run: are its posteriors as sure as they may be?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import norm

from qexp.base.options import Counted
from qexp.base.quantities import Quantities, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.figures import canvas
from qexp.inference.grid_posterior import Posterior, groups
from qexp.inference.simulated_images import unknowns_of
from qexp.kinds import figures
from qexp.kinds.images.calibrated_posteriors import (
    HIGH,
    LOW,
    MEDIAN,
    PROBABILITIES,
    PURPOSE,
    Block,
    Draws,
    OfHead,
    OnDone,
    Placed,
    Posteriors,
    Prior,
    Refined,
    blocks,
    placed,
    prior_of,
    quantiles_of,
    together,
)
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.figures import CALIBRATION_FIGURES
from qexp.kinds.images.refinement import Bounds, MatrixAxis, Refinement, bounds_of_samples
from qexp.kinds.objects import device_of, threads, threads_to_predict
from qexp.kinds.options import CalibrateOptions
from qexp.kinds.tables import tables_of
from qexp.kinds.trained import load_model
from qexp.metrics.calibration import (
    CLASSIFIER,
    Cells,
    Coverage,
    Uniformity,
    cells,
    cells_along,
    central_levels,
    coverages,
    distinguished,
    power,
    relative_width,
    trend,
    uniformity,
    widths,
)
from qexp.results.calibration import (
    INTERVAL,
    WELL_ABOVE,
    BoundRatio,
    Calibration,
    CellShare,
    CoverageShare,
    ExactComparison,
    LocalCoverage,
    OutputCalibration,
    Regions,
    WidthRatio,
    keep_calibration,
    with_verdict,
)
from qexp.results.intervals import intervals_of
from qexp.simulation.dataset import GeneratedDataset, Intervals
from qexp.simulation.generators import DeformationImages
from qexp.store.directory import RunDirectory
from qexp.store.record import now

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]

Ratios = Mapping[str, Any]
"""`width_ratio`: a `WidthRatio`, or `bound_ratio`: a `BoundRatio`; empty if neither is known."""


class Beside(Protocol):
    """Comparison of posteriors with what is known of the right ones."""

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among those to compare."""

    def ratios(self, seeds: Seeds) -> Sequence[Ratios]:
        """Of the widths of each output."""

    def recorded(self) -> ExactComparison | None:
        """What is recorded of the comparison with exact posteriors, if it is one."""


class Judged:
    """The statistics of outputs whose true values were placed in their posteriors."""

    def __init__(self, names: Sequence[str], placed: Placed, prior: Prior) -> None:
        self.names, self.placed, self.prior = list(names), placed, prior
        self.estimates = prior.shares(placed.quantiles[:, :, MEDIAN])
        """(observation, output), share of the prior below the posterior median."""
        self.truth = prior.shares(placed.truth)

    @cached_property
    def ranks(self) -> list[Uniformity]:
        """Of each output."""
        return [uniformity(column) for column in self.placed.positions.T]

    @cached_property
    def local(self) -> list[Local]:
        """Of each output."""
        return [self._local(place) for place in range(len(self.names))]

    @cached_property
    def regions(self) -> dict[str, Uniformity]:
        """`balls`, and `density` where densities are known."""
        levels = {"density": self.placed.density, "balls": self.placed.balls}
        return {name: uniformity(of) for name, of in levels.items() if len(of)}

    def central(self, place: int) -> Array:
        """The probability in the smallest central interval of an output that holds the truth, (observation,)."""
        return central_levels(self.placed.positions[:, place])

    def output(self, place: int, unit: str, ratios: Ratios) -> OutputCalibration:
        """What is recorded of an output; `ratios` of its widths, see `Beside`."""
        of, quantiles = self.placed.positions[:, place], self.placed.quantiles[:, place]
        return OutputCalibration(
            unit=unit,
            p_value=self.ranks[place].p_value,
            mean_position=float(of.mean()),
            spread=float(12 * np.square(of - 0.5).mean()),
            width=float(np.median(quantiles[:, HIGH] - quantiles[:, LOW])),
            coverage=_shares(coverages(self.central(place))),
            local=self._described(self.local[place]),
            **ratios,
        )

    def recorded(self, region: str) -> Regions | None:
        """What is recorded of regions of all outputs, `balls` or `density`; None where that is unknown."""
        if region not in self.regions:
            return None
        levels = getattr(self.placed, region)
        return Regions(p_value=self.regions[region].p_value, coverage=_shares(coverages(levels)))

    def _local(self, place: int) -> Local:
        """In cells of the output's own estimates and of those of the output that its coverage depends on most."""
        inside = self.central(place) <= INTERVAL
        others = [other for other in range(len(self.names)) if other != place]
        pairs = {other: trend(inside, self.estimates[:, [place, other]]) for other in others}
        axes = sorted([place, *([min(pairs, key=pairs.__getitem__)] if pairs else [])])
        number = cells_along(len(inside), len(axes), INTERVAL)
        by_estimates = cells(inside, self.estimates[:, axes], number, INTERVAL)
        by_truth = cells(inside, self.truth[:, axes], number, INTERVAL)
        return Local(axes, by_estimates, by_truth, trend(inside, self.estimates))

    def _described(self, local: Local) -> LocalCoverage:
        wrong, shares = local.by_estimates.wrong, local.by_estimates.share
        known = bool(np.isfinite(shares).any())
        return LocalCoverage(
            axes=tuple(self.names[place] for place in local.axes),
            cells=int(np.sum(~local.by_estimates.few)),
            narrow=int(np.sum(wrong < 0)),
            wide=int(np.sum(wrong > 0)),
            p_value=local.trend,
            fewest=self._cell(local, int(np.nanargmin(shares))) if known else None,
            most=self._cell(local, int(np.nanargmax(shares))) if known else None,
        )

    def _cell(self, local: Local, number: int) -> CellShare:
        """A cell by its number among all, in rows."""
        found = local.by_estimates
        cell = np.unravel_index(number, found.count.shape)
        between = {}
        for place, index, size in zip(local.axes, cell, found.count.shape, strict=True):
            low, high = self.prior.values(place, np.array([index, index + 1]) / size)
            between[self.names[place]] = float(low), float(high)
        return CellShare(share=float(found.share[cell]), observations=int(found.count[cell]), between=between)


@dataclass(frozen=True)
class Local:
    """The coverage of an output's intervals in cells.

    axes          places of the outputs whose estimates, or true values, are the axes of the cells
    by_estimates  calibrated intervals hold their share in every cell
    by_truth      calibrated intervals do not: fewer at the ends of the prior
    trend         p-value of the hypothesis that it does not depend on the estimates
    """

    axes: list[int]
    by_estimates: Cells
    by_truth: Cells
    trend: float


def _shares(found: Sequence[Coverage]) -> tuple[CoverageShare, ...]:
    return tuple(
        CoverageShare(probability=one.probability, share=one.share, expected=one.expected, p_value=one.p_value)
        for one in found
    )


# Posteriors beside the exact ones of the same observations: their widths, and whether draws can be distinguished.


class BesideExact:
    """Comparison of the first observations with their exact posteriors.

    names   outputs, in the order of the draws
    images  that the network takes
    known   its other inputs
    count   observations that are compared
    Raises QexpError if the exact posteriors cannot be integrated.
    """

    def __init__(
        self, dataset: GeneratedDataset, names: Sequence[str], images: Sequence[str], known: Collection[str], count: int
    ) -> None:
        self.images, self.names, self.count = list(images), list(names), count
        self.unknowns = unknowns_of(dataset, images, known)
        self._given = [name for name in dataset.test if name in known]
        self.accuracies: list[float] = []
        self._own: list[Array] = []
        self._exact: list[Array] = []

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among those to compare."""
        values = draws.values[: max(self.count - block.start, 0)]
        if not len(values):
            return
        exact = self._exact_draws(block, len(values), values.shape[1], seeds)
        self._own.append(_widths(values))
        self._exact.append(_widths(exact))
        for place, (own, other) in enumerate(zip(values, exact, strict=True)):
            # In normal scores of the prior: equal distributions stay equal, and heavy tails do not hide the rest.
            first, second = (ndtri(prior.shares(one)) for one in (other, own))
            self.accuracies.append(distinguished(first, second, block.start + place).accuracy)

    def _exact_draws(self, block: Block, observations: int, count: int, seeds: Seeds) -> Array:
        """(observation, draw, output)"""
        samples = {name: of[:observations].cpu() for name, of in block.samples.items()}
        made = np.empty((observations, count, len(self.names)))
        order = [self.unknowns.names.index(name) for name in self.names]
        random = seeds.numpy(PURPOSE, "exact", block.number)
        for group in groups(self.unknowns, self.images, self._given, samples):
            data = group.whitening(group.samples)
            drawn = Posterior(group.unknowns, group.whitening, few=True).draws(data, count, random)
            made[group.places] = drawn[:, :, order]
        return made

    def ratios(self, seeds: Seeds) -> list[dict[str, WidthRatio]]:
        """Of each output."""
        own, exact, found = np.concatenate(self._own), np.concatenate(self._exact), []
        for place, name in enumerate(self.names):
            ratio = relative_width(own[:, place], exact[:, place], seeds.numpy(PURPOSE, "widths", name))
            found.append({"width_ratio": WidthRatio(median=ratio.median, interval=ratio.interval)})
        return found

    def recorded(self) -> ExactComparison:
        """The accuracy of the classifier, over observations."""
        accuracies = np.array(self.accuracies)
        error = accuracies.std(ddof=1) / np.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
        return ExactComparison(
            observations=len(accuracies),
            classifier=CLASSIFIER,
            accuracy=float(accuracies.mean()),
            standard_error=float(error),
            largest=float(accuracies.max()),
        )


def _widths(draws: Array) -> Array:
    """(observation, output)"""
    return np.stack([widths(draws[:, :, place], INTERVAL) for place in range(draws.shape[2])], axis=1)


# Widths of intervals beside the Cramér–Rao bound, where exact posteriors are not computed.


MOST_OBSERVATIONS = 200
"""Observations whose bounds are computed."""

FEW = 30
"""As many of a block if more than that many have noise of their own, whose covariance is then factored for each."""

DEVIATIONS = 2 * norm.ppf((1 + INTERVAL) / 2)
"""Width of the interval of a normal density, in its standard deviations: 3.29 of 90 %."""


class BesideBound:
    """Comparison of the first observations with the bounds at their true values.

    The bound is that of all parameters of the sources that vary and are no inputs of the network. It is the width of
    posteriors where the signal is strong: it is asymptotic, and knows no prior. Observations with a signal-to-noise
    ratio below `WELL_ABOVE` are left out.

    names  outputs, in the order of the draws
    known  the network's inputs
    """

    def __init__(self, dataset: GeneratedDataset, names: Sequence[str], known: Collection[str]) -> None:
        self.names, self.compared = list(names), 0
        self._own: list[Array] = []
        self._bounds: list[Array] = []
        self._likelihood: Refinement | None = None
        generator = dataset.generator
        if not isinstance(generator, DeformationImages):
            return
        columns = {name for source in generator.sources for name in source.columns}
        self._unknown = [name for name in dataset.test if name in columns and name not in known]
        self._given = [name for name in dataset.test if name not in self._unknown]
        if set(names) - set(self._unknown):  # such as a noise level, which has no place in this bound
            return
        axes = [MatrixAxis(name, 0.0, 1.0, 1) for name in self._given]
        try:
            self._likelihood = Refinement(dataset, axes, dataset.fixed, self._unknown)
        except QexpError:  # noise without a known likelihood: then there is no bound
            return

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among the first."""
        count = min(max(MOST_OBSERVATIONS - block.start, 0), len(draws.values))
        if not count or self._likelihood is None:
            return
        try:
            found = self._bounds_of(self._likelihood, block, count)
        except QexpError:  # a covariance that cannot be factored
            self._likelihood = None
            return
        self.compared += len(found.signal)
        self._take(draws.values[: len(found.signal)], found)

    def _bounds_of(self, likelihood: Refinement, block: Block, count: int) -> Bounds:
        """Of the first observations of a block."""
        samples = {name: of[:count].cpu() for name, of in block.samples.items()}
        given, truth = ({name: block.values[name][:count] for name in names} for names in (self._given, self._unknown))
        if count > FEW and len(list(likelihood.alike(samples, given))) > FEW:
            return self._bounds_of(likelihood, block, FEW)
        return bounds_of_samples(likelihood, samples, given, truth)

    def _take(self, values: Array, found: Bounds) -> None:
        of_outputs = np.stack([found.deviations[name] for name in self.names], axis=1)
        taken = (found.signal >= WELL_ABOVE) & np.isfinite(of_outputs).all(axis=1)
        own = np.stack([widths(values[:, :, place], INTERVAL) for place in range(len(self.names))], axis=1)
        self._own.append(own[taken])
        self._bounds.append(DEVIATIONS * of_outputs[taken])

    def ratios(self, seeds: Seeds) -> list[dict[str, BoundRatio]]:
        """Of each output; empty without an observation to compare."""
        if self._likelihood is None or not sum(map(len, self._own)):
            return [{} for _ in self.names]
        own, bounds, found = np.concatenate(self._own), np.concatenate(self._bounds), list[dict[str, BoundRatio]]()
        for place, name in enumerate(self.names):
            ratio = relative_width(own[:, place], bounds[:, place], seeds.numpy(PURPOSE, "bounds", name))
            made = BoundRatio(median=ratio.median, interval=ratio.interval, observations=ratio.count, of=self.compared)
            found.append({"bound_ratio": made})
        return found

    def recorded(self) -> None:
        """Nothing: it is no comparison with exact posteriors."""


# `calibration.nc`: what the figures of a calibration are drawn from, and every observation's own numbers.


OBSERVATION, QUANTILE, POINT = "observation", "quantile", "point"


def number_table(judged: Judged, quantities: Quantities, attributes: Mapping[str, Any]) -> xarray.Dataset:
    """True values, positions and quantiles of every observation; distribution functions with their band; cells."""
    import xarray

    placed = judged.placed
    variables: dict[str, Any] = {"ball_level": (OBSERVATION, placed.balls, {"long_name": _BALLS})}
    if len(placed.density):
        variables["density_level"] = (OBSERVATION, placed.density, {"long_name": _DENSITY})
    for place, name in enumerate(judged.names):
        of = quantity(name, quantities)
        in_unit = {"units": of.unit, "long_name": of.description}
        variables[name] = (OBSERVATION, placed.truth[:, place], in_unit)
        variables[f"{name}_quantile"] = ((OBSERVATION, QUANTILE), placed.quantiles[:, place], in_unit)
        variables[f"{name}_position"] = (OBSERVATION, placed.positions[:, place], {"long_name": _POSITION})
        variables |= _distribution(f"{name}_position", judged.ranks[place])
        variables |= _distribution(f"{name}_level", uniformity(judged.central(place)))
        variables |= _cells(name, judged, judged.local[place])
    for region, of_region in judged.regions.items():
        variables |= _distribution(f"{'ball' if region == 'balls' else region}_level", of_region)
    one = judged.ranks[0]
    variables |= {"lower": (POINT, one.lower), "upper": (POINT, one.upper)}
    coordinates = {QUANTILE: list(PROBABILITIES), POINT: one.points}
    return xarray.Dataset(variables, coordinates, {**attributes, "interval": INTERVAL, "outputs": judged.names})


_POSITION = "share of the posterior's draws below the true value; uniform if the posteriors are right"
_DENSITY = (
    "posterior probability of the smallest region that holds the true values; uniform if the posteriors are right"
)
_BALLS = "posterior probability of the ball around a random point that reaches to the true values; likewise"


def _distribution(name: str, of: Uniformity) -> dict[str, Any]:
    words = f"share of observations with {name} of at most each point"
    return {f"{name}_share": (POINT, of.share, {"long_name": words})}


def _cells(name: str, judged: Judged, local: Local) -> dict[str, Any]:
    """Numbers of observations in cells, of those whose interval holds the truth, and where that is beyond chance."""
    axes = [judged.names[place] for place in local.axes]
    dims = [f"{name}_cell_{axis}" for axis in axes]
    made: dict[str, Any] = {}
    for words, found in (("estimate", local.by_estimates), ("truth", local.by_truth)):
        made[f"{name}_{words}_count"] = (dims, found.count, {"axes": axes})
        made[f"{name}_{words}_inside"] = (dims, found.inside)
        made[f"{name}_{words}_wrong"] = (dims, found.wrong)
    for place, axis, dim in zip(local.axes, axes, dims, strict=True):
        edges = judged.prior.values(place, np.linspace(0, 1, local.by_estimates.count.shape[0] + 1))
        made[f"{dim}_edge"] = (f"{dim}_edge_number", edges, {"long_name": f"edges of the cells of {axis}"})
    return made


def encoded_numbers(of: xarray.Dataset) -> bytes:
    return bytes(of.to_netcdf(engine="h5netcdf"))


def names_of(of: xarray.Dataset) -> Sequence[str]:
    """The outputs of a table."""
    found = of.attrs["outputs"]
    return [found] if isinstance(found, str) else [str(one) for one in found]


def calibrate(directory: RunDirectory, workspace: Workspace, options: CalibrateOptions) -> Calibration:
    """Simulate observations, take their posteriors from the run, judge these, and keep what is found in the run.

    Raises QexpError for a run without posteriors.
    """
    canvas.drawn_at_once()  # a wrong setting is refused before anything is made
    spec, tables, on = directory.training_spec(), tables_of(directory), device_of(options.device)
    if intervals_of(directory) is not None:
        raise QexpError(
            f"{directory.name} has intervals from held-out errors, not posteriors; how many held-out true values "
            f"these cover: qexp show {directory.name}"
        )
    dataset = generated_of(spec["dataset"], tables, workspace)
    model = load_model(directory, on)
    images = [name for name in dataset.generator.images(dataset.variables) if name in spec["inputs"]]
    held_out = [name for name, ranges in dataset.held_out.items() if ranges]
    tested: Posteriors = (
        Refined(model, dataset, images, spec["inputs"], held_out) if options.refined else OfHead(model, held_out, on)
    )
    beside: Beside = BesideBound(dataset, tested.names, spec["inputs"])
    if options.exact:
        beside = BesideExact(dataset, tested.names, images, spec["inputs"], options.exact)
    part = quantiles_of(dataset, options.part, spec["split"], directory.record().seed)
    with threads(threads_to_predict(spec, tables, on)):
        judged, doubted = _judged(tested, dataset, part, options, on, beside)
    caution = tested.caution(options.part)
    made = _recorded(judged, dataset.quantities, directory.record().dataset, options, beside, doubted, caution)
    table = number_table(judged, dataset.quantities, {"run": directory.name, "created": made.created})
    keep_calibration(directory, made, encoded_numbers(table))
    if canvas.drawn_at_once():
        figures.draw(directory, only=tuple(CALIBRATION_FIGURES), left_out=options.warn)
    return made


def _judged(
    tested: Posteriors,
    dataset: GeneratedDataset,
    part: Intervals,
    options: CalibrateOptions,
    on: torch.device,
    beside: Beside,
) -> tuple[Judged, int]:
    """The statistics, and the number of observations whose draws are not to be trusted."""
    seeds, found, doubted, prior = Seeds(options.seed), list[Placed](), 0, prior_of(dataset, tested.names)
    for block in blocks(dataset, part, options.observations, tested.together, seeds, on):
        truth = np.stack([block.values[name] for name in tested.names], axis=1)
        on_done = _counting_from(block.start, options.observations, options.on_observation)
        draws = tested.draws(block, truth, options.draws, seeds, on_done)
        found.append(placed(truth, draws, prior, seeds.numpy(PURPOSE, "positions", block.number)))
        doubted += draws.doubted
        beside.add(block, draws, prior, seeds)
    return Judged(tested.names, together(found), prior), doubted


def _counting_from(start: int, count: int, on_observation: Counted) -> OnDone:
    return lambda done: on_observation(start + done, count)


def _recorded(
    judged: Judged,
    quantities: Quantities,
    dataset: str,
    options: CalibrateOptions,
    beside: Beside,
    doubted: int,
    caution: str,
) -> Calibration:
    seen, balls = power(options.observations), judged.recorded("balls")
    assert balls is not None
    ratios = beside.ratios(Seeds(options.seed))
    found = Calibration(
        dataset=dataset,
        refined=options.refined,
        part=options.part,
        seed=options.seed,
        draws=options.observations,
        samples=options.draws,
        caution=caution,
        doubted=doubted,
        created=now(),
        notices_narrow=seen.narrow,
        notices_shift=seen.shift if np.isfinite(seen.shift) else None,
        outputs={
            name: judged.output(place, quantity(name, quantities).unit, ratios[place])
            for place, name in enumerate(judged.names)
        },
        density=judged.recorded("density"),
        balls=balls,
        exact=beside.recorded(),
    )
    return with_verdict(found)
