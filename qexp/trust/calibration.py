"""Calibration of a run: are its posteriors neither too narrow nor too wide?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from qexp.base import formats
from qexp.base.arrays import Array
from qexp.base.machine import threads
from qexp.base.options import as_warning
from qexp.base.outputs import QUANTILES, classes_of
from qexp.base.quantities import Quantities, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.figures import canvas
from qexp.inference import integration
from qexp.inference.density import Prior, of_training
from qexp.inference.image_posteriors import Likelihoods, PosteriorDraws, approximated, posteriors
from qexp.inference.refinement import Bounds, MatrixAxis, Refinement, bounds_of_samples
from qexp.kinds import figures
from qexp.kinds.calibration_figures import CALIBRATION_FIGURES
from qexp.kinds.evaluation import ALL, TRAIN
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.recalibration import recalibrated
from qexp.kinds.networks import load_models
from qexp.kinds.objects import device_of, threads_to_predict
from qexp.kinds.options import LEAST_OBSERVATIONS, CalibrateOptions
from qexp.kinds.tables import tables_of
from qexp.metrics import calibration as metrics
from qexp.networks.estimator import Ensemble
from qexp.results import calibration as results
from qexp.results.intervals import intervals_of
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import DeformationImages
from qexp.store.directory import RunDirectory
from qexp.store.record import now
from qexp.trust.limit import exact_likelihoods
from qexp.trust.tested import PURPOSE, Asked, Batch, asked

if TYPE_CHECKING:
    import xarray

# Where the true values of observations lie in their posteriors.

LOW = QUANTILES.index(0.05)
MEDIAN = QUANTILES.index(0.5)
HIGH = QUANTILES.index(0.95)

LEAST_SHARE = 5e-5
"""Of the prior below or above the ends of its axes."""


@dataclass(frozen=True)
class TruthPositions:
    """Where the true values of observations lie; these are the first axis of all arrays."""

    truth: Array
    """(observation, output), in the outputs' units."""
    positions: Array
    """(observation, output), share of draws below."""
    quantiles: Array
    """(observation, output, probability), in the outputs' units."""
    balls: Array
    """(observation,), posterior probability of a random point's ball that reaches to the truth."""
    density: Array
    """(observation,), posterior probability of where the density is higher; (0,) if unknown."""


def shares_below(prior: Prior, values: Array) -> Array:
    """The share of the prior below values, (..., output)."""
    columns = enumerate(prior.marginals)
    shares = [ndtr(marginal.score(values[..., column])) for column, marginal in columns]
    return np.stack(shares, axis=-1)


def values_above(prior: Prior, output: int, shares: Array) -> Array:
    """The values of an output below which these shares of the prior lie."""
    return prior.marginals[output].value(ndtri(np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)))


def locate(
    truth: Array, draws: PosteriorDraws, prior: Prior, random: np.random.Generator
) -> TruthPositions:
    """Locate true values, (observation, output), among draws. QexpError for infinite ones."""
    values = draws.values
    count = draws.values.shape[2]
    wrong = int(np.sum(~np.isfinite(values).all(axis=(1, 2))))
    if wrong:
        raise QexpError(
            f"the posteriors of {wrong:,} of {len(values):,} observations have draws that are not"
            " finite"
        )
    columns = []
    for output in range(count):
        columns.append(metrics.positions(truth[:, output], values[:, :, output], random, draws.ess))
    shares = shares_below(prior, truth), shares_below(prior, values)
    balls = metrics.reference_levels(*shares, random.random(truth.shape), random, draws.ess)
    density = np.zeros(0)
    if draws.log_density is not None and draws.of_truth is not None:
        density = metrics.density_levels(draws.of_truth, draws.log_density, random, draws.ess)
    quantiles = np.moveaxis(np.quantile(values, QUANTILES, axis=1), 0, -1)
    return TruthPositions(truth, np.stack(columns, axis=1), quantiles, balls, density)


