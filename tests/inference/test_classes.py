"""Exact probabilities of classes against plain sums over dense grids, by code of their own."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import lognorm

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference.classes import class_probabilities
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from tests.conftest import put

NOISE, SIZE, PIXEL, INCIDENCE = 0.01, 10, 0.6, 0.4
SHALLOW, DEEP = 0.4, 1.6

DOCUMENT = {
    "type": "generated",
    "size": [SIZE, SIZE],
    "fixed": {
        "azimuth": 0.0, "incidence": INCIDENCE, "x_res": PIXEL, "y_res": PIXEL,
        "x": 0.0, "y": 0.0, "noise": NOISE,
    },
    "varyings": {"delta_volume": []},
    "distributions": {
        "delta_volume": {"type": "log_normal", "parameters": {"mu": -1.0, "sigma": 1.5}}
    },
    "classes": {
        "kind": {
            "shallow": {
                "generation_type": "mogi", "probability": 0.3, "varyings": {"depth": []},
                "distributions": {
                    "depth": {"type": "log_normal", "parameters": {"mu": SHALLOW, "sigma": 0.3}}
                },
            },
            "deep": {
                "generation_type": "mogi", "probability": 0.2, "varyings": {"depth": []},
                "distributions": {
                    "depth": {"type": "log_normal", "parameters": {"mu": DEEP, "sigma": 0.3}}
                },
            },
            "none": {"sources": [], "probability": 0.5},
        }
    },
}  # fmt: skip


def of_grid(images: np.ndarray, middle: float, cells: int = 1800) -> np.ndarray:
    """The log of the evidence of a point source over that of none, by a sum over cells of equal
    probability; Mogi (1958) as in textbooks, with Poisson's ratio 0.25.
    """
    shares = (np.arange(cells) + 0.5) / cells
    depth = lognorm(0.3, scale=np.exp(middle)).ppf(shares) * 1e3
    volume = lognorm(1.5, scale=np.exp(-1.0)).ppf(shares) * 1e6
    axis = (np.arange(SIZE) - SIZE / 2) * PIXEL * 1e3
    east, north = np.meshgrid(axis, axis)
    distance = np.sqrt(east**2 + north**2 + depth[:, None, None] ** 2)
    per_volume = 0.75 / np.pi / distance**3
    up, along = per_volume * depth[:, None, None], per_volume * east
    unit = (up * np.cos(INCIDENCE) - along * np.sin(INCIDENCE)).reshape(cells, -1) / NOISE
    data = images.reshape(len(images), -1) / NOISE
    log = []
    for one in data:
        fits = (unit @ one)[:, None] * volume - np.square(unit).sum(1)[:, None] * volume**2 / 2
        log.append(logsumexp(fits) - 2 * np.log(cells))
    return np.array(log)


@pytest.mark.heavy
def test_probabilities_are_those_of_a_sum_over_a_grid_for_weak_signals_and_strong_ones():
    dataset = generated_of(DOCUMENT, BUILT_IN)
    samples = dataset.sample(dataset.whole, 24, Seeds(11), ("x",), torch.device("cpu"))
    found = class_probabilities(dataset, samples, ["displacement"])
    images = samples["displacement"].double().numpy()
    logs = np.stack([of_grid(images, SHALLOW), of_grid(images, DEEP), np.zeros(24)], axis=1)
    assert (logs > 100).any()  # both sorts of draws are asked for
    assert (logs < -1).any()
    weights = np.log([0.3, 0.2, 0.5]) + logs
    expected = np.exp(weights - logsumexp(weights, axis=1, keepdims=True))
    error = np.abs(found.probabilities - expected)
    assert (error < 4 * found.errors + 2e-3).all()
    assert found.errors.max() < 0.04
    likely = expected > 0.01  # of others the cells of the grid are too large
    assert np.abs(found.log_evidence - logs)[likely] == pytest.approx(0.0, abs=0.05)


def test_a_dataset_without_a_likelihood_is_refused_with_the_class():
    quiet = generated_of(put(DOCUMENT, "fixed.noise", 0.0), BUILT_IN)
    samples = quiet.sample(quiet.whole, 2, Seeds(1), ("x",), torch.device("cpu"))
    with pytest.raises(QexpError, match="kind 'shallow': 'displacement' has no noise"):
        class_probabilities(quiet, samples, ["displacement"])
