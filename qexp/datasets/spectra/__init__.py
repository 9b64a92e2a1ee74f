"""Datasets of spectra of cores: many small files, or a table, read once into one array."""

from qexp.datasets.spectra.dataset import MASK, SPECTRUM, SpectraDataset
from qexp.datasets.spectra.samples import SpectrumSamples

__all__ = ["MASK", "SPECTRUM", "SpectraDataset", "SpectrumSamples"]
