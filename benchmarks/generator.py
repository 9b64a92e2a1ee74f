"""The generator against a numpy function that makes one image at a time."""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from benchmarks.timing import Comparison, at_least
from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.kinds import experiments
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN

IMAGES = 1000
Array = NDArray[np.float64]

_POSITIONS = (np.arange(64) - 32) * 100.0
EAST, NORTH = np.meshgrid(_POSITIONS, _POSITIONS)


def one_image(depth: float, volume_change: float, azimuth: float, incidence: float) -> Array:
    """Line-of-sight displacement of 64 x 64 pixels of 100 m by a source below the centre; SI
    units.
    """
    strength = 0.75 / np.pi * volume_change / (EAST**2 + NORTH**2 + depth**2) ** 1.5
    look = (
        -np.cos(azimuth) * np.sin(incidence),
        -np.sin(azimuth) * np.sin(incidence),
        np.cos(incidence),
    )
    return np.asarray(
        look[0] * strength * EAST + look[1] * strength * NORTH + look[2] * strength * depth
    )


def noise_amplitude() -> Array:
    """Of a field with covariance exp(-r / 2 km), embedded in a torus of 128 x 128 pixels."""
    steps = np.minimum(np.arange(128), 128 - np.arange(128)) * 100.0
    eigenvalues = scipy.fft.fft2(np.exp(-np.hypot(steps[:, None], steps) / 2000)).real.clip(0)
    return np.asarray(np.sqrt(eigenvalues / eigenvalues.sum()))


def one_noise(amplitude: Array, random: np.random.Generator) -> Array:
    shape = amplitude.shape
    spectrum = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return np.asarray(scipy.fft.fft2(amplitude * spectrum).real[:64, :64])


def measure() -> list[Comparison]:
    return [against_numpy("mogi_cnn", 5.0), against_numpy("mogi_noisy", 8.0)]


def against_numpy(experience: str, limit: float) -> Comparison:
    """Images of the experience's dataset, with the noise that it has."""
    document = experiments.experience(experience, {}, find()).document
    dataset = dataset_of(document["dataset"], BUILT_IN)
    values = {
        name: dataset.distributions[name].quantile(Seeds(0).numpy(name).uniform(0.01, 0.99, IMAGES))
        for name in ("depth", "delta_volume")
    }
    random, numpy_random = torch.Generator(), np.random.default_rng(0)
    amplitude, noisy = noise_amplitude(), document["dataset"]["fixed"]["noise"] > 0

    def ours() -> torch.Tensor:
        return dataset.observe(values, random)["displacement"]

    def one_at_a_time() -> Array:
        images = np.empty((IMAGES, 64, 64))
        for index, (depth, volume) in enumerate(
            zip(values["depth"], values["delta_volume"], strict=True)
        ):
            images[index] = one_image(1e3 * depth, 1e6 * volume, 0.0, 0.33)
            if noisy:
                images[index] += 0.01 * one_noise(amplitude, numpy_random)
        return images

    if not noisy:
        np.testing.assert_allclose(ours().numpy()[:, 0], one_at_a_time(), rtol=1e-4, atol=1e-6)
    title = (
        f"1,000 images{' with correlated noise' if noisy else ''}, times faster than numpy one at a"
        " time"
    )
    return at_least(title, ours, one_at_a_time, limit)
