"""Posteriors from a fixed number of simulations: by `qexp.posterior`, and by the neural posterior
estimation of sbi.

Run: python -m benchmarks sbi, or python -m benchmarks.sbi [--tasks two_moons] [--sizes 2000]
[--seeds 1] for a part. Needs sbi, which nothing else of qexp does: pip install sbi

Gaussian linear, two moons and SLCP (T.1, T.8 and T.3 of Lueckmann et al. 2021, Benchmarking
simulation-based inference, AISTATS), and seven others: counts and amplitudes over decades, a normal
distribution of either of two scales, a banana, unknown signs, a logistic regression, and heavy
tails. Both get the same simulations, their defaults and one thread; a classifier compares draws of
each with those of the exact posterior (C2ST), and it is counted how often intervals hold the truth.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from numpy.typing import NDArray

import qexp
from qexp.base.workspace import VARIABLE
from qexp.metrics.calibration import distinguished

Array = NDArray[np.float64]

DRAWS, FEWER = 1000, 200
"""Of a posterior that is compared, and of one of whose intervals it is asked whether they hold the
truth.
"""

OBSERVATIONS, FRESH = 3, 300
"""Observations whose exact posterior is compared, and those of which intervals hold the truth or
not.
"""

INTERVALS = {0.5: 0.06, 0.9: 0.04}
"""Probability → by how much the share of fresh draws of the prior in such intervals may differ from
it.
"""

SIZES = (2000, 20_000)

SEEDS = (0, 1, 2)

MOST_WORSE = 0.02
"""By which the accuracy of the classifier may be higher for qexp."""

MOST_TIME = 0.5
"""Of the processor time that sbi takes, which other processes change less than the clock's."""


@dataclass(frozen=True)
class Task:
    """A simulator whose posterior is known.

    prior     of each parameter
    simulate  parameters (simulation, parameter) and random numbers → observations (simulation,
              value)
    exact     observation (value,), count and random numbers → draws of its posterior (draw,
              parameter)
    """

    prior: Sequence[scipy.stats.distributions.rv_frozen]
    simulate: Callable[[Array, np.random.Generator], Array]
    exact: Callable[[Array, int, np.random.Generator], Array]

    def drawn(self, count: int, random: np.random.Generator) -> tuple[Array, Array]:
        """Parameters (simulation, parameter) of the prior, and observations (simulation, value)."""
        theta = np.stack([of.rvs(count, random_state=random) for of in self.prior], axis=1)
        return theta, self.simulate(theta, random)


# Gaussian linear: the mean of a normal distribution of known variance.

VARIANCE = 0.1


def _gaussian_linear(theta: Array, random: np.random.Generator) -> Array:
    return random.normal(theta, math.sqrt(VARIANCE))


def _exact_gaussian_linear(x: Array, count: int, random: np.random.Generator) -> Array:
    return random.normal(x / 2, math.sqrt(VARIANCE / 2), (count, len(x)))


# Two moons: a crescent, moved by the absolute value of a sum.


def _crescents(count: int, random: np.random.Generator) -> Array:
    angle = random.uniform(-math.pi / 2, math.pi / 2, count)
    radius = random.normal(0.1, 0.01, count)
    return np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], axis=1)


def _two_moons(theta: Array, random: np.random.Generator) -> Array:
    first, second = theta.T
    moved = np.stack([-np.abs(first + second), second - first], axis=1) / math.sqrt(2)
    return _crescents(len(theta), random) + moved


def _exact_two_moons(x: Array, count: int, random: np.random.Generator) -> Array:
    """Points of the crescent, moved back by either of the two sums that they can come from; all
    moves are as likely.
    """
    kept = np.zeros((0, 2))
    while len(kept) < count:
        moved = (x - _crescents(4 * count, random)) * math.sqrt(2)
        total = np.where(random.random(len(moved)) < 0.5, moved[:, 0], -moved[:, 0])
        theta = np.stack([total - moved[:, 1], total + moved[:, 1]], axis=1) / 2
        inside = (moved[:, 0] <= 0) & (np.abs(theta) <= 1).all(axis=1)
        kept = np.concatenate([kept, theta[inside]])
    return kept[:count]


# SLCP, simple likelihood and complex posterior: four points of a normal distribution in the plane,
# whose standard deviations are squares of parameters.

POINTS = 4

PROPOSED = 100_000
"""Covariances, of which draws are chosen by their weights."""


