"""Posteriors from a fixed number of simulations: by `qexp.posterior`, and by the neural posterior estimation of sbi.

Run: python -m benchmarks sbi, or python -m benchmarks.sbi [--tasks two_moons] [--sizes 2000] [--seeds 1] for a part.
Needs sbi, which nothing else of qexp does: pip install sbi

Gaussian linear, two moons and SLCP (T.1, T.8 and T.3 of Lueckmann et al. 2021, Benchmarking simulation-based inference,
AISTATS). Both get the same simulations, their defaults and one thread; a classifier compares draws of each with those
of the exact posterior (C2ST).
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

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray

import qexp
from qexp.base.workspace import VARIABLE
from qexp.metrics.calibration import distinguished

Array = NDArray[np.float64]

DRAWS = 1000
"""Of a posterior that is compared."""

OBSERVATIONS = 3

SIZES = (2000, 20_000)

SEEDS = (0, 1, 2)

MOST_WORSE = 0.02
"""By which the accuracy of the classifier may be higher for qexp."""

MOST_TIME = 0.5
"""Of the time in which sbi trains."""


@dataclass(frozen=True)
class Task:
    """A simulator whose posterior is known.

    prior     of each parameter
    simulate  parameters (simulation, parameter) and random numbers → observations (simulation, value)
    exact     observation (value,), count and random numbers → draws of its posterior (draw, parameter)
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
    angle, radius = random.uniform(-math.pi / 2, math.pi / 2, count), random.normal(0.1, 0.01, count)
    return np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], axis=1)


def _two_moons(theta: Array, random: np.random.Generator) -> Array:
    first, second = theta.T
    moved = np.stack([-np.abs(first + second), second - first], axis=1) / math.sqrt(2)
    return _crescents(len(theta), random) + moved


def _exact_two_moons(x: Array, count: int, random: np.random.Generator) -> Array:
    """Points of the crescent, moved back by either of the two sums that they can come from; all moves are as likely."""
    kept = np.zeros((0, 2))
    while len(kept) < count:
        moved = (x - _crescents(4 * count, random)) * math.sqrt(2)
        total = np.where(random.random(len(moved)) < 0.5, moved[:, 0], -moved[:, 0])
        theta = np.stack([total - moved[:, 1], total + moved[:, 1]], axis=1) / 2
        inside = (moved[:, 0] <= 0) & (np.abs(theta) <= 1).all(axis=1)
        kept = np.concatenate([kept, theta[inside]])
    return kept[:count]


# SLCP, simple likelihood and complex posterior: four points of a normal distribution in the plane, whose standard
# deviations are squares of parameters.

POINTS = 4

PROPOSED = 100_000
"""Covariances, of which draws are chosen by their weights."""


def _slcp(theta: Array, random: np.random.Generator) -> Array:
    (s1, s2), correlation = theta[:, 2:4].T ** 2, np.tanh(theta[:, 4])
    normal = random.normal(size=(len(theta), POINTS, 2))
    first = s1[:, None] * normal[..., 0]
    second = correlation[:, None] * normal[..., 0] + np.sqrt(1 - correlation**2)[:, None] * normal[..., 1]
    return (theta[:, None, :2] + np.stack([first, s2[:, None] * second], axis=-1)).reshape(len(theta), -1)


def _exact_slcp(x: Array, count: int, random: np.random.Generator) -> Array:
    """Given the covariance S of the distribution, its mean is normal around that of the points, with covariance S/4, if
    the prior's bounds are left aside. The likelihood of S alone is then |S|^(-3/2) exp(-tr(S⁻¹A)/2), with the points'
    scatter A; times the prior, uniform in √s1, √s2 and artanh ρ, it is the density of an inverse Wishart distribution
    with two degrees of freedom, times (s1 s2)^(-1/2). So S is drawn from that distribution and chosen by that weight,
    the mean is drawn given S, and what lies outside the bounds is left out. Four modes: signs make no difference.
    """
    points = x.reshape(POINTS, 2)
    scatter = (points - points.mean(axis=0)).T @ (points - points.mean(axis=0))
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
    return theta[(np.abs(theta) <= 3).all(axis=1)][:count]


