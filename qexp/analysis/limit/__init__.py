"""Errors of exact posteriors on a simulated dataset."""
