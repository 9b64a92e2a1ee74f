"""Spectra of sediment cores."""
