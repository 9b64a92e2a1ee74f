"""How often least squares that start at a network's estimate end in the global minimum.

Observations are drawn from all of the run's own prior, with its noise and its hidden pixels. Each
is fitted from the network's estimate and the starts near it, as by `qexp invert --refine`, and, to
find the global minimum, from the truth and from other places of the prior. The lowest of these
minima counts as the global one.

Run: python -m validation.global_optimum RUN [--observations 1000] [--others 8] [--first 0]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import qexp
from qexp.base.seeds import Seeds
from qexp.deformation.by_network import STARTS_NEAR, values_nearby
from qexp.inference.fit import SAME_MINIMUM, best, bic, refine_fit
from qexp.inference.refinement import Refinement
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.inversion import estimates_of_test
from qexp.kinds.networks import load_model
from qexp.kinds.tables import tables_of
from qexp.networks.estimator import Estimator
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]

SEED = 20
EVERY = 25
"""Observations after which progress is said."""
STARTS = "network", "truth and elsewhere"


@dataclass(frozen=True)
class Fits:
    """Sums of squares, (observation,) each.

    minima   words for the starts → those of the best minimum that they lead to
    nothing  without a source
    points   numbers that are fitted
    free     number of parameters
    """

    minima: Mapping[str, Array]
    nothing: Array
    points: NDArray[np.int64]
    free: int

    @property
    def lowest(self) -> Array:
        return np.min(list(self.minima.values()), axis=0)

    @property
    def has_source(self) -> NDArray[np.bool_]:
        """Whether BIC prefers the source to none; weaker ones hardly differ from noise."""
        both = zip(self.lowest, self.nothing, self.points.tolist(), strict=True)
        return np.array(
            [bic(low, count, self.free) < bic(nothing, count, 0) for low, nothing, count in both]
        )

    def reached(self, starts: str) -> NDArray[np.bool_]:
        """Whether minima are the lowest ones."""
        return self.minima[starts] <= self.lowest * (1 + SAME_MINIMUM) + 2 * SAME_MINIMUM


def drawn(
    dataset: GeneratedDataset, model: Estimator, count: int
) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """Values from all of the prior, and observations of them, with masks of ones where the network
    takes masks.
    """
    everything = {name: [(0.0, 1.0)] for name in dataset.test}
    values = dataset.values(everything, count, Seeds(SEED), ("global optimum",))
    samples = dataset.observe(
        values, Seeds(SEED).torch(torch.device("cpu"), "global optimum", "noise")
    )
    for name, shape in model.network.inputs.items():
        samples.setdefault(name, torch.ones(count, *shape))
    return values, samples


def fitted(run: str, first: int, count: int, others: int) -> tuple[Fits, float]:
    """The fits of observations from number `first` on, and the seconds that those from the network
    took.
    """
    directory = qexp.open_run(run).directory
    tables, spec = tables_of(directory), directory.training_spec()
    model = load_model(directory, torch.device("cpu"))
    dataset = generated_of(spec["dataset"], tables)
    values, samples = drawn(dataset, model, first + count)
    outputs = list(model.network.outputs)
    refinement = Refinement(dataset, [], dataset.fixed, outputs)
    data, observed = refinement.pixels.numbers_of(samples), refinement.pixels.masks(samples)
    estimates = {
        name: values[:, 0].double().numpy() for name, values in model.estimate(samples).items()
    }
    of_test = estimates_of_test(directory, outputs)
    assert of_test is not None
    minima: dict[str, list[float]] = {starts: [] for starts in STARTS}
    nothing, points, seconds = [], [], 0.0
    for index in range(first, first + count):
        problem = refinement.problem(data[[index]], mask=observed[index])
        nothing.append(problem.chi2_without_source)
        points.append(problem.model.points)
        start = {name: float(values_of[index]) for name, values_of in estimates.items()}
        elsewhere = [
            {name: values[name][(index - shift) % len(values[name])] for name in outputs}
            for shift in range(others + 1)
        ]
        began = time.perf_counter()
        near = values_nearby(of_test, start, STARTS_NEAR - 1, seed=0)
        for starts, sources in zip(STARTS, ([start, *near], elsewhere), strict=True):
            begin = torch.cat(
                [
                    refinement.starts(
                        problem, {name: np.array([value]) for name, value in source.items()}
                    )
                    for source in sources
                ]
            )
            if starts == STARTS[0]:
                minima[starts].append(
                    refine_fit(problem, begin, refinement.searches(), seed=0).chi2
                )
                seconds += time.perf_counter() - began
            else:
                minima[starts].append(best(problem, begin).chi2)
        if (done := index + 1 - first) % EVERY == 0:
            print(f"{done:,} of {count:,} observations", file=sys.stderr, flush=True)
    lowest = {starts: np.array(values_of) for starts, values_of in minima.items()}
    return Fits(lowest, np.array(nothing), np.array(points), len(outputs)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--observations", type=int, default=1000)
    parser.add_argument("--others", type=int, default=8)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first observation, to share the work"
    )
    arguments = parser.parse_args()
    fits, seconds = fitted(arguments.run, arguments.first, arguments.observations, arguments.others)
    each = 1e3 * seconds / arguments.observations
    print(f"{arguments.run}: {arguments.observations:,} observations, {each:.0f} ms each")
    for words, which in (
        ("all", np.full(len(fits.nothing), True)),
        ("sources that are seen", fits.has_source),
    ):
        reached = ", ".join(
            f"{starts} {int(fits.reached(starts)[which].sum()):,}" for starts in STARTS
        )
        print(
            f"{words}: {int(which.sum()):,}; the global minimum is reached from {reached}",
            flush=True,
        )
    for index in np.flatnonzero(~fits.reached(STARTS[0])):
        minima = ", ".join(f"{starts} {fits.minima[starts][index]:.2f}" for starts in STARTS)
        print(
            f"observation {arguments.first + index}: {minima}, without a source"
            f" {fits.nothing[index]:.2f}"
        )


if __name__ == "__main__":
    main()
