"""Posteriors of simulated observations beside the values that made these."""