def concatenate(parts: Sequence[TruthPositions]) -> TruthPositions:
    """Observations one after the other."""
    arrays = {}
    for field in fields(TruthPositions):
        arrays[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
    return TruthPositions(**arrays)


# The posteriors of a run that are tested: those of its network's head, or those after the
# likelihood step.


class HeadPosteriors:
    """Posteriors by a network's posterior heads. Raises QexpError for a network without any.

    held_out  variables of which the network never saw some intervals
    names     of the outputs, in the order of the draws' last axis
    together  observations that are best taken at a time
    """

    together = 100

    def __init__(self, model: Ensemble, held_out: Sequence[str], device: torch.device) -> None:
        self.model = model
        self.held_out = held_out
        self.device = device
        self.names = [name for outputs in model.network.posteriors.values() for name in outputs]
        if not self.names:
            raise QexpError(
                f"the network estimates {', '.join(model.network.outputs)} without a posterior;"
                " train one whose branch ends with a posterior head, such as 'gaussian_posterior',"
                " or test the posteriors of the known likelihood with `refined=True`"
            )

    def caution(self, part: str) -> str:
        """Why draws from a part are not from the prior of training; empty if they are."""
        if not self.held_out or part == TRAIN:
            return ""
        return (
            f"the network never saw the held-out intervals of {' and '.join(self.held_out)}: its"
            " prior is the training part, and on draws from elsewhere it cannot be calibrated;"
            " test it with `part=train`, or hold nothing out"
        )

    def draws(
        self, batch: Batch, truth: Array, count: int, seeds: Seeds, on_done: Callable[[int], None]
    ) -> PosteriorDraws:
        """`count` independent draws for each observation of a batch, with their densities.

        truth    (observation, output)
        on_done  takes how many observations of the batch are done
        """
        posterior = self.model.posterior(batch.samples)
        with torch.no_grad():
            draws = posterior.draws(count, seeds.torch(self.device, PURPOSE, "draws", batch.number))
            values = draws.transpose(0, 1).double().cpu().numpy()
            made = PosteriorDraws(tuple(self.names), values, np.full(len(truth), float(count)))
            if not self.model.recalibrated:  # else their densities are not known
                of_truth = posterior.log_prob(torch.from_numpy(truth).to(draws))
                density = posterior.log_prob(draws)
                made = replace(
                    made,
                    log_density=density.T.double().cpu().numpy(),
                    of_truth=of_truth.double().cpu().numpy(),
                )
        on_done(len(truth))
        return made


class LikelihoodPosteriors:
    """Posteriors by the likelihood of the dataset, found from the network's estimates.

    images    those that the network takes
    known     its inputs
    held_out  variables of which some intervals are the test part
    """

    together = 1000  # each batch needs the factor of a covariance, and a basis of signals

    def __init__(
        self,
        model: Ensemble,
        dataset: GeneratedDataset,
        images: Sequence[str],
        known: Collection[str],
        held_out: Sequence[str],
    ) -> None:
        self.model = model
        self.held_out = held_out
        self._likelihoods = Likelihoods(dataset, images, known)
        self.names = self._likelihoods.names

    def caution(self, part: str) -> str:
        """Why draws from a part are not from the prior, which is the whole; empty if they are."""
        if not self.held_out or part == ALL:
            return ""
        return (
            f"the draws are from the part '{part}', but the prior of the posteriors is the whole:"
            " even exact ones hold such draws more or less often than their probability says"
        )

    def draws(
        self, batch: Batch, truth: Array, count: int, seeds: Seeds, on_done: Callable[[int], None]
    ) -> PosteriorDraws:
        """`count` draws for each observation, resampled by their weights, or of chains."""
        start = {}
        for name, estimates in self.model.estimate(batch.samples).items():
            if name in self.names:
                start[name] = estimates[:, 0].double().cpu().numpy()
        samples = {name: images.cpu() for name, images in batch.samples.items()}
        seed = seeds.number(PURPOSE, "draws", batch.number)
        return posteriors(
            self._likelihoods, samples, start, count=count, seed=seed, on_observation=on_done
        )


# The statistics of these posteriors.

Ratios = Mapping[str, Any]
"""`width_ratio`: a `WidthRatio`, or `bound_ratio`: a `BoundRatio`; empty if neither is known."""


class Statistics:
    """The statistics of outputs whose true values were located in their posteriors."""

    def __init__(self, names: Sequence[str], located: TruthPositions, prior: Prior) -> None:
        self.names = list(names)
        self.located = located
        self.prior = prior
        self.estimates = shares_below(prior, located.quantiles[:, :, MEDIAN])
        """(observation, output), share of the prior below the posterior median."""
        self.truth = shares_below(prior, located.truth)

    @cached_property
    def ranks(self) -> list[metrics.Uniformity]:
        """Of each output."""
        return [metrics.uniformity(column) for column in self.located.positions.T]

    @cached_property
    def local(self) -> list[Local]:
        """In cells of an output's estimates and of those that its coverage depends on most."""
        local = []
        outputs = range(len(self.names))
        for output in outputs:
            covered = self.central(output) <= results.INTERVAL
            trends = {}
            for other in outputs:
                if other != output:
                    trends[other] = metrics.trend(covered, self.estimates[:, [output, other]])
            axes = [output]
            if trends:
                axes = sorted([output, min(trends, key=trends.__getitem__)])
            number = metrics.cells_along(len(covered), len(axes), results.INTERVAL)
            by_estimates = metrics.cells(covered, self.estimates[:, axes], number, results.INTERVAL)
            by_truth = metrics.cells(covered, self.truth[:, axes], number, results.INTERVAL)
            local.append(
                Local(axes, by_estimates, by_truth, metrics.trend(covered, self.estimates))
            )
        return local

    @cached_property
    def regions(self) -> dict[str, metrics.Uniformity]:
        """`balls`, and `density` where densities are known."""
        levels = {"density": self.located.density, "balls": self.located.balls}
        return {name: metrics.uniformity(region) for name, region in levels.items() if len(region)}

    def central(self, output: int) -> Array:
        """The probability in an output's smallest central interval that holds the truth."""
        return metrics.central_levels(self.located.positions[:, output])

    def output(self, output: int, unit: str, ratios: Ratios) -> results.OutputCalibration:
        """What is recorded of an output, with the ratios of its widths."""
        positions = self.located.positions[:, output]
        quantiles = self.located.quantiles[:, output]
        return results.OutputCalibration(
            unit=unit,
            p_value=self.ranks[output].p_value,
            mean_position=float(positions.mean()),
            spread=float(12 * np.square(positions - 0.5).mean()),
            width=float(np.median(quantiles[:, HIGH] - quantiles[:, LOW])),
            coverage=_shares(self.central(output)),
            local=self._coverage(self.local[output]),
            **ratios,
        )

    def recorded(self, region: str) -> results.Regions | None:
        """What is recorded of regions of all outputs, `balls` or `density`, where it is known."""
        if region not in self.regions:
            return None
        shares = _shares(getattr(self.located, region))
        return results.Regions(p_value=self.regions[region].p_value, coverage=shares)

    def _coverage(self, local: Local) -> results.LocalCoverage:
        wrong = local.by_estimates.wrong
        shares = local.by_estimates.share
        enough = bool(np.isfinite(shares).any())
        return results.LocalCoverage(
            axes=tuple(self.names[output] for output in local.axes),
            cells=int(np.sum(~local.by_estimates.few)),
            narrow=int(np.sum(wrong < 0)),
            wide=int(np.sum(wrong > 0)),
            p_value=local.trend,
            fewest=self._cell(local, int(np.nanargmin(shares))) if enough else None,
            most=self._cell(local, int(np.nanargmax(shares))) if enough else None,
        )

    def _cell(self, local: Local, number: int) -> results.CellShare:
        """A cell by its number among all, in rows."""
        by_estimates = local.by_estimates
        cell = np.unravel_index(number, by_estimates.count.shape)
        ends = {}
        for output, index, size in zip(local.axes, cell, by_estimates.count.shape, strict=True):
            low, high = values_above(self.prior, output, np.array([index, index + 1]) / size)
            ends[self.names[output]] = float(low), float(high)
        share = float(by_estimates.share[cell])
        observations = int(by_estimates.count[cell])
        return results.CellShare(share=share, observations=observations, between=ends)


@dataclass(frozen=True)
class Local:
    """The coverage of an output's intervals in cells.

    axes          numbers of the outputs whose estimates, or true values, are the axes of the cells
    by_estimates  calibrated intervals hold their share in every cell
    by_truth      calibrated intervals do not: fewer at the ends of the prior
    trend         p-value of the hypothesis that it does not depend on the estimates
    """

    axes: list[int]
    by_estimates: metrics.Cells
    by_truth: metrics.Cells
    trend: float


def _shares(levels: Array) -> tuple[results.CoverageShare, ...]:
    return tuple(results.CoverageShare(**vars(share)) for share in metrics.coverages(levels))


# Posteriors beside the exact ones of the same observations: their widths, and whether draws can be
# distinguished.


class Reference:
    """Widths of the intervals of the first observations, beside those that are right.

    names  outputs, in the order of the draws
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._widths: list[Array] = []
        self._right: list[Array] = []

    def _ratios(self, seeds: Seeds, purpose: str) -> list[metrics.RelativeWidth]:
        """Of the widths of each output to the right ones."""
        each = zip(np.concatenate(self._widths).T, np.concatenate(self._right).T, strict=True)
        ratios = []
        for name, (widths, right) in zip(self.names, each, strict=True):
            ratios.append(
                metrics.relative_width(widths, right, seeds.numpy(PURPOSE, purpose, name))
            )
        return ratios


class ExactReference(Reference):
    """Comparison of the first observations with their exact posteriors.

    images  that the network takes
    known   its other inputs
    count   observations that are compared
    Raises QexpError if the exact posteriors cannot be integrated.
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        names: Sequence[str],
        images: Sequence[str],
        known: Collection[str],
        count: int,
    ) -> None:
        super().__init__(names)
        self.count = count
        self._likelihoods = exact_likelihoods(dataset, images, known)
        unknown = self._likelihoods.names
        if len(unknown) > integration.MOST_UNKNOWNS:
            raise QexpError(
                f"`exact`: {len(unknown)} variables vary ({', '.join(unknown)}), but posteriors are"
                f" integrated over {integration.MOST_UNKNOWNS} at most; put the others into 'fixed'"
                " in a copy of the dataset"
            )
        self.accuracies: list[float] = []

    def add(self, batch: Batch, draws: PosteriorDraws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a batch, as far as they are among those to compare."""
        values = draws.values[: max(self.count - batch.start, 0)]
        if not len(values):
            return
        samples = {name: images[: len(values)].cpu() for name, images in batch.samples.items()}
        exact = np.empty_like(values)
        random = seeds.numpy(PURPOSE, "exact", batch.number)
        for posterior in approximated(self._likelihoods, samples, random):
            grid = integration.grid_of(posterior.density, posterior.proposal)
            exact[posterior.observation] = posterior.values(
                grid.draws(values.shape[1], random), self.names
            )
        self._widths.append(_widths(values))
        self._right.append(_widths(exact))
        for observation, pair in enumerate(zip(exact, values, strict=True)):
            # In scores of the prior: equal distributions stay equal, and heavy tails do not hide
            # the rest.
            first, second = map(prior.scores, pair)
            self.accuracies.append(metrics.distinguished(first, second, batch.start + observation))

    def ratios(self, seeds: Seeds) -> list[Ratios]:
        """Of each output."""
        ratios: list[Ratios] = []
        for ratio in self._ratios(seeds, "widths"):
            ratios.append(
                {"width_ratio": results.WidthRatio(median=ratio.median, interval=ratio.interval)}
            )
        return ratios

    def recorded(self) -> results.ExactComparison:
        """The accuracy of the classifier, over observations."""
        accuracies = np.array(self.accuracies)
        error = accuracies.std(ddof=1) / np.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
        return results.ExactComparison(
            observations=len(accuracies),
            classifier=metrics.CLASSIFIER,
            accuracy=float(accuracies.mean()),
            standard_error=float(error),
            largest=float(accuracies.max()),
        )


def _widths(draws: Array) -> Array:
    """(observation, output)"""
    columns = [
        metrics.widths(draws[:, :, output], results.INTERVAL) for output in range(draws.shape[2])
    ]
    return np.stack(columns, axis=1)


# Widths of intervals beside the Cramér–Rao bound, where exact posteriors are not computed.

MOST_OBSERVATIONS = 200
"""Observations whose bounds are computed."""

MOST_FACTORED = 30
"""Observations of a batch whose bounds are computed, if each has a covariance of its own."""

DEVIATIONS = 2 * norm.ppf((1 + results.INTERVAL) / 2)
"""Width of the interval of a normal density, in its standard deviations: 3.29 of 90 %."""


class BoundReference(Reference):
    """Comparison of the first observations with the bounds at their true values.

    The bound is that of all parameters of the sources that vary and are no inputs of the network.
    It is the width of posteriors where the signal is strong: it is asymptotic, and knows no prior.
    Observations with a signal-to-noise ratio below `WELL_ABOVE` are left out.

    known  the network's inputs
    """

    def __init__(
        self, dataset: GeneratedDataset, names: Sequence[str], known: Collection[str]
    ) -> None:
        super().__init__(names)
        self.compared = 0
        self._likelihood: Refinement | None = None
        generator = dataset.generator
        if not isinstance(generator, DeformationImages):
            return
        columns = {name for source in generator.sources for name in source.columns}
        self._unknown = [name for name in dataset.test if name in columns and name not in known]
        self._given = [name for name in dataset.test if name not in self._unknown]
        # such as a noise level, which has no place in this bound
        if set(names) - set(self._unknown):
            return
        axes = [MatrixAxis(name, 0.0, 1.0, 1) for name in self._given]
        with suppress(QexpError):  # noise without a known likelihood: then there is no bound
            self._likelihood = Refinement(dataset, axes, dataset.fixed, self._unknown)

    def add(self, batch: Batch, draws: PosteriorDraws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a batch, as far as they are among the first."""
        count = min(max(MOST_OBSERVATIONS - batch.start, 0), len(draws.values))
        if not count or self._likelihood is None:
            return
        if not {*self._given, *self._unknown} <= {*batch.values}:
            return
        try:
            bounds = self._bounds_of(self._likelihood, batch, count)
        except QexpError:  # a covariance that cannot be factored
            self._likelihood = None
            return
        self.compared += len(bounds.signal)
        of_outputs = np.stack([bounds.deviations[name] for name in self.names], axis=1)
        clear = (bounds.signal >= results.WELL_ABOVE) & np.isfinite(of_outputs).all(axis=1)
        self._widths.append(_widths(draws.values[: len(bounds.signal)])[clear])
        self._right.append(DEVIATIONS * of_outputs[clear])

    def _bounds_of(self, likelihood: Refinement, batch: Batch, count: int) -> Bounds:
        """Of the first observations of a batch."""
        samples = {name: images[:count].cpu() for name, images in batch.samples.items()}
        given = {name: batch.values[name][:count] for name in self._given}
        truth = {name: batch.values[name][:count] for name in self._unknown}
        factored = [*likelihood.alike(samples, given)] if count > MOST_FACTORED else []
        if len(factored) > MOST_FACTORED:
            return self._bounds_of(likelihood, batch, MOST_FACTORED)
        return bounds_of_samples(likelihood, samples, given, truth)

    def ratios(self, seeds: Seeds) -> list[Ratios]:
        """Of each output; empty without an observation to compare."""
        if self._likelihood is None or not sum(map(len, self._widths)):
            return [{} for _ in self.names]
        ratios: list[Ratios] = []
        for ratio in self._ratios(seeds, "bounds"):
            bound = results.BoundRatio(
                median=ratio.median,
                interval=ratio.interval,
                observations=ratio.count,
                of=self.compared,
            )
            ratios.append({"bound_ratio": bound})
        return ratios


# `calibration.nc`: what the figures of a calibration are drawn from, and every observation's own
# numbers.

OBSERVATION, QUANTILE, POINT = "observation", "quantile", "point"


def number_table(
    statistics: Statistics, quantities: Quantities, attributes: Mapping[str, Any]
) -> xarray.Dataset:
    """True values, positions and quantiles of observations; distribution functions; cells."""
    import xarray

    located = statistics.located
    variables: dict[str, Any] = {"ball_level": (OBSERVATION, located.balls, {"long_name": _BALLS})}
    if len(located.density):
        variables["density_level"] = (OBSERVATION, located.density, {"long_name": _DENSITY})
    for output, name in enumerate(statistics.names):
        described = quantity(name, quantities)
        in_unit = {"units": described.unit, "long_name": described.description}
        quantiles = located.quantiles[:, output]
        positions = located.positions[:, output]
        variables[name] = (OBSERVATION, located.truth[:, output], in_unit)
        variables[f"{name}_quantile"] = ((OBSERVATION, QUANTILE), quantiles, in_unit)
        variables[f"{name}_position"] = (OBSERVATION, positions, {"long_name": _POSITION})
        variables |= _distribution(f"{name}_position", statistics.ranks[output])
        variables |= _distribution(f"{name}_level", metrics.uniformity(statistics.central(output)))
        variables |= _cells(name, statistics, statistics.local[output])
    for region, levels in statistics.regions.items():
        variables |= _distribution(f"{'ball' if region == 'balls' else region}_level", levels)
    band = statistics.ranks[0]
    variables |= {"lower": (POINT, band.lower), "upper": (POINT, band.upper)}
    coordinates = {QUANTILE: list(QUANTILES), POINT: band.points}
    return xarray.Dataset(
        variables,
        coordinates,
        {**attributes, "interval": results.INTERVAL, "outputs": statistics.names},
    )


_POSITION = (
    "share of the posterior's draws below the true value; uniform if the posteriors are right"
)
_DENSITY = (
    "posterior probability of the smallest region that holds the true values; uniform if the"
    " posteriors are right"
)
_BALLS = (
    "posterior probability of the ball around a random point that reaches to the true values;"
    " likewise"
)


def _distribution(name: str, levels: metrics.Uniformity) -> dict[str, Any]:
    words = f"share of observations with {name} of at most each point"
    return {f"{name}_share": (POINT, levels.share, {"long_name": words})}


def _cells(name: str, statistics: Statistics, local: Local) -> dict[str, Any]:
    """Observations in cells, those whose interval holds the truth, and where that is no chance."""
    axes = [statistics.names[output] for output in local.axes]
    dims = [f"{name}_cell_{axis}" for axis in axes]
    variables: dict[str, Any] = {}
    for words, in_cells in (("estimate", local.by_estimates), ("truth", local.by_truth)):
        variables[f"{name}_{words}_count"] = (dims, in_cells.count, {"axes": axes})
        variables[f"{name}_{words}_inside"] = (dims, in_cells.inside)
        variables[f"{name}_{words}_wrong"] = (dims, in_cells.wrong)
    for output, axis, dim in zip(local.axes, axes, dims, strict=True):
        shares = np.linspace(0, 1, local.by_estimates.count.shape[0] + 1)
        edges = values_above(statistics.prior, output, shares)
        about = {"long_name": f"edges of the cells of {axis}"}
        variables[f"{dim}_edge"] = (f"{dim}_edge_number", edges, about)
    return variables


def _prior_of(names: Sequence[str], dataset: GeneratedDataset) -> Prior:
    """The prior of variables in the dataset. Raises QexpError for one that does not vary there."""
    fixed = [name for name in names if name not in dataset.test]
    if fixed:
        raise QexpError(
            f"'{fixed[0]}' does not vary in the dataset, so that its posterior cannot be tested"
        )
    return Prior(names, [of_training(name, dataset.distributions[name], 1.0) for name in names], {})


def calibrate(
    directory: RunDirectory, workspace: Workspace, options: CalibrateOptions
) -> results.Calibration:
    """Test the posteriors of a run on simulated observations, and keep what is seen in the run.

    Raises QexpError for a run without posteriors.
    """
    canvas.draws_at_once()  # a wrong setting is refused before anything is made
    spec = directory.training_spec()
    tables = tables_of(directory)
    device = device_of(options.device)
    if intervals_of(directory) is not None:
        raise QexpError(
            f"{directory.name} has intervals from held-out errors, not posteriors; how many"
            f" held-out true values these cover: qexp show {directory.name}"
        )
    _leave_out_classes(directory, spec)
    dataset = generated_of(spec["dataset"], tables, workspace)
    model = _model(directory, dataset, options)
    known = spec["inputs"]
    images = [name for name in dataset.images if name in known]
    held_out = [name for name, ranges in dataset.held_out.items() if ranges]
    posteriors: HeadPosteriors | LikelihoodPosteriors = (
        LikelihoodPosteriors(model, dataset, images, known, held_out)
        if options.refined
        else HeadPosteriors(model, held_out, device)
    )
    reference: ExactReference | BoundReference = (
        ExactReference(dataset, posteriors.names, images, known, options.exact)
        if options.exact
        else BoundReference(dataset, posteriors.names, known)
    )
    seeds = Seeds(options.seed)
    located = list[TruthPositions]()
    doubted = 0
    of_network = posteriors.caution, posteriors.together
    tested = asked(directory, dataset, workspace, options, *of_network, seeds, device)
    if tested.count < LEAST_OBSERVATIONS:
        raise QexpError(
            f"{directory.name} has {tested.count} test samples; fewer than {LEAST_OBSERVATIONS}"
            " could show no fault: make more simulations, or give fresh ones: `theta` and"
            " `observed`"
        )
    options = replace(options, observations=tested.count)
    with threads(threads_to_predict(spec, tables, device)):
        prior = _prior_of(posteriors.names, dataset)
        for batch in tested.batches:
            truth = np.stack([batch.values[name] for name in posteriors.names], axis=1)

            def on_done(done: int, start: int = batch.start) -> None:
                options.on_observation(start + done, options.observations)

            draws = posteriors.draws(batch, truth, options.draws, seeds, on_done)
            random = seeds.numpy(PURPOSE, "positions", batch.number)
            located.append(locate(truth, draws, prior, random))
            doubted += len(draws.doubts)
            reference.add(batch, draws, prior, seeds)
        statistics = Statistics(posteriors.names, concatenate(located), prior)
    calibration = _calibration(statistics, dataset.quantities, tested, options, reference, doubted)
    about = {"run": directory.name, "created": calibration.created}
    table = number_table(statistics, dataset.quantities, about)
    table = table.assign({results.RECORD: formats.json_bytes(calibration.document()).decode()})
    results.keep_calibration(directory, calibration, bytes(table.to_netcdf(engine="h5netcdf")))
    if canvas.draws_at_once():
        folder = directory.results if len(directory.members) > 1 else None
        figures.draw(directory, only=tuple(CALIBRATION_FIGURES), left_out=options.warn, to=folder)
    return calibration


def _leave_out_classes(directory: RunDirectory, spec: Mapping[str, Any]) -> None:
    classes = classes_of(spec)
    shown = f"whether probabilities of classes are right: qexp show {directory.name}"
    if len(classes) == len(spec["outputs"]):
        raise QexpError(
            f"{directory.name} estimates no number that could have a posterior; {shown}"
        )
    for name in classes:
        as_warning(f"'{name}' is left out, as only numbers have posteriors; {shown}")


def _model(
    directory: RunDirectory, dataset: GeneratedDataset, options: CalibrateOptions
) -> Ensemble:
    """The networks that are tested. Raises QexpError for what they were recalibrated by."""
    model = Ensemble(load_models(directory, device_of(options.device)))
    if options.recalibrated is None:
        return model
    wider = recalibrated(model, directory, dataset, options.recalibrated)
    if options.theta is not None or options.dataset is not None:
        return wider
    if not dataset.simulates:
        raise QexpError(
            "`recalibrated`: the test part or given simulations made the factors, and the test part"
            " is not tried with them; give simulations that did not: `dataset`, or `theta` and"
            " `observed`"
        )
    if wider.kept.seed == options.seed:
        raise QexpError(
            f"`seed={options.seed}`: these observations made the factors; give another seed"
        )
    return wider


def _calibration(
    statistics: Statistics,
    quantities: Quantities,
    tested: Asked,
    options: CalibrateOptions,
    reference: ExactReference | BoundReference,
    doubted: int,
) -> results.Calibration:
    noticed = metrics.power(options.observations)
    balls = statistics.recorded("balls")
    assert balls is not None
    ratios = reference.ratios(Seeds(options.seed))
    outputs = {}
    for output, name in enumerate(statistics.names):
        outputs[name] = statistics.output(output, quantity(name, quantities).unit, ratios[output])
    calibration = results.Calibration(
        dataset=tested.dataset,
        refined=options.refined,
        recalibrated=options.recalibrated or "",
        part=tested.part,
        seed=options.seed,
        observations=options.observations,
        draws=options.draws,
        caution=tested.caution,
        doubted=doubted,
        created=now(),
        notices_narrow=noticed.narrow,
        notices_shift=noticed.shift if np.isfinite(noticed.shift) else None,
        outputs=outputs,
        density=statistics.recorded("density"),
        balls=balls,
        exact=reference.recorded() if isinstance(reference, ExactReference) else None,
    )
    return results.with_verdict(calibration)
