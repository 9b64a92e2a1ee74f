"""Simulated images, and the values that made them."""
