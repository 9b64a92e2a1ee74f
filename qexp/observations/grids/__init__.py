"""Grids of pixels: interferograms, velocities and time series as programs write them, read in windows."""
