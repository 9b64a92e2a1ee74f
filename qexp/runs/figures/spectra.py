"""Figures of runs on spectra: estimates of the test spectra by core, and reconstructed channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qexp.estimates import estimate_of, saliency_magnitude_of, saliency_of
from qexp.figures.cores import Estimates
from qexp.figures.cores import down_core as profiles
from qexp.figures.cores import estimates_by_core as by_core
from qexp.figures.spectra import Reconstruction, Saliency
from qexp.figures.spectra import errors_by_energy as by_energy
from qexp.figures.spectra import reconstructions as reconstructed
from qexp.figures.spectra import saliency as salient
from qexp.runs.figures.sources import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    columns,
    coverage,
    ends_of_intervals,
    learning_curve,
    numbers,
    outputs,
    table,
    texts,
    unit,
)
from qexp.runs.record.directory import ERRORS_BY_ENERGY, RECONSTRUCTIONS, SALIENCY, RunDirectory
from qexp.runs.record.held_out_intervals import USUAL
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    import xarray

SPECTRUM = "spectrum"

CURVES = {
    "rmse": "network",
    "rmse_of_mean": "mean training spectrum",
    "counting_noise": "noise of counting",
}
"""Column of the errors by energy → its name in the legend."""


def estimates_by_core(directory: RunDirectory) -> Pictures:
    """Estimates against measured values, coloured by core; no figure if the run estimates no number."""
    for estimates in _estimates(directory):
        yield FIGURES_FOLDER / "estimates_by_core", by_core(estimates, directory.record().caution)


def down_core(directory: RunDirectory) -> Pictures:
    """Estimates and measured values over depth, a panel per core; no figure if the run estimates no number."""
    for estimates in _estimates(directory):
        shown = replace(estimates, interval=ends_of_intervals(directory, estimates.name))
        made = profiles(shown, directory.record().caution, f"{100 * USUAL:g} % intervals")
        yield FIGURES_FOLDER / "down_core", made


def _estimates(directory: RunDirectory) -> Iterator[Estimates]:
    spectra = table(directory.results / TEST_PREDICTIONS)
    for name in outputs(spectra):
        yield Estimates(
            name,
            unit(spectra, name),
            texts(spectra, "core"),
            spectra["depth"].values,
            spectra[estimate_of(name)].values,
            spectra[name].values,
            unit(spectra, "depth"),
        )


def errors_by_energy(directory: RunDirectory) -> Pictures:
    """Errors of hidden channels over the energy; no figure if the run reconstructs no spectra."""
    if SPECTRUM not in directory.spec()["outputs"]:
        return
    errors = columns(directory.results / ERRORS_BY_ENERGY)
    where = numbers(errors["energy"]) if "energy" in errors else None
    curves = {words: numbers(errors[name]) for name, words in CURVES.items()}
    known = {words: curve for words, curve in curves.items() if np.isfinite(curve).any()}
    made = by_energy(known, where, directory.record().caution)
    yield FIGURES_FOLDER / "errors_by_energy", made


def saliency(directory: RunDirectory) -> Pictures:
    """How much each channel contributes to the estimates; no figure if the run estimates no number."""
    for name in directory.spec()["outputs"]:
        if name == SPECTRUM:
            continue
        found = table(directory.results / SALIENCY, [saliency_of(name)])
        shown = Saliency(
            name,
            unit(found, saliency_of(name)),
            found[saliency_of(name)].values,
            found[saliency_magnitude_of(name)].values,
            found["counts"].values,
            int(found.attrs["spectra"]),
        )
        where = found["energy"].values if "energy" in found.coords else None
        yield FIGURES_FOLDER / "saliency", salient(shown, where, directory.record().caution)


def reconstructions(directory: RunDirectory) -> Pictures:
    """Some test spectra, their visible channels and reconstructions; no figure if the run reconstructs no spectra."""
    if SPECTRUM not in directory.spec()["outputs"]:
        return
    kept = table(directory.results / RECONSTRUCTIONS)
    spectra = [
        Reconstruction(
            _title(kept.isel(spectrum=index)),
            kept["counts"].values[index],
            kept["reconstruction"].values[index],
            kept["hidden"].values[index].astype(bool),
        )
        for index in range(kept.sizes["spectrum"])
    ]
    where = kept["energy"].values if "energy" in kept.coords else None
    yield FIGURES_FOLDER / "reconstructions", reconstructed(spectra, where, directory.record().caution)


def _title(one: xarray.Dataset) -> str:
    words = [str(one["name"].values), str(one["core"].values)]
    depth = float(one["depth"].values)
    if np.isfinite(depth):
        words.append(f"{depth:g} {unit(one, 'depth')}".rstrip())
    return ", ".join(words)


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    "estimates_by_core": estimates_by_core,
    "down_core": down_core,
    "coverage": coverage,
    "saliency": saliency,
    "errors_by_energy": errors_by_energy,
    "reconstructions": reconstructions,
}
