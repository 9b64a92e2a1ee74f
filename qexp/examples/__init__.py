"""Synthetic data from known physics, in place of measured data; a package brings its specs."""
