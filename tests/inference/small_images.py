"""Small images of a point source, whose exact posteriors can be had by sums over dense grids."""

import copy
from typing import Any

import numpy as np
import scipy.stats
import torch

from qexp.base.quantities import periods_of
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.dataset import GeneratedDataset
from qexp.trust.limit import by_integration, exact_likelihoods
from tests.conftest import SOUND

NOISE = 0.01

LOG_NORMAL = {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 1.0}}
UNIFORM = {"type": "uniform", "parameters": {"a": -2.0, "b": 2.0}}
NORMAL = {"type": "normal", "parameters": {"mu": 1.0, "sigma": 2.0}}
PRIORS = {
    "log_normal": scipy.stats.lognorm(1.0),
    "uniform": scipy.stats.uniform(-2.0, 4.0),
    "normal": scipy.stats.norm(1.0, 2.0),
}

EXPONENTIAL = {"type": "exponential", "parameters": {"range": 2.0}}
HIDING = [EXPONENTIAL, {"type": "decorrelation", "parameters": {"share": 0.4, "patch_size": 2.0}}]


def dataset(
    priors: dict[str, Any],
    noise_model: Any = "white",
    size: int = 12,
    pixel: float = 0.5,
    **fixed: float,
) -> GeneratedDataset:
    """A point source in square images with pixels of some size [km]; the variables with priors
    vary.
    """
    return generated_of(document(priors, noise_model, size, pixel, **fixed), BUILT_IN)


def document(
    priors: dict[str, Any],
    noise_model: Any = "white",
    size: int = 12,
    pixel: float = 0.5,
    **fixed: float,
) -> dict[str, Any]:
    values = {
        "depth": 1.5,
        "delta_volume": 1.0,
        "x_res": pixel,
        "y_res": pixel,
        "noise": NOISE,
        **fixed,
    }
    values = {**SOUND["dataset"]["fixed"], **values}
    spec = copy.deepcopy(SOUND["dataset"]) | {
        "size": [size, size],
        "fixed": {name: value for name, value in values.items() if name not in priors},
        "varyings": {name: [[0.2, 0.8]] for name in priors},
        "distributions": priors,
        "noise_model": noise_model,
    }
    del spec["matrix"]
    return spec


def covariance(correlated: bool, level: float = NOISE, pixel: float = 0.5) -> np.ndarray:
    """Of the noise between pixels of some size [km]: white, or exponential of range 2 km."""
    at = np.stack(np.meshgrid(np.arange(12) * pixel, np.arange(12) * pixel), -1).reshape(-1, 2)
    distance = np.hypot(*(at[:, None] - at).transpose(2, 0, 1))
    return level**2 * (np.exp(-distance / 2.0) if correlated else np.eye(len(at)))


IMAGES = ["displacement"]


def integrated(
    of: GeneratedDataset, samples: dict[str, torch.Tensor], *given: str
) -> tuple[np.ndarray, np.ndarray]:
    """Means and medians, (2, sample, variable); and those by grids that are half as fine."""
    return by_integration(
        exact_likelihoods(of, IMAGES, given), periods_of(of.test, of.quantities), samples
    )
