"""Predictions of trained networks for new observations, in memory and from file to file."""
