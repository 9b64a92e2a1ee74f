"""Synthetic data from known physics, where measured data are not available; an installed package
has its specs here.
"""
