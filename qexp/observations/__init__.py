"""Observed deformation: what programs and observatories write, as one file for `qexp invert`."""
