"""Inference matrices: the estimates of a run over a grid of true parameter values."""
