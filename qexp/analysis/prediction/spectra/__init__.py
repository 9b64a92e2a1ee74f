"""Estimates for spectra."""
