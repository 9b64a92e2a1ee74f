"""Measurements of qexp, as ratios taken side by side in one run."""
