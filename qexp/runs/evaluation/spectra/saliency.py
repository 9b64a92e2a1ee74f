"""Saliency of channels: how much each contributes to the estimates of the test spectra, on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp import files
from qexp.datasets.spectra import SPECTRUM
from qexp.estimates import saliency_magnitude_of, saliency_of
from qexp.figures.spectra import energies
from qexp.networks.estimator import input_times_gradient
from qexp.networks.training import deterministic
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation.spectra.subject import Array, Subject, attributes
from qexp.runs.record.directory import SALIENCY

MOST = 256
"""Largest number of test spectra over which it is averaged: a gradient takes as long as two estimates."""

AT_ONCE = 32
"""Number of spectra whose gradients are computed together, for which all activations are kept."""


def write_saliency(attempt: Attempt, subject: Subject, outputs: Sequence[str]) -> bool:
    """Write input times gradient of every channel, averaged over test spectra; False if interrupted.

    outputs  the numbers that the network estimates; without one nothing is written
    At most `MOST` spectra are used, evenly spread over the test spectra in their order.
    """
    if not outputs:
        return True
    test = subject.test
    places = np.unique(np.linspace(0, len(test) - 1, min(MOST, len(test))).round().astype(int))
    sums = {name: np.zeros((2, subject.dataset.channels)) for name in outputs}
    with deterministic():
        for block in np.array_split(places, -(-len(places) // AT_ONCE)):
            if attempt.interrupted():
                return False
            samples = _some(subject.data.test, block)
            for name, total in sums.items():
                values = input_times_gradient(subject.model, samples, name, SPECTRUM).double().cpu().numpy()
                total += values.sum(axis=0), np.abs(values).sum(axis=0)
    _write(attempt, subject, {name: total / len(places) for name, total in sums.items()}, places)
    return True


def _some(samples: Mapping[str, Tensor], places: Array) -> dict[str, Tensor]:
    return {name: values[torch.from_numpy(places).to(values.device)] for name, values in samples.items()}


def _write(attempt: Attempt, subject: Subject, means: Mapping[str, Array], places: Array) -> None:
    """Input times gradient and its absolute value, (channel,), with the mean spectrum of the same spectra."""
    import xarray

    dataset = subject.dataset
    variables: dict[str, Any] = {}
    for name, (mean, magnitude) in means.items():
        unit = dataset.units.get(name, "")
        for variable, values, words in (
            (saliency_of(name), mean, "mean of transformed input times gradient"),
            (saliency_magnitude_of(name), magnitude, "mean of the absolute value of transformed input times gradient"),
        ):
            variables[variable] = ("channel", values, {"units": unit, "long_name": f"{name}: {words}"})
    counts = subject.dataset.read(subject.test[places]).mean(axis=0, dtype=np.float64)
    variables["counts"] = ("channel", counts, {"long_name": "mean counts of these spectra"})
    energy = energies(dataset.energy, dataset.channels)
    coordinates = {} if energy is None else {"energy": ("channel", energy, {"units": "keV"})}
    about = {**attributes(attempt.directory, attempt.caution), "spectra": len(places), "of": len(subject.test)}
    whole = xarray.Dataset(variables, coordinates, about)
    files.write_bytes(attempt.directory.results / SALIENCY, bytes(whole.to_netcdf(engine="h5netcdf")))
