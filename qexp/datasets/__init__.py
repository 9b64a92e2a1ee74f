"""Datasets, and what they need: distributions, intervals, noise, splits, transforms; made from plain arguments."""
