"""How often least squares that start at a network's estimate end in the global minimum.

Observations are drawn from all of the run's own prior, with its noise; no pixel is hidden. Each is fitted from the
network's estimate, from the truth, and from other places of the prior; the lowest of all these minima counts as the
global one.

Run: python -m benchmarks.global_optimum RUN [--observations 1000] [--others 8]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import qexp
from qexp import assemble
from qexp.analysis.matrix.refinement import Refinement
from qexp.analysis.prediction.predictor import load_model
from qexp.datasets.generated import GeneratedDataset
from qexp.estimation.fit import SAME_MINIMUM
from qexp.models.inversion import Inversion
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds
from qexp.workspace import find

Array = NDArray[np.float64]

SEED = 20
SEEN = 50.0
"""A source is seen if it explains more than this of the sum of squares; weaker ones hardly differ from noise."""


@dataclass(frozen=True)
class Fits:
    """Costs, half of the sums of squares, (observation,) each.

    network  of the minima from the network's estimates, others (start, observation), truth from the true values
    nothing  without a source
    """

    network: Array
    others: Array
    truth: Array
    nothing: Array

    @property
    def lowest(self) -> Array:
        return np.minimum(np.minimum(self.network, self.truth), self.others.min(axis=0))

    @property
    def seen(self) -> NDArray[np.bool_]:
        return 2 * (self.nothing - self.lowest) > SEEN

    def reached(self, cost: Array) -> NDArray[np.bool_]:
        """Whether minima are the lowest ones."""
        return cost <= self.lowest * (1 + SAME_MINIMUM) + SAME_MINIMUM


def dataset_without_hidden_pixels(spec: Mapping[str, object], tables: object) -> GeneratedDataset:
    document = dict(spec["dataset"])
    if isinstance(document.get("noise_model"), list):
        document["noise_model"] = [one for one in document["noise_model"] if one["type"] != "decorrelation"]
    return assemble.generated_of(document, tables, find())


def drawn(dataset: GeneratedDataset, model: Inversion, count: int) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """Values from all of the prior, and observations of them, with masks of ones where the network takes masks."""
    everything = {name: [(0.0, 1.0)] for name in dataset.test}
    values = dataset.values(everything, count, Seeds(SEED), ("global optimum",))
    samples = dataset.observe(values, Seeds(SEED).torch(torch.device("cpu"), "global optimum", "noise"))
    for name, shape in model.network.inputs.items():
        samples.setdefault(name, torch.ones(count, *shape))
    return values, samples


def fitted(run: str, count: int, others: int) -> tuple[Fits, float]:
    """The fits, and the seconds that those from the network's estimates took."""
    directory = qexp.open_run(run).directory
    tables, spec = tables_of(directory), directory.training_spec()
    model = load_model(directory, torch.device("cpu"))
    dataset = dataset_without_hidden_pixels(spec, tables)
    values, samples = drawn(dataset, model, count)
    outputs = list(model.network.outputs)
    refinement = Refinement(dataset, [], dataset.fixed, outputs)
    problem = refinement.problem(refinement.data(samples))

    def costs(estimates: Mapping[str, Array]) -> Array:
        return problem.minimum(refinement.starts(problem, estimates)).cost.numpy()

    estimates = {name: made[:, 0].double().numpy() for name, made in model.estimate(samples).items()}
    began = time.perf_counter()
    network = costs(estimates)
    seconds = time.perf_counter() - began
    true = {name: values[name] for name in outputs}
    elsewhere = [costs({name: np.roll(of, shift + 1) for name, of in true.items()}) for shift in range(others)]
    nothing = 0.5 * problem.weighted.square().sum(-1).numpy()
    return Fits(network, np.stack(elsewhere), costs(true), nothing), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--observations", type=int, default=1000)
    parser.add_argument("--others", type=int, default=8)
    asked = parser.parse_args()
    fits, seconds = fitted(asked.run, asked.observations, asked.others)
    print(f"{asked.run}: {asked.observations:,} observations, {1e3 * seconds / asked.observations:.0f} ms each")
    for words, which in (("all", np.full(len(fits.network), True)), ("sources that are seen", fits.seen)):
        shares = {
            "network": fits.reached(fits.network)[which].mean(),
            "truth": fits.reached(fits.truth)[which].mean(),
            "a random start": np.mean([fits.reached(one)[which].mean() for one in fits.others]),
        }
        listed = ", ".join(f"from {start} {100 * share:.1f} %" for start, share in shares.items())
        print(f"{words}, {int(which.sum()):,}: the global minimum is reached {listed}")


if __name__ == "__main__":
    main()
