"""Simulated deformation: sources, views and noise, as datasets of images."""