def _slcp(theta: Array, random: np.random.Generator) -> Array:
    (s1, s2), correlation = theta[:, 2:4].T ** 2, np.tanh(theta[:, 4])
    normal = random.normal(size=(len(theta), POINTS, 2))
    first = s1[:, None] * normal[..., 0]
    second = (
        correlation[:, None] * normal[..., 0]
        + np.sqrt(1 - correlation**2)[:, None] * normal[..., 1]
    )
    return (theta[:, None, :2] + np.stack([first, s2[:, None] * second], axis=-1)).reshape(
        len(theta), -1
    )


def _exact_slcp(x: Array, count: int, random: np.random.Generator) -> Array:
    """Given the covariance S of the distribution, its mean is normal around that of the points,
    with covariance S/4, if the prior's bounds are left aside. The likelihood of S alone is then
    |S|^(-3/2) exp(-tr(S⁻¹A)/2), with the points' scatter A; times the prior, uniform in √s1, √s2
    and artanh ρ, it is the density of an inverse Wishart distribution with two degrees of freedom,
    times (s1 s2)^(-1/2). So S is drawn from that distribution and chosen by that weight, the mean
    is drawn given S, and what lies outside the bounds is left out. Four modes: signs make no
    difference.
    """
    points = x.reshape(POINTS, 2)
    scatter = (points - points.mean(axis=0)).T @ (points - points.mean(axis=0))
    kept = np.zeros((0, 5))
    while len(kept) < count:
        covariance = scipy.stats.invwishart(2, scatter).rvs(PROPOSED, random_state=random)
        s1, s2 = np.sqrt(covariance[:, 0, 0]), np.sqrt(covariance[:, 1, 1])
        correlation = covariance[:, 0, 1] / (s1 * s2)
        weight = (s1 * s2) ** -0.5
        chosen = random.choice(PROPOSED, PROPOSED // 5, p=weight / weight.sum())
        normal = random.normal(size=(2, len(chosen))) / math.sqrt(POINTS)
        s1, s2, correlation = s1[chosen], s2[chosen], correlation[chosen]
        first = s1 * normal[0]
        second = s2 * (correlation * normal[0] + np.sqrt(1 - correlation**2) * normal[1])
        signs = random.choice([-1.0, 1.0], (2, len(chosen)))
        means = points.mean(axis=0)[:, None] + np.stack([first, second])
        theta = np.stack([*means, *signs * np.sqrt([s1, s2]), np.arctanh(correlation)], axis=1)
        kept = np.concatenate([kept, theta[(np.abs(theta) <= 3).all(axis=1)]])
    return kept[:count]


# Parameters whose likelihood is known, and posterior a table.

NODES, NARROWINGS, LEAST_SHARE = 200, 5, 1e-7
"""Of the grid along each parameter; how often it closes in, on where this share of the posterior is
in a row.
"""


def _exact_on_grid(
    prior: Sequence[Any], log_likelihood: Callable[[Array, Array], Array]
) -> Callable[[Array, int, np.random.Generator], Array]:
    """As `Task.exact`, for one or two parameters; cells are even in shares of the prior, whose
    density is then 1.

    log_likelihood  parameters (point, parameter) and an observation (value,) → (point,)
    """

    def values(shares: Array) -> Array:
        return np.stack(
            [one.ppf(column) for one, column in zip(prior, shares.T, strict=True)], axis=1
        )

    def exact(x: Array, count: int, random: np.random.Generator) -> Array:
        low, size = np.zeros(len(prior)), np.full(len(prior), 1 / NODES)
        for narrowing in range(NARROWINGS):
            cells = np.stack(np.meshgrid(*[np.arange(NODES)] * len(prior), indexing="ij"), axis=-1)
            log = log_likelihood(values((low + (cells + 0.5) * size).reshape(-1, len(prior))), x)
            weight = np.exp(log - log.max()).reshape(cells.shape[:-1])
            weight /= weight.sum()
            if narrowing == NARROWINGS - 1:
                break
            for axis in range(len(prior)):
                margin = weight.sum(axis=tuple({*range(len(prior))} - {axis}))
                kept = np.flatnonzero(margin > LEAST_SHARE)
                first, last = max(kept[0] - 1, 0), min(kept[-1] + 1, NODES - 1)
                low[axis] += first * size[axis]
                size[axis] *= (last + 1 - first) / NODES
        chosen = cells.reshape(-1, len(prior))[random.choice(weight.size, count, p=weight.ravel())]
        return values(low + (chosen + random.random(chosen.shape)) * size)

    return exact


RATES = np.array([1.0, 0.5, 2.0])


def _counts(theta: Array, random: np.random.Generator) -> Array:
    return random.poisson(np.exp(theta) * RATES).astype(float)


def _of_counts(theta: Array, x: Array) -> Array:
    return theta[:, 0] * x.sum() - np.exp(theta[:, 0]) * RATES.sum()


DISTANCES = np.geomspace(0.3, 10, 10)


def _decay(theta: Array) -> Array:
    """Logarithm of a point source's uplift above it and at distances, by its depth, (simulation,
    value).
    """
    return np.log(theta[:, :1]) - 1.5 * np.log1p((DISTANCES / theta[:, 1:]) ** 2)


def _amplitudes(theta: Array, random: np.random.Generator) -> Array:
    return np.exp(_decay(theta) + 0.05 * random.normal(size=(len(theta), len(DISTANCES))))


def _of_amplitudes(theta: Array, x: Array) -> Array:
    return scipy.stats.norm.logpdf(np.log(x), _decay(theta), 0.05).sum(axis=1)


def _two_scales(theta: Array, random: np.random.Generator) -> Array:
    return random.normal(theta, np.where(random.random((len(theta), 1)) < 0.5, 1.0, 0.1))


def _of_two_scales(theta: Array, x: Array) -> Array:
    of_each = [scipy.stats.norm.logpdf(x, theta, scale).sum(axis=1) for scale in (1.0, 0.1)]
    return np.logaddexp(*of_each)


def _bent(theta: Array) -> Array:
    return np.stack([theta[:, 1] + theta[:, 0] ** 2, theta[:, 0]], axis=1)


BANANA = np.array([0.1, 0.8])


def _squares(theta: Array) -> Array:
    return np.stack([theta[:, 0] ** 2, theta[:, 0] * theta[:, 1], theta[:, 1] ** 2], axis=1)


def _with_noise(
    mean: Callable[[Array], Array], deviation: Any
) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """A simulator with normal noise, and its log-likelihood."""
    return (
        lambda theta, random: random.normal(mean(theta), deviation),
        lambda theta, x: scipy.stats.norm.logpdf(x, mean(theta), deviation).sum(axis=1),
    )


FREEDOM = 1.5


def _heavy_tails(theta: Array, random: np.random.Generator) -> Array:
    return theta[:, :1] + np.exp(theta[:, 1:]) * random.standard_t(FREEDOM, size=(len(theta), 8))


def _of_heavy_tails(theta: Array, x: Array) -> Array:
    return scipy.stats.t.logpdf(x, FREEDOM, theta[:, :1], np.exp(theta[:, 1:])).sum(axis=1)


def _on_grid(
    prior: Sequence[Any], simulate: Callable[..., Array], log_likelihood: Callable[..., Array]
) -> Task:
    return Task(prior, simulate, _exact_on_grid(prior, log_likelihood))


# A logistic regression, of which the sum of the rows with a success is all that matters.

ROWS = np.random.default_rng(7).normal(size=(40, 5))

DEVIATION = 1.4
"""Of the prior."""


def _logistic(theta: Array, random: np.random.Generator) -> Array:
    return (random.random((len(theta), len(ROWS))) < scipy.special.expit(theta @ ROWS.T)) @ ROWS


def _exact_logistic(x: Array, count: int, random: np.random.Generator) -> Array:
    """Draws of a wider t distribution around the mode, chosen by their weights."""

    def log_posterior(theta: Array) -> Array:
        of_prior = -0.5 * (theta**2).sum(axis=-1) / DEVIATION**2
        return theta @ x - np.logaddexp(0, theta @ ROWS.T).sum(axis=-1) + of_prior

    mode = scipy.optimize.minimize(lambda theta: -log_posterior(theta), np.zeros(ROWS.shape[1])).x
    success = scipy.special.expit(ROWS @ mode)
    precision = (ROWS.T * (success * (1 - success))) @ ROWS + np.eye(len(mode)) / DEVIATION**2
    proposal = scipy.stats.multivariate_t(mode, 1.3 * np.linalg.inv(precision), df=5)
    theta = proposal.rvs(PROPOSED, random_state=random)
    log = log_posterior(theta) - proposal.logpdf(theta)
    weight = np.exp(log - log.max())
    return theta[random.choice(PROPOSED, count, p=weight / weight.sum())]


IN_BOX = [scipy.stats.uniform(-2, 4)] * 2

TASKS = {
    "gaussian_linear": Task(
        [scipy.stats.norm(0, math.sqrt(VARIANCE))] * 10, _gaussian_linear, _exact_gaussian_linear
    ),
    "two_moons": Task([scipy.stats.uniform(-1, 2)] * 2, _two_moons, _exact_two_moons),
    "slcp": Task([scipy.stats.uniform(-3, 6)] * 5, _slcp, _exact_slcp),
    "counts": _on_grid([scipy.stats.norm(0, 3)], _counts, _of_counts),
    "amplitudes": _on_grid(
        [scipy.stats.loguniform(1e-3, 1e3), scipy.stats.uniform(0.5, 3)],
        _amplitudes,
        _of_amplitudes,
    ),
    "two_scales": _on_grid([scipy.stats.uniform(-10, 20)] * 2, _two_scales, _of_two_scales),
    "banana": _on_grid([IN_BOX[0], scipy.stats.norm(0, 1)], *_with_noise(_bent, BANANA)),
    "signs": _on_grid(IN_BOX, *_with_noise(_squares, 0.2)),
    "logistic": Task([scipy.stats.norm(0, DEVIATION)] * ROWS.shape[1], _logistic, _exact_logistic),
    "heavy_tails": _on_grid(
        [scipy.stats.norm(0, 2), scipy.stats.norm(0, 0.5)], _heavy_tails, _of_heavy_tails
    ),
}


# Side by side.


@dataclass(frozen=True)
class Trained:
    """What a network learned.

    accuracies         of the classifier, by observation: 0.5 if the draws are those of the exact
                       posterior
    widths             of 90 % intervals, relative to the exact ones: the median over observations
                       and parameters
    held               probability → parameter → the share of such intervals of fresh observations
                       with the truth
    seconds            of training
    processor_seconds  of training with all around it: checks, the test part, figures
    """

    accuracies: list[float]
    widths: float
    held: dict[float, list[float]]
    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Compared:
    """Both on the same simulations of a task."""

    task: str
    simulations: int
    seed: int
    ours: Trained
    other: Trained


@dataclass(frozen=True)
class Row:
    """Medians over seeds, and over seeds and observations."""

    task: str
    simulations: int
    ours: float
    other: float
    ratio: float
    """Of the seconds of training."""
    processor_ratio: float
    """Of the processor time with all around it."""

    width: float
    other_width: float
    held: dict[float, list[float]]
    """By the first seed."""
    other_held: dict[float, list[float]]

    @property
    def holds(self) -> bool:
        right = all(
            abs(share - of) <= INTERVALS[of] for of, shares in self.held.items() for share in shares
        )
        return right and self.ours <= self.other + MOST_WORSE and self.processor_ratio <= MOST_TIME


def row(compared: Sequence[Compared]) -> Row:
    """The medians over the seeds of a task and a number of simulations."""
    first = compared[0]
    return Row(
        first.task,
        first.simulations,
        median(accuracy for one in compared for accuracy in one.ours.accuracies),
        median(accuracy for one in compared for accuracy in one.other.accuracies),
        median(one.ours.seconds / one.other.seconds for one in compared),
        median(one.ours.processor_seconds / one.other.processor_seconds for one in compared),
        median(one.ours.widths for one in compared),
        median(one.other.widths for one in compared),
        first.ours.held,
        first.other.held,
    )


@dataclass(frozen=True)
class Seen:
    """What posteriors are asked for: observations, of the first of which the exact posteriors are
    known.
    """

    truth: Array
    observed: Array
    exact: Sequence[Array]

    def judged(
        self, posterior: Callable[[Array, int], Array], seconds: float, busy: float
    ) -> Trained:
        """By observations and a count → draws (observation, draw, parameter), and by the time that
        training took.
        """
        draws = posterior(self.observed[:OBSERVATIONS], DRAWS)
        accuracies = [
            distinguished(exact, of, 0) for exact, of in zip(self.exact, draws, strict=True)
        ]
        ranges = [
            np.ptp(np.quantile(of, [0.05, 0.95], axis=-2), axis=0) for of in (draws, self.exact)
        ]
        below = posterior(self.observed, FEWER) < self.truth[:, None]
        levels = np.abs(below.mean(axis=1) - 0.5)
        held = {
            probability: (levels <= probability / 2).mean(axis=0).tolist()
            for probability in INTERVALS
        }
        return Trained(accuracies, float(np.median(ranges[0] / ranges[1])), held, seconds, busy)


def measure(
    tasks: Sequence[str] = tuple(TASKS), sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS
) -> Iterator[Compared]:
    """Raises SystemExit if sbi is missing."""
    if importlib.util.find_spec("sbi") is None:
        sys.exit("this benchmark needs sbi, which nothing else of qexp does: pip install sbi")
    torch.set_num_threads(1)
    for name in tasks:
        task = TASKS[name]
        truth, observed = task.drawn(FRESH, np.random.default_rng(1))
        exact = [task.exact(x, DRAWS, np.random.default_rng(2)) for x in observed[:OBSERVATIONS]]
        seen = Seen(truth, observed, exact)
        for size in sizes:
            theta, x = task.drawn(size, np.random.default_rng(0))
            dataset = qexp.dataset(theta, x, prior=task.prior, name=f"{name}_{size}")
            for seed in seeds:
                yield Compared(
                    name,
                    size,
                    seed,
                    _by_qexp(dataset, seed, seen),
                    _by_sbi(task, theta, x, seed, seen),
                )


def _by_qexp(dataset: str, seed: int, seen: Seen) -> Trained:
    busy = time.process_time()
    run = qexp.posterior(dataset, seed=seed, device="cpu", display=False)
    busy = time.process_time() - busy

    def posterior(observed: Array, count: int) -> Array:
        drawn = run.posterior(observed=observed, draws=count)
        return np.stack([drawn[name].values[0].T for name in run.spec["outputs"]], axis=-1)

    return seen.judged(posterior, run.record["seconds"], busy)


def _by_sbi(task: Task, theta: Array, x: Array, seed: int, seen: Seen) -> Trained:
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    torch.manual_seed(seed)
    supports = {one.support() for one in task.prior}
    prior = None
    if len(supports) == 1 and np.isfinite([*supports]).all():
        low, high = (torch.full((len(task.prior),), float(end)) for end in supports.pop())
        prior = BoxUniform(low, high)
    busy, began = time.process_time(), time.perf_counter()
    inference = NPE(prior, show_progress_bars=False)
    inference.append_simulations(torch.tensor(theta).float(), torch.tensor(x).float())
    with redirect_stdout(io.StringIO()):  # that it has converged
        estimator = inference.train()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    posterior = inference.build_posterior(estimator)

    def drawn(observed: Array, count: int) -> Array:
        x = torch.tensor(observed).float()
        if prior is not None:
            draws = posterior.sample_batched((count,), x=x, show_progress_bars=False)
        else:  # which has no ends that the network may not know
            with torch.no_grad():
                draws = estimator.sample((count,), condition=x)
        return draws.transpose(0, 1).double().numpy()

    return seen.judged(drawn, seconds, busy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIZES, help="numbers of simulations"
    )
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        qexp.init(Path(folder) / "sbi", kind="bare")
        os.environ[VARIABLE] = str(Path(folder) / "sbi")
        for one in measure(arguments.tasks, arguments.sizes, range(arguments.seeds)):
            print(in_words(one), flush=True)


def in_words(compared: Compared) -> str:
    """A line on one comparison."""
    both = [(name, getattr(compared, key)) for name, key in (("qexp", "ours"), ("sbi", "other"))]
    words = [
        f"{name} {', '.join(f'{accuracy:.3f}' for accuracy in of.accuracies)} in {of.seconds:.1f} s"
        f" ({of.processor_seconds:.1f} s of processor time with all around it), widths"
        f" {of.widths:.2f}, {shares(of.held)}"
        for name, of in both
    ]
    return (
        f"{compared.task:16s} {compared.simulations:6,} simulations, seed {compared.seed}:"
        f" {'; '.join(words)}"
    )


def shares(held: dict[float, list[float]]) -> str:
    """In words: the shares of intervals that hold the truth, of each parameter."""
    return ", ".join(
        f"{p:.0%}: {' '.join(f'{100 * of:.0f}' for of in each)}" for p, each in held.items()
    )


if __name__ == "__main__":
    main()
