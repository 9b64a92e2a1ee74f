"""Reconstructed spectra: errors of the channels that were hidden from the network, and some spectra for figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp import files
from qexp.datasets.spectra import SPECTRUM
from qexp.figures.spectra import energies
from qexp.metrics.metric import Sums
from qexp.runs.evaluation.group_errors import OVERALL, of_group
from qexp.runs.evaluation.spectra.subject import CORE, Array, Subject, attributes, identifiers, transformed, write_table
from qexp.runs.record.directory import ERRORS_BY_ENERGY, RECONSTRUCTIONS, RunDirectory
from qexp.runs.record.record import GroupErrors

KEPT = 3
"""Number of test spectra that are kept for figures, with their reconstructions."""


@dataclass
class Reconstructed:
    """Errors on hidden channels, accumulated block by block: for each channel and each spectrum."""

    guess: Tensor
    """The mean of the training spectra as the network sees them, (1, channel): a guess without any input."""
    keeps: frozenset[int]
    """Positions of those that are kept, among the test spectra."""
    sums: Sums
    """Sums of the metrics over all hidden channels."""
    of_cores: dict[str, Sums]
    """Core → those over its spectra, in the order in which they come."""
    times: Array
    """How often each channel was hidden, (channel,); then sums over those times: of the network's squared errors, of
    the guess's, and of counts."""
    squared: Array
    squared_of_guess: Array
    counts: Array
    of_spectra: list[float] = field(default_factory=list)  # RMSE of the hidden channels of each
    kept: list[tuple[int, Array, Array, NDArray[np.bool_]]] = field(default_factory=list)
    """Position among the test spectra, counts, reconstruction, and whether each channel is hidden."""

    @classmethod
    def begin(cls, subject: Subject) -> Reconstructed:
        total = torch.zeros(1, subject.dataset.channels, dtype=torch.float64)
        for _, seen in transformed(subject, subject.train):
            total += seen.double().sum(dim=0, keepdim=True).cpu()
        guess = (total / len(subject.train)).float().to(subject.device)
        evenly = np.linspace(0, len(subject.test) - 1, KEPT).round().astype(int)
        sums = Sums(subject.metrics[SPECTRUM])
        return cls(guess, frozenset(evenly.tolist()), sums, {}, *np.zeros((4, subject.dataset.channels)))

    def add(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor], subject: Subject) -> None:
        counted = subject.data.counted(SPECTRUM, samples)
        truth, estimate = (of[SPECTRUM].double().cpu().numpy() for of in (samples, made))
        hidden = np.ones(truth.shape, dtype=bool) if counted is None else counted.cpu().numpy()
        guess = subject.model.in_units({SPECTRUM: self.guess.expand(len(truth), -1)}, samples)[SPECTRUM]
        self.sums = self.sums.with_piece(estimate[hidden], truth[hidden])
        squared = np.where(hidden, np.square(estimate - truth), 0.0)
        self.times += hidden.sum(axis=0)
        self.squared += squared.sum(axis=0)
        self.squared_of_guess += np.where(hidden, np.square(guess.cpu().numpy() - truth), 0.0).sum(axis=0)
        self.counts += np.where(hidden, truth, 0.0).sum(axis=0)
        first = len(self.of_spectra)
        cores = subject.dataset.cores[subject.test[first : first + len(truth)]]
        for core in np.unique(cores):
            own = cores == core
            here = Sums(self.sums.metrics).with_piece(estimate[own][hidden[own]], truth[own][hidden[own]])
            self.of_cores[str(core)] = self.of_cores[str(core)] + here if str(core) in self.of_cores else here
        self.of_spectra += _root(squared.sum(axis=1), hidden.sum(axis=1)).tolist()
        for index in sorted(self.keeps & set(range(first, first + len(truth)))):
            place = index - first
            self.kept.append((index, truth[place], estimate[place], hidden[place]))

    def errors_by_core(self) -> list[GroupErrors]:
        """Errors on the hidden channels of all test spectra, then of each core."""
        cores = sorted(self.of_cores.items())
        return [
            of_group(kind, name, sums.samples, SPECTRUM, sums.values())
            for kind, name, sums in [(OVERALL, "", self.sums), *((CORE, name, sums) for name, sums in cores)]
        ]

    def by_channel(self) -> dict[str, Array]:
        """Root mean squares over hidden channels, (channel,) [counts]: of the network's errors, of the guess's, and
        of the counting noise.
        """
        sums = {"rmse": self.squared, "rmse_of_mean": self.squared_of_guess, "counting_noise": self.counts}
        return {name: _root(total, self.times) for name, total in sums.items()}


def _root(sums: Array, times: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(sums / times))


def write_errors(directory: RunDirectory, subject: Subject, reconstructed: Reconstructed, note: str) -> None:
    dataset = subject.dataset
    where, errors = energies(dataset.energy, dataset.channels), reconstructed.by_channel()
    table: dict[str, Sequence[Any]] = {"channel": range(dataset.channels)}
    if where is not None:
        table["energy"] = where.round(6).tolist()
    table["times_hidden"] = reconstructed.times.astype(int).tolist()
    table |= {name: values.tolist() for name, values in errors.items()}
    write_table(directory.results / ERRORS_BY_ENERGY, table, note)
    _write_kept(directory, subject, reconstructed, where, note)


def _write_kept(
    directory: RunDirectory, subject: Subject, reconstructed: Reconstructed, energy: NDArray[Any] | None, note: str
) -> None:
    """Counts, reconstruction and hidden channels of some test spectra, over channel and energy."""
    import xarray

    dataset, kept = subject.dataset, reconstructed.kept
    numbers, *of_kept = zip(*kept, strict=True) if kept else ((), (), (), ())
    rows = subject.test[list(numbers)]
    planes = [np.array(values).reshape(len(kept), dataset.channels) for values in of_kept]
    words = {"counts": "counts", "reconstruction": "counts, as reconstructed", "hidden": "hidden from the network"}
    variables: dict[str, Any] = {
        name: (("spectrum", "channel"), plane, {"long_name": text})
        for (name, text), plane in zip(words.items(), planes, strict=True)
    }
    variables |= {name: ("spectrum", of[rows].astype(object)) for name, of in identifiers(dataset).items()}
    variables["depth"] = ("spectrum", dataset.depths[rows], {"units": dataset.units.get("depth", "")})
    coordinates: dict[str, Any] = {"spectrum": rows}
    if energy is not None:
        coordinates["energy"] = ("channel", energy, {"units": "keV"})
    whole = xarray.Dataset(variables, coordinates, attributes(directory, note))
    files.write_bytes(directory.results / RECONSTRUCTIONS, bytes(whole.to_netcdf(engine="h5netcdf")))
