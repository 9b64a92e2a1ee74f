"""A preview of spectra of cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.quantities import in_words
from qexp.figures.distributions import values_by_group
from qexp.kinds.preview import Array, Pictures, Preview, Variable, together, value_in_words
from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.kinds.spectra.figures import energies, sample_spectra, spread_evenly
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.metrics.splits import Rows

if TYPE_CHECKING:
    import xarray

SPECTRA = 1000
"""Spectra that are read for the numbers, at most."""

DEPTH, TOTAL = "depth", "total counts"


class SpectraPreview(Preview[SpectraDataset, Rows]):
    counted = "spectra"

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {name: one.names for name, one in self.dataset.classes.items()}

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        data = self.dataset
        rows = self.some(self.own, count)
        columns: dict[str, Any] = {
            SPECTRUM: (("sample", "channel"), data.read(rows), {"units": data.units[SPECTRUM]})
        }
        for name, values in data.measured.items():
            columns[name] = ("sample", values[rows], {"units": data.units[name]})
        coordinates: dict[str, Any] = {
            "name": ("sample", data.names[rows]),
            "core": ("sample", data.cores[rows]),
            DEPTH: ("sample", data.depths[rows], {"units": data.units[DEPTH]}),
        }
        if (energy := energies(data.energy, data.channels)) is not None:
            coordinates["energy"] = ("channel", energy, {"units": "keV"})
        return xarray.Dataset(columns, coordinates)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        data = self.dataset
        rows = self.own
        described = [
            Variable(SPECTRUM, data.units[SPECTRUM], self._read.ravel()),
            Variable(TOTAL, data.units[SPECTRUM], self._read.sum(axis=1, dtype=np.float64)),
        ]
        for name, values in data.measured.items():
            classes = self.classes.get(name, ())
            described.append(Variable(name, data.units[name], values[rows], classes=classes))
        if np.isfinite(data.depths).any():
            described.append(Variable(DEPTH, data.units[DEPTH], data.depths[rows]))
        return described

    def remarks(self) -> list[str]:
        cores = len(np.unique(self.dataset.cores[self.own]))
        return [
            f"{len(self.own):,} spectra of {cores} cores; counts of {len(self._read):,} of them"
        ]

    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Pictures:
        spectra = [
            (self._words(samples, index), samples[SPECTRUM].values[index])
            for index in range(samples.sizes["sample"])
        ]
        energy = samples["energy"].values if "energy" in samples.coords else None
        yield "samples", sample_spectra(spectra, energy, title)
        yield self.histograms(
            [variable for variable in variables if variable.name != SPECTRUM], title
        )
        yield from self._by_core(title)

    @cached_property
    def _read(self) -> Array:
        """Counts, (spectrum, channel), of spectra spread evenly over the part."""
        return self.dataset.read(self.own[spread_evenly(len(self.own), SPECTRA)])

    def _words(self, samples: xarray.Dataset, index: int) -> str:
        words = [str(samples["core"].values[index])]
        for name in (DEPTH, *self.dataset.measured):
            value = float(samples[name].values[index])
            if np.isfinite(value):
                unit = samples[name].attrs["units"]
                words.append(
                    value_in_words(in_words(name), value, unit, self.classes.get(name, ()))
                )
        return ", ".join(words)

    def _by_core(self, title: str) -> Pictures:
        """The target by core over all parts; without one the total counts of some spectra."""
        data = self.dataset
        rows, parts = together(self.parts)
        if data.measured:
            ((name, measured),) = data.measured.items()
            unit = data.units[name]
            values = measured[rows]
        else:
            chosen = spread_evenly(len(rows), SPECTRA)
            rows = rows[chosen]
            parts = [parts[index] for index in chosen]
            name = TOTAL
            unit = data.units[SPECTRUM]
            values = data.read(rows).sum(axis=1, dtype=np.float64)
        heading = self.over_all(title, "all parts")
        cores = data.cores[rows].tolist()
        of_parts = list(self.parts)
        classes = self.classes.get(name, ())
        figure = values_by_group(cores, parts, of_parts, values, name, unit, heading, classes)
        yield f"{name.replace(' ', '_')}_by_core", figure
