"""Weights of networks that other programs trained."""
