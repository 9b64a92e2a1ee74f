"""The lower limit of errors from noisy images: that of the exact posterior median.

An image is volume change times the image of a unit source at its depth, plus Gaussian noise, so that the likelihood is
known in closed form; with the dataset's own priors it is integrated on a grid of depth and volume change. The posterior
median has the least mean absolute error that any estimator can have on average over the prior.

Run: python -m benchmarks.noise_limit [DATASET] [--seeds 5]
It uses the very test samples of the runs <DATASET>_<seed>, and shows the runs' errors beside the limit where they are
done.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import scipy.linalg
import scipy.stats
import torch
from numpy.typing import NDArray

import qexp
from qexp import assemble
from qexp.datasets.generated import GeneratedDataset
from qexp.errors import NotFoundError
from qexp.seeds import Seeds
from qexp.workspace import find

Array = NDArray[np.float64]

DEPTHS = 1201
"""Depths at which the image of a unit source is known; between them its products are interpolated."""

CELLS = 301
"""Grid cells along each of the two variables."""

SPAN = 4.5
"""Half-width of the grid before it is narrowed to where the posterior is, in standard deviations of the prior."""

NEGLIGIBLE = 14.0
"""Cells whose logarithm of probability is so far below the largest do not matter."""


def covariance_factor(dataset: GeneratedDataset) -> Array:
    """Lower Cholesky factor of the covariance of the image's noise [m]."""
    layout, level = dataset.layouts()["displacement"], dataset.fixed.get("noise", 0.0)
    covariance = dataset.noise.covariance("displacement", layout, level)
    return np.asarray(scipy.linalg.cholesky(covariance.numpy(), lower=True, overwrite_a=True))


class Posterior:
    """Posterior of the logarithms of depth and volume change, standardised by their log-normal priors."""

    def __init__(self, dataset: GeneratedDataset, document: dict[str, Any]) -> None:
        priors = [document["distributions"][name] for name in ("depth", "delta_volume")]
        if any(prior["type"] != "log_normal" for prior in priors):
            raise SystemExit("the limit is worked out for log-normal priors only")
        self.priors = [(prior["parameters"]["mu"], prior["parameters"]["sigma"]) for prior in priors]
        self.factor = covariance_factor(dataset)
        self.knots = np.linspace(-SPAN, SPAN, DEPTHS)
        unit = {"depth": self._value(0, self.knots), "delta_volume": np.ones(DEPTHS)}
        quiet = dataset.without_noise().holding(dataset.fixed)
        images = quiet.observe(unit, torch.Generator())["displacement"].flatten(1).double().numpy()
        self.unit_images = self._whitened(images)
        self.unit_power = np.square(self.unit_images).sum(1)

    def medians(self, images: Array) -> Array:
        """Posterior medians of depth [km] and volume change [10⁶ m³]: (sample, pixel) → (sample, 2)."""
        products = self._whitened(images) @ self.unit_images.T
        return np.array([self._medians_of_one(product) for product in products])

    def _medians_of_one(self, product: Array) -> list[float]:
        depth = volume = np.linspace(-SPAN, SPAN, CELLS)
        for _ in range(3):  # the grid closes in on the posterior
            log_probability = self._log_probability(product, depth, volume)
            matters = log_probability > log_probability.max() - NEGLIGIBLE
            depth, volume = _closer(depth, matters.any(1)), _closer(volume, matters.any(0))
        probability = np.exp((log := self._log_probability(product, depth, volume)) - log.max())
        marginals = ((depth, probability.sum(1)), (volume, probability.sum(0)))
        return [float(self._value(index, _median(*marginal))) for index, marginal in enumerate(marginals)]

    def _log_probability(self, product: Array, depth: Array, volume: Array) -> Array:
        power = np.exp(np.interp(depth, self.knots, np.log(self.unit_power)))[:, None]
        signal = np.interp(depth, self.knots, product)[:, None]
        change = self._value(1, volume)
        prior = -0.5 * (depth[:, None] ** 2 + volume**2)
        return np.asarray(signal * change - 0.5 * power * change**2 + prior)

    def _value(self, index: int, standardised: Any) -> Any:
        mu, sigma = self.priors[index]
        return np.exp(mu + sigma * standardised)

    def _whitened(self, images: Array) -> Array:
        return np.asarray(scipy.linalg.solve_triangular(self.factor, images.T, lower=True).T)


def _closer(grid: Array, matters: NDArray[np.bool_]) -> Array:
    kept, step = grid[matters], grid[1] - grid[0]
    return np.linspace(kept[0] - 2 * step, kept[-1] + 2 * step, CELLS)


def _median(grid: Array, mass: Array) -> float:
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    inside = mass > 1e-14 * mass.max()
    return float(np.interp(0.5, below[inside], grid[inside]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="mogi_noisy", help="dataset and experience of this name")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this number")
    arguments = parser.parse_args()

    experience = assemble.experience(arguments.dataset, {}, find())
    document = experience.document["dataset"]
    dataset = assemble.dataset_of(document, assemble.BUILT_IN)
    posterior = Posterior(dataset, document)
    outputs = ("depth", "delta_volume")
    rows = []
    for seed in range(arguments.seeds):
        size = experience.document["sizes"][2]
        test = dataset.sample(dataset.test, size, Seeds(seed), ("test",), torch.device("cpu"))
        truth = torch.cat([test[name] for name in outputs], 1).double().numpy()
        limit = np.abs(posterior.medians(test["displacement"].flatten(1).double().numpy()) - truth).mean(0)
        rows.append([*limit, *_errors_of_run(f"{experience.name}_{seed}", outputs)])
        print(f"seed {seed}: " + _written(rows[-1]), flush=True)
    means, deviations = np.mean(rows, 0), np.std(rows, 0, ddof=1)
    print("mean:   " + _written(means))
    print("std:    " + _written(deviations))
    print(f"ratio of the means: depth {means[2] / means[0]:.2f}, delta_volume {means[3] / means[1]:.2f}")


def _errors_of_run(name: str, outputs: tuple[str, ...]) -> list[float]:
    try:
        results = qexp.open_run(name).results.get("test", {})
    except NotFoundError:
        results = {}
    return [results.get(output, {}).get("mae", float("nan")) for output in outputs]


def _written(values: Any) -> str:
    return (
        f"limit depth {values[0]:.3f} km, delta_volume {values[1]:.3f} 10⁶ m³; "
        f"run {values[2]:.3f} km, {values[3]:.3f} 10⁶ m³"
    )


if __name__ == "__main__":
    main()