TASKS = {
    "gaussian_linear": Task([scipy.stats.norm(0, math.sqrt(VARIANCE))] * 10, _gaussian_linear, _exact_gaussian_linear),
    "two_moons": Task([scipy.stats.uniform(-1, 2)] * 2, _two_moons, _exact_two_moons),
    "slcp": Task([scipy.stats.uniform(-3, 6)] * 5, _slcp, _exact_slcp),
}


# Side by side.


@dataclass(frozen=True)
class Trained:
    """What a network learned.

    accuracies         of the classifier, by observation: 0.5 if the draws are those of the exact posterior
    seconds            of training
    processor_seconds  of training with all around it: checks, the test part, figures
    """

    accuracies: list[float]
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

    @property
    def holds(self) -> bool:
        return self.ours <= self.other + MOST_WORSE and self.ratio <= MOST_TIME


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
    )


def measure(
    tasks: Sequence[str] = tuple(TASKS), sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS
) -> Iterator[Compared]:
    """Raises SystemExit if sbi is missing."""
    if importlib.util.find_spec("sbi") is None:
        sys.exit("this benchmark needs sbi, which nothing else of qexp does: pip install sbi")
    torch.set_num_threads(1)
    for name in tasks:
        task = TASKS[name]
        _, observed = task.drawn(OBSERVATIONS, np.random.default_rng(1))
        exact = [task.exact(x, DRAWS, np.random.default_rng(2)) for x in observed]
        for size in sizes:
            theta, x = task.drawn(size, np.random.default_rng(0))
            dataset = qexp.dataset(theta, x, prior=task.prior, name=f"{name}_{size}")
            for seed in seeds:
                yield Compared(
                    name,
                    size,
                    seed,
                    _by_qexp(dataset, seed, observed, exact),
                    _by_sbi(task, theta, x, seed, observed, exact),
                )


def _by_qexp(dataset: str, seed: int, observed: Array, exact: Sequence[Array]) -> Trained:
    busy = time.process_time()
    run = qexp.posterior(dataset, seed=seed, device="cpu", display=False)
    busy = time.process_time() - busy
    drawn = run.posterior(observed=observed, draws=DRAWS)
    draws = np.stack([drawn[name].values[0] for name in run.spec["outputs"]], axis=-1)  # (draw, observation, parameter)
    accuracies = [distinguished(of, draws[:, index], 0) for index, of in enumerate(exact)]
    return Trained(accuracies, run.record["seconds"], busy)


def _by_sbi(task: Task, theta: Array, x: Array, seed: int, observed: Array, exact: Sequence[Array]) -> Trained:
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    first = task.prior[0]
    prior: torch.distributions.Distribution
    if first.dist.name == "norm":
        prior = torch.distributions.MultivariateNormal(
            torch.zeros(len(task.prior)), first.var() * torch.eye(len(task.prior))
        )
    else:
        low, high = (torch.full((len(task.prior),), float(end)) for end in first.support())
        prior = BoxUniform(low, high)
    torch.manual_seed(seed)
    busy, began = time.process_time(), time.perf_counter()
    inference = NPE(prior, show_progress_bars=False)
    inference.append_simulations(torch.tensor(theta).float(), torch.tensor(x).float())
    with redirect_stdout(io.StringIO()):  # that it has converged
        estimator = inference.train()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    posterior = inference.build_posterior(estimator)
    accuracies = []
    for one, of in zip(observed, exact, strict=True):
        draws = posterior.sample((DRAWS,), x=torch.tensor(one).float(), show_progress_bars=False)
        accuracies.append(distinguished(of, draws.double().numpy(), 0))
    return Trained(accuracies, seconds, busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="numbers of simulations")
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
        f"{name} {', '.join(f'{accuracy:.3f}' for accuracy in of.accuracies)} in {of.seconds:.1f} s "
        f"({of.processor_seconds:.1f} s of processor time with all around it)"
        for name, of in both
    ]
    return f"{compared.task:16s} {compared.simulations:6,} simulations, seed {compared.seed}: {'; '.join(words)}"


if __name__ == "__main__":
    main()
