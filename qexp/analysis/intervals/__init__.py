"""Intervals of estimates of new rows and spectra, from the errors of those that were held out."""
