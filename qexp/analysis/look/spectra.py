"""A look at spectra of cores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.analysis.look.view import Array, Pictures, Variable, View, value_in_words
from qexp.datasets.spectra import SPECTRUM, SpectraDataset
from qexp.datasets.splits import Rows
from qexp.figures.by_group import values_by_group
from qexp.figures.histograms import Histogram, histograms
from qexp.figures.spectra import energies, sample_spectra

if TYPE_CHECKING:
    import xarray

SPECTRA = 1000
"""Spectra that are read for the numbers, at most."""

DEPTH, TOTAL = "depth", "total counts"


class SpectraView(View[SpectraDataset, Rows]):
    counted = "spectra"

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        data, rows = self.dataset, self.some(self._rows, count)
        made: dict[str, Any] = {SPECTRUM: (("sample", "channel"), data.read(rows), {"units": data.units[SPECTRUM]})}
        if data.target is not None and data.targets is not None:
            made[data.target] = ("sample", data.targets[rows], {"units": data.units[data.target]})
        coordinates: dict[str, Any] = {
            "name": ("sample", data.names[rows]),
            "core": ("sample", data.cores[rows]),
            DEPTH: ("sample", data.depths[rows], {"units": data.units[DEPTH]}),
        }
        if (of_channels := energies(data.energy, data.channels)) is not None:
            coordinates["energy"] = ("channel", of_channels, {"units": "keV"})
        return xarray.Dataset(made, coordinates)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        data, rows = self.dataset, self._rows
        made = [
            Variable(SPECTRUM, data.units[SPECTRUM], self._read.ravel()),
            Variable(TOTAL, data.units[SPECTRUM], self._read.sum(axis=1, dtype=np.float64)),
        ]
        if data.target is not None and data.targets is not None:
            made.append(Variable(data.target, data.units[data.target], data.targets[rows]))
        if np.isfinite(data.depths).any():
            made.append(Variable(DEPTH, data.units[DEPTH], data.depths[rows]))
        return made

    def remarks(self) -> list[str]:
        cores = len(np.unique(self.dataset.cores[self._rows]))
        return [f"{len(self._rows):,} spectra of {cores} cores; counts of {len(self._read):,} of them"]

    def pictures(self, samples: xarray.Dataset, variables: Sequence[Variable], title: str) -> Pictures:
        shown = [
            (self._words(samples, index), samples[SPECTRUM].values[index]) for index in range(samples.sizes["sample"])
        ]
        where = samples["energy"].values if "energy" in samples.coords else None
        yield "samples", sample_spectra(shown, where, title)
        known = [one for one in variables if one.name != SPECTRUM]
        yield "histograms", histograms([Histogram(one.name, one.unit, {self.part: one.values}) for one in known], title,
                                       self.counted)  # fmt: skip
        yield from self._by_core(title)

    @property
    def _rows(self) -> Rows:
        return self.parts[self.part]

    @cached_property
    def _read(self) -> Array:
        """Counts, (spectrum, channel), of spectra spread evenly over the part."""
        count = min(SPECTRA, len(self._rows))
        return self.dataset.read(self._rows[np.linspace(0, len(self._rows) - 1, count).round().astype(np.int64)])

    def _words(self, samples: xarray.Dataset, index: int) -> str:
        words = [str(samples["core"].values[index])]
        for name in (DEPTH, self.dataset.target):
            if name is not None and np.isfinite(value := float(samples[name].values[index])):
                words.append(value_in_words(name, value, samples[name].attrs["units"]))
        return ", ".join(words)

    def _by_core(self, title: str) -> Pictures:
        """The target, or the total of counts, by core, over all parts."""
        rows = np.sort(np.concatenate(list(self.parts.values())))
        part_of = {int(row): part for part, of_part in self.parts.items() for row in of_part}
        data = self.dataset
        if data.target is None or data.targets is None:
            return
        parts = [part_of[int(row)] for row in rows]
        values, unit = data.targets[rows], data.units[data.target]
        name = title.partition(",")[0]
        made = values_by_group(data.cores[rows].tolist(), parts, list(self.parts), values, data.target, unit,
                               f"{name}, all parts")  # fmt: skip
        yield f"{data.target}_by_core", made
